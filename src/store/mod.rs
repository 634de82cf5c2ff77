//! The store thread: compress, append, **sync, then commit**. It alone writes rows, and it alone
//! speaks to the group coordinator, so a commit and a rebalance never overlap.
//!
//! Syncs are grouped: after the last block at hand, or after [`GROUP_BYTES`] while blocks keep
//! coming.

pub mod bounds;
mod owner;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select};

use crate::ownership::{AssignError, CommitError, CommitOutcome, Group, Ownership, Start};
use crate::privacy::Quarantined;
use crate::queue::{LaneId, LaneState, PackedBlock, Queue, QueueError};
use crate::row::tap::{Passing, Taps};
use crate::row::{PackedRows, RowBlock, ZSTD_LEVEL};
use crate::runtime::clock::now_ms;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
use crate::store::bounds::DiskBound;
pub use crate::store::bounds::QuarantineFull;
pub use crate::store::owner::Ask;
use crate::store::owner::Owner;

/// Compressed bytes that are appended at once. They reach the disk no later for it: a sync comes first.
pub const APPEND_BYTES: usize = 512 << 10;

/// Compressed bytes after which a sync does not wait for the channel to run empty.
const GROUP_BYTES: u64 = 4 << 20;

/// Bytes appended without an acknowledged commit at which reading pauses: a tail that a rebalance
/// would throw away should not grow without bound while the coordinator is away.
const TAIL_BYTES: u64 = 64 << 20;

/// How often a commit that failed is tried again, and tails of absent partitions are looked at.
const COMMIT_RETRY: Duration = Duration::from_secs(1);
const RESOLVE_EVERY: Duration = Duration::from_secs(60);

/// After how long Kafka is asked again for what one answer alone is not believed, and about how long its
/// logs are looked at at a time: blocks wait in the channel meanwhile.
const DOUBT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(2);

/// How long Kafka may leave an assignment's questions unanswered before the program ends, for a
/// supervisor to start it again. Below `max.poll.interval.ms` (5 min).
const ASSIGN_PATIENCE: Duration = Duration::from_secs(240);

/// Messages to the store thread, handled in order.
pub enum ToStore {
    /// Rows to store.
    Block(LaneId, RowBlock),
    /// What was sent before is to be appended at once.
    Append {
        /// For the answer.
        reply: Sender<()>,
    },
    /// Whether the data dir may join the group: answers true once Kafka has told that it is no copy.
    Look {
        /// For the answer.
        reply: Sender<bool>,
    },
    /// Partitions were assigned; answers where to read.
    Assign {
        /// The partitions.
        partitions: Vec<i32>,
        /// For the answer.
        reply: Sender<Vec<Start>>,
    },
    /// Partitions are to be let go, once what was read of them is committed.
    Revoke {
        /// The partitions.
        partitions: Vec<i32>,
        /// They are not ours any more: nothing is committed.
        lost: bool,
        /// For the answer.
        reply: Sender<()>,
    },
}

/// What the store thread asks of the ingest thread, which looks at it once a sync interval.
#[derive(Debug, Default)]
pub struct Feedback {
    /// Read no more until it is taken back: a bound is met.
    pub pause: AtomicBool,
    /// Join the group anew, as when Kafka does not have the next offset of a partition.
    pub renew: AtomicBool,
}

/// Why the store thread ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The queue failed. What was committed is synced; the rest is read again.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Assigned partitions could not be taken.
    #[error("cannot take assigned partitions")]
    Assign(#[source] AssignError),
    /// zstd failed, which its contract excludes for a buffer of sufficient size.
    #[error("cannot compress a block")]
    Compress(#[source] std::io::Error),
}

/// The store thread's state.
pub struct Store<'a, G> {
    queue: &'a Queue,
    ownership: Ownership<'a, Queue, G>,
    compressor: zstd::bulk::Compressor<'static>,
    disk: DiskBound,
    feedback: &'a Feedback,
    shutdown: &'a Shutdown,
    stats: &'a Stats,
    taps: &'a Taps,
    /// Blocks to be appended, and the bytes of their frames.
    packed: Vec<(LaneId, PackedBlock)>,
    packed_bytes: usize,
    /// Appended and not synced: that time, and how many rows.
    unsynced_rows: Vec<(i64, u32)>,
    unsynced_bytes: u64,
    unsynced: bool,
    uncommitted_bytes: u64,
    retry_commit_at: Option<Instant>,
    owner: Owner,
}

