//! Cuts the logs of a broker that is stopped, as a power failure does that takes what no disk had yet.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes before what a batch's own length counts: its base offset and the length.
const HEAD: u64 = 12;

/// Cuts off all but so many hundredths of the batches of each partition of the topic. Returns how many
/// batches went.
pub fn cut(logs: &Path, topic: &str, keep: u64) -> u64 {
    // Without it the broker believes that its files are as long as it left them.
    let _ = fs::remove_file(logs.join(".kafka_cleanshutdown"));
    let mut gone = 0;
    for partition in fs::read_dir(logs).unwrap() {
        let dir = partition.unwrap().path();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let number = name.strip_prefix(topic).and_then(|n| n.strip_prefix('-'));
        if number.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())) {
            gone += cut_partition(&dir, keep);
        }
    }
    gone
}

fn cut_partition(dir: &Path, keep: u64) -> u64 {
    let with = |end: &str| -> Vec<PathBuf> {
        let files = fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
        let mut files: Vec<PathBuf> = files
            .filter(|f| f.to_string_lossy().ends_with(end))
            .collect();
        files.sort();
        files
    };
    for file in [with("index"), with(".snapshot")].concat() {
        fs::remove_file(file).unwrap();
    }
    let log = with(".log").pop().expect("a segment");
    let ends = batch_ends(&log);
    let kept = (ends.len() as u64 * keep / 100) as usize;
    let at = kept.checked_sub(1).map_or(0, |last| ends[last]);
    let file = OpenOptions::new().write(true).open(&log).unwrap();
    file.set_len(at).unwrap();
    (ends.len() - kept) as u64
}

/// Where each batch of a segment ends.
fn batch_ends(log: &Path) -> Vec<u64> {
    let mut bytes = Vec::new();
    File::open(log).unwrap().read_to_end(&mut bytes).unwrap();
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(length) = bytes.get(at as usize + 8..at as usize + 12) {
        // Kafka writes its numbers with the highest byte first.
        let length = length.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        at += HEAD + length;
        if length == 0 || at > bytes.len() as u64 {
            break;
        }
        ends.push(at);
    }
    ends
}
