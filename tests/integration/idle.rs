//! What does it cost when nothing arrives? Wake-ups and memory as the kernel accounts them: the share of a core
//! that they take depends on the machine, and is measured by `ops/bench`.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::world::World;

const WINDOW: Duration = Duration::from_secs(20);

#[test]
fn an_idle_instance_wakes_80_times_a_second_at_the_most_in_60_mib() {
    // The defaults that decide how often it wakes.
    let w = World::of(6)
        .with("--sync-interval", "250ms")
        .with("--kafka-properties", "session.timeout.ms=45000");
    let program = w.setup.run();
    w.setup
        .wait_status(|s| s["partitions"].as_array().is_some_and(|p| p.len() == 6));
    let (started, before) = (Instant::now(), wakes(program.pid()));
    std::thread::sleep(WINDOW);
    let wakes = (wakes(program.pid()) - before) as f64 / started.elapsed().as_secs_f64();
    assert!(wakes < 80.0, "{wakes} a second");
    let rss = rss_kib(program.pid());
    assert!(rss < 60 * 1024, "{rss} KiB");
    println!("{wakes} wake-ups a second; {rss} KiB");
    program.stop();
}

/// How often its threads have slept until something came.
fn wakes(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        let line = status.lines().find(|l| l.starts_with("voluntary_ctxt"));
        let number = line.unwrap().split_whitespace().nth(1).unwrap();
        number.parse::<u64>().unwrap()
    };
    threads.map(|thread| of(thread.unwrap())).sum()
}

fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
