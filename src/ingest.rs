//! The ingest thread: poll, decode, anonymize, encode, and hand over whole blocks.
//!
//! A block holds rows of one partition and closes when it is full or when the sync interval has
//! passed. Handing over waits while the channel is full: nothing is dropped. What cannot become a
//! row is quarantined with its place and never stops the stream.

#[cfg(test)]
mod client_tests;
mod renewal;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::kafka::{Consumer, Event, Fetch, Fetched};
use crate::ownership::Start;
use crate::privacy::{Policy, Quarantined};
use crate::queue::LaneId;
use crate::record::Mark;
use crate::record::decode::unread;
use crate::row::{BLOCK_BYTES, PackedRows, RowBlock, RowError, ZSTD_LEVEL, row};
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
use crate::store::{Feedback, ToStore};
use crossbeam_channel::{Sender, bounded};

use renewal::Renewal;
use sums::Sums;

/// Bytes of a compressed block above which the next one waits until it was appended: the channel's
/// memory is counted in ordinary ones.
const LARGE: usize = 1 << 20;

/// Messages in quarantine that one block brings, and their bytes; a longer run of them closes it.
const BLOCK_QUARANTINE: usize = 1024;
const BLOCK_QUARANTINE_BYTES: usize = 1 << 20;

/// How often it is said that values have more than one message.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// How long a rebalance may wait while no message comes.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// How soon Kafka is asked again whether the data dir is a copy.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked whether certificates, keys or the password were renewed.
const FILES_EVERY: Duration = Duration::from_secs(10);
const FILES: &str = "certificates or the password for Kafka were renewed";

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
    /// What is taken away of a record.
    pub policy: &'a Policy,
    /// What the store thread asks for.
    pub feedback: &'a Feedback,
    /// When to end.
    pub shutdown: &'a Shutdown,
    /// Counters.
    pub stats: &'a Stats,
    /// The data dir may be a copy, and Kafka has to be asked before the group is joined.
    pub in_doubt: bool,
}

