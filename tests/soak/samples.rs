//! What a process takes, as the kernel tells it, every few seconds.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::instance::Handle;
use crate::notes::Notes;

const EVERY: Duration = Duration::from_secs(5);

/// One look at a process.
#[derive(Clone)]
pub struct Sample {
    pub seconds: f64,
    pub name: &'static str,
    /// Which start of it.
    pub start: u32,
    pub rss_mib: f64,
    /// Shared pages by halves: what the machine would have back.
    pub pss_mib: f64,
    pub descriptors: f64,
    pub threads: f64,
    /// Blocks that the data dir takes on its disk.
    pub disk_mib: f64,
}

impl Sample {
    /// `None` if it has just ended.
    fn of(handle: &Handle, seconds: f64) -> Option<Sample> {
        let (pid, start) = handle.process()?;
        let proc = Path::new("/proc").join(pid.to_string());
        let memory = fs::read_to_string(proc.join("smaps_rollup")).ok()?;
        let status = fs::read_to_string(proc.join("status")).ok()?;
        Some(Sample {
            seconds,
            name: handle.name,
            start,
            rss_mib: number(&memory, "Rss:")? / 1024.0,
            pss_mib: number(&memory, "Pss:")? / 1024.0,
            descriptors: fs::read_dir(proc.join("fd")).ok()?.count() as f64,
            threads: number(&status, "Threads:")?,
            disk_mib: blocks(&handle.data) as f64 / 2048.0,
        })
    }
}

fn number(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Of 512 bytes.
pub fn blocks(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(m) if m.is_dir() => blocks(&entry.path()),
        Ok(m) => m.blocks(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

/// Samples them until `is_over`; the same lines go to a file.
pub fn take(
    handles: &[Handle],
    notes: &Notes,
    file: &Path,
    is_over: impl Fn() -> bool,
) -> Vec<Sample> {
    let mut out = fs::File::create(file).unwrap();
    let head = "seconds,instance,start,rss_mib,pss_mib,descriptors,threads,disk_mib";
    writeln!(out, "{head}").unwrap();
    let mut all = Vec::new();
    while !is_over() {
        for sample in handles
            .iter()
            .filter_map(|h| Sample::of(h, notes.seconds()))
        {
            let s = &sample;
            writeln!(
                out,
                "{:.1},{},{},{:.2},{:.2},{},{},{:.2}",
                s.seconds,
                s.name,
                s.start,
                s.rss_mib,
                s.pss_mib,
                s.descriptors,
                s.threads,
                s.disk_mib
            )
            .unwrap();
            all.push(sample);
        }
        std::thread::sleep(EVERY);
    }
    all
}
