//! What the queue's files take, as rows come and go the way the store thread and the flusher do it.

use std::path::Path;

use anonymizer::queue::{DataDir, Queue, SealBounds};

use crate::fill::Writer;

/// Rows of a batch, as by default.
const BATCH: SealBounds = SealBounds {
    rows: 1_000_000,
    bytes: 64 << 20,
};

const CYCLES: usize = 3;

/// Fills the queue in `dir` with `bytes` of frames and drains it, again and again, then keeps it half full
/// while as much passes through three times. A line of JSON for each state.
pub fn disk(dir: &Path, bytes: u64) {
    let queue = Queue::open(DataDir::lock(dir).expect("data dir")).expect("queue");
    let mut writer = Writer::new(&queue, u64::MAX);
    let show = |state: &str, payload: u64| {
        println!(
            "{{\"state\": \"{state}\", \"payload\": {payload}, \"files\": {}}}",
            queue.disk_bytes()
        );
    };
    for _ in 0..CYCLES {
        append(&mut writer, bytes);
        show("full", queue.bytes());
        while drain(&queue) {}
        show("drained", queue.bytes());
    }
    append(&mut writer, bytes / 2);
    let mut passed = 0;
    while passed < CYCLES as u64 * bytes {
        let before = queue.bytes();
        drain(&queue);
        let batch = before - queue.bytes();
        append(&mut writer, batch);
        passed += batch;
    }
    show("steady", queue.bytes());
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
    true
}
