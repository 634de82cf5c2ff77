//! The queue, its offsets, batches and counts against a plain model, on a real sled, with a crash
//! between any two steps.
//!
//! The driver does what the program does, in its order: a commit after its sync, an attempt after its
//! mark. Kafka's offsets, ClickHouse and what another instance read survive a crash; the queue comes
//! back from a copy of its files as they were, in **any state since the last sync**, and the model
//! must have been in that state. In the end everything is resolved, committed and delivered: then each
//! row below the committed offsets is in ClickHouse once, or was read by the other instance, or lies
//! in quarantine; the counts say the same, and `verify` finds all of it whole.
//!
//! `PROPTEST_CASES=3000 cargo test --lib queue::tests::model` for longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::minutes::{DAY, Minutes};
use crate::record::Quarantined;
use crate::rows::rows;

const PARTITIONS: i32 = 2;

#[derive(Clone, Debug)]
enum Op {
    /// Takes a partition, as an assignment does: resolves its tails and reads on.
    Take(i32),
    /// Reads so many messages of a partition into one block.
    Append(i32, u8),
    Sync,
    /// Syncs and commits all that is held.
    Commit(Fate),
    /// Lets a partition go.
    LetGo(i32),
    /// Another instance reads so many messages of a partition that is not held, and commits.
    Other(i32, u8),
    Seal(u8),
    /// Sends what is sealed.
    Attempt(Answer),
    /// A person retries what was rejected.
    Retry,
    /// Sends delivered batches once more, or forgets them.
    Redeliver,
    Release,
    /// Decodes what is in quarantine again.
    RetryQuarantined,
    /// What was written reaches the files without a sync.
    Spill,
    /// The process dies.
    Crash,
    /// It stops in good order and starts again.
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    AnswerLost,
    RequestLost,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Stored,
    /// And the batch is kept.
    Delivered,
    /// The process dies after the acknowledgement is durable and before the blocks go.
    StoredThenCrash,
    StoredAnswerLost,
    Refused,
    TooLarge,
    Rejected,
}

fn op() -> impl Strategy<Value = Op> {
    let partition = 0..PARTITIONS;
    let fate = prop_oneof![
        4 => Just(Fate::Answered),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::RequestLost),
    ];
    let answer = prop_oneof![
        4 => Just(Answer::Stored),
        2 => Just(Answer::Delivered),
        1 => Just(Answer::StoredThenCrash),
        2 => Just(Answer::StoredAnswerLost),
        1 => Just(Answer::Refused),
        1 => Just(Answer::TooLarge),
        1 => Just(Answer::Rejected),
    ];
    prop_oneof![
        4 => partition.clone().prop_map(Op::Take),
        10 => (partition.clone(), 1..9u8).prop_map(|(p, n)| Op::Append(p, n)),
        3 => Just(Op::Sync),
        6 => fate.prop_map(Op::Commit),
        2 => partition.clone().prop_map(Op::LetGo),
        2 => (partition, 1..20u8).prop_map(|(p, n)| Op::Other(p, n)),
        4 => (1..40u8).prop_map(Op::Seal),
        5 => answer.prop_map(Op::Attempt),
        2 => Just(Op::Retry),
        1 => Just(Op::Redeliver),
        1 => Just(Op::Release),
        1 => Just(Op::RetryQuarantined),
        2 => Just(Op::Spill),
        3 => Just(Op::Crash),
        1 => Just(Op::Restart),
    ]
}

/// A message: partition and offset.
type Place = (i32, i64);

/// Whether a message cannot become a row at first.
fn is_bad(offset: i64) -> bool {
    offset % 11 == 5
}

/// The minute of a message's own time: most of about now, some of 1970.
fn minute(offset: i64) -> u32 {
    static NOW: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let now = *NOW.get_or_init(|| (now_ms() / 60_000) as u32);
    match offset % 5 {
        0 => (offset % 3000) as u32,
        _ => now - (offset % 3000) as u32,
    }
}

