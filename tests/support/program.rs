//! The built program as a process of its own: the only one that can be killed.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anonymizer::privacy::Policy;
use anonymizer::privacy::policy::{Ipv4Bits, Ipv6Bits};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::fake_clickhouse::FakeClickHouse;
use super::kafka::Kafka;
use super::wait::{MOMENT, START, until, wait};

/// Settings of a program under test, and its data dir.
pub struct Setup {
    dir: tempfile::TempDir,
    args: Vec<String>,
    env: Vec<(String, String)>,
    starts: std::cell::Cell<u32>,
}

impl Setup {
    /// One request a second, so that a test is quick.
    pub fn new(kafka: &Kafka, clickhouse: &FakeClickHouse) -> Setup {
        Setup::at(kafka, &clickhouse.url())
    }

    /// With ClickHouse at `url`.
    pub fn at(kafka: &Kafka, url: &str) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        // For so long a member that was killed keeps the others waiting. Real brokers want six at least.
        let session = if kafka.is_mock() { 3000 } else { 6000 };
        let args = [
            ("--kafka-brokers", kafka.brokers.clone()),
            ("--clickhouse-url", url.to_owned()),
            ("--data-dir", dir.path().join("data").display().to_string()),
            ("--flush-interval", "1s".into()),
            ("--sync-interval", "20ms".into()),
            ("--min-free-disk", "0".into()),
            ("--http-listen", "127.0.0.1:0".into()),
            (
                "--kafka-properties",
                format!("session.timeout.ms={session}"),
            ),
            ("--kafka-properties", "heartbeat.interval.ms=200".into()),
        ];
        Setup {
            args: args
                .into_iter()
                .flat_map(|(name, value)| [name.to_owned(), value])
                .collect(),
            env: Vec::new(),
            dir,
            starts: std::cell::Cell::new(0),
        }
    }

    /// So many bits of addresses are cut, and expected to be of what is produced from now on.
    pub fn cut(&mut self, kafka: &mut Kafka, ipv4: u8, ipv6: u8) {
        self.set("--mask-ipv4-bits", &ipv4.to_string());
        self.set("--mask-ipv6-bits", &ipv6.to_string());
        kafka.policy = Policy {
            ipv4_bits: Ipv4Bits::new(ipv4).unwrap(),
            ipv6_bits: Ipv6Bits::new(ipv6).unwrap(),
            ..Policy::default()
        };
    }

    /// Adds or overrides a setting.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Some(at) = self.args.iter().position(|a| a == name) {
            self.args[at + 1] = value.to_owned();
        } else {
            self.args.extend([name.to_owned(), value.to_owned()]);
        }
    }

    /// Takes a setting away: its default holds.
    pub fn unset(&mut self, name: &str) {
        if let Some(at) = self.args.iter().position(|a| a == name) {
            self.args.drain(at..at + 2);
        }
    }

    /// The data dir that was made with it.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Adds a setting that may be there several times; the last one counts.
    pub fn add(&mut self, name: &str, value: &str) {
        self.args.extend([name.to_owned(), value.to_owned()]);
    }

    /// Sets a setting that is yes or no.
    pub fn switch_on(&mut self, name: &str) {
        self.args.push(name.to_owned());
    }

    /// Sets a variable of the environment that the program will have.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Starts `anonymizer run`.
    pub fn run(&self) -> Program {
        self.starts.set(self.starts.get() + 1);
        let log = self
            .dir
            .path()
            .join(format!("run-{}.log", self.starts.get()));
        let child = self
            .command("run")
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        Program { child, log }
    }

    /// The status, from a live instance or the data dir.
    pub fn status(&self) -> Value {
        let out = self.command("status").arg("--json").output().unwrap();
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words}");
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Waits until the status of the live instance satisfies `what`.
    pub fn wait_status(&self, what: impl Fn(&Value) -> bool) -> Value {
        let last = RefCell::new(Vec::new());
        until(
            START,
            || {
                let out = self.command("status").arg("--json").output().unwrap();
                let status = serde_json::from_slice(&out.stdout).ok();
                last.replace(out.stdout);
                status.filter(&what)
            },
            || format!("status: {}", String::from_utf8_lossy(&last.borrow())),
        )
    }

    pub fn command(&self, command: &str) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_anonymizer"));
        c.arg(command)
            .args(&self.args)
            .env("RUST_LOG", "debug")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        c
    }
}

/// A running instance. Killed when dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; must end with 0 within the 10 s that are promised.
    pub fn stop(mut self) {
        // Signals are watched before this line is written.
        self.wait_log("installation");
        let started = Instant::now();
        self.signal(Signal::TERM);
        let status = self.wait();
        let log = self.log();
        assert!(status.success(), "{status}: {log}");
        assert!(started.elapsed() < Duration::from_secs(10), "{log}");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let log = self.log.clone();
        let status = until(
            MOMENT,
            || self.ended(),
            || format!("does not end: {}", read(&log)),
        );
        assert_ne!(status.signal(), Some(11), "a crash: {}", self.log());
        status
    }

    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Where its pages are, `http://address:port`, once it serves them.
    pub fn pages(&self) -> String {
        self.wait_log("/metrics");
        let log = self.log();
        let (_, url) = log.split_once("metrics at ").unwrap();
        let (url, _) = url.split_once("/metrics").unwrap();
        url.to_owned()
    }

    /// The same without the scheme.
    pub fn pages_address(&self) -> String {
        let url = self.pages();
        let (_, address) = url.split_once("://").unwrap();
        address.to_owned()
    }

    /// Waits until the log holds `text`.
    pub fn wait_log(&self, text: &str) {
        wait(
            || self.log().contains(text),
            || format!("no {text:?} in: {}", self.log()),
        );
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the program's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
