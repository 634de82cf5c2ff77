//! What does it cost when nothing arrives? CPU time and memory as the kernel accounts them, so that a
//! busy machine does not matter.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::world::World;

const WINDOW: Duration = Duration::from_secs(20);
const WINDOWS: usize = 5;

#[test]
fn an_idle_instance_takes_less_than_half_a_percent_of_a_core_and_60_mib() {
    // The defaults that decide how often it wakes.
    let w = World::of(6)
        .with("--sync-interval", "250ms")
        .with("--kafka-properties", "session.timeout.ms=45000");
    let program = w.setup.run();
    w.setup
        .wait_status(|s| s["partitions"].as_array().is_some_and(|p| p.len() == 6));
    // Others on the machine can only make it more, by what they push out of the caches: the least counts.
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|share| *share <= 0.5) {
        assert!(seen.len() < WINDOWS, "percent of a core: {seen:?}");
        let (started, before) = (Instant::now(), cpu_ticks(program.pid()));
        std::thread::sleep(WINDOW);
        let used = cpu_ticks(program.pid()) - before;
        // A tick is 10 ms on every Linux, a percent of a second.
        seen.push(f64::from(used) / started.elapsed().as_secs_f64());
    }
    let rss = rss_kib(program.pid());
    assert!(rss < 60 * 1024, "{rss} KiB");
    println!("percent of a core: {seen:?}; {rss} KiB");
    program.stop();
}

fn cpu_ticks(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // utime and stime are fields 14 and 15, and the first one here is the third.
    fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap()
}

fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
