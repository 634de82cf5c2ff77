//! The program under test: started, killed, stopped and asked; and its queue, read after a kill.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anonymizer::queue::{Batch, DataDir, Queue, SOCKET_FILE};
use serde_json::Value;

use crate::checks::{Row, is_masked};
use crate::stack::{Stack, free_port, until};

/// `anonymizer run` on a stack, with one data dir over all its starts. Killed when dropped.
pub struct Program<'a> {
    stack: &'a Stack,
    child: Option<Child>,
    listen: String,
    /// All answers and metrics that it gave.
    answers: RefCell<String>,
}

/// What a copy of the data dir holds.
pub struct Stored {
    /// Rows in blocks.
    pub rows: u64,
    pub quarantined: usize,
    pub sealed: Option<Batch>,
}

impl<'a> Program<'a> {
    pub fn new(stack: &'a Stack) -> Self {
        Program {
            stack,
            child: None,
            listen: format!("127.0.0.1:{}", free_port()),
            answers: RefCell::default(),
        }
    }

    /// Produces synthetic records; returns the file that says what was produced.
    pub fn produce(&self, count: u64, seed: u64, start_ms: u64) -> PathBuf {
        let summary = self.stack.dir().join("summary.json");
        self.stack.say(&format!("producing {count} records"));
        let status = self
            .command("produce")
            .args(["--count", &count.to_string(), "--seed", &seed.to_string()])
            .args(["--start-ms", &start_ms.to_string()])
            .arg("--summary")
            .arg(&summary)
            .status();
        assert!(status.unwrap().success());
        summary
    }

    /// Starts it, and waits until it answers: before that `status` finds neither it nor a free data
    /// dir.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log());
        let child = self
            .command("run")
            .env("RUST_LOG", "debug")
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        // For the guard, in case that this process is killed.
        fs::write(self.stack.dir().join("program.pid"), child.id().to_string()).unwrap();
        self.child = Some(child);
        until("the program to answer", Duration::from_millis(50), || {
            self.metric("queue_rows")
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the end that it promises.
    pub fn stop(&mut self) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        let asked = Instant::now();
        let child = self.child.as_mut().expect("it runs");
        let status = until("the program to stop", Duration::from_millis(20), || {
            child.try_wait().unwrap()
        });
        assert!(asked.elapsed() < Duration::from_secs(10));
        assert_eq!(status.code(), Some(0));
        self.child = None;
    }

    /// A counter or gauge; `None` if it does not answer yet.
    pub fn metric(&mut self, name: &str) -> Option<u64> {
        self.check_alive();
        let url = format!("http://{}/metrics", self.listen);
        let text = self.stack.get(&url).ok()?;
        self.answers.borrow_mut().push_str(&text);
        let wanted = format!("anonymizer_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&wanted));
        Some(value.expect("a metric").parse().unwrap())
    }

    /// `status` in both forms; returns the JSON one. Works whether or not it runs.
    pub fn status(&self) -> Value {
        let ask = |arguments: &[&str]| {
            let out = self.command("status").args(arguments).output().unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            let words = String::from_utf8_lossy(&out.stderr).into_owned();
            *self.answers.borrow_mut() += &format!("{text}\n{words}\n");
            assert!(out.status.success(), "status: {words}");
            text
        };
        ask(&[]);
        serde_json::from_str(&ask(&["--json"])).unwrap()
    }

    /// Reads a copy of the data dir with the library, and checks that all its addresses are masked.
    pub fn stored(&self) -> Stored {
        let copy = tempfile::tempdir_in(self.stack.dir()).unwrap();
        copy_dir(&self.data(), copy.path());
        let queue = Queue::open(DataDir::lock(copy.path()).unwrap()).unwrap();
        let mut rows = 0;
        for block in queue.blocks() {
            let (header, frame) = block.unwrap();
            let found = check_masked(&frame);
            assert_eq!(found, u64::from(header.rows));
            rows += found;
        }
        let sealed = queue.sealed_batch();
        if let Some(batch) = &sealed {
            let mut body = queue.body(batch);
            let frames = std::iter::from_fn(|| body.next_frame().unwrap());
            let body: Vec<u8> = frames.flat_map(|frame| frame.to_vec()).collect();
            assert_eq!(check_masked(&body), batch.rows);
        }
        let mut quarantined = 0;
        for entry in queue.quarantined() {
            let entry = entry.unwrap();
            let text = serde_json::to_string(&entry).unwrap();
            *self.answers.borrow_mut() += &format!("{text}\n");
            if let Some(kept) = &entry.message.kept {
                *self.answers.borrow_mut() += &String::from_utf8_lossy(kept.as_bytes());
            }
            quarantined += 1;
        }
        Stored {
            rows,
            quarantined,
            sealed,
        }
    }

    /// All its words so far: log, answers, metrics, and quarantine entries that were read.
    pub fn said(&self) -> String {
        let log = fs::read(self.log()).unwrap();
        assert!(!log.is_empty());
        String::from_utf8_lossy(&log).into_owned() + &self.answers.borrow()
    }

    fn log(&self) -> PathBuf {
        self.stack.dir().join("logs/program.log")
    }

    fn data(&self) -> PathBuf {
        self.stack.dir().join("program")
    }

    fn check_alive(&mut self) {
        if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().unwrap()) {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            panic!("the program ended ({status}), last words first: {last:#?}");
        }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anonymizer"));
        for (variable, _) in std::env::vars_os() {
            // A setting of whoever runs the test.
            let text = variable.to_string_lossy();
            if text.starts_with("ANONYMIZER_") || text == "KAFKA_PRODUCER_DELAY_MS" {
                command.env_remove(variable);
            }
        }
        command
            .arg(name)
            .args(["--kafka-brokers", &self.stack.kafka()])
            .args(["--clickhouse-url", &self.stack.proxy()])
            .args(["--http-listen", &self.listen])
            .arg("--data-dir")
            .arg(self.data());
        command
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Unpacks rows, checks their addresses, and counts them.
fn check_masked(frames: &[u8]) -> u64 {
    if frames.is_empty() {
        return 0; // A block of quarantined messages only.
    }
    let rows = Row::all(&zstd::stream::decode_all(frames).unwrap());
    for row in &rows {
        assert!(is_masked(&row.remote_addr), "stored unmasked: {row:?}");
    }
    rows.len() as u64
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else if entry.file_name() != SOCKET_FILE {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
