//! The count of a run, kept in a file so that a run can be taken up again, and its log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Count {
    pub mode: String,
    pub seed: u64,
    pub kills: u64,
    /// Kills by the last thing that the process had done.
    pub phases: BTreeMap<String, u64>,
    /// How often everything was drained and compared.
    pub compared: u64,
    /// Rows, or blocks, that were compared in the end.
    pub rows: u64,
    pub lost: u64,
    pub doubled: u64,
    /// Stores that would not open.
    pub unopened: u64,
    pub faults: Vec<String>,
    pub seconds: u64,
}

impl Count {
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.unopened == 0 && self.faults.is_empty()
    }

    pub fn summary(&self) -> String {
        let phases: Vec<String> = self
            .phases
            .iter()
            .map(|(p, n)| format!("{p} {n}"))
            .collect();
        format!(
            "{}: {} kills, {} lost, {} doubled, {} not opened, {} other faults; compared {} times, {} rows; {} s, seed {} ({})",
            self.mode,
            self.kills,
            self.lost,
            self.doubled,
            self.unopened,
            self.faults.len() as u64,
            self.compared,
            self.rows,
            self.seconds,
            self.seed,
            phases.join(", ")
        )
    }
}

/// Where a run is kept: the count of each mode and a log.
pub struct Progress {
    dir: PathBuf,
    log: Mutex<File>,
}

impl Progress {
    pub fn at(dir: &Path) -> Progress {
        fs::create_dir_all(dir).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        Progress {
            dir: dir.to_owned(),
            log: Mutex::new(log),
        }
    }

    fn file(&self, mode: &str) -> PathBuf {
        self.dir.join(format!("{mode}.json"))
    }

    /// The count of an unfinished run, or one of `seed` (`None`: a new one).
    pub fn resume(&self, mode: &str, seed: Option<u64>, target: u64) -> Count {
        let kept: Option<Count> = fs::read(self.file(mode))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        match kept {
            Some(count) if seed.map_or(count.kills < target, |s| s == count.seed) => {
                if count.kills > 0 {
                    self.say(&format!("{mode}: going on after {} kills", count.kills));
                }
                count
            }
            _ => Count {
                mode: mode.into(),
                seed: seed.unwrap_or(now),
                ..Count::default()
            },
        }
    }

    pub fn keep(&self, count: &Count) {
        let new = self.dir.join(format!("{}.new", count.mode));
        fs::write(&new, serde_json::to_vec_pretty(count).unwrap()).unwrap();
        fs::rename(&new, self.file(&count.mode)).unwrap();
    }

    pub fn say(&self, text: &str) {
        println!("{text}");
        let mut log = self.log.lock().unwrap();
        let _ = writeln!(log, "{text}");
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