impl Ingest<'_> {
    /// Returns only when stopping; every record polled has then been handed over.
    ///
    /// # Errors
    /// [`IngestError`]; records handed over are safe, the rest is read again.
    pub fn run(&self) -> Result<(), IngestError> {
        self.join()?;
        let mut held = Held {
            open: BTreeMap::new(),
            fetched: self.consumer.fetched(),
            renewal: Renewal::default(),
            unread: Unread::default(),
            sums: Sums::default(),
            renewed: None,
            look_at_files: Instant::now() + FILES_EVERY,
        };
        let mut next_close = Instant::now() + self.sync_interval;
        while !self.shutdown.requested() {
            let event = self.consumer.poll();
            let busy = !matches!(event, Event::Nothing);
            self.on_event(event, &mut held)?;
            let wait = next_close.saturating_duration_since(Instant::now());
            let wait = if busy {
                Duration::ZERO
            } else {
                wait.min(POLL_EVERY)
            };
            let event = self.take(&mut held, wait)?;
            self.on_event(event, &mut held)?;
            if Instant::now() >= next_close {
                for block in held.open.values_mut() {
                    self.hand_over(block)?;
                }
                held.tell_sums(false);
                next_close = Instant::now() + self.sync_interval;
                if self.feedback.renew.swap(false, Ordering::Relaxed) {
                    held.renewed = None;
                    held.renewal.want();
                }
                if held.is_time_to_look_at_files() && self.consumer.files_changed() {
                    held.renewed = Some(FILES);
                    held.renewal.want();
                }
                if held.renewal.is_due(Instant::now()) {
                    self.renew(&mut held)?;
                }
                self.pause(&mut held)?;
            }
        }
        for block in held.open.values_mut() {
            self.hand_over(block)?;
        }
        held.tell_sums(true);
        Ok(())
    }

    /// Joins the group. A copy that did so would put its original out of it, so Kafka is asked before; without
    /// an answer by a data dir alone that lies elsewhere than it last lay.
    fn join(&self) -> Result<(), IngestError> {
        if self.in_doubt {
            log::info!(
                "the data dir lies elsewhere than it last lay, or the machine was started since: Kafka is \
                 asked whether it is a copy"
            );
        }
        while !self.ask(|reply| ToStore::Look { reply })? && self.in_doubt {
            self.consumer.poll();
            if self.shutdown.wait(LOOK_AGAIN) {
                return Ok(());
            }
        }
        Ok(self.consumer.join()?)
    }

    /// Takes what was fetched, and waits for it at most `wait`. What is to be handled after the
    /// messages is returned.
    fn take(&self, held: &mut Held, wait: Duration) -> Result<Event, IngestError> {
        let mut trouble = Event::Nothing;
        let mut taken = held.fetched.take(wait);
        while let Some(fetch) = taken.next() {
            match fetch {
                Fetch::Message {
                    partition,
                    offset,
                    mark,
                    kafka_ms,
                    payload,
                } => {
                    // Of a partition that was let go since, the next owner reads it.
                    if let Some(block) = held.open.get_mut(&partition) {
                        // A large one has a block of its own, which its fate is the fate of.
                        if payload.len() >= BLOCK_BYTES {
                            self.hand_over(block)?;
                        }
                        if block.is_of_another_epoch(mark.epoch) {
                            self.hand_over(block)?;
                        }
                        block.mark(mark, kafka_ms);
                        let sums = &mut held.sums;
                        let unread = block.push(offset, payload, self.policy, self.stats, sums);
                        if unread > 0 {
                            held.unread.found(partition, offset, unread, self.stats);
                        }
                        if block.is_full() {
                            self.hand_over(block)?;
                        }
                    }
                }
                // One answer is enough: a new client asks for all partitions.
                Fetch::Trouble(_) if matches!(trouble, Event::OutOfRange) => {}
                Fetch::Trouble(code) => {
                    self.consumer.read_failed(code);
                    trouble = Event::trouble(Some(code), &code);
                }
            }
        }
        if taken.ends_in_message() {
            self.consumer.read_goes_on();
        }
        Ok(trouble)
    }

    fn on_event(&self, event: Event, held: &mut Held) -> Result<(), IngestError> {
        match event {
            Event::Assign(partitions) => {
                let starts = self.ask(|reply| ToStore::Assign { partitions, reply })?;
                for s in &starts {
                    held.open.insert(s.partition, OpenBlock::new(s));
                }
                self.consumer.assign(&starts, &held.fetched)?;
                self.stats.assigned(starts.iter().map(|s| s.partition));
            }
            Event::Revoke { partitions, lost } => {
                self.let_go(held, &partitions, lost)?;
                self.consumer.unassign(&partitions)?;
            }
            Event::OutOfRange => {
                held.renewed = None;
                held.renewal.want();
            }
            Event::Fatal(words) => return Err(IngestError::Fatal(words)),
            Event::Trouble(words) => log::warn!("kafka: {words}; the client goes on trying"),
            Event::Nothing => {}
        }
        Ok(())
    }

    /// Returns when what was read of the partitions is committed, as far as Kafka answers.
    fn let_go(&self, held: &mut Held, partitions: &[i32], lost: bool) -> Result<(), IngestError> {
        for p in partitions {
            if let Some(mut block) = held.open.remove(p) {
                self.hand_over(&mut block)?;
            }
        }
        self.stats.revoked(partitions);
        self.ask(|reply| ToStore::Revoke {
            partitions: partitions.to_vec(),
            lost,
            reply,
        })
    }

    /// Joins the group anew: at the assignment that follows it is asked of each partition where Kafka
    /// has records, and what is gone is recorded. Where no client can be made, as when the system has no
    /// threads left or a certificate's file is away, the one that is goes on with what it can read.
    fn renew(&self, held: &mut Held) -> Result<(), IngestError> {
        let new = match self.consumer.another() {
            Ok(new) => new,
            Err(e) => {
                self.renew_later(held, &e);
                return Ok(());
            }
        };
        if let Some(what) = held.renewed {
            // By a client that does not get in nothing would be read at all.
            if let Err(e) = self.consumer.try_out(&new) {
                self.renew_later(held, &e);
                return Ok(());
            }
            log::info!("{what}; joining the group anew with them");
        } else {
            log::warn!("a partition cannot be read where it was; joining the group anew");
        }
        let partitions: Vec<i32> = held.open.keys().copied().collect();
        self.let_go(held, &partitions, false)?;
        match self.consumer.renew(new, &mut held.fetched) {
            Ok(()) => {
                held.renewal.made(Instant::now());
                held.renewed = None;
                self.stats.kafka.over();
            }
            Err(e) => self.renew_later(held, &e),
        }
        Ok(())
    }

    fn renew_later(&self, held: &mut Held, e: &dyn std::fmt::Display) {
        let pause = held.renewal.failed(Instant::now()).as_secs();
        let words = match held.renewed {
            Some(what) => format!("{what}, and do not get in: {e}; going on without them"),
            None => format!("a new Kafka client is needed, and cannot be made: {e}"),
        };
        log::error!("{words}; trying again in {pause} s");
        self.stats.ingest.kafka_clients_failed.inc();
        self.stats.kafka.met("client", &words);
    }

    fn pause(&self, held: &mut Held) -> Result<(), IngestError> {
        let pause = self.feedback.pause.load(Ordering::Relaxed);
        let partitions = changing(&mut held.open, pause);
        if !partitions.is_empty() {
            self.consumer.pause(&partitions, pause)?;
        }
        Ok(())
    }

    fn hand_over(&self, open: &mut OpenBlock) -> Result<(), IngestError> {
        let Some(block) = open.take() else {
            return Ok(());
        };
        let large = block.packed.as_ref().is_some_and(|p| p.frame.len() > LARGE);
        self.to_store
            .send(ToStore::Block(open.lane, block))
            .map_err(|_| IngestError::StoreEnded)?;
        if large {
            self.ask(|reply| ToStore::Append { reply })?;
        }
        Ok(())
    }

    fn ask<T>(&self, message: impl FnOnce(Sender<T>) -> ToStore) -> Result<T, IngestError> {
        let (reply, answer) = bounded(1);
        self.to_store
            .send(message(reply))
            .map_err(|_| IngestError::StoreEnded)?;
        answer.recv().map_err(|_| IngestError::StoreEnded)
    }
}

