//! Tests in a process of their own. Between its fork and its exec, a command of another test has all that this
//! process had open: a port that is given up here is still taken.

use std::any::type_name;
use std::env;
use std::process::Command;

/// Without the prefix of the program's own variables, which refuses those it does not know.
const ALONE: &str = "TEST_ALONE";

/// Runs `test`, a closure of the test function that calls this, where no other test runs.
pub fn alone<F: FnOnce()>(test: F) {
    if is_alone() {
        return test();
    }
    // `CRATE::MODULE::FUNCTION::{{closure}}`
    let name = type_name::<F>().trim_end_matches("::{{closure}}");
    let (_, name) = name.split_once("::").unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    let out = command
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "");
    let out = out.output().unwrap();
    print!("{}", String::from_utf8_lossy(&out.stdout));
    eprint!("{}", String::from_utf8_lossy(&out.stderr));
    let passed = String::from_utf8_lossy(&out.stdout).contains(" 1 passed; 0 failed;");
    assert!(out.status.success() && passed, "{name}: {}", out.status);
}

/// Whether no other test runs in this process.
pub fn is_alone() -> bool {
    env::var_os(ALONE).is_some()
}
