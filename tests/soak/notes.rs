//! What was done to the parts and what came of it: counted, written down with its time, and shown.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::chance::Chance;

pub struct Notes {
    began: Instant,
    /// Faults end then.
    until: Instant,
    /// SIGINT or SIGTERM.
    stopped: std::sync::Arc<AtomicBool>,
    inner: Mutex<Inner>,
}

struct Inner {
    log: File,
    faults: BTreeMap<&'static str, u64>,
    problems: Vec<String>,
}

impl Notes {
    pub fn new(log: File, lasts: Duration) -> Notes {
        let stopped = std::sync::Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, stopped.clone()).unwrap();
        }
        Notes {
            began: Instant::now(),
            until: Instant::now() + lasts,
            stopped,
            inner: Mutex::new(Inner {
                log,
                faults: BTreeMap::new(),
                problems: Vec::new(),
            }),
        }
    }

    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub fn say(&self, what: &str) {
        let line = format!("{:7.1} {what}", self.seconds());
        // A closed terminal is no failure.
        let _ = writeln!(std::io::stderr(), "{line}");
        let _ = writeln!(self.inner.lock().unwrap().log, "{line}");
    }

    /// Counts a fault.
    pub fn fault(&self, kind: &'static str, what: &str) {
        *self.inner.lock().unwrap().faults.entry(kind).or_default() += 1;
        self.say(&format!(
            "{kind}{}{what}",
            if what.is_empty() { "" } else { ": " }
        ));
    }

    /// Something that must not be.
    pub fn problem(&self, what: impl Into<String>) {
        let what = what.into();
        self.say(&format!("WRONG {what}"));
        self.inner.lock().unwrap().problems.push(what);
    }

    /// Notes as wrong what a check panics with.
    pub fn check(&self, what: &str, check: impl FnOnce()) {
        match caught(check) {
            Some(words) => self.problem(format!("{what}: {words}")),
            None => self.say(&format!("{what}: right")),
        }
    }

    /// A fault that cannot be made, as where Kafka's tools do not answer, is left out, and told of.
    pub fn attempt(&self, fault: impl FnOnce()) {
        if let Some(words) = caught(fault) {
            self.fault("left out: could not be made", &words);
        }
    }

    /// Tries until it is done, as whoever looks after a service would.
    pub fn insist(&self, what: &str, mut attempt: impl FnMut() -> bool) {
        for _ in 0..10 {
            if attempt() {
                return;
            }
            self.say(&format!("once more: {what}"));
        }
        self.problem(format!("in vain: {what}"));
    }

    /// Faults in an order of chance until the end; before each it waits so many seconds.
    pub fn disturb<T: Copy>(
        &self,
        faults: &'static [T],
        mut chance: Chance,
        pause: Range<u64>,
        suffer: impl Fn(T, &mut Chance),
    ) {
        let mut faults = Deck::of(faults);
        loop {
            self.wait(pause.start + chance.below(pause.end - pause.start));
            if self.is_over() {
                return;
            }
            let fault = faults.draw(&mut chance);
            self.attempt(|| suffer(fault, &mut chance));
        }
    }

    pub fn problems(&self) -> Vec<String> {
        self.inner.lock().unwrap().problems.clone()
    }

    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().unwrap().faults.clone()
    }

    pub fn is_over(&self) -> bool {
        self.is_stopped() || Instant::now() >= self.until
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// How much of the run is over, from 0 to 1.
    pub fn share(&self) -> f64 {
        let whole = (self.until - self.began).as_secs_f64();
        (self.seconds() / whole).min(1.0)
    }

    /// Waits, at most until the faults end.
    pub fn wait(&self, seconds: u64) {
        self.wait_until(seconds, || false);
    }

    /// Waits for a condition for so many seconds, at most until the faults end. Whether it came.
    pub fn wait_until(&self, seconds: u64, mut is: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end && !self.is_over() {
            if is() {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        is()
    }
}

/// The words of a panic.
fn caught(what: impl FnOnce()) -> Option<String> {
    let words = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).err()?;
    let text = words.downcast_ref::<String>().cloned();
    let text = text.or(words.downcast_ref::<&str>().map(|t| (*t).to_owned()));
    Some(text.unwrap_or_default())
}

/// Kinds in an order of chance, each before any comes again.
pub struct Deck<T: 'static> {
    all: &'static [T],
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    pub fn of(all: &'static [T]) -> Deck<T> {
        Deck {
            all,
            left: Vec::new(),
        }
    }

    pub fn draw(&mut self, chance: &mut Chance) -> T {
        if self.left.is_empty() {
            self.left.extend(self.all);
        }
        let at = chance.below(self.left.len() as u64) as usize;
        self.left.swap_remove(at)
    }
}