/// A row that tells its place.
fn write_row((partition, offset): Place, out: &mut Vec<u8>) -> u32 {
    let second = minute(offset) * 60;
    out.extend_from_slice(&second.to_le_bytes());
    out.extend_from_slice(&(partition as u64).to_le_bytes());
    out.extend_from_slice(&(offset as u64).to_le_bytes());
    out.extend_from_slice(&[0; 14]);
    second
}

fn read_rows(frame: &[u8]) -> Vec<Place> {
    let raw = zstd::decode_all(frame).unwrap();
    let place = |row: crate::rows::Row<'_>| (row.resource_id as i32, row.bytes_sent as i64);
    rows(&raw).map(|row| place(row.unwrap())).collect()
}

/// What a queue holds, plainly. Of a batch that is acknowledged nothing is left.
#[derive(Clone, Debug, Default, PartialEq)]
struct Plain {
    lanes: BTreeMap<u32, PlainLane>,
    batches: BTreeMap<u64, PlainBatch>,
    quarantine: BTreeSet<(u32, i64)>,
    /// Rows by day of their time: consumed and stored.
    consumed: BTreeMap<u32, i64>,
    stored: BTreeMap<u32, i64>,
    /// Where reading goes on at the least, beyond the lanes that are gone.
    kept: BTreeMap<i32, i64>,
}

#[derive(Clone, Debug, PartialEq)]
struct PlainLane {
    partition: i32,
    open: bool,
    sealed: i64,
    eligible: i64,
    next: i64,
    /// Blocks by their first offset: the end, and the rows.
    blocks: BTreeMap<i64, (i64, Vec<Place>)>,
}

#[derive(Clone, Debug, PartialEq)]
struct PlainBatch {
    /// Lane, from, to.
    ranges: Vec<(u32, i64, i64)>,
    state: &'static str,
    may_be_stored: bool,
    /// Its rows are stored by the counts.
    counted: bool,
}

impl Plain {
    fn of(queue: &Queue) -> Plain {
        let mut plain = Plain::default();
        let summary = queue.summary().unwrap();
        for lane in summary.lanes {
            plain.lanes.insert(
                lane.id.0,
                PlainLane {
                    partition: lane.partition,
                    open: lane.state == LaneState::Open,
                    sealed: lane.sealed,
                    eligible: lane.eligible,
                    next: lane.next,
                    blocks: BTreeMap::new(),
                },
            );
        }
        for batch in summary.batches {
            let state = match batch.state {
                BatchState::Sealed => "sealed",
                BatchState::Acked => "acked",
                BatchState::Rejected { .. } => "rejected",
                BatchState::Delivered { .. } => "delivered",
            };
            let range = |r: &Range| (r.lane.0, r.from, r.to);
            plain.batches.insert(
                batch.seq,
                PlainBatch {
                    ranges: batch.ranges.iter().map(range).collect(),
                    state,
                    may_be_stored: batch.may_be_stored,
                    counted: batch.counted,
                },
            );
        }
        for block in queue.blocks() {
            let (header, frame) = block.unwrap();
            // Of a delivered batch the lane may be gone.
            if let Some(lane) = plain.lanes.get_mut(&header.lane.0) {
                let rows = read_rows(&frame);
                lane.blocks.insert(header.first, (header.next, rows));
            }
        }
        for entry in queue.quarantined() {
            let entry = entry.unwrap();
            plain
                .quarantine
                .insert((entry.lane.0, entry.message.offset));
        }
        for partition in 0..PARTITIONS {
            let next = queue.eligible_next("t", partition).unwrap();
            plain.kept.extend(next.map(|n| (partition, n)));
        }
        plain
    }

    /// With the counts, whose reading writes down what is not counted yet.
    fn with_counts(queue: &Queue) -> Plain {
        let mut plain = Plain::of(queue);
        for c in queue.counts(0..1 << 33, 0).unwrap().spans {
            let day = c.start / 60 / DAY;
            *plain.consumed.entry(day).or_default() += c.consumed;
            *plain.stored.entry(day).or_default() += c.stored;
            assert_eq!(c.lost, 0);
        }
        for counts in [&mut plain.consumed, &mut plain.stored] {
            counts.retain(|_, rows| *rows != 0);
        }
        plain
    }