impl<'a, G: Group> Store<'a, G> {
    /// # Errors
    /// If zstd cannot be set up.
    pub fn new(
        queue: &'a Queue,
        ownership: Ownership<'a, Queue, G>,
        disk: DiskBound,
        feedback: &'a Feedback,
        shutdown: &'a Shutdown,
        stats: &'a Stats,
        taps: &'a Taps,
    ) -> Result<Self, StoreError> {
        Ok(Store {
            queue,
            ownership,
            compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(StoreError::Compress)?,
            disk,
            feedback,
            shutdown,
            stats,
            taps,
            packed: Vec::new(),
            packed_bytes: 0,
            unsynced_rows: Vec::new(),
            unsynced_bytes: 0,
            unsynced: false,
            uncommitted_bytes: 0,
            retry_commit_at: None,
            owner: Owner::of(queue)?,
        })
    }

    /// Has the flusher ask before it sends.
    pub fn listen(&mut self, asks: Receiver<Ask>) {
        self.owner.asks = asks;
    }

    /// Whether Kafka has to be asked before the group is joined.
    pub fn is_in_doubt(&self) -> bool {
        self.owner.doubt.is_some()
    }

    /// Returns when every sender is gone; all that was received is then synced, and committed if
    /// Kafka answers.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was committed after the failure.
    pub fn run(&mut self, from_ingest: &Receiver<ToStore>) -> Result<(), StoreError> {
        let mut next_resolve = Instant::now();
        loop {
            let message = match from_ingest.try_recv() {
                Ok(message) => Some(message),
                Err(TryRecvError::Empty) => {
                    self.sync_and_commit()?;
                    select! {
                        recv(from_ingest) -> message => match message {
                            Ok(message) => Some(message),
                            Err(_) => return self.sync_and_commit(),
                        },
                        recv(self.owner.asks) -> ask => {
                            self.answer(ask.ok())?;
                            None
                        }
                        default(COMMIT_RETRY) => None,
                    }
                }
                Err(TryRecvError::Disconnected) => return self.sync_and_commit(),
            };
            if let Some(message) = message {
                // Before the first one it is not known which topic is read, and of which are the rows of
                // an earlier run.
                let assigns = matches!(message, ToStore::Assign { .. });
                self.handle(message)?;
                if assigns {
                    self.introduce()?;
                    self.resolve_absent()?;
                }
            }
            let ask = self.owner.asks.try_recv().ok();
            self.answer(ask)?;
            if Instant::now() >= next_resolve {
                self.look_at_the_topic()?;
                if !self.ownership.partitions().is_empty() {
                    self.look_for_others()?;
                }
                self.resolve_absent()?;
                let in_doubt = self.ownership.is_in_doubt();
                next_resolve = Instant::now() + if in_doubt { DOUBT } else { RESOLVE_EVERY };
            }
            self.bound();
            if !self.unsynced {
                self.queue.renew_if_due()?;
            }
        }
    }

