//! `anonymizer repair`: copy first, then save all that is whole.

use anyhow::{Context as _, ensure};

use crate::ownership::{LOST_RANGES, LostRange};
use crate::queue::{DataDir, QUEUE_DIR, Queue, repair};
use crate::runtime::clock::now_ms;
use crate::runtime::config::Config;

/// Repairs the queue of a stopped instance and lists what is lost.
///
/// # Errors
/// If an instance runs, the disk is too small for the copy, or nothing can be saved.
pub fn run(config: &Config) -> anyhow::Result<()> {
    ensure!(
        config.data_dir.join(QUEUE_DIR).is_dir(),
        "there is no queue in {}; name the data dir with --data-dir",
        config.data_dir.display()
    );
    let dir = DataDir::lock(&config.data_dir).context("repair needs the instance stopped")?;
    let done = repair::repair(&dir, now_ms())?;
    println!("the queue as it was: {}", done.copy.display());
    println!(
        "saved       {} blocks with {} rows, {} lanes, {} batches",
        done.blocks, done.rows, done.lanes, done.batches
    );
    for words in &done.notes {
        println!("note        {words}");
    }
    let queue = Queue::open(dir)?;
    let mut all: Vec<LostRange> = queue.load(LOST_RANGES)?.unwrap_or_default();
    for l in &done.lost {
        println!(
            "LOST        {} p{} rows between offsets {}..{}",
            l.topic, l.partition, l.from, l.to
        );
        all.push(LostRange {
            topic: l.topic.clone(),
            partition: l.partition,
            from: l.from,
            to: l.to,
            noticed_ms: now_ms(),
        });
    }
    queue.save(LOST_RANGES, &all)?;
    queue.sync()?;
    if !done.lost.is_empty() {
        println!(
            "while Kafka holds these offsets, they can be read again; the rest of the queue goes on"
        );
    }
    Ok(())
}
