//! Real parts, as `ops/stack` starts them, in a directory and on ports of their own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// Some services of a stack. Stopped when dropped.
pub struct Stack {
    services: &'static [&'static str],
    dir: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Stack {
    /// Starts them with settings from the environment, as `ops/stack` takes them.
    pub fn up(
        services: &'static [&'static str],
        environment: Vec<(&'static str, String)>,
    ) -> Stack {
        let stack = Stack::new(services, environment);
        stack.start();
        stack
    }

    /// One that does not run yet.
    pub fn new(
        services: &'static [&'static str],
        environment: Vec<(&'static str, String)>,
    ) -> Stack {
        Stack {
            services,
            dir: tempfile::Builder::new()
                .prefix("stack-")
                .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
                .unwrap(),
            environment,
        }
    }

    /// Stops them, keeping their data, and starts them again.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Starts them with this in the environment from now on.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// Starts them again.
    pub fn start(&self) {
        self.run("up");
    }

    /// Stops them in good order, keeping their data.
    pub fn stop(&self) {
        self.run("down");
    }

    /// Sends a signal to one of them.
    pub fn signal(&self, service: &str, signal: Signal) {
        let file = self.dir.path().join("pids").join(service);
        let pid = std::fs::read_to_string(file).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Where all of it lives.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts them again; false where they do not come up in time, as on a machine that is far too busy.
    pub fn starts(&self) -> bool {
        self.tell("up").success()
    }

    fn run(&self, verb: &str) {
        let status = self.tell(verb);
        assert!(status.success(), "ops/stack {verb}: {status}");
    }

    fn tell(&self, verb: &str) -> ExitStatus {
        Command::new("ops/stack")
            .arg(verb)
            .args(self.services)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("STACK_DIR", self.dir.path())
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .status()
            .unwrap()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.run("down");
    }
}

/// A port that nothing listens on, never given twice. Below the range that the kernel gives to
/// outgoing connections, one of which could else take it before its server does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + std::process::id() as u16 % 1_000 * 10;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
