//! The ingest thread: poll, decode, anonymize, encode, and hand over whole blocks.
//!
//! A block holds rows of one partition and closes when it is full or when the sync interval has
//! passed. Handing over waits while the channel is full: nothing is dropped. What cannot become a
//! row is quarantined with its place and never stops the stream.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::anonymize::anonymize;
use crate::consume::{Consumer, Event, Fetch, Fetched};
use crate::decode::decode;
use crate::encode::encode;
use crate::ownership::Start;
use crate::record::{LaneId, Quarantined, RowBlock};
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
use crate::store::{Feedback, ToStore};
use crossbeam_channel::{Sender, bounded};

/// Rows of a block before compression. zstd-1 makes about a quarter of it, 16 to 32 KiB: sled
/// keeps larger values badly, and smaller ones compress badly.
pub const BLOCK_BYTES: usize = 128 << 10;

/// Messages in quarantine that one block brings, and their bytes; a longer run of them closes it.
const BLOCK_QUARANTINE: usize = 1024;
const BLOCK_QUARANTINE_BYTES: usize = 1 << 20;

/// How long a rebalance may wait while no message comes.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// Appends the row of a message to `out` and returns its timestamp in seconds of Unix time, or says why
/// it has none; `out` is then as it was.
///
/// # Errors
/// The reason, without any byte of the message.
pub fn row(message: &[u8], out: &mut Vec<u8>) -> Result<u32, String> {
    match decode(message, |record| encode(&anonymize(record), out)) {
        Ok(Ok(second)) => Ok(second),
        Ok(Err(e)) => Err(e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}

/// Why ingest ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// librdkafka cannot go on.
    #[error("kafka client failed: {0}")]
    Fatal(String),
    /// librdkafka refused an assignment.
    #[error("kafka client refused")]
    Refused(#[from] rdkafka::error::KafkaError),
    /// The store thread ended; its own error says why.
    #[error("the store thread ended")]
    StoreEnded,
}

/// What the ingest thread needs.
pub struct Ingest<'a> {
    /// The group member to poll.
    pub consumer: &'a Consumer,
    /// To the store thread.
    pub to_store: Sender<ToStore>,
    /// A block closes at this age.
    pub sync_interval: Duration,
    /// What the store thread asks for.
    pub feedback: &'a Feedback,
    /// When to end.
    pub shutdown: &'a Shutdown,
    /// Counters.
    pub stats: &'a Stats,
}

impl Ingest<'_> {
    /// Returns only when stopping; every record polled has then been handed over.
    ///
    /// # Errors
    /// [`IngestError`]; records handed over are safe, the rest is read again.
    pub fn run(&self) -> Result<(), IngestError> {
        let mut open: BTreeMap<i32, OpenBlock> = BTreeMap::new();
        let mut fetched = self.consumer.fetched();
        let mut paused = false;
        let mut next_close = Instant::now() + self.sync_interval;
        while !self.shutdown.requested() {
            let event = self.consumer.poll();
            let busy = !matches!(event, Event::Nothing);
            self.on_event(event, &mut open, &fetched, &mut paused)?;
            let wait = next_close.saturating_duration_since(Instant::now());
            let wait = if busy {
                Duration::ZERO
            } else {
                wait.min(POLL_EVERY)
            };
            let event = self.take(&mut fetched, wait, &mut open)?;
            self.on_event(event, &mut open, &fetched, &mut paused)?;
            if Instant::now() >= next_close {
                for block in open.values_mut() {
                    self.hand_over(block)?;
                }
                next_close = Instant::now() + self.sync_interval;
                if self.feedback.reposition.swap(false, Ordering::Relaxed) {
                    self.reposition(&mut open)?;
                }
                let want = self.feedback.pause.load(Ordering::Relaxed);
                if want != paused {
                    let partitions: Vec<i32> = open.keys().copied().collect();
                    self.consumer.pause(&partitions, want)?;
                    paused = want;
                }
            }
        }
        for block in open.values_mut() {
            self.hand_over(block)?;
        }
        Ok(())
    }

    /// Takes what was fetched, and waits for it at most `wait`. What is to be handled after the
    /// messages is returned.
    fn take(
        &self,
        fetched: &mut Fetched,
        wait: Duration,
        open: &mut BTreeMap<i32, OpenBlock>,
    ) -> Result<Event, IngestError> {
        let mut trouble = Event::Nothing;
        let mut taken = fetched.take(wait);
        while let Some(fetch) = taken.next() {
            match fetch {
                Fetch::Message {
                    partition,
                    offset,
                    payload,
                } => {
                    // Of a partition that was let go since, the next owner reads it.
                    if let Some(block) = open.get_mut(&partition) {
                        block.push(offset, payload, self.stats);
                        if block.is_full() {
                            self.hand_over(block)?;
                        }
                    }
                }
                // One answer is enough: what is wrong with a partition is asked of all.
                Fetch::Trouble(_) if matches!(trouble, Event::OutOfRange) => {}
                Fetch::Trouble(code) => trouble = Event::trouble(Some(code), &code),
            }
        }
        Ok(trouble)
    }

    fn on_event(
        &self,
        event: Event,
        open: &mut BTreeMap<i32, OpenBlock>,
        fetched: &Fetched,
        paused: &mut bool,
    ) -> Result<(), IngestError> {
        match event {
            Event::Assign(partitions) => {
                let starts = self.ask(|reply| ToStore::Assign { partitions, reply })?;
                for s in &starts {
                    open.insert(s.partition, OpenBlock::new(s));
                }
                self.consumer.assign(&starts, fetched)?;
                // A partition just assigned is not paused.
                *paused = false;
                self.stats.assigned(starts.iter().map(|s| s.partition));
            }
            Event::Revoke { partitions, lost } => {
                for p in &partitions {
                    if let Some(mut block) = open.remove(p) {
                        self.hand_over(&mut block)?;
                    }
                }
                self.stats.revoked(&partitions);
                self.ask(|reply| ToStore::Revoke {
                    partitions: partitions.clone(),
                    lost,
                    reply,
                })?;
                self.consumer.unassign(&partitions)?;
            }
            Event::OutOfRange => self.reposition(open)?,
            Event::Fatal(words) => return Err(IngestError::Fatal(words)),
            Event::Trouble(words) => log::warn!("kafka: {words}; the client goes on trying"),
            Event::Nothing => {}
        }
        Ok(())
    }

    /// Asks where to read, and reads there.
    fn reposition(&self, open: &mut BTreeMap<i32, OpenBlock>) -> Result<(), IngestError> {
        for block in open.values_mut() {
            self.hand_over(block)?;
        }
        for start in self.ask(|reply| ToStore::Reposition { reply })? {
            self.consumer.seek(start.partition, start.offset)?;
            open.insert(start.partition, OpenBlock::new(&start));
        }
        Ok(())
    }

    fn hand_over(&self, open: &mut OpenBlock) -> Result<(), IngestError> {
        let Some(block) = open.take() else {
            return Ok(());
        };
        self.to_store
            .send(ToStore::Block(open.lane, block))
            .map_err(|_| IngestError::StoreEnded)
    }

    fn ask<T>(&self, message: impl FnOnce(Sender<T>) -> ToStore) -> Result<T, IngestError> {
        let (reply, answer) = bounded(1);
        self.to_store
            .send(message(reply))
            .map_err(|_| IngestError::StoreEnded)?;
        answer.recv().map_err(|_| IngestError::StoreEnded)
    }
}

