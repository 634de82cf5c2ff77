//! Real parts, as `ops/stack` starts them, in a directory and on ports of their own.

use std::net::TcpListener;
use std::process::Command;

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
        let stack = Stack {
            services,
            dir: tempfile::Builder::new()
                .prefix("stack-")
                .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
                .unwrap(),
            environment,
        };
        stack.run("up");
        stack
    }

    /// Stops them, keeping their data, and starts them again.
    pub fn restart(&self) {
        self.run("down");
        self.run("up");
    }

    fn run(&self, verb: &str) {
        let status = Command::new("ops/stack")
            .arg(verb)
            .args(self.services)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("STACK_DIR", self.dir.path())
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .status()
            .unwrap();
        assert!(status.success(), "ops/stack {verb}: {status}");
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.run("down");
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