/// What is read now, and how.
struct Held {
    /// Of each partition held.
    open: BTreeMap<i32, OpenBlock>,
    fetched: Fetched,
    /// Whether the client has to be replaced.
    renewal: Renewal,
    unread: Unread,
    /// What went into quarantine.
    sums: Sums,
    /// What a new client is wanted for that the one that is can do without.
    renewed: Option<&'static str>,
    look_at_files: Instant,
}

impl Held {
    fn is_time_to_look_at_files(&mut self) -> bool {
        let is_time = Instant::now() >= self.look_at_files;
        if is_time {
            self.look_at_files = Instant::now() + FILES_EVERY;
        }
        is_time
    }

    fn tell_sums(&mut self, is_end: bool) {
        if let Some(line) = self.sums.line(Instant::now(), is_end) {
            log::warn!("{line}");
        }
    }
}

/// Values that have more behind their record.
#[derive(Default)]
struct Unread {
    said: Option<Instant>,
}

impl Unread {
    fn found(&mut self, partition: i32, offset: i64, bytes: usize, stats: &Stats) {
        let so_far = stats.ingest.values_with_more.inc() + 1;
        if self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            log::error!(
                "partition {partition}, offset {offset}: {bytes} bytes behind the record are not read; a \
                 value of Kafka's must be one message. Such values since the start: {so_far}"
            );
        }
    }
}

/// The partitions that are not paused, or not read, as is wanted; afterwards they are.
fn changing(open: &mut BTreeMap<i32, OpenBlock>, pause: bool) -> Vec<i32> {
    let wrong = open.iter_mut().filter(|(_, block)| block.paused != pause);
    wrong
        .map(|(partition, block)| {
            block.paused = pause;
            *partition
        })
        .collect()
}

/// The block of one partition that rows are being added to.
struct OpenBlock {
    /// Whether reading is paused. Of each partition by itself: one that is assigned is not.
    paused: bool,
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
            paused: false,
            lane: start.lane,
            next: start.offset,
            block: RowBlock::default(),
            quarantine_bytes: 0,
        }
    }

    /// Whether a message of this leader epoch needs a block of its own, see [`RowBlock::last`].
    fn is_of_another_epoch(&self, epoch: i32) -> bool {
        self.block.last.is_some_and(|last| last.epoch != epoch)
    }

    /// Before the message is pushed.
    fn mark(&mut self, mark: Mark, kafka_ms: i64) {
        if mark.offset >= self.next {
            if self.is_empty() {
                self.block.kafka_ms = kafka_ms;
            }
            self.block.last = Some(mark);
        }
    }

    /// Adds a message. Returns how many of its bytes were not read.
    fn push(
        &mut self,
        offset: i64,
        message: &[u8],
        policy: &Policy,
        stats: &Stats,
        sums: &mut Sums,
    ) -> usize {
        // After a resume or seek librdkafka may bring a message again (librdkafka#2593, #4637).
        if offset < self.next {
            return 0;
        }
        if self.is_empty() {
            self.block.first = offset;
        }
        self.next = offset + 1;
        self.block.next = self.next;
        let row = row(message, policy, &mut self.block.bytes);
        match row.and_then(|second| self.pack_if_large().map(|()| second)) {
            Ok(second) => {
                self.block.rows += 1;
                self.block.minutes.count(second);
                unread(message)
            }
            Err(reason) => {
                stats.ingest.quarantined(reason.label());
                sums.found(reason.label(), Instant::now());
                let entry = Quarantined::of(offset, reason.to_string(), message, policy);
                self.quarantine_bytes += entry.kept.as_ref().map_or(0, |k| k.as_bytes().len());
                self.block.quarantined.push(entry);
                0
            }
        }
    }

    /// Compresses a large row at once: most are few bytes then, of those that wait in memory.
    ///
    /// # Errors
    /// [`RowError::Compress`].
    fn pack_if_large(&mut self) -> Result<(), RowError> {
        let bytes = &mut self.block.bytes;
        if self.block.rows > 0 || bytes.len() < BLOCK_BYTES {
            return Ok(());
        }
        let raw = std::mem::take(bytes);
        let frame = zstd::bulk::compress(&raw, ZSTD_LEVEL)
            .map_err(|e| RowError::Compress(e.to_string()))?;
        self.block.packed = Some(PackedRows {
            raw_len: raw.len() as u32,
            frame,
        });
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.block.rows == 0 && self.block.quarantined.is_empty()
    }

    fn is_full(&self) -> bool {
        self.block.bytes.len() >= BLOCK_BYTES
            || self.block.packed.is_some()
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
