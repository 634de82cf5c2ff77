//! What the queue's files take, as rows come and go the way the store thread and the flusher do it.

use std::path::Path;

use anonymizer::queue::{Queue, SealBounds};

use crate::fill::{Writer, open};

/// Rows of a batch, as by default.
const BATCH: SealBounds = SealBounds {
    rows: 1_000_000,
    bytes: 64 << 20,
};

const CYCLES: usize = 3;

/// Fills a queue in `dir` with `bytes` of frames and drains it, again and again, and keeps another one
/// full while as much passes through three times. A line of JSON for each state.
pub fn disk(dir: &Path, bytes: u64) {
    cycles(&open(&dir.join("cycles")), bytes);
    steady(&open(&dir.join("steady")), bytes);
}

fn show(state: &str, queue: &Queue) {
    println!(
        "{{\"state\": \"{state}\", \"payload\": {}, \"files\": {}}}",
        queue.bytes(),
        queue.disk_bytes()
    );
}

fn cycles(queue: &Queue, bytes: u64) {
    let mut writer = Writer::new(queue, u64::MAX);
    for _ in 0..CYCLES {
        append(&mut writer, bytes);
        show("full", queue);
        while drain(queue) {}
        show("drained", queue);
    }
}

fn steady(queue: &Queue, bytes: u64) {
    let mut writer = Writer::new(queue, u64::MAX);
    append(&mut writer, bytes);
    let mut passed = 0;
    while passed < CYCLES as u64 * bytes {
        let before = queue.bytes();
        drain(queue);
        let batch = before - queue.bytes();
        append(&mut writer, batch);
        passed += batch;
    }
    show("steady", queue);
}

fn append(writer: &mut Writer<'_>, bytes: u64) {
    let mut done = 0;
    while done < bytes {
        done += writer.append().1;
    }
    writer.sync();
}

/// Has a batch delivered; false if there is nothing.
fn drain(queue: &Queue) -> bool {
    let sealed = queue.seal(BATCH, 0, |_| Vec::new()).expect("seal");
    let Some(batch) = sealed else {
        return false;
    };
    queue.sync().expect("sync");
    queue.ack(&batch).expect("ack");
    // As the flusher.
    queue.compact_if_due().expect("compacted");
    true
}