    /// Handles one message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn handle(&mut self, message: ToStore) -> Result<(), StoreError> {
        // A reply that nobody waits for means that ingest ended; its error is told elsewhere.
        match message {
            ToStore::Block(lane, block) => {
                // What goes into quarantine makes room for itself, block by block.
                let at_once = !block.quarantined.is_empty();
                self.pack(lane, block)?;
                if at_once || self.packed_bytes >= APPEND_BYTES {
                    self.append()?;
                }
                if self.unsynced_bytes >= GROUP_BYTES {
                    self.sync_and_commit()?;
                }
            }
            ToStore::Append { reply } => {
                self.append()?;
                let _ = reply.send(());
            }
            ToStore::Look { reply } => {
                let looked = self.look_for_others()?;
                let _ = reply.send(looked);
            }
            ToStore::Assign { partitions, reply } => {
                self.append()?;
                let starts = self.assign(&partitions)?;
                log::info!("partitions assigned: {}", describe(&starts));
                let _ = reply.send(starts);
            }
            ToStore::Revoke {
                partitions,
                lost,
                reply,
            } => {
                if lost {
                    log::warn!(
                        "partitions {partitions:?} lost: what was not committed is read again by their next owner"
                    );
                    self.sync()?;
                } else {
                    self.retry_commit_at = None;
                    self.sync_and_commit()?;
                    log::info!("partitions {partitions:?} let go");
                }
                self.owner.let_go = Some(Instant::now());
                self.ownership.release(&partitions)?;
                let _ = reply.send(());
            }
        }
        Ok(())
    }

    fn pack(&mut self, lane: LaneId, mut block: RowBlock) -> Result<(), StoreError> {
        let rows = match block.packed.take() {
            Some(packed) => packed,
            None if block.rows > 0 => PackedRows {
                raw_len: block.bytes.len() as u32,
                frame: self
                    .compressor
                    .compress(&block.bytes)
                    .map_err(StoreError::Compress)?,
            },
            None => PackedRows::default(),
        };
        if self.taps.any() {
            self.show(lane, block.rows, std::mem::take(&mut block.bytes));
        }
        block.minutes.merge();
        let packed = PackedBlock {
            first: block.first,
            next: block.next,
            rows: block.rows,
            raw_len: rows.raw_len,
            frame: rows.frame,
            minutes: block.minutes,
            appended_ms: now_ms(),
            kafka_ms: block.kafka_ms,
            quarantined: block.quarantined,
            last: block.last,
        };
        self.packed_bytes += packed.frame.len();
        self.packed.push((lane, packed));
        Ok(())
    }

    /// Shows rows to those who look. The bytes are needed no more.
    fn show(&self, lane: LaneId, rows: u32, bytes: Vec<u8>) {
        match self.queue.lane(lane) {
            Some(lane) if !bytes.is_empty() => self.taps.pass(Passing {
                partition: lane.partition,
                rows,
                bytes,
            }),
            // They were compressed before they came here.
            _ => self.taps.pass_large(rows),
        }
    }

    /// Appends what is packed.
    fn append(&mut self) -> Result<(), StoreError> {
        self.make_room()?;
        let packed = std::mem::take(&mut self.packed);
        self.packed_bytes = 0;
        let stored = self.queue.append_all(&packed)?;
        for ((_, block), _) in packed.iter().zip(stored).filter(|(_, stored)| *stored) {
            self.unsynced_rows.push((block.kafka_ms, block.rows));
            self.unsynced = true;
            self.unsynced_bytes += block.frame.len() as u64;
            self.uncommitted_bytes += block.frame.len() as u64;
            self.stats.ingest.appended(block.rows, block.frame.len());
        }
        Ok(())
    }

    /// Drops the oldest messages in quarantine for those to be appended, if the settings say so.
    fn make_room(&self) -> Result<(), StoreError> {
        let Some(max) = self.disk.quarantine_drops_beyond() else {
            return Ok(());
        };
        // Rows of an ended lane are not stored, and nothing is lost for them.
        let is_open = |lane| self.queue.lane(lane).map(|l| l.state) == Some(LaneState::Open);
        let with_messages = |(_, block): &&(_, PackedBlock)| !block.quarantined.is_empty();
        let need = self
            .packed
            .iter()
            .filter(with_messages)
            .filter(|(lane, _)| is_open(*lane))
            .flat_map(|(_, block)| &block.quarantined)
            .map(stored_bytes)
            .sum();
        if need == 0 {
            return Ok(());
        }
        let gone = self.queue.drop_oldest_quarantined(need, max)?;
        if !gone.is_empty() {
            let places: Vec<String> = gone.iter().map(|e| e.place()).collect();
            log::error!(
                "{} messages in quarantine are lost: it is full (max_quarantine_bytes is {max}, \
                 quarantine_full is drop-oldest): {}",
                gone.len(),
                places.join(", ")
            );
        }
        Ok(())
    }

    /// The order that loses nothing: what Kafka may forget is on the disk first.
    fn sync_and_commit(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        self.commit()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.append()?;
        if self.unsynced {
            self.queue.sync()?;
            self.unsynced = false;
            self.unsynced_bytes = 0;
            self.stats
                .ingest
                .synced(self.unsynced_rows.drain(..), now_ms());
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if self.retry_commit_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        match self.ownership.commit()? {
            CommitOutcome::Acknowledged(_) => {
                self.uncommitted_bytes = 0;
                self.retry_commit_at = None;
                self.stats.commits.over();
            }
            CommitOutcome::Unacknowledged(e) => {
                self.stats.ingest.commits_failed.inc();
                self.stats.commits.met("commit", &e.to_string());
                if self.retry_commit_at.is_none() || matches!(e, CommitError::Unanswered(_)) {
                    log::warn!(
                        "cannot commit to Kafka: {e}; the rows are on disk and wait for a commit"
                    );
                }
                self.retry_commit_at = Some(Instant::now() + COMMIT_RETRY);
            }
        }
        Ok(())
    }

    /// Asks again while Kafka does not answer. When a stop is asked for meanwhile, nothing is read.
    fn assign(&mut self, partitions: &[i32]) -> Result<Vec<Start>, StoreError> {
        let deadline = Instant::now() + ASSIGN_PATIENCE;
        loop {
            match self.ownership.assign(partitions, now_ms()) {
                Ok(mut starts) => {
                    self.stats.group.over();
                    starts.retain(|s| partitions.contains(&s.partition));
                    return Ok(starts);
                }
                Err(AssignError::Group(e)) if self.shutdown.requested() => {
                    log::info!("{e}; stopping without it");
                    return Ok(Vec::new());
                }
                Err(AssignError::Group(e)) if Instant::now() < deadline => {
                    self.stats.group.met("group", &e.to_string());
                    log::warn!("{e}; trying again");
                    self.shutdown.wait(COMMIT_RETRY);
                }
                Err(AssignError::Queue(e)) => return Err(e.into()),
                Err(e) => return Err(StoreError::Assign(e)),
            }
        }
    }

    fn look_at_the_topic(&mut self) -> Result<(), StoreError> {
        match self.ownership.topic_was_recreated() {
            Ok(true) => {
                log::error!(
                    "the topic was deleted and created again; its partitions are read anew"
                );
                self.feedback.renew.store(true, Ordering::Relaxed);
            }
            Ok(false) => {}
            Err(e) => log::debug!("cannot ask for the topic's id: {e}"),
        }
        let gone = self.ownership.logs_without_ours(LOOK, now_ms())?;
        if !gone.is_empty() {
            log::error!(
                "partitions {gone:?}: Kafka's log does not hold what was read of it, as when it was put \
                 back from a copy; they are taken anew"
            );
            self.feedback.renew.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn resolve_absent(&mut self) -> Result<(), StoreError> {
        match self.ownership.resolve_absent() {
            Ok(()) => Ok(()),
            Err(AssignError::Queue(e)) => Err(e.into()),
            Err(e) => {
                log::warn!("rows of an earlier run wait to be resolved: {e}");
                Ok(())
            }
        }
    }

    fn bound(&mut self) {
        self.disk.look(self.queue);
        let quarantine = self.disk.quarantine_exceeded(self.queue);
        // Only a person can end it.
        let level = match quarantine {
            Some(_) => log::Level::Error,
            None => log::Level::Warn,
        };
        let reason = if let Some(why) = quarantine {
            Some(("quarantine", why))
        } else if self.uncommitted_bytes >= TAIL_BYTES {
            let why = format!(
                "{} MiB wait for a commit that Kafka does not acknowledge",
                self.uncommitted_bytes >> 20
            );
            Some(("commits", why))
        } else {
            self.disk.exceeded()
        };
        let was = self
            .feedback
            .pause
            .swap(reason.is_some(), Ordering::Relaxed);
        self.stats.ingest.paused.set(i64::from(reason.is_some()));
        match &reason {
            Some((kind, why)) => self.stats.pause.met(kind, why),
            None => drop(self.stats.pause.over()),
        }
        match (was, reason) {
            (false, Some((_, why))) => log::log!(level, "reading from Kafka pauses: {why}"),
            (true, None) => log::info!("reading from Kafka goes on"),
            _ => {}
        }
    }
}

/// About what a message takes in quarantine: its facts, and its bytes if they are kept.
fn stored_bytes(message: &Quarantined) -> u64 {
    const FACTS: u64 = 400;
    FACTS
        + message
            .kept
            .as_ref()
            .map_or(0, |k| k.as_bytes().len() as u64)
}

fn describe(starts: &[Start]) -> String {
    let each: Vec<String> = starts
        .iter()
        .map(|s| format!("{} from {}", s.partition, s.offset))
        .collect();
    each.join(", ")
}
