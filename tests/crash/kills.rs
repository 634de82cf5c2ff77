//! SIGKILL at random times of a process that holds only the queue.

use std::path::Path;
use std::time::{Duration, Instant};

use super::child::{Line, Orders};
use super::ledger::Ledger;
use super::process::{self, Ended};
use super::progress::{Count, Progress};
use super::rows::Chance;

/// When to kill.
enum Moment {
    /// This long after the start: while it opens.
    Opening(Duration),
    /// This long after the nth line of this kind.
    After(&'static str, u64, Duration),
}

pub fn name(line: &Line) -> &'static str {
    match line {
        Line::Opening => "opening",
        Line::Image(_) => "opened",
        Line::Start(..) => "recovery",
        Line::Append => "append",
        Line::Syncing => "sync",
        Line::Synced(_) => "synced",
        Line::Commit(_) => "commit",
        Line::Sealed(..) => "sealed",
        Line::Unsealed(_) => "unsealed",
        Line::Insert(..) => "inserted",
        Line::Acked(_) => "acked",
        Line::Done => "done",
    }
}

/// After how many kills everything is delivered and compared, and a new data dir begins.
const GENERATION: u64 = 60;

/// Kills until `target`. `opening`: nearly all of them while the queue opens.
pub fn run(progress: &Progress, mut count: Count, target: u64, opening: bool) -> Count {
    let began = Instant::now();
    let before = count.seconds;
    let mut chance = Chance(count.seed ^ count.kills ^ u64::from(opening));
    let mut open_time = Duration::from_millis(30);
    while count.kills < target && count.is_clean() {
        let dir = progress.dir().join(format!("{}-data", count.mode));
        let _ = std::fs::remove_dir_all(&dir);
        let mut ledger = Ledger::default();
        let end = (count.kills + GENERATION).min(target);
        while count.kills < end && count.is_clean() {
            let moment = if chance.one_in(4) != opening {
                Moment::Opening(open_time.mul_f64(chance.below(1300) as f64 / 1000.0))
            } else {
                const KINDS: &[(&str, u64)] = &[
                    ("append", 40),
                    ("sync", 12),
                    ("synced", 12),
                    ("commit", 12),
                    ("sealed", 4),
                    ("inserted", 4),
                    ("acked", 4),
                    ("recovery", 3),
                    ("opened", 1),
                ];
                let (kind, most) = KINDS[chance.below(KINDS.len() as u64) as usize];
                let delay = Duration::from_micros(chance.below(3000));
                Moment::After(kind, 1 + chance.below(most), delay)
            };
            let orders = Orders {
                seed: chance.next(),
                committed: ledger.committed.clone(),
                ..Orders::default()
            };
            one(
                &dir,
                &orders,
                &moment,
                &mut ledger,
                &mut count,
                &mut open_time,
            );
            report(&ledger, &mut count);
        }
        if count.is_clean() {
            drain(&dir, &mut chance, &mut ledger, &mut count);
        }
        count.seconds = before + began.elapsed().as_secs();
        progress.keep(&count);
        progress.say(&count.summary());
        if count.is_clean() {
            let _ = std::fs::remove_dir_all(&dir);
        }
    }
    for fault in &count.faults {
        progress.say(&format!("{}: {fault}", count.mode));
    }
    count
}

fn one(
    dir: &Path,
    orders: &Orders,
    moment: &Moment,
    ledger: &mut Ledger,
    count: &mut Count,
    open_time: &mut Duration,
) {
    let started = Instant::now();
    let running = process::start(&process::command(dir, orders));
    let mut phase = "exec";
    let mut seen = 0;
    let pause = match moment {
        Moment::Opening(after) => {
            while let Some(left) = after.checked_sub(started.elapsed()) {
                if let Some(line) = running.next(left) {
                    note(&line, &mut phase, ledger);
                }
            }
            None
        }
        Moment::After(kind, nth, delay) => loop {
            match running.next(Duration::from_secs(20)) {
                Some(line) => {
                    if matches!(line, Line::Image(_)) {
                        // Follows what an open takes here and now.
                        *open_time = (*open_time * 3 + started.elapsed()) / 4;
                    }
                    let hit = name(&line) == *kind;
                    note(&line, &mut phase, ledger);
                    seen += u64::from(hit);
                    if seen >= *nth {
                        break Some(*delay);
                    }
                }
                None => break None,
            }
        },
    };
    if let Some(delay) = pause {
        spin(delay);
    }
    let ended = running.kill();
    for line in &ended.lines {
        note(line, &mut phase, ledger);
    }
    // Only one that was killed counts; one that ended by itself failed.
    if ended.status.code().is_some() {
        let words = format!("{}: {}", ended.status, ended.words.trim());
        if phase == "opening" {
            count.unopened += 1;
        }
        count
            .faults
            .push(format!("ended by itself, {phase}: {words}"));
        return;
    }
    count.kills += 1;
    *count.phases.entry(phase.to_owned()).or_default() += 1;
}

/// Sleeping is too coarse for a few microseconds.
fn spin(delay: Duration) {
    let began = Instant::now();
    if delay > Duration::from_micros(500) {
        std::thread::sleep(delay - Duration::from_micros(200));
    }
    while began.elapsed() < delay {
        std::hint::spin_loop();
    }
}

fn note(line: &Line, phase: &mut &'static str, ledger: &mut Ledger) {
    *phase = name(line);
    ledger.take(line);
}

fn report(ledger: &Ledger, count: &mut Count) {
    if !ledger.is_clean() {
        count.lost += ledger.lost.len() as u64;
        count.doubled += ledger.doubled.len() as u64;
        count.faults.extend(ledger.faults().take(20));
    }
}

/// Delivers all and compares.
fn drain(dir: &Path, chance: &mut Chance, ledger: &mut Ledger, count: &mut Count) {
    let orders = Orders {
        seed: chance.next(),
        committed: ledger.committed.clone(),
        drain: true,
        ..Orders::default()
    };
    let Ended {
        status,
        lines,
        words,
    } = process::start(&process::command(dir, &orders)).finish();
    for line in &lines {
        ledger.take(line);
    }
    if !status.success() {
        count
            .faults
            .push(format!("a drain failed, {status}: {words}"));
        return;
    }
    if let Some(Line::Image(image)) = lines.iter().rev().find(|l| matches!(l, Line::Image(_))) {
        ledger.settle(image);
    }
    report(ledger, count);
    count.compared += 1;
    count.rows += ledger.committed.values().sum::<i64>() as u64;
}
