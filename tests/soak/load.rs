//! The load: `anonymizer produce` at a steady rate until it is told to end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::rows::Produced;

pub struct Load {
    child: Child,
    summary: PathBuf,
    produced: Produced,
}

impl Load {
    pub fn start(brokers: &str, seed: u64, rate: u64, partitions: i32, summary: &Path) -> Load {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let produced = Produced {
            seed,
            start_ms: since.as_millis() as u64,
            interval: Duration::from_nanos(1_000_000_000 / rate),
            count: 0,
            partitions,
        };
        let log = fs::File::create(summary.with_file_name("produce.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_anonymizer"))
            .args(["produce", "--kafka-brokers", brokers])
            .args(["--rate", &rate.to_string(), "--seed", &seed.to_string()])
            .args(["--start-ms", &produced.start_ms.to_string()])
            // Brokers are away for longer than its minute.
            .args(["--kafka-properties", "message.timeout.ms=600000"])
            // As many small producers would, not one that sends each record alone.
            .args(["--kafka-properties", "queue.buffering.max.ms=200"])
            .arg("--summary")
            .arg(summary)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Load {
            child,
            summary: summary.to_owned(),
            produced,
        }
    }

    /// Ends it; what was produced by its own count.
    pub fn end(mut self) -> Result<Produced, String> {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let status = self.child.wait().map_err(|e| e.to_string())?;
        if !status.success() {
            let log = self.summary.with_file_name("produce.log");
            let words = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("the load failed: {status}: {words}"));
        }
        let text = fs::read(&self.summary).map_err(|e| e.to_string())?;
        let summary: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        self.produced.count = summary["count"].as_u64().unwrap();
        Ok(self.produced)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