/// The block of one partition that rows are being added to.
struct OpenBlock {
    lane: LaneId,
    /// Messages below were taken already.
    next: i64,
    block: RowBlock,
    /// Kept bytes of the block's messages in quarantine.
    quarantine_bytes: usize,
}

impl OpenBlock {
    fn new(start: &Start) -> OpenBlock {
        OpenBlock {
            lane: start.lane,
            next: start.offset,
            block: RowBlock::default(),
            quarantine_bytes: 0,
        }
    }

    fn push(&mut self, offset: i64, message: &[u8], stats: &Stats) {
        // After a resume or seek librdkafka may bring a message again (librdkafka#2593, #4637).
        if offset < self.next {
            return;
        }
        if self.is_empty() {
            self.block.first = offset;
        }
        self.next = offset + 1;
        self.block.next = self.next;
        let bytes = &mut self.block.bytes;
        match row(message, bytes) {
            Ok(second) => {
                self.block.rows += 1;
                self.block.minutes.count(second);
            }
            Err(reason) => {
                stats.quarantined.inc();
                let entry = Quarantined::of(offset, reason, message);
                self.quarantine_bytes += entry.kept.as_ref().map_or(0, |k| k.as_bytes().len());
                self.block.quarantined.push(entry);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.block.rows == 0 && self.block.quarantined.is_empty()
    }

    fn is_full(&self) -> bool {
        self.block.bytes.len() >= BLOCK_BYTES
            || self.block.quarantined.len() >= BLOCK_QUARANTINE
            || self.quarantine_bytes >= BLOCK_QUARANTINE_BYTES
    }

    fn take(&mut self) -> Option<RowBlock> {
        if self.is_empty() {
            return None;
        }
        let fresh = RowBlock {
            bytes: Vec::with_capacity(BLOCK_BYTES + (BLOCK_BYTES >> 4)),
            ..RowBlock::default()
        };
        self.quarantine_bytes = 0;
        Some(std::mem::replace(&mut self.block, fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> OpenBlock {
        OpenBlock::new(&Start {
            partition: 0,
            lane: LaneId(1),
            offset: 10,
        })
    }

    const PLAIN: &[u8] = include_bytes!("../data/golden/plain.capnp");

    #[test]
    fn a_block_covers_its_messages_and_the_gaps_between() {
        let stats = Stats::default();
        let mut open = open();
        open.push(12, PLAIN, &stats);
        open.push(15, PLAIN, &stats);
        let block = open.take().unwrap();
        assert_eq!((block.first, block.next, block.rows), (12, 16, 2));
        assert_eq!(block.minutes.rows(), 2);
        assert_eq!(open.take(), None);
    }

    #[test]
    fn a_message_brought_again_is_dropped() {
        let stats = Stats::default();
        let mut open = open();
        open.push(9, PLAIN, &stats);
        open.push(10, PLAIN, &stats);
        open.push(10, PLAIN, &stats);
        let block = open.take().unwrap();
        assert_eq!((block.first, block.next, block.rows), (10, 11, 1));
    }

    #[test]
    fn an_undecodable_message_is_quarantined_without_its_address() {
        let stats = Stats::default();
        let mut open = open();
        open.push(10, PLAIN, &stats);
        open.push(11, b"192.0.2.77 no capnp", &stats);
        open.push(12, PLAIN, &stats);
        let block = open.take().unwrap();
        assert_eq!((block.rows, block.next), (2, 13));
        let [q] = &block.quarantined[..] else {
            panic!("{:?}", block.quarantined)
        };
        assert_eq!((q.offset, q.len), (11, 19));
        assert_eq!(q.kept.as_ref().unwrap().as_bytes(), b"192.0.2.10 no capnp");
        assert!(!format!("{q:?}").contains("192.0.2.77"));
    }
}
