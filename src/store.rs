//! The store thread: compress, append, **sync, then commit**. It alone writes rows, and it alone
//! speaks to the group coordinator, so a commit and a rebalance never overlap.
//!
//! Syncs are grouped: after the last block at hand, or after [`GROUP_BYTES`] while blocks keep
//! coming.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use crate::ownership::{AssignError, CommitError, Group, Ownership, Start};
use crate::queue::{LaneState, PackedBlock, Queue, QueueError};
use crate::record::{LaneId, Quarantined, RowBlock};
use crate::runtime::clock::now_ms;
use crate::runtime::disk::DiskBound;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;

/// Compressed bytes that are appended at once. They reach the disk no later for it: a sync comes first.
pub const APPEND_BYTES: usize = 512 << 10;

/// Compressed bytes after which a sync does not wait for the channel to run empty.
const GROUP_BYTES: u64 = 4 << 20;

/// Bytes appended without an acknowledged commit at which reading pauses: a tail that a rebalance
/// would throw away should not grow without bound while the coordinator is away.
const TAIL_BYTES: u64 = 64 << 20;

/// zstd level of stored blocks: level 1 costs half the CPU of level 3 for 1 % more bytes.
pub const ZSTD_LEVEL: i32 = 1;

/// How often a commit that failed is tried again, and tails of absent partitions are looked at.
const COMMIT_RETRY: Duration = Duration::from_secs(1);
const RESOLVE_EVERY: Duration = Duration::from_secs(60);

/// How long Kafka may leave an assignment's questions unanswered before the program ends, for a
/// supervisor to start it again. Below `max.poll.interval.ms` (5 min).
const ASSIGN_PATIENCE: Duration = Duration::from_secs(240);

/// Messages to the store thread, handled in order.
pub enum ToStore {
    /// Rows to store.
    Block(LaneId, RowBlock),
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
    /// An offset is not in Kafka; answers with the partitions to read elsewhere.
    Reposition {
        /// For the answer.
        reply: Sender<Vec<Start>>,
    },
}

