//! Calls that fail: EIO, ENOSPC, and a kill, at the nth of each kind, for every n that is reached.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;

use super::child::{Line, Orders};
use super::ledger::Ledger;
use super::process;
use super::progress::Progress;
use super::trace::{self, What};

#[derive(Default)]
pub struct Tally {
    pub runs: u64,
    pub hit: u64,
    pub survived: u64,
    pub killed: u64,
    pub ended: BTreeMap<String, u64>,
    pub faults: Vec<String>,
}

const KINDS: &[(&str, &[&str])] = &[
    ("pwrite64", &["EIO", "ENOSPC", "SIGKILL"]),
    ("write", &["EIO", "ENOSPC", "SIGKILL"]),
    ("fsync", &["EIO", "ENOSPC", "SIGKILL"]),
    ("sync_file_range", &["EIO", "ENOSPC", "SIGKILL"]),
    ("fdatasync", &["EIO"]),
    ("ftruncate", &["EIO", "ENOSPC", "SIGKILL"]),
    ("rename", &["EIO", "ENOSPC", "SIGKILL"]),
    ("openat", &["EIO", "ENOSPC", "SIGKILL"]),
    ("unlink", &["EIO", "SIGKILL"]),
    ("mkdir", &["ENOSPC", "SIGKILL"]),
];

/// `most`: how far n goes. A short run leaves the kills to others.
pub fn run(progress: &Progress, seed: u64, most: u64, short: bool) -> Tally {
    let mut tally = Tally::default();
    let dir = progress.dir().join("faults");
    let data = dir.join("data");
    let file = dir.join("trace");
    for (call, errors) in KINDS {
        let kinds = errors.iter().filter(|e| !short || **e == "EIO");
        let cases = kinds.flat_map(|e| [(e, false), (e, true)]);
        for (error, fresh) in cases {
            let (mut missed, mut hits) = (0, 0);
            let mut n = 1;
            while n <= most && missed < if short { 1 } else { 3 } {
                let _ = std::fs::remove_dir_all(&dir);
                std::fs::create_dir_all(&dir).unwrap();
                let mut ledger = Ledger::default();
                // A life without faults, so that the next one recovers something.
                if !fresh {
                    life(&data, &mut ledger, seed, None);
                }
                let kill = *error == "SIGKILL";
                let how = if kill { "signal" } else { "error" };
                let inject = format!("{call}:{how}={error}:when={n}");
                let mut line = trace::strace(&file, trace::CALLS, Some(&inject));
                line.extend(process::command(&data, &orders(&ledger, seed + 1)));
                let ended = process::start(&line).finish();
                ended.lines.iter().for_each(|l| ledger.take(l));
                tally.runs += 1;
                let events = trace::read(&file, 0);
                let at = events.iter().find(|e| e.injected);
                let what = format!("{call} {error} at {n}, new: {fresh}");
                match at {
                    _ if ended.status.signal() == Some(9) => {
                        missed = 0;
                        hits += 1;
                        tally.hit += 1;
                        tally.killed += 1;
                    }
                    None => missed += 1,
                    Some(at) => {
                        missed = 0;
                        hits += 1;
                        tally.hit += 1;
                        judge(&mut tally, &what, at, &events, &ended);
                    }
                }
                if !ledger.is_clean() {
                    tally
                        .faults
                        .push(format!("{what}: {:?}", ledger.faults().next()));
                }
                // Without faults: nothing acknowledged is missing, and all arrives.
                life(&data, &mut ledger, seed, Some(&what));
                if !ledger.is_clean() {
                    let first = ledger.faults().next();
                    tally
                        .faults
                        .push(format!("{what}, after a restart: {first:?}"));
                }
                n += 1;
            }
            progress.say(&format!(
                "faults: {call} {error}, {}: {hits} places",
                if fresh { "new" } else { "used" }
            ));
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    tally
}

fn orders(ledger: &Ledger, seed: u64) -> Orders {
    Orders {
        seed,
        committed: ledger.committed.clone(),
        steps: 5,
        single: true,
        ..Orders::default()
    }
}

/// A run without faults; with `after` it delivers all.
fn life(data: &std::path::Path, ledger: &mut Ledger, seed: u64, after: Option<&str>) {
    let orders = Orders {
        drain: after.is_some(),
        ..orders(ledger, seed)
    };
    let ended = process::start(&process::command(data, &orders)).finish();
    ended.lines.iter().for_each(|l| ledger.take(l));
    if !ended.status.success() {
        ledger.bad.push(format!("does not run: {}", ended.words));
    }
    if after.is_some()
        && let Some(Line::Image(image)) =
            (ended.lines.iter().rev()).find(|l| matches!(l, Line::Image(_)))
    {
        ledger.settle(image);
    }
}

fn judge(
    tally: &mut Tally,
    what: &str,
    at: &trace::Event,
    events: &[trace::Event],
    ended: &process::Ended,
) {
    let place = at.path.file_name().map_or(String::new(), |n| {
        n.to_string_lossy().chars().take(5).collect()
    });
    let words = ended.words.trim();
    match ended.status.code() {
        Some(0) => tally.survived += 1,
        Some(1) if !words.is_empty() => {
            let clear: String = words.chars().take(160).collect();
            *tally.ended.entry(format!("{clear:?}")).or_default() += 1;
        }
        // Everything was done by then, and its end says that it was not a good one.
        Some(101) if words.contains("pagecache/logger.rs:467") => {
            let what = "sled panicked: its last sync failed while it closed";
            *tally.ended.entry(what.into()).or_default() += 1;
        }
        other => {
            let words: String = words.chars().take(300).collect();
            tally
                .faults
                .push(format!("{what} ({place}): ended with {other:?}: {words:?}"));
        }
    }
    // After a write or sync of the data failed nothing may be promised.
    let data = matches!(at.what, What::Write { .. } | What::Sync) && place == "db";
    let promise = events.iter().filter(|e| e.from > at.to).find(|e| {
        matches!(
            &e.what,
            What::Said(Line::Synced(_) | Line::Commit(_) | Line::Sealed(..) | Line::Insert(..))
        )
    });
    if data && let Some(promise) = promise {
        tally
            .faults
            .push(format!("{what} ({place}): then it said {:?}", promise.what));
    }
}

impl Tally {
    pub fn say(&self, progress: &Progress) {
        let named: u64 = self.ended.values().sum();
        progress.say(&format!(
            "faults: {} runs, {} hit: {named} ended with a message, {} went on unharmed, {} killed there; {} faults found",
            self.runs,
            self.hit,
            self.survived,
            self.killed,
            self.faults.len()
        ));
        for (words, n) in &self.ended {
            progress.say(&format!("faults: {n} x {words}"));
        }
        for fault in &self.faults {
            progress.say(&format!("faults: {fault}"));
        }
    }
}