    fn without_counts(&self) -> Plain {
        Plain {
            consumed: BTreeMap::new(),
            stored: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// As a start leaves it.
    fn reopened(&self) -> Plain {
        let mut plain = self.clone();
        plain.lanes.values_mut().for_each(|l| l.open = false);
        plain.forget_spent();
        plain
    }

    fn forget_spent(&mut self) {
        let batches = &self.batches;
        self.lanes.retain(|id, lane| {
            let delivered = |first: i64| {
                let covers = |r: &(u32, i64, i64)| r.0 == *id && (r.1..r.2).contains(&first);
                let of = |b: &&PlainBatch| b.ranges.iter().any(covers);
                batches
                    .values()
                    .find(of)
                    .is_some_and(|b| b.state == "delivered")
            };
            let empty = lane.blocks.keys().all(|first| delivered(*first));
            lane.open || lane.next > lane.eligible || !empty
        });
    }

    fn held(&self, partition: i32) -> Option<u32> {
        let of = |(id, l): (&u32, &PlainLane)| (l.open && l.partition == partition).then_some(*id);
        self.lanes.iter().find_map(of)
    }

    fn count(counts: &mut BTreeMap<u32, i64>, rows: &[Place], sign: i64) {
        for (_, offset) in rows {
            let day = counts.entry(minute(*offset) / DAY).or_default();
            *day += sign;
        }
        counts.retain(|_, rows| *rows != 0);
    }

    /// Lanes whose offsets are ours alone do not count.
    fn raise(&mut self, id: u32) {
        let lane = &self.lanes[&id];
        if lane.partition >= 0 {
            let kept = self.kept.entry(lane.partition).or_insert(i64::MIN);
            *kept = lane.eligible.max(*kept);
        }
    }

    /// The rows of a batch, in whatever order.
    fn rows_of(&self, batch: &PlainBatch) -> Vec<Place> {
        let mut all = Vec::new();
        for (lane, from, to) in &batch.ranges {
            let blocks = &self.lanes[lane].blocks;
            all.extend(blocks.range(from..to).flat_map(|(_, b)| b.1.clone()));
        }
        all
    }
}

struct World {
    dir: tempfile::TempDir,
    queue: Option<Queue>,
    /// What the queue must hold now, and what it may hold after a crash: every state since the last
    /// sync.
    now: Plain,
    since_sync: Vec<Plain>,
    /// Kafka: committed offsets, and how far the last of our own commits went.
    committed: BTreeMap<i32, i64>,
    ours: BTreeMap<i32, i64>,
    /// What the other instance read.
    others: BTreeSet<Place>,
    /// ClickHouse: rows by token.
    clickhouse: BTreeMap<String, BTreeSet<Place>>,
    clock: u64,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(DataDir::lock(dir.path()).unwrap()).unwrap();
        World {
            dir,
            queue: Some(queue),
            now: Plain::default(),
            since_sync: vec![Plain::default()],
            committed: BTreeMap::new(),
            ours: BTreeMap::new(),
            others: BTreeSet::new(),
            clickhouse: BTreeMap::new(),
            clock: 1,
        }
    }

    fn q(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    /// The queue and the model made a step.
    fn stepped(&mut self) {
        self.now.forget_spent();
        assert_eq!(Plain::of(self.q()), self.now.without_counts());
        self.since_sync.push(self.now.clone());
    }

    /// A step that ended with a sync.
    fn synced(&mut self) {
        self.stepped();
        self.since_sync = vec![self.now.clone()];
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Take(partition) => self.take(partition),
            Op::Append(partition, messages) => self.append(partition, messages.into()),
            Op::Sync => {
                self.q().sync().unwrap();
                self.synced();
            }
            Op::Commit(fate) => self.commit(fate),
            Op::LetGo(partition) => {
                if let Some(id) = self.now.held(partition) {
                    self.q().end_lane(LaneId(id)).unwrap();
                    self.now.lanes.get_mut(&id).unwrap().open = false;
                    self.stepped();
                }
            }
            Op::Other(partition, messages) => {
                if self.now.held(partition).is_none() {
                    let at = self.committed.entry(partition).or_insert(0);
                    let end = *at + i64::from(messages);
                    self.others.extend((*at..end).map(|o| (partition, o)));
                    *at = end;
                }
            }
            Op::Seal(rows) => self.seal(rows.into()),
            Op::Attempt(answer) => self.attempt(answer),
            Op::Retry => {
                let of = |b: &&PlainBatch| b.state == "rejected";
                let rejected = self
                    .now
                    .batches
                    .iter()
                    .find(|(_, b)| of(b))
                    .map(|(s, _)| *s);
                if let Some(seq) = rejected {
                    self.q().retry_batch(seq, 1).unwrap();
                    self.now.batches.get_mut(&seq).unwrap().state = "sealed";
                    self.synced();
                }
            }
            Op::Redeliver => self.redeliver(),
            Op::Release => {
                self.q()
                    .release_delivered(Duration::ZERO, u64::MAX)
                    .unwrap();
                self.now.batches.retain(|_, b| b.state != "delivered");
                let gone = self.now.batches.clone();
                for (id, lane) in &mut self.now.lanes {
                    let in_batch = |first: i64| {
                        let all = gone.values().flat_map(|b| &b.ranges);
                        all.into_iter()
                            .any(|r| r.0 == *id && (r.1..r.2).contains(&first))
                    };
                    let sealed = lane.sealed;
                    lane.blocks
                        .retain(|first, _| *first >= sealed || in_batch(*first));
                }
                // Its last batch is gone without a sync, but each was acknowledged with one.
                self.stepped();
            }
            Op::RetryQuarantined => self.retry_quarantined(),
            Op::Spill => drop(self.q().db.flush().unwrap()),
            Op::Crash => self.crash(),
            Op::Restart => {
                self.q().sync().unwrap();
                self.since_sync = vec![self.now.clone()];
                self.crash();
            }
        }
    }

    fn take(&mut self, partition: i32) {
        if self.now.held(partition).is_some() {
            return;
        }
        self.resolve(partition);
        let next = self.q().eligible_next("t", partition).unwrap();
        let start = next
            .max(self.committed.get(&partition).copied())
            .unwrap_or(0);
        let id = self.q().open_lane("t", partition, start).unwrap();
        let lane = PlainLane {
            partition,
            open: true,
            sealed: start,
            eligible: start,
            next: start,
            blocks: BTreeMap::new(),
        };
        assert!(
            self.now.lanes.insert(id.0, lane).is_none(),
            "a lane's number twice"
        );
        self.now.raise(id.0);
        self.stepped();
    }

    /// What our own last commit covers is eligible, what lies above is dropped: it is read again, by
    /// us or by the other one.
    fn resolve(&mut self, partition: i32) {
        for tail in self.q().tails() {
            if tail.partition != partition {
                continue;
            }
            let ours = self.ours.get(&partition).copied().unwrap_or(0);
            let eligible = ours.clamp(tail.eligible, tail.next);
            let settled = self.q().settle(tail.id, eligible, eligible..tail.next);
            assert!(settled.unwrap(), "a commit ends where a block does");
            let id = tail.id.0;
            let lane = self.now.lanes.get_mut(&id).unwrap();
            (lane.eligible, lane.next) = (eligible, eligible);
            for (_, (_, rows)) in lane.blocks.split_off(&eligible) {
                Plain::count(&mut self.now.consumed, &rows, -1);
            }
            self.now
                .quarantine
                .retain(|(lane, offset)| *lane != id || *offset < eligible);
            self.now.raise(id);
            self.stepped();
        }
    }

    fn append(&mut self, partition: i32, messages: i64) {
        let Some(id) = self.now.held(partition) else {
            return;
        };
        let first = self.now.lanes[&id].next;
        let next = first + messages;
        let (mut raw, mut minutes, mut rows) = (Vec::new(), Minutes::default(), Vec::new());
        let mut bad = Vec::new();
        for offset in first..next {
            if is_bad(offset) {
                bad.push(Quarantined::of(offset, "no".into(), b"text"));
            } else {
                minutes.count(write_row((partition, offset), &mut raw));
                rows.push((partition, offset));
            }
        }
        minutes.merge();
        self.clock += 1;
        let block = PackedBlock {
            first,
            next,
            rows: rows.len() as u32,
            raw_len: raw.len() as u32,
            frame: zstd::bulk::compress(&raw, 1).unwrap(),
            minutes,
            appended_ms: self.clock,
            quarantined: bad,
        };
        assert!(self.q().append(LaneId(id), &block).unwrap());
        Plain::count(&mut self.now.consumed, &rows, 1);
        let bad = block.quarantined.iter().map(|q| (id, q.offset));
        self.now.quarantine.extend(bad);
        let lane = self.now.lanes.get_mut(&id).unwrap();
        lane.next = next;
        if !rows.is_empty() {
            lane.blocks.insert(first, (next, rows));
        }
        self.stepped();
    }

    fn commit(&mut self, fate: Fate) {
        self.q().sync().unwrap();
        self.synced();
        let held: Vec<u32> = (0..PARTITIONS).filter_map(|p| self.now.held(p)).collect();
        for id in held {
            let lane = self.now.lanes.get_mut(&id).unwrap();
            if matches!(fate, Fate::RequestLost) || lane.next == lane.eligible {
                continue;
            }
            let before = self.committed.insert(lane.partition, lane.next);
            assert!(before.is_none_or(|b| b <= lane.next), "a commit set back");
            self.ours.insert(lane.partition, lane.next);
            if matches!(fate, Fate::Answered) {
                lane.eligible = lane.next;
                let next = lane.next;
                self.now.raise(id);
                self.q().acknowledge(LaneId(id), next).unwrap();
                self.stepped();
            }
        }
    }

    fn seal(&mut self, most: u64) {
        if self.q().sealed_batch().is_some() {
            return;
        }
        let bounds = SealBounds {
            rows: most,
            bytes: u64::MAX,
        };
        let Some(batch) = self.q().seal(bounds, 1, |_| Vec::new()).unwrap() else {
            let left = self.now.lanes.values().any(|l| {
                l.blocks
                    .range(l.sealed..)
                    .any(|(_, (next, _))| *next <= l.eligible)
            });
            assert!(!left, "something is eligible");
            return;
        };
        let blocks: u32 = batch.ranges.iter().map(|r| r.blocks).sum();
        assert!(batch.rows <= most || blocks == 1, "beyond its bound");
        for range in &batch.ranges {
            let lane = self.now.lanes.get_mut(&range.lane.0).unwrap();
            assert_eq!(range.from, lane.sealed, "where the last batch ended");
            assert!(range.to <= lane.eligible, "only what is eligible");
            lane.sealed = range.to;
        }
        let range = |r: &Range| (r.lane.0, r.from, r.to);
        let plain = PlainBatch {
            ranges: batch.ranges.iter().map(range).collect(),
            state: "sealed",
            may_be_stored: false,
            counted: false,
        };
        assert!(self.now.batches.insert(batch.seq, plain).is_none());
        self.stepped();
    }

    fn attempt(&mut self, answer: Answer) {
        let Some(mut batch) = self.q().sealed_batch() else {
            return;
        };
        let before = batch.may_be_stored;
        batch.may_be_stored = true;
        batch.attempts += 1;
        self.q().update_batch(&batch).unwrap();
        self.q().sync().unwrap();
        self.now.batches.get_mut(&batch.seq).unwrap().may_be_stored = true;
        self.synced();
        let stores = matches!(
            answer,
            Answer::Stored | Answer::Delivered | Answer::StoredThenCrash | Answer::StoredAnswerLost
        );
        if stores {
            let mut body = self.q().body(&batch);
            let frames = std::iter::from_fn(|| body.next_frame().unwrap());
            let rows: Vec<Place> = frames.flat_map(|frame| read_rows(&frame)).collect();
            let set: BTreeSet<Place> = rows.iter().copied().collect();
            assert_eq!(set.len(), rows.len(), "a row twice in a batch");
            let known = self.clickhouse.insert(batch.token.clone(), set.clone());
            assert!(known.is_none_or(|k| k == set), "a token for other rows");
        }
        match answer {
            Answer::Stored | Answer::StoredThenCrash => {
                if matches!(answer, Answer::Stored) {
                    self.q().ack(&batch).unwrap();
                } else {
                    let mut acked = batch.clone();
                    acked.state = BatchState::Acked;
                    self.q().take_off(&acked).unwrap();
                    self.q().sync().unwrap();
                }
                self.now_stored(batch.seq);
                let gone = self.now.batches.remove(&batch.seq).unwrap();
                for (lane, from, to) in gone.ranges {
                    // Of one that was sent once more the lane may be gone.
                    if let Some(lane) = self.now.lanes.get_mut(&lane) {
                        lane.blocks.retain(|first, _| !(from..to).contains(first));
                    }
                }
                if matches!(answer, Answer::Stored) {
                    self.synced();
                } else {
                    self.now.forget_spent();
                    self.since_sync = vec![self.now.clone()];
                    self.crash();
                }
            }
            Answer::Delivered => {
                self.q().deliver(&batch, 1).unwrap();
                self.now_stored(batch.seq);
                self.now.batches.get_mut(&batch.seq).unwrap().state = "delivered";
                self.synced();
                // The lanes of what is kept go with the next thing that looks.
            }
            Answer::StoredAnswerLost => {}
            Answer::Refused | Answer::TooLarge => {
                batch.may_be_stored = before;
                self.q().update_batch(&batch).unwrap();
                self.now.batches.get_mut(&batch.seq).unwrap().may_be_stored = before;
                self.stepped();
                if matches!(answer, Answer::TooLarge) {
                    let newest = self.now.batches.keys().next_back() == Some(&batch.seq);
                    let unsealed = self.q().unseal(&batch).unwrap();
                    assert!(!unsealed || !before, "regrouped what may be stored");
                    assert!(unsealed || before || !newest, "not given back");
                    if unsealed {
                        let back = self.now.batches.remove(&batch.seq).unwrap();
                        for (lane, from, _) in back.ranges {
                            self.now.lanes.get_mut(&lane).unwrap().sealed = from;
                        }
                        self.stepped();
                    }
                }
            }
            Answer::Rejected => {
                batch.state = BatchState::Rejected {
                    code: 117,
                    words: "no".into(),
                };
                batch.may_be_stored = before;
                self.q().update_batch(&batch).unwrap();
                self.q().sync().unwrap();
                let plain = self.now.batches.get_mut(&batch.seq).unwrap();
                (plain.state, plain.may_be_stored) = ("rejected", before);
                self.synced();
            }
        }
    }

    /// Counts a batch as stored, unless it is.
    fn now_stored(&mut self, seq: u64) {
        let batch = self.now.batches[&seq].clone();
        if !batch.counted {
            let rows = self.now.rows_of(&batch);
            Plain::count(&mut self.now.stored, &rows, 1);
        }
        self.now.batches.get_mut(&seq).unwrap().counted = true;
    }

    fn redeliver(&mut self) {
        let all = self.q().summary().unwrap().batches;
        let kept = |b: &Batch| matches!(b.state, BatchState::Delivered { .. });
        if let Some(batch) = all.into_iter().find(kept) {
            self.q().redeliver(&batch, 1).unwrap();
            let plain = self.now.batches.get_mut(&batch.seq).unwrap();
            plain.state = "sealed";
            self.synced();
        }
    }

    fn retry_quarantined(&mut self) {
        let entries: Vec<_> = self.q().quarantined().map(Result::unwrap).collect();
        // The messages' own bytes say nothing, so each is retried by its place.
        for entry in entries {
            let place = (entry.partition, entry.message.offset);
            let only = Which {
                only: Some(place),
                after: None,
            };
            self.clock += 1;
            let retried = self
                .q()
                .retry_quarantined(only, self.clock, |_, out| Ok(write_row(place, out)));
            for (entry, result) in retried.unwrap().entries {
                let key = (entry.lane.0, entry.message.offset);
                let eligible = self
                    .now
                    .lanes
                    .get(&key.0)
                    .is_none_or(|l| key.1 < l.eligible);
                assert_eq!(result == Retried::Row, eligible, "{key:?}");
                if eligible {
                    assert!(self.now.quarantine.remove(&key));
                }
            }
            let known: BTreeSet<u32> = self.now.lanes.keys().copied().collect();
            for lane in self.q().summary().unwrap().lanes {
                if !known.contains(&lane.id.0) {
                    assert_eq!((lane.topic.as_str(), lane.rows), (Lane::RETRIED, 1));
                    Plain::count(&mut self.now.consumed, &[place], 1);
                    let blocks = BTreeMap::from([(0, (1, vec![place]))]);
                    let plain = PlainLane {
                        partition: -1,
                        open: false,
                        sealed: 0,
                        eligible: 1,
                        next: 1,
                        blocks,
                    };
                    self.now.lanes.insert(lane.id.0, plain);
                }
            }
            self.stepped();
        }
    }

    /// The process dies: what is in its files at this moment is all that is left.
    fn crash(&mut self) {
        let left = tempfile::tempdir().unwrap();
        copy(self.dir.path(), left.path());
        self.queue = None;
        self.dir = left;
        self.queue = Some(Queue::open(DataDir::lock(self.dir.path()).unwrap()).unwrap());
        let found = Plain::with_counts(self.q());
        let state = self
            .since_sync
            .iter()
            .rev()
            .map(Plain::reopened)
            .find(|s| *s == found);
        let Some(state) = state else {
            let last = self.since_sync.last().map(Plain::reopened);
            panic!("a state that never was: {found:#?}\nthe last one: {last:#?}");
        };
        self.now = state;
        // Opening ends with a sync.
        self.since_sync = vec![self.now.clone()];
        self.assert_whole();
    }

    fn assert_whole(&self) {
        let found = verify(&Trees::of(self.q()), false, &|| false).unwrap();
        assert_eq!(found.damage, []);
    }

    /// Everything is resolved, committed and delivered, and then compared.
    fn settle_down(&mut self) {
        self.step(&Op::Crash);
        for partition in 0..PARTITIONS {
            self.step(&Op::Take(partition));
            self.step(&Op::Append(partition, 3));
        }
        self.step(&Op::Commit(Fate::Answered));
        while self.q().sealed_batch().is_some() || self.q().has_eligible() {
            self.step(&Op::Seal(100));
            self.step(&Op::Attempt(Answer::Stored));
        }
        while self.now.batches.values().any(|b| b.state == "rejected") {
            self.step(&Op::Retry);
            self.step(&Op::Attempt(Answer::Stored));
        }
        self.step(&Op::Release);
        self.step(&Op::Restart);
        assert_eq!(self.q().summary().unwrap().rows, 0, "nothing is left");
        let mut stored: BTreeMap<Place, u32> = BTreeMap::new();
        for place in self.clickhouse.values().flatten() {
            *stored.entry(*place).or_default() += 1;
        }
        let quarantined: BTreeSet<Place> = self
            .q()
            .quarantined()
            .map(|e| e.map(|e| (e.partition, e.message.offset)).unwrap())
            .collect();
        let mut ours = 0;
        for (partition, committed) in &self.committed {
            for offset in 0..*committed {
                let place = (*partition, offset);
                let times = stored.remove(&place).unwrap_or(0);
                ours += i64::from(times);
                let elsewhere = u32::from(self.others.contains(&place))
                    + u32::from(quarantined.contains(&place));
                assert_eq!(times + elsewhere, 1, "{place:?} stored {times} times");
            }
        }
        assert_eq!(stored, BTreeMap::new(), "never committed");
        let counted = Plain::with_counts(self.q());
        assert_eq!(counted.consumed, counted.stored);
        assert_eq!(counted.stored.values().sum::<i64>(), ours);
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else if entry.file_name() != LOCK_FILE {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions/queue.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_queue_is_what_the_plain_model_says_whenever_it_dies(
        ops in prop::collection::vec(op(), 0..70)
    ) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
        world.settle_down();
    }
}
