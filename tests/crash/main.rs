//! Kills, faults of the disk, lost power and damage: is anything lost, is anything doubled?
//!
//! ```text
//! cargo test --test crash                          a short part of each, under two minutes
//! cargo test --test crash -- queue 3000 [SEED]     kills of a process that holds only the queue
//! cargo test --test crash -- faults [N]            calls that fail, up to the Nth of each kind
//! cargo test --test crash -- power [SAMPLES]       the disk as lost power could leave it
//! cargo test --test crash -- damage [BYTES]        the disk damaged after the fact
//! cargo test --test crash -- whole 500 [SEED]     kills of the program between Kafka and ClickHouse
//! cargo test --test crash -- open 2000 [SEED]      the same, most of them while it opens
//! ```

#[path = "../support/mod.rs"]
mod support;

mod child;
mod damage;
mod disk;
mod faults;
mod kills;
mod ledger;
mod order;
mod power;
mod process;
mod progress;
mod rows;
mod trace;
mod whole;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use power::Tally;
use progress::Progress;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |at: usize| words.get(at).and_then(|w| w.parse::<u64>().ok());
    let seed = number(2).unwrap_or(1);
    let clean = match words.first().copied() {
        Some("child") => return as_child(&args[1..]),
        // A test runner's own flags come first or not at all.
        None => short(),
        Some(flag) if flag.starts_with('-') => short(),
        Some(mode @ ("whole" | "queue" | "open")) => kill(
            &Progress::at(&place()),
            mode,
            number(2),
            number(1).unwrap_or(200),
        ),
        Some("faults") => faults(
            &Progress::at(&place()),
            seed,
            number(1).unwrap_or(100),
            false,
        ),
        Some("power") => {
            let steps = number(3).unwrap_or(8);
            power(&Progress::at(&place()), seed, steps, number(1).unwrap_or(2))
        }
        Some("damage") => {
            let samples = number(3).unwrap_or(300);
            damage(
                &Progress::at(&place()),
                seed,
                number(1).unwrap_or(2048),
                samples,
            )
        }
        Some(other) => {
            eprintln!("crash: {other:?} is none of whole, queue, open, faults, power, damage");
            return ExitCode::from(2);
        }
    };
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A little of each, in a directory of its own.
fn short() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let progress = Progress::at(dir.path());
    let mut failed = Vec::new();
    let mut part = |name: &'static str, run: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        let clean = run();
        let seconds = began.elapsed().as_secs_f64();
        let word = if clean { "ok" } else { "FAILED" };
        println!("test short::{name} ... {word} ({seconds:.1} s)");
        if !clean {
            failed.push(name);
        }
    };
    part("kills_of_the_queue", &|| {
        kill(&progress, "queue", None, 120)
    });
    part("kills_while_it_opens", &|| {
        kill(&progress, "open", None, 60)
    });
    part("kills_of_the_program", &|| {
        kill(&progress, "whole", None, 40)
    });
    part("damage_is_named", &|| damage(&progress, 1, 32, 25));
    if trace::available() {
        part("calls_that_fail", &|| faults(&progress, 1, 1, true));
        part("lost_power", &|| power(&progress, 1, 1, 0));
    } else {
        println!("left out: calls_that_fail, lost_power: strace does not run here");
    }
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    failed.is_empty()
}

fn kill(progress: &Progress, mode: &str, seed: Option<u64>, target: u64) -> bool {
    let count = progress.resume(mode, seed, target);
    let count = match mode {
        "whole" => whole::run(progress, count, target),
        _ => kills::run(progress, count, target, mode == "open"),
    };
    progress.say(&count.summary());
    count.is_clean()
}

fn faults(progress: &Progress, seed: u64, most: u64, short: bool) -> bool {
    let tally = faults::run(progress, seed, most, short);
    tally.say(progress);
    let wrong = order::run(progress, if short { 1 } else { 12 });
    for words in &wrong {
        progress.say(&format!("order: {words}"));
    }
    tally.faults.is_empty() && wrong.is_empty()
}

fn power(progress: &Progress, seed: u64, steps: u64, samples: u64) -> bool {
    let tally = power::run(progress, seed, steps, samples);
    tally.say(progress, "power");
    // Lost power damages nothing.
    tally.is_clean() && tally.unopened.is_empty()
}

fn damage(progress: &Progress, seed: u64, every: u64, samples: u64) -> bool {
    let all = damage::run(progress, seed, every, samples);
    all.iter().all(Tally::is_clean)
}

fn as_child(args: &[String]) -> ExitCode {
    let orders = serde_json::from_str(&args[1]).unwrap();
    match child::run(Path::new(&args[0]), &orders) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{:#}", anyhow::Error::from(e));
            ExitCode::FAILURE
        }
    }
}

/// State, logs and data of the runs.
fn place() -> PathBuf {
    std::env::var_os("CRASH_TEST_DIR").map_or_else(
        || {
            let exe = std::env::current_exe().unwrap();
            let target = exe.ancestors().find(|p| p.ends_with("target"));
            target.unwrap_or(Path::new("target")).join("crash-test")
        },
        PathBuf::from,
    )
}
