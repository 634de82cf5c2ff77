//! Lost power: every write of a queue is recorded with what was acknowledged in between; then the
//! disk is rebuilt as it could be at any moment, and opened.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::child::{Line, Orders};
use super::disk::{Pick, pending, rebuild};
use super::ledger::Ledger;
use super::process;
use super::progress::Progress;
use super::rows::Chance;
use super::trace::{self, Event, What};

#[derive(Default)]
pub struct Tally {
    pub states: u64,
    pub opened: u64,
    pub lost: u64,
    pub unopened: BTreeMap<String, u64>,
    pub panicked: BTreeMap<String, u64>,
    pub examples: Vec<String>,
}

/// `steps`: length of the run; `samples`: random states at each moment; with 0 of them only some
/// moments are looked at.
pub fn run(progress: &Progress, seed: u64, steps: u64, samples: u64) -> Tally {
    let dir = progress.dir().join("power");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let data = dir.join("recorded");
    let mut events = Vec::new();
    let mut ledger = Ledger::default();
    let mut line = 0;
    // Three lives of a queue: made, opened again, opened again.
    for life in 0..3 {
        let file = dir.join(format!("trace-{life}"));
        let orders = Orders {
            seed: seed + life,
            committed: ledger.committed.clone(),
            steps,
            single: true,
            ..Orders::default()
        };
        let mut command = trace::strace(&file, trace::CALLS, None);
        command.extend(process::command(&data, &orders));
        let ended = process::start(&command).finish();
        assert!(ended.status.success(), "recording: {}", ended.words);
        for line in &ended.lines {
            ledger.take(line);
        }
        let more = trace::read(&file, line);
        line = more.iter().map(|e| e.from).max().unwrap_or(line) + 1_000_000;
        events.extend(more);
    }
    assert!(ledger.is_clean(), "{:?}", ledger.faults().next());
    events.retain(|e| e.path.starts_with(&data) || matches!(e.what, What::Said(_)));
    progress.say(&format!(
        "power: {} writes and syncs recorded, {} bytes",
        events.len(),
        events
            .iter()
            .map(|e| match &e.what {
                What::Write { data, .. } | What::Append { data } => data.len(),
                _ => 0,
            })
            .sum::<usize>()
    ));
    replay(progress, &dir, &data, &events, seed, samples)
}

fn replay(
    progress: &Progress,
    dir: &Path,
    data: &Path,
    events: &[Event],
    seed: u64,
    samples: u64,
) -> Tally {
    let mut tally = Tally::default();
    let mut chance = Chance(seed);
    let mut ledger = Ledger::default();
    let place = dir.join("state");
    for (k, event) in events.iter().enumerate() {
        if let What::Said(line) = &event.what {
            ledger.take(line);
            continue;
        }
        if samples == 0 && !chance.one_in(3) {
            continue;
        }
        // The power goes after this event began, before the next.
        let now = events.get(k + 1).map_or(usize::MAX - 1, |e| e.from - 1);
        let at_sync = matches!(event.what, What::Sync);
        let pending = pending(events, now).len();
        let mut picks = vec![Pick::All];
        if at_sync || chance.one_in(4) {
            picks.push(Pick::None);
            // Each one missing alone; of many, some.
            for i in 0..pending.min(4) {
                let i = if pending > 4 {
                    chance.below(pending as u64) as usize
                } else {
                    i
                };
                picks.push(Pick::Without(i));
            }
        }
        for _ in 0..samples {
            picks.push(Pick::Chance(Chance(chance.next())));
        }
        for mut pick in picks {
            let shape = match &pick {
                Pick::All => "all written".into(),
                Pick::None => "only what is synced".into(),
                Pick::Without(n) => format!("write {n} of {pending} missing"),
                Pick::Chance(_) => format!("some of {pending} writes"),
            };
            rebuild(&place, data, events, now, &mut pick);
            check(&place, &ledger, &mut tally, &|| {
                let (path, how) = (event.path.file_name(), name(&event.what));
                format!("after event {k} ({how} {path:?}, {shape})")
            });
        }
        if tally.states > 0 && k % 200 == 0 {
            progress.say(&tally.summary());
        }
    }
    let _ = fs::remove_dir_all(&place);
    tally
}

