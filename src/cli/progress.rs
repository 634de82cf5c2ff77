//! How far a long command is, with rate and time left: drawn on stderr, and only where it is a terminal.
//!
//! One is drawn at a time. What else is written meanwhile, lines of the log and of stdout, goes through
//! [`aside`], so that none breaks another.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};

use crate::runtime::logging;

/// How often it is drawn anew while nothing is told.
const TICK: Duration = Duration::from_millis(200);

/// The one that is drawn.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Drawn until it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Of a known number of `unit`s; `doing` is what is done with them.
    pub fn of(total: u64, unit: &str, doing: &str) -> Progress {
        let bar = ProgressBar::new(total);
        let form = format!("{{msg}} [{{bar:24}}] {{pos}} of {{len}} {unit}, {{rate}}/s, {{left}}");
        Progress::start(bar, &form, doing)
    }

    /// Of nobody knows how many.
    pub fn counting(unit: &str, doing: &str) -> Progress {
        let form = format!("{{spinner}} {{msg}} {{pos}} {unit}, {{rate}}/s, {{elapsed}}");
        Progress::start(ProgressBar::no_length(), &form, doing)
    }

    /// Of something that has no parts.
    pub fn waiting(doing: &str) -> Progress {
        Progress::start(ProgressBar::no_length(), "{spinner} {msg} {elapsed}", doing)
    }

    fn start(bar: ProgressBar, form: &str, doing: &str) -> Progress {
        if bar.is_hidden() {
            return Progress(bar);
        }
        let style = ProgressStyle::with_template(form).expect("BUG: a form that cannot be drawn");
        let style = style
            .with_key("pos", |s: &ProgressState, w: &mut dyn fmt::Write| {
                let _ = write!(w, "{}", HumanCount(s.pos()));
            })
            .with_key("len", |s: &ProgressState, w: &mut dyn fmt::Write| {
                let _ = write!(w, "{}", HumanCount(s.len().unwrap_or(0)));
            })
            .with_key("rate", |s: &ProgressState, w: &mut dyn fmt::Write| {
                let _ = write!(w, "{}", HumanCount(rate(s.pos(), s.elapsed()) as u64));
            })
            .with_key("left", |s: &ProgressState, w: &mut dyn fmt::Write| {
                let _ = match left(s.pos(), s.len().unwrap_or(0), s.elapsed()) {
                    Some(left) => write!(w, "{} left", HumanDuration(left)),
                    None => write!(w, "{}", HumanDuration(s.elapsed())),
                };
            });
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(doing.to_owned());
        bar.enable_steady_tick(TICK);
        *drawn() = Some(bar.clone());
        logging::write_aside(aside);
        Progress(bar)
    }

    /// So much is done.
    pub fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// It is `doing` something else now, of so many parts.
    pub fn next(&self, doing: &str, total: u64) {
        if self.0.message() != doing {
            self.0.reset();
            self.0.set_length(total);
            self.0.set_message(doing.to_owned());
        }
    }

    /// Does `work`, which tells nothing itself, and looks by `done` how far it is.
    pub fn follow<T>(&self, done: impl Fn() -> u64 + Sync, work: impl FnOnce() -> T) -> T {
        if self.0.is_hidden() {
            return work();
        }
        // Ends with `work`, also by a panic.
        let (end, ended) = bounded::<()>(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    self.at(done());
                }
            });
            let _end = end;
            work()
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // First, or a line that waits to be written would draw it again.
        drop(drawn().take());
        self.0.finish_and_clear();
    }
}

/// Writes something while nothing is drawn.
pub fn aside(write: &mut dyn FnMut()) {
    let bar = drawn();
    match &*bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn drawn() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Over the whole time: what goes out a batch a minute has no other rate.
fn rate(done: u64, elapsed: Duration) -> f64 {
    done as f64 / elapsed.as_secs_f64().max(0.001)
}

fn left(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    let seconds = total.saturating_sub(done) as f64 / rate(done, elapsed);
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|_| done > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_by_the_rate_so_far() {
        let s = Duration::from_secs;
        assert_eq!(left(0, 100, s(10)), None);
        assert_eq!(left(25, 100, s(10)), Some(s(30)));
        assert_eq!(left(100, 100, s(10)), Some(s(0)));
        assert_eq!(left(101, 100, s(10)), Some(s(0)));
        assert_eq!(rate(50, s(10)), 5.0);
    }
}