/// What the store thread asks of the ingest thread, which looks at it once a sync interval.
#[derive(Debug, Default)]
pub struct Feedback {
    /// Read no more until it is taken back: a bound is met.
    pub pause: AtomicBool,
    /// Ask where to read, as if Kafka had said that an offset is out of range.
    pub reposition: AtomicBool,
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
    /// Blocks to be appended, and the bytes of their frames.
    packed: Vec<(LaneId, PackedBlock)>,
    packed_bytes: usize,
    unsynced_bytes: u64,
    unsynced: bool,
    uncommitted_bytes: u64,
    retry_commit_at: Option<Instant>,
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
    ) -> Result<Self, StoreError> {
        Ok(Store {
            queue,
            ownership,
            compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(StoreError::Compress)?,
            disk,
            feedback,
            shutdown,
            stats,
            packed: Vec::new(),
            packed_bytes: 0,
            unsynced_bytes: 0,
            unsynced: false,
            uncommitted_bytes: 0,
            retry_commit_at: None,
        })
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
                    match from_ingest.recv_timeout(COMMIT_RETRY) {
                        Ok(message) => Some(message),
                        Err(RecvTimeoutError::Timeout) => None,
                        Err(RecvTimeoutError::Disconnected) => return self.sync_and_commit(),
                    }
                }
                Err(TryRecvError::Disconnected) => return self.sync_and_commit(),
            };
            if let Some(message) = message {
                self.handle(message)?;
            }
            if Instant::now() >= next_resolve {
                next_resolve = Instant::now() + RESOLVE_EVERY;
                self.resolve_absent()?;
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
                self.ownership.release(&partitions)?;
                let _ = reply.send(());
            }
            ToStore::Reposition { reply } => {
                self.sync_and_commit()?;
                let starts = self.patiently(|ownership| ownership.reposition(now_ms()))?;
                let _ = reply.send(starts);
            }
        }
        Ok(())
    }

    fn pack(&mut self, lane: LaneId, mut block: RowBlock) -> Result<(), StoreError> {
        let frame = if block.rows > 0 {
            self.compressor
                .compress(&block.bytes)
                .map_err(StoreError::Compress)?
        } else {
            Vec::new()
        };
        block.minutes.merge();
        let packed = PackedBlock {
            first: block.first,
            next: block.next,
            rows: block.rows,
            raw_len: block.bytes.len() as u32,
            frame,
            minutes: block.minutes,
            appended_ms: now_ms(),
            quarantined: block.quarantined,
        };
        self.packed_bytes += packed.frame.len();
        self.packed.push((lane, packed));
        Ok(())
    }

    /// Appends what is packed.
    fn append(&mut self) -> Result<(), StoreError> {
        self.make_room()?;
        let packed = std::mem::take(&mut self.packed);
        self.packed_bytes = 0;
        let stored = self.queue.append_all(&packed)?;
        for ((_, block), _) in packed.iter().zip(stored).filter(|(_, stored)| *stored) {
            self.unsynced = true;
            self.unsynced_bytes += block.frame.len() as u64;
            self.uncommitted_bytes += block.frame.len() as u64;
            self.stats.rows_appended.inc_by(u64::from(block.rows));
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
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if self.retry_commit_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        match self.ownership.commit()? {
            Ok(_) => {
                self.uncommitted_bytes = 0;
                self.retry_commit_at = None;
            }
            Err(e) => {
                self.stats.commits_failed.inc();
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

    fn assign(&mut self, partitions: &[i32]) -> Result<Vec<Start>, StoreError> {
        let mut starts = self.patiently(|ownership| ownership.assign(partitions, now_ms()))?;
        starts.retain(|s| partitions.contains(&s.partition));
        Ok(starts)
    }

    /// Asks again while Kafka does not answer.
    fn patiently<T>(
        &mut self,
        mut ask: impl FnMut(&mut Ownership<'a, Queue, G>) -> Result<T, AssignError>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + ASSIGN_PATIENCE;
        loop {
            match ask(&mut self.ownership) {
                Ok(answer) => return Ok(answer),
                Err(AssignError::Group(e))
                    if Instant::now() < deadline && !self.shutdown.requested() =>
                {
                    log::warn!("{e}; trying again");
                    self.shutdown.wait(COMMIT_RETRY);
                }
                Err(AssignError::Queue(e)) => return Err(e.into()),
                Err(e) => return Err(StoreError::Assign(e)),
            }
        }
    }

    fn resolve_absent(&mut self) -> Result<(), StoreError> {
        match self.ownership.topic_was_recreated() {
            Ok(true) => {
                log::error!(
                    "the topic was deleted and created again; its partitions are read anew"
                );
                self.feedback.reposition.store(true, Ordering::Relaxed);
            }
            Ok(false) => {}
            Err(e) => log::debug!("cannot ask for the topic's id: {e}"),
        }
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
        let quarantine = self.disk.quarantine_exceeded(self.queue);
        // Only a person can end it.
        let level = match quarantine {
            Some(_) => log::Level::Error,
            None => log::Level::Warn,
        };
        let reason = if quarantine.is_some() {
            quarantine
        } else if self.uncommitted_bytes >= TAIL_BYTES {
            Some(format!(
                "{} MiB wait for a commit that Kafka does not acknowledge",
                self.uncommitted_bytes >> 20
            ))
        } else {
            self.disk.exceeded(self.queue)
        };
        let was = self
            .feedback
            .pause
            .swap(reason.is_some(), Ordering::Relaxed);
        self.stats.paused.set(i64::from(reason.is_some()));
        match (was, reason) {
            (false, Some(why)) => log::log!(level, "reading from Kafka pauses: {why}"),
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;
    use crate::ownership::{Committed, GroupError, OffsetCommit, StartAt};
    use crate::queue::{DataDir, Which};
    use crate::runtime::config::QuarantineFull;
    use crossbeam_channel::bounded;

    /// A coordinator that notes for each commit whether all appends were synced by then, and whether
    /// it came when a revocation was answered.
    struct Watcher<'a> {
        queue: &'a Queue,
        commits: RefCell<Vec<(i64, bool)>>,
        refuse: RefCell<bool>,
        let_go: RefCell<Option<Receiver<()>>>,
        late: RefCell<Vec<i64>>,
    }

    impl Group for Watcher<'_> {
        fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
            if *self.refuse.borrow() {
                return Err(CommitError::Unanswered("refused".into()));
            }
            let answered = self.let_go.borrow().as_ref().is_some_and(|a| !a.is_empty());
            if answered {
                self.late
                    .borrow_mut()
                    .extend(offsets.iter().map(|o| o.offset));
            }
            let mut commits = self.commits.borrow_mut();
            commits.extend(offsets.iter().map(|o| (o.offset, self.queue.is_synced())));
            Ok(())
        }

        fn committed(&self, _: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
            Ok(BTreeMap::new())
        }

        fn topic_id(&self) -> Result<Option<String>, GroupError> {
            Ok(None)
        }

        fn watermarks(&self, _: i32) -> Result<(i64, i64), GroupError> {
            Ok((0, 1000))
        }
    }

    fn with_store(f: impl FnOnce(&mut Store<'_, Watcher<'_>>, &Watcher<'_>, &Queue)) {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(DataDir::lock(dir.path()).unwrap()).unwrap();
        let group = Watcher {
            queue: &queue,
            commits: RefCell::default(),
            refuse: RefCell::default(),
            let_go: RefCell::default(),
            late: RefCell::default(),
        };
        let (feedback, shutdown, stats) = Default::default();
        let ownership = Ownership::new(&queue, &group, "t", StartAt::Earliest);
        let disk = DiskBound::new(dir.path().to_owned(), u64::MAX, 0);
        let mut store = Store::new(&queue, ownership, disk, &feedback, &shutdown, &stats).unwrap();
        f(&mut store, &group, &queue);
    }

    fn assign(store: &mut Store<'_, Watcher<'_>>) -> Start {
        let (reply, answer) = bounded(1);
        store
            .handle(ToStore::Assign {
                partitions: vec![0],
                reply,
            })
            .unwrap();
        answer.recv().unwrap()[0]
    }

    fn block(first: i64, rows: u32) -> RowBlock {
        RowBlock {
            first,
            next: first + i64::from(rows),
            rows,
            bytes: vec![7; 10 * rows as usize],
            minutes: (0..rows).collect(),
            quarantined: Vec::new(),
        }
    }

    fn bad_block(first: i64, messages: i64) -> RowBlock {
        let bad = |offset| Quarantined::of(offset, "no".into(), &[b'a'; 1000]);
        RowBlock {
            first,
            next: first + messages,
            quarantined: (first..first + messages).map(bad).collect(),
            ..RowBlock::default()
        }
    }

    fn bound_quarantine(store: &mut Store<'_, Watcher<'_>>, max: u64, full: QuarantineFull) {
        let dir = store.queue.dir().path().to_owned();
        store.disk = DiskBound::new(dir, u64::MAX, 0).with_quarantine(max, full);
    }

    #[test]
    fn a_full_quarantine_pauses_reading_until_there_is_room() {
        with_store(|store, _, queue| {
            bound_quarantine(store, 5000, QuarantineFull::Pause);
            let start = assign(store);
            store
                .handle(ToStore::Block(start.lane, bad_block(0, 8)))
                .unwrap();
            store.bound();
            assert!(store.feedback.pause.load(Ordering::Relaxed));
            assert_eq!(queue.quarantine_totals().entries, 8, "nothing is dropped");
            queue.drop_quarantined(Which::default()).unwrap();
            store.bound();
            assert!(!store.feedback.pause.load(Ordering::Relaxed));
        });
    }

    #[test]
    fn a_full_quarantine_drops_its_oldest_if_it_is_told_to() {
        with_store(|store, _, queue| {
            bound_quarantine(store, 10_000, QuarantineFull::DropOldest);
            let start = assign(store);
            for i in 0..4 {
                store
                    .handle(ToStore::Block(start.lane, bad_block(3 * i, 3)))
                    .unwrap();
            }
            store.bound();
            assert!(!store.feedback.pause.load(Ordering::Relaxed));
            let totals = queue.quarantine_totals();
            assert_eq!(totals.entries + totals.dropped, 12);
            assert!(totals.dropped > 0 && totals.bytes <= 10_000, "{totals:?}");
            let left: Vec<i64> = queue
                .quarantined()
                .map(|e| e.unwrap().message.offset)
                .collect();
            assert_eq!(left.last(), Some(&11), "the oldest went: {left:?}");
        });
    }

    #[test]
    fn a_commit_never_precedes_its_sync() {
        with_store(|store, group, queue| {
            let start = assign(store);
            store
                .handle(ToStore::Block(start.lane, block(0, 5)))
                .unwrap();
            store.append().unwrap();
            assert!(!queue.is_synced());
            store.sync_and_commit().unwrap();
            assert_eq!(*group.commits.borrow(), [(5, true)]);
        });
    }

    #[test]
    fn rows_are_eligible_only_once_their_commit_is_acknowledged() {
        with_store(|store, group, queue| {
            let start = assign(store);
            *group.refuse.borrow_mut() = true;
            store
                .handle(ToStore::Block(start.lane, block(0, 5)))
                .unwrap();
            store.sync_and_commit().unwrap();
            assert!(!queue.has_eligible());
            *group.refuse.borrow_mut() = false;
            store.retry_commit_at = None;
            store.sync_and_commit().unwrap();
            assert!(queue.has_eligible());
        });
    }

    #[test]
    fn a_revoked_partition_is_committed_first_and_takes_no_more_rows() {
        with_store(|store, group, queue| {
            let start = assign(store);
            store
                .handle(ToStore::Block(start.lane, block(0, 5)))
                .unwrap();
            let (reply, answer) = bounded(1);
            let revoke = ToStore::Revoke {
                partitions: vec![0],
                lost: false,
                reply,
            };
            store.handle(revoke).unwrap();
            answer.recv().unwrap();
            assert_eq!(*group.commits.borrow(), [(5, true)]);
            store
                .handle(ToStore::Block(start.lane, block(5, 5)))
                .unwrap();
            assert_eq!(queue.lane(start.lane).map(|l| l.rows), Some(5));
        });
    }

    /// With the answer the rebalance goes on and another instance may take the partition: a commit
    /// that comes later could cover what that one has read.
    #[test]
    fn no_commit_follows_the_answer_to_a_revocation() {
        with_store(|store, group, queue| {
            let start = assign(store);
            store
                .handle(ToStore::Block(start.lane, block(0, 5)))
                .unwrap();
            let (reply, answer) = bounded(1);
            *group.let_go.borrow_mut() = Some(answer);
            let revoke = ToStore::Revoke {
                partitions: vec![0],
                lost: false,
                reply,
            };
            store.handle(revoke).unwrap();
            store
                .handle(ToStore::Block(start.lane, block(5, 5)))
                .unwrap();
            store.sync_and_commit().unwrap();
            assert_eq!(*group.commits.borrow(), [(5, true)]);
            assert_eq!(*group.late.borrow(), Vec::<i64>::new());
            assert!(queue.has_eligible());
        });
    }

    #[test]
    fn a_lost_partition_is_not_committed() {
        with_store(|store, group, queue| {
            let start = assign(store);
            store
                .handle(ToStore::Block(start.lane, block(0, 5)))
                .unwrap();
            let (reply, _answer) = bounded(1);
            let revoke = ToStore::Revoke {
                partitions: vec![0],
                lost: true,
                reply,
            };
            store.handle(revoke).unwrap();
            store.sync_and_commit().unwrap();
            assert!(group.commits.borrow().is_empty());
            assert!(!queue.has_eligible());
        });
    }
}