fn name(what: &What) -> &'static str {
    match what {
        What::Write { .. } => "write",
        What::Append { .. } => "append to a file",
        What::Truncate(_) => "truncate",
        What::Sync => "sync",
        What::Create => "create",
        What::Rename(_) => "rename",
        What::Exchange(_) => "exchange",
        What::Unlink => "unlink",
        What::Mkdir => "mkdir",
        What::Said(_) | What::Request(_) => "said",
    }
}

/// Opens what is in `place` and compares it with what was acknowledged.
pub fn check(place: &Path, ledger: &Ledger, tally: &mut Tally, what: &dyn Fn() -> String) {
    tally.states += 1;
    let orders = Orders {
        inspect: true,
        ..Orders::default()
    };
    let ended = process::start(&process::command(place, &orders)).finish();
    let image = ended.lines.iter().find(|l| matches!(l, Line::Image(_)));
    let words = ended.words.trim().to_owned();
    match (image, ended.status.code()) {
        (Some(image), Some(0)) => {
            let mut ledger = ledger.clone();
            ledger.take(image);
            if ledger.is_clean() {
                tally.opened += 1;
            } else {
                tally.lost += 1;
                if tally.examples.len() < 20 {
                    let first: Vec<String> = ledger.faults().take(3).collect();
                    tally
                        .examples
                        .push(format!("silently, {}: {}", what(), first.join("; ")));
                }
            }
        }
        (_, Some(1)) => {
            let seen = tally.unopened.values().sum::<u64>();
            if seen < 5 {
                tally
                    .examples
                    .push(format!("refused, {}: {}", what(), listing(place)));
            }
            *tally.unopened.entry(shorten(&words)).or_default() += 1;
        }
        (_, _) => {
            let words = format!("{}: {}", ended.status, shorten(&words));
            *tally.panicked.entry(words).or_default() += 1;
            if tally.examples.len() < 20 {
                tally.examples.push(format!("panic, {}", what()));
            }
        }
    }
}

/// The files of a queue with their lengths.
fn listing(place: &Path) -> String {
    let files = fs::read_dir(place.join("queue")).into_iter().flatten();
    let mut names: Vec<String> = files
        .flatten()
        .map(|f| {
            let len = f.metadata().map_or(0, |m| m.len());
            format!("{} ({len})", f.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    names.join(", ")
}

/// Words without the numbers, which differ from state to state.
fn shorten(words: &str) -> String {
    let text: String = words
        .chars()
        .map(|c| if c.is_ascii_digit() { '#' } else { c })
        .collect();
    let mut out = String::new();
    for part in text.split_inclusive('#') {
        if part == "#" && out.ends_with('#') {
            continue;
        }
        out.push_str(part);
    }
    out.chars().take(400).collect::<String>().replace('\n', " ")
}

impl Tally {
    /// Everything whole, or refused with words.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.panicked.is_empty()
    }

    pub fn summary(&self) -> String {
        let sum = |m: &BTreeMap<String, u64>| m.values().sum::<u64>();
        format!(
            "{} states: {} whole, {} refused with an error, {} panicked, {} silently incomplete",
            self.states,
            self.opened,
            sum(&self.unopened),
            sum(&self.panicked),
            self.lost
        )
    }

    pub fn say(&self, progress: &Progress, name: &str) {
        progress.say(&format!("{name}: {}", self.summary()));
        for (words, n) in &self.unopened {
            progress.say(&format!("{name}: {n} x refused: {words}"));
        }
        for (words, n) in &self.panicked {
            progress.say(&format!("{name}: {n} x panicked: {words}"));
        }
        for example in &self.examples {
            progress.say(&format!("{name}: {example}"));
        }
    }
}
