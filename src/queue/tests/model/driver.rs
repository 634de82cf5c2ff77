//! What the program does with its queue, on the real one and on the model at once; and the world that
//! outlives a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use super::plain::{Place, Plain, PlainBatch, PlainLane, is_bad, write_row};
use super::{Answer, Fate, Op, PARTITIONS};
use crate::privacy::{Policy, Quarantined};
use crate::queue::{LaneId, *};
use crate::row::minutes::Minutes;

/// A frame and zeros, of which all bytes are kept.
const KEPT: [u8; 16] = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) queue: Option<Queue>,
    /// What the queue must hold now, and what it may hold after a crash: every state since the last
    /// sync.
    pub(super) now: Plain,
    pub(super) since_sync: Vec<Plain>,
    /// Kafka: committed offsets, and how far the last of our own commits went.
    pub(super) committed: BTreeMap<i32, i64>,
    pub(super) ours: BTreeMap<i32, i64>,
    /// What the other instance read.
    pub(super) others: BTreeSet<Place>,
    /// ClickHouse: rows by token.
    pub(super) clickhouse: BTreeMap<String, BTreeSet<Place>>,
    pub(super) clock: u64,
}

impl World {
    pub(super) fn new() -> World {
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

    pub(super) fn q(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    /// The queue and the model made a step.
    pub(super) fn stepped(&mut self) {
        self.now.forget_spent();
        assert_eq!(Plain::of(self.q()), self.now.without_counts());
        self.since_sync.push(self.now.clone());
    }

    /// A step that ended with a sync.
    pub(super) fn synced(&mut self) {
        self.stepped();
        self.since_sync = vec![self.now.clone()];
    }

    pub(super) fn step(&mut self, op: &Op) {
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
            Op::Attempt(answer) => {
                self.seal(20);
                self.attempt(answer);
            }
            Op::Retry => {
                let of = |b: &&PlainBatch| b.state == "rejected";
                let rejected = self
                    .now
                    .batches
                    .iter()
                    .find(|(_, b)| of(b))
                    .map(|(s, _)| *s);
                if let Some(seq) = rejected {
                    self.q().retry_batch(seq).unwrap();
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
            Op::Spill => drop(self.q().trees().unwrap().db.flush().unwrap()),
            Op::Renew => assert!(self.q().renew_after(0).unwrap()),
            Op::Compact => assert!(self.q().compact().unwrap()),
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
                bad.push(Quarantined::of(
                    offset,
                    "no".into(),
                    &KEPT,
                    &Policy::default(),
                ));
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
            kafka_ms: 0,
            quarantined: bad,
            last: None,
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

    /// The process dies: what is in its files at this moment is all that is left.
    pub(super) fn crash(&mut self) {
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
        let found = verify(&self.q().trees().unwrap(), false, &|_| false).unwrap();
        assert_eq!(found.damage, []);
    }

    /// Everything is resolved, committed and delivered, and then compared.
    pub(super) fn settle_down(&mut self) {
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
        self.q().assert_no_stray_keys();
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
