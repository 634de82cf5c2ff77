//! An instance of the program, and who starts it again when it ends: as systemd would.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::notes::Notes;
use crate::rows::Lost;
use crate::support::kafka::Kafka;
use crate::support::program::{Program, Setup};
use crate::support::small_disk::SmallDisk;
use crate::support::wall_clock::WallClock;

/// Far longer than a stop takes on a busy machine; it is promised within 10 s.
const STOP: Duration = Duration::from_secs(30);

/// Whom others may sample, freeze and confuse while its owner starts and ends it.
#[derive(Clone)]
pub struct Handle {
    pub name: &'static str,
    pub data: PathBuf,
    pub clock: Arc<WallClock>,
    /// Of the process, 0 if there is none.
    pid: Arc<AtomicU32>,
    starts: Arc<AtomicU32>,
}

impl Handle {
    /// The process, and how many came before it.
    pub fn process(&self) -> Option<(u32, u32)> {
        let pid = self.pid.load(Ordering::Relaxed);
        (pid != 0).then(|| (pid, self.starts.load(Ordering::Relaxed)))
    }

    pub fn signal(&self, signal: Signal) {
        if let Some((pid, _)) = self.process() {
            tell(pid, signal);
        }
    }
}

/// Signals a process that may just have ended.
pub fn tell(pid: u32, signal: Signal) {
    let _ = Pid::from_raw(pid as i32).map(|pid| kill_process(pid, signal));
}

pub struct Instance {
    pub handle: Handle,
    program: Option<Program>,
    /// Before the directory that it is mounted in.
    pub disk: Option<SmallDisk>,
    pub setup: Setup,
}

impl Instance {
    /// With its data on a disk of so many MiB of its own, where one can be mounted.
    pub fn new(name: &'static str, kafka: &Kafka, url: &str, disk: Option<u64>) -> Instance {
        let mut setup = Setup::at(kafka, url);
        // As it runs at a user's: what tests make quick is at its default.
        for setting in ["--flush-interval", "--sync-interval", "--min-free-disk"] {
            setup.unset(setting);
        }
        for property in ["session.timeout.ms=20000", "heartbeat.interval.ms=3000"] {
            setup.add("--kafka-properties", property);
        }
        setup.env("RUST_LOG", "info");
        let mut data = setup.data_dir();
        let at = data.with_file_name("disk");
        let disk = disk.and_then(|mib| SmallDisk::mount(&at.with_extension("image"), &at, mib));
        if disk.is_some() {
            data = at.join("data");
            setup.set("--data-dir", &data.display().to_string());
        }
        let clock = Arc::new(WallClock::of(&mut setup));
        Instance {
            handle: Handle {
                name,
                data,
                clock,
                pid: Arc::default(),
                starts: Arc::default(),
            },
            program: None,
            disk,
            setup,
        }
    }

    pub fn logs(&self) -> PathBuf {
        self.setup.data_dir().parent().map(Path::to_owned).unwrap()
    }

    pub fn is_running(&self) -> bool {
        self.program.is_some()
    }

    pub fn start(&mut self) {
        let program = self.setup.run();
        self.handle.starts.fetch_add(1, Ordering::Relaxed);
        self.handle.pid.store(program.pid(), Ordering::Relaxed);
        self.program = Some(program);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.handle.pid.store(0, Ordering::Relaxed);
        if let Some(program) = self.program.take() {
            program.kill();
        }
    }

    /// SIGTERM, and the end that is promised.
    pub fn stop(&mut self, notes: &Notes) {
        let Some(mut program) = self.program.take() else {
            return;
        };
        let asked = Instant::now();
        program.signal(Signal::TERM);
        loop {
            if let Some(status) = program.ended() {
                // Before its signals are watched one just ends it.
                if !status.success() && program.log().contains("installation") {
                    notes.problem(format!("{}: a stop ended with {status}", self.handle.name));
                }
                break;
            }
            if asked.elapsed() > STOP {
                notes.problem(format!("{}: it did not stop", self.handle.name));
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.handle.pid.store(0, Ordering::Relaxed);
    }

    /// Starts it again if it ended, and says why it did. Only what is told in LIMITATIONS may end it.
    pub fn tend(&mut self, notes: &Notes) {
        let Some(status) = self.program.as_mut().and_then(Program::ended) else {
            return;
        };
        self.handle.pid.store(0, Ordering::Relaxed);
        let log = self.program.take().map(|p| p.log()).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default();
        let name = self.handle.name;
        if status.code() == Some(1) && log.contains("FencedInstanceId") {
            notes.fault("ended by itself, fenced by Kafka", name);
        } else if status.code() == Some(1) && last.contains("No space left on device") {
            notes.fault("ended by itself, disk full", name);
        } else {
            notes.problem(format!("{name} ended: {status}: {last}"));
        }
        notes.wait(2);
        self.start();
    }

    /// Its status; `None` if it does not answer.
    pub fn status(&self) -> Option<Value> {
        let out = self.setup.command("status").arg("--json").output().ok()?;
        serde_json::from_slice(&out.stdout).ok()
    }

    /// Rows in its queue, if it runs and answers.
    pub fn queued(&self) -> Option<u64> {
        let status = self.status()?;
        let live = status["live"] == true;
        status["queue"]["rows"].as_u64().filter(|_| live)
    }

    /// What it names as lost.
    pub fn lost(&self) -> Vec<Lost> {
        let status = self.status().unwrap_or_default();
        let all = status["lost"].as_array().cloned().unwrap_or_default();
        let number = |l: &Value, name: &str| l[name].as_i64().unwrap();
        let one = |l: &Value| Lost {
            partition: number(l, "partition") as i32,
            from: number(l, "from"),
            to: number(l, "to"),
        };
        all.iter().map(one).collect()
    }
}
