//! Hostile neighbours: is any row lost or doubled, whatever a proxy answers at whatever point?
//!
//! ```text
//! cargo test --test hostile                     a short part: fixed seeds, and some of now
//! cargo test --test hostile -- 10000 [SEED]     so many schedules from a seed on
//! cargo test --test hostile -- fixed            the fixed seeds only, for the deliberate bugs
//! ```
//!
//! Each schedule reads a Kafka whose log is cut, made again or overtaken by retention, with the real
//! ownership and the real queue, and drains that with the real flusher, through a proxy that answers, cuts,
//! delays and repeats what it likes, into a server whose release, tables, types and settings change. Reader
//! and flusher are killed now and then. In the end everybody is honest, and every message must be in
//! ClickHouse once, or in a batch or lane that is held, or named as lost; with all slots kept.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod judge;
mod kafka;
mod proxy;
mod reader;
mod schedule;
mod server;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Schedules at a time: they mostly wait.
const WORKERS: u64 = 8;

/// Schedules of a short run.
const SHORT: u64 = 60;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|word| word.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let fresh = now.map_or(1, |t| t.as_secs());
    let fixed = args.first().is_some_and(|word| word == "fixed");
    let runs = match number(0) {
        Some(count) => vec![(number(1).unwrap_or(fresh), count)],
        None if fixed => vec![(1, SHORT)],
        None => vec![(1, SHORT), (fresh, SHORT)],
    };
    // In the words of `cargo test`, which ops/mutate reads.
    println!("running {} tests", runs.len());
    let passed = runs
        .iter()
        .filter(|(first, count)| run(*first, *count))
        .count();
    let failed = runs.len() - passed;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the schedules of seeds from `first` on, a few at a time.
fn run(first: u64, count: u64) -> bool {
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let total = Mutex::new((schedule::Tally::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let result = schedule::run(seed);
                    let mut total = total.lock().unwrap();
                    match result {
                        Ok(tally) => total.0.add(&tally),
                        Err(words) => {
                            println!("{words}\n");
                            total.1.push(seed);
                        }
                    }
                }
            });
        }
    });
    let (tally, failed) = total.into_inner().unwrap();
    println!(
        "test hostile {count} schedules from seed {first}: {} rows, {} requests, {} kills, {} holds, {} left to a person, {} rows of a log that is gone held, {} offsets named, {} failed ({:.0} s) ... {}",
        tally.rows,
        tally.requests,
        tally.kills,
        tally.holds,
        tally.unclear,
        tally.held,
        tally.named,
        failed.len(),
        began.elapsed().as_secs_f64(),
        if failed.is_empty() { "ok" } else { "FAILED" }
    );
    if !failed.is_empty() {
        println!("failed seeds: {failed:?}");
    }
    failed.is_empty()
}
