//! Commands between their fork and their exec, when they still have all that this process had open: a port or a
//! lock that is given up here is still taken.

use std::fs;

use super::wait::wait;

/// Waits until there is none.
pub fn wait_for_execs() {
    wait(|| !is_starting(), || "a command never started".into());
}

fn is_starting() -> bool {
    let own = fs::read_link("/proc/self/exe").unwrap();
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = threads.filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
    let pids = children.collect::<Vec<_>>().concat();
    pids.split_whitespace()
        .any(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == own))
}
