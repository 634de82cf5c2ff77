//! The rules of ownership against random schedules: several instances, a coordinator, a crash or a
//! lost answer at every step, and ClickHouse as a multiset.
//!
//! The coordinator does what the real one does: it checks member and generation of a commit, not who
//! owns the partition; a member that stops answering is thrown out and does not know; an answer can
//! get lost after the commit was applied, or the request before. A crash forgets what was not synced,
//! up to any point since the last sync. Retention may remove what nobody has read. Kafka's log may be
//! cut, as where a broker lost power, and grow again with other messages at the same offsets.
//!
//! After each schedule everyone comes back, reads, commits and flushes in peace. Then every message
//! is in ClickHouse once, or in a recorded lost range, or in rows held for a person, or was cut off the
//! log; and **at no time
//! is one there twice**.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::queue::{Lane, LaneState, LostRange, Runs, Trail};

const INSTANCES: usize = 3;
const TOPIC: &str = "t";

#[derive(Clone, Debug)]
enum Op {
    /// Messages arrive.
    Produce(u8),
    /// The group gives the partition to an instance that answers.
    Give(usize),
    /// The group rebalances, and the owner keeps the partition.
    Keep,
    /// The owner, or who thinks so, reads up to so many messages into one block.
    Read(usize, u8),
    /// It syncs and commits; what becomes of the commit.
    Commit(usize, Fate),
    /// It sends what is eligible.
    Flush(usize),
    /// It dies; so many of the writes since its last sync survive.
    Crash(usize, u8),
    /// It starts again.
    Start(usize),
    /// It stops without dying (SIGSTOP), and the group throws it out.
    Freeze(usize),
    /// It goes on, not knowing; the group tells it only when it polls.
    Thaw(usize),
    /// It polls and learns that it lost its partition.
    Notice(usize),
    /// It looks at tails of partitions it does not hold.
    Resolve(usize),
    /// Kafka removes so many of the oldest messages.
    Retention(u8),
    /// Another leader is chosen, which lacks so many of the newest messages.
    Elect(u8),
    /// The commit's metadata is lost, as a foreign tool would lose it.
    WipeNote,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    AnswerLost,
    RequestLost,
}

fn op() -> impl Strategy<Value = Op> {
    let who = 0..INSTANCES;
    let fate = prop_oneof![
        3 => Just(Fate::Answered),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::RequestLost),
    ];
    prop_oneof![
        4 => (1..8u8).prop_map(Op::Produce),
        4 => who.clone().prop_map(Op::Give),
        1 => Just(Op::Keep),
        8 => (who.clone(), 1..6u8).prop_map(|(i, n)| Op::Read(i, n)),
        8 => (who.clone(), fate).prop_map(|(i, f)| Op::Commit(i, f)),
        4 => who.clone().prop_map(Op::Flush),
        3 => (who.clone(), any::<u8>()).prop_map(|(i, n)| Op::Crash(i, n)),
        4 => who.clone().prop_map(Op::Start),
        2 => who.clone().prop_map(Op::Freeze),
        2 => who.clone().prop_map(Op::Thaw),
        2 => who.clone().prop_map(Op::Notice),
        2 => who.prop_map(Op::Resolve),
        1 => (1..6u8).prop_map(Op::Retention),
        1 => Just(Op::Elect(0)),
        2 => (1..12u8).prop_map(Op::Elect),
        1 => Just(Op::WipeNote),
    ]
}

/// Kafka: one partition and the group's coordinator.
#[derive(Default)]
struct Broker {
    low: i64,
    /// Leader epoch and number of each message, by offset.
    log: Vec<(i32, i64)>,
    epoch: i32,
    produced: i64,
    /// All messages that were ever at an offset.
    ever: Vec<(i64, i64)>,
    /// Messages that were cut off.
    cut: Vec<i64>,
    /// With its leader epoch.
    committed: Option<(i64, Option<i32>, String)>,
    generation: i32,
    /// Members of the current generation.
    members: Vec<usize>,
    owner: Option<usize>,
}

impl Broker {
    fn high(&self) -> i64 {
        self.log.len() as i64
    }

    fn record(&self, offset: i64) -> Option<Mark> {
        let (epoch, message) = *self.log.get(offset as usize)?;
        Some(Mark {
            offset,
            epoch,
            hash: message as u64,
        })
    }

    /// What a client learns when it asks for what follows `next`, which it read up to in `epoch`.
    fn is_truncated(&self, next: i64, epoch: Option<i32>) -> bool {
        let later = |e: i32| self.log.iter().position(|(of, _)| *of > e);
        let end = epoch.and_then(later).map_or(self.high(), |at| at as i64);
        let end = end.max(self.low);
        end < next || next < self.low
    }
}

/// First and next offset of a block, and its messages.
type Block = (i64, i64, Vec<i64>);

/// What one instance's data dir holds.
#[derive(Clone, Default)]
struct Disk {
    lanes: BTreeMap<LaneId, (Lane, Vec<Block>)>,
    next_lane: u32,
    cuts: BTreeMap<i32, Cut>,
    reached: BTreeMap<String, i64>,
    lost: Vec<(i64, i64)>,
}

/// The queue as ownership sees it. A crash goes back to any state since the last sync.
struct ModelLanes {
    name: String,
    now: RefCell<Disk>,
    since_sync: RefCell<Vec<Disk>>,
}

impl ModelLanes {
    fn new(name: &str) -> ModelLanes {
        ModelLanes {
            name: name.into(),
            now: RefCell::default(),
            since_sync: RefCell::new(vec![Disk::default()]),
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        let out = change(&mut self.now.borrow_mut());
        self.since_sync.borrow_mut().push(self.now.borrow().clone());
        out
    }

    fn crash(&self, survive: u8) {
        let mut states = self.since_sync.borrow_mut();
        let kept = states[usize::from(survive) % states.len()].clone();
        *states = vec![kept.clone()];
        *self.now.borrow_mut() = kept;
    }

    fn reopen(&self) {
        self.write(|d| {
            for (lane, _) in d.lanes.values_mut() {
                if lane.state == LaneState::Open {
                    lane.state = LaneState::Ended;
                }
            }
        });
    }

    fn append(&self, id: LaneId, first: i64, records: &[Mark]) {
        let next = first + records.len() as i64;
        let messages = records.iter().map(|m| m.hash as i64).collect();
        self.write(|d| {
            let (lane, blocks) = d.lanes.get_mut(&id).expect("an open lane");
            assert_eq!(lane.state, LaneState::Open);
            lane.next = next;
            for record in records {
                lane.trail.push(record.offset, *record);
            }
            blocks.push((first, next, messages));
        });
    }

    /// Takes out the rows that may be sent. The batch's token makes it happen once.
    fn flush(&self) -> Vec<i64> {
        let sent = self.write(|d| {
            let mut sent = Vec::new();
            for (lane, blocks) in d.lanes.values_mut() {
                let below = lane.eligible;
                blocks.retain(|(_, next, messages)| {
                    let send = *next <= below;
                    if send {
                        sent.extend(messages);
                    }
                    !send
                });
                lane.sealed = below;
            }
            sent
        });
        self.sync().unwrap();
        sent
    }

    fn held(&self) -> Vec<i64> {
        let disk = self.now.borrow();
        let held = disk
            .lanes
            .values()
            .filter(|(lane, _)| matches!(lane.state, LaneState::Held(_)));
        held.flat_map(|(_, blocks)| blocks.iter().flat_map(|(_, _, messages)| messages.clone()))
            .collect()
    }
}

impl Lanes for ModelLanes {
    fn installation(&self) -> &str {
        &self.name
    }

    fn open_lane_behind(
        &self,
        topic: &str,
        partition: i32,
        start: i64,
        trail: Trail,
    ) -> Result<LaneId, QueueError> {
        Ok(self.write(|d| {
            d.next_lane += 1;
            let id = LaneId(d.next_lane);
            let lane = Lane {
                trail,
                ..Lane::new(id, topic, partition, start)
            };
            d.lanes.insert(id, (lane, Vec::new()));
            id
        }))
    }

    fn acknowledge(&self, lane: LaneId, offset: i64) -> Result<(), QueueError> {
        self.write(|d| {
            if let Some((lane, _)) = d.lanes.get_mut(&lane) {
                lane.eligible = lane.eligible.max(offset.min(lane.next));
            }
        });
        Ok(())
    }

    fn end_lane(&self, lane: LaneId) -> Result<(), QueueError> {
        self.write(|d| {
            if let Some((lane, _)) = d.lanes.get_mut(&lane) {
                lane.state = LaneState::Ended;
            }
        });
        Ok(())
    }

    fn hold_lane(&self, lane: LaneId, why: &str) -> Result<(), QueueError> {
        self.write(|d| {
            if let Some((lane, _)) = d.lanes.get_mut(&lane) {
                lane.state = LaneState::Held(why.into());
            }
        });
        Ok(())
    }

    fn settle(&self, id: LaneId, eligible: i64, drop: Range<i64>) -> Result<bool, QueueError> {
        let cuts = |(a, b, _): &Block| {
            [eligible, drop.start, drop.end]
                .iter()
                .any(|c| a < c && c < b)
        };
        let straddles = {
            let disk = self.now.borrow();
            let Some((lane, blocks)) = disk.lanes.get(&id) else {
                return Ok(true);
            };
            let tail = blocks.iter().filter(|(a, _, _)| *a >= lane.eligible);
            tail.into_iter().any(cuts)
        };
        if straddles {
            return Ok(false);
        }
        self.write(|d| {
            let (lane, blocks) = d.lanes.get_mut(&id).expect("checked");
            let from = lane.eligible;
            blocks.retain(|(a, _, _)| *a < from || !drop.contains(a));
            lane.eligible = lane.eligible.max(eligible.min(lane.next));
            if drop.end >= lane.next && drop.start < lane.next {
                lane.next = drop.start.max(lane.eligible);
                lane.trail = lane.trail.clone().below(lane.next);
            }
        });
        Ok(true)
    }

    fn lane(&self, lane: LaneId) -> Option<Lane> {
        self.now.borrow().lanes.get(&lane).map(|(l, _)| l.clone())
    }

    fn tails(&self) -> Vec<Lane> {
        let disk = self.now.borrow();
        let all = disk.lanes.values().map(|(l, _)| l);
        all.filter(|l| l.state != LaneState::Open && l.has_tail())
            .cloned()
            .collect()
    }

    fn eligible_next(&self, topic: &str, _: i32) -> Result<Option<i64>, QueueError> {
        let disk = self.now.borrow();
        let of_log = disk.lanes.values().filter(|(l, _)| l.topic == topic);
        Ok(of_log.map(|(l, _)| l.eligible).max())
    }

    fn trail(&self, topic: &str, _: i32) -> Result<Trail, QueueError> {
        let disk = self.now.borrow();
        let newest = disk.lanes.values().rfind(|(l, _)| l.topic == topic);
        Ok(newest.map(|(l, _)| l.trail.clone()).unwrap_or_default())
    }

    fn sync(&self) -> Result<(), QueueError> {
        *self.since_sync.borrow_mut() = vec![self.now.borrow().clone()];
        Ok(())
    }

    fn is_synced(&self) -> bool {
        self.since_sync.borrow().len() == 1
    }

    fn incarnation(&self, _: &str) -> Result<Option<String>, QueueError> {
        Ok(None)
    }

    fn keep_incarnation(&self, _: &str, _: &str) -> Result<(), QueueError> {
        Ok(())
    }

    fn cut(&self, _: &str, partition: i32) -> Result<Option<Cut>, QueueError> {
        Ok(self.now.borrow().cuts.get(&partition).copied())
    }

    fn keep_cut(&self, _: &str, partition: i32, cut: Cut) -> Result<(), QueueError> {
        self.write(|d| d.cuts.insert(partition, cut));
        Ok(())
    }

    fn runs(&self) -> Result<Runs, QueueError> {
        let mut runs = Runs::default();
        runs.begin("00000000".into());
        Ok(runs)
    }

    fn keep_runs(&self, _: &Runs) -> Result<(), QueueError> {
        Ok(())
    }

    fn next_batch(&self) -> u64 {
        1
    }

    fn reached(&self, topic: &str, _: i32) -> Result<Option<i64>, QueueError> {
        let disk = self.now.borrow();
        let of_log = disk.lanes.values().filter(|(l, _)| l.topic == topic);
        let kept = disk.reached.get(topic).copied();
        Ok(of_log.map(|(l, _)| l.next).chain(kept).max())
    }

    fn keep_reached(&self, topic: &str, _: i32, offset: i64) -> Result<(), QueueError> {
        self.write(|d| d.reached.insert(topic.to_owned(), offset));
        Ok(())
    }

    fn second_owner(&self, words: String) -> QueueError {
        panic!("there is one owner of {}: {words}", self.name)
    }

    fn record_lost(&self, lost: LostRange) -> Result<(), QueueError> {
        assert!(!lost.unsure, "the epochs tell: {lost:?}");
        self.write(|d| d.lost.push((lost.from, lost.to)));
        self.sync()
    }
}

/// One instance's view of the group.
struct Member {
    me: usize,
    broker: Rc<RefCell<Broker>>,
    /// The generation that it believes to be in; `None` once it knows that it is out.
    generation: Cell<Option<i32>>,
    fate: Cell<Fate>,
}

impl Group for Member {
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        let generation = self.generation.get().ok_or(CommitError::NotMember)?;
        let lost = || CommitError::Unanswered("lost".into());
        let fate = self.fate.replace(Fate::Answered);
        if matches!(fate, Fate::RequestLost) {
            return Err(lost());
        }
        let mut broker = self.broker.borrow_mut();
        // Member and generation are checked; ownership of the partition is not.
        if generation != broker.generation || !broker.members.contains(&self.me) {
            return Err(CommitError::Unanswered("illegal generation".into()));
        }
        for o in offsets {
            broker.committed = Some((o.offset, o.epoch, o.metadata.clone()));
        }
        match fate {
            Fate::AnswerLost => Err(lost()),
            _ => Ok(()),
        }
    }

    fn committed(&self, _: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
        let broker = self.broker.borrow();
        let last = broker.committed.iter().map(|(offset, epoch, text)| {
            let note = Note::parse(text);
            (
                0,
                Committed {
                    offset: *offset,
                    epoch: *epoch,
                    note,
                },
            )
        });
        Ok(last.collect())
    }

    fn topic_id(&self) -> Result<Option<String>, GroupError> {
        Ok(None)
    }

    fn watermarks(&self, _: i32) -> Result<(i64, i64), GroupError> {
        let broker = self.broker.borrow();
        Ok((broker.low, broker.high()))
    }

    fn first_from(&self, _: i32, offset: i64) -> Result<Option<Mark>, GroupError> {
        let broker = self.broker.borrow();
        assert!(
            offset >= broker.low,
            "a broker answers nothing below its start"
        );
        Ok(broker.record(offset))
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Life {
    Dead,
    Running,
    Frozen,
}

struct Instance {
    life: Life,
    lanes: &'static ModelLanes,
    group: &'static Member,
    ownership: Ownership<'static, ModelLanes, Member>,
    /// Where it reads, if it believes to hold the partition.
    at: Option<(LaneId, i64, Option<i32>)>,
}

struct World {
    broker: Rc<RefCell<Broker>>,
    instances: Vec<Instance>,
    clickhouse: BTreeMap<i64, u32>,
    /// Removed by retention before the group's first commit of their leader's epoch: nobody can know
    /// that they were there.
    unknown: Vec<i64>,
}

impl World {
    fn new() -> World {
        let broker = Rc::new(RefCell::new(Broker::default()));
        let instances = (0..INSTANCES)
            .map(|me| {
                // Small, and the process of a test ends soon.
                let lanes: &'static ModelLanes =
                    Box::leak(Box::new(ModelLanes::new(&format!("i{me}"))));
                let group: &'static Member = Box::leak(Box::new(Member {
                    me,
                    broker: Rc::clone(&broker),
                    generation: Cell::new(None),
                    fate: Cell::new(Fate::Answered),
                }));
                Instance {
                    life: Life::Running,
                    lanes,
                    group,
                    ownership: Ownership::new(lanes, group, TOPIC, StartAt::Earliest),
                    at: None,
                }
            })
            .collect();
        World {
            broker,
            instances,
            clickhouse: BTreeMap::new(),
            unknown: Vec::new(),
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Produce(n) => self.produce(n),
            Op::Give(i) => self.give(i),
            Op::Keep => self.keep(),
            Op::Read(i, n) => self.read(i, i64::from(n)),
            Op::Commit(i, fate) => self.commit(i, fate),
            Op::Flush(i) => self.flush(i),
            Op::Crash(i, survive) => {
                self.instances[i].lanes.crash(survive);
                self.instances[i].life = Life::Dead;
                self.instances[i].at = None;
                self.throw_out(i);
            }
            Op::Start(i) => self.start(i),
            Op::Freeze(i) => {
                if self.instances[i].life == Life::Running {
                    self.instances[i].life = Life::Frozen;
                    self.throw_out(i);
                }
            }
            Op::Thaw(i) => {
                if self.instances[i].life == Life::Frozen {
                    self.instances[i].life = Life::Running;
                }
            }
            Op::Notice(i) => self.notice(i),
            Op::Resolve(i) => {
                if self.instances[i].life == Life::Running {
                    self.instances[i].ownership.resolve_absent().unwrap();
                }
            }
            Op::Retention(n) => {
                let mut b = self.broker.borrow_mut();
                let low = (b.low + i64::from(n)).min(b.high());
                // Nor can anybody know of those that took the place of others that were read.
                let read = b.committed.as_ref().map(|(_, epoch, _)| *epoch);
                let gone = b.log[b.low as usize..low as usize].iter();
                let unseen = gone.filter(|(epoch, _)| read.is_none_or(|e| e < Some(*epoch)));
                self.unknown.extend(unseen.map(|(_, message)| message));
                b.low = low;
            }
            Op::Elect(n) => {
                let mut b = self.broker.borrow_mut();
                b.epoch += 1;
                let left = (b.high() - i64::from(n)).max(b.low) as usize;
                let gone = b.log.split_off(left);
                b.cut.extend(gone.iter().map(|(_, message)| message));
            }
            Op::WipeNote => {
                let mut b = self.broker.borrow_mut();
                // Of a log that was cut only the note tells in which of the two an offset lies.
                let whole = b.epoch == 0;
                if let Some((_, _, note)) = b.committed.as_mut().filter(|_| whole) {
                    note.clear();
                }
            }
        }
        for (message, count) in &self.clickhouse {
            assert_eq!(*count, 1, "message {message} is stored twice after {op:?}");
        }
    }

    fn produce(&mut self, n: u8) {
        let mut b = self.broker.borrow_mut();
        for _ in 0..n {
            let (offset, epoch, message) = (b.high(), b.epoch, b.produced);
            b.log.push((epoch, message));
            b.ever.push((offset, message));
            b.produced += 1;
        }
    }

    /// Gives the partition to `i`: the owner that answers lets go first, as a rebalance has it.
    fn give(&mut self, i: usize) {
        if self.instances[i].life != Life::Running {
            return;
        }
        // A member that was thrown out has to notice before it can join again.
        self.notice(i);
        let owner = self.broker.borrow().owner;
        if owner == Some(i) {
            return;
        }
        if let Some(o) = owner {
            self.sync_and_commit(o);
            let old = &mut self.instances[o];
            old.ownership.release(&[0]).unwrap();
            old.at = None;
        }
        self.new_generation();
        self.broker.borrow_mut().owner = Some(i);
        self.join(i);
        let new = &mut self.instances[i];
        match new.ownership.assign(&[0], 0) {
            Ok(starts) => {
                let s = starts[0];
                new.at = Some((s.lane, s.offset, s.epoch));
            }
            Err(AssignError::Group(_)) => {
                // The real one tries again; here the group gives the partition away.
                self.broker.borrow_mut().owner = None;
            }
            Err(e) => panic!("{e}"),
        }
    }

    fn keep(&mut self) {
        self.new_generation();
    }

    /// Everyone who answers, and has not been thrown out, is in the new generation.
    fn new_generation(&mut self) {
        let mut b = self.broker.borrow_mut();
        b.generation += 1;
        let generation = b.generation;
        let members = b.members.clone();
        for m in members {
            self.instances[m].group.generation.set(Some(generation));
        }
    }

    fn join(&mut self, i: usize) {
        let mut b = self.broker.borrow_mut();
        if !b.members.contains(&i) {
            b.members.push(i);
        }
        self.instances[i].group.generation.set(Some(b.generation));
    }

    /// The coordinator forgets a member, which does not know it.
    fn throw_out(&mut self, i: usize) {
        let mut b = self.broker.borrow_mut();
        b.members.retain(|m| *m != i);
        if b.owner == Some(i) {
            b.owner = None;
        }
    }

    /// It learns that it is out: what it did not commit stays a tail.
    fn notice(&mut self, i: usize) {
        let member = self.broker.borrow().members.contains(&i);
        let instance = &mut self.instances[i];
        if instance.life == Life::Running && !member && instance.group.generation.get().is_some() {
            instance.group.generation.set(None);
            instance.lanes.sync().unwrap();
            instance.ownership.release(&[0]).unwrap();
            instance.at = None;
        }
    }

    fn read(&mut self, i: usize, n: i64) {
        let instance = &mut self.instances[i];
        if instance.life != Life::Running {
            return;
        }
        let Some((lane, at, epoch)) = instance.at else {
            return;
        };
        if self.broker.borrow().is_truncated(at, epoch) {
            // Out of range: after a commit the partition is taken anew where Kafka has records.
            self.sync_and_commit(i);
            let instance = &mut self.instances[i];
            instance.ownership.release(&[0]).unwrap();
            instance.at = None;
            if let Ok(starts) = instance.ownership.assign(&[0], 0) {
                instance.at = starts.first().map(|s| (s.lane, s.offset, s.epoch));
            }
            return;
        }
        let b = self.broker.borrow();
        let records: Vec<Mark> = (at..at + n).map_while(|o| b.record(o)).collect();
        if let Some(last) = records.last() {
            instance.lanes.append(lane, at, &records);
            instance.at = Some((lane, last.offset + 1, Some(last.epoch)));
        }
    }

    fn commit(&mut self, i: usize, fate: Fate) {
        if self.instances[i].life == Life::Running {
            self.instances[i].group.fate.set(fate);
            self.sync_and_commit(i);
            self.instances[i].group.fate.set(Fate::Answered);
        }
    }

    fn sync_and_commit(&mut self, i: usize) {
        let instance = &mut self.instances[i];
        instance.lanes.sync().unwrap();
        let _ = instance.ownership.commit().unwrap();
    }

    fn flush(&mut self, i: usize) {
        if self.instances[i].life == Life::Running {
            for message in self.instances[i].lanes.flush() {
                *self.clickhouse.entry(message).or_default() += 1;
            }
        }
    }

    fn start(&mut self, i: usize) {
        if self.instances[i].life == Life::Dead {
            let instance = &mut self.instances[i];
            instance.lanes.reopen();
            instance.lanes.sync().unwrap();
            instance.group.generation.set(None);
            instance.ownership =
                Ownership::new(instance.lanes, instance.group, TOPIC, StartAt::Earliest);
            instance.life = Life::Running;
        }
    }

    /// Everyone comes back, and nothing goes wrong any more.
    fn settle_down(&mut self) {
        for i in 0..INSTANCES {
            self.step(&Op::Start(i));
            self.step(&Op::Thaw(i));
            self.step(&Op::Notice(i));
        }
        for i in 0..INSTANCES {
            self.step(&Op::Give(i));
            for _ in 0..100 {
                self.step(&Op::Read(i, 7));
            }
            self.step(&Op::Commit(i, Fate::Answered));
        }
        for i in 0..INSTANCES {
            self.step(&Op::Resolve(i));
            self.step(&Op::Flush(i));
        }
        for i in 0..INSTANCES {
            let tails = self.instances[i].lanes.tails();
            assert!(
                tails.iter().all(|l| matches!(l.state, LaneState::Held(_))),
                "a tail nobody resolves: {tails:?}"
            );
        }
        let b = self.broker.borrow();
        let mut excused = self.unknown.clone();
        excused.extend(&b.cut);
        for instance in &self.instances {
            excused.extend(instance.lanes.held());
            let disk = instance.lanes.now.borrow();
            let lost = |offset: &i64| disk.lost.iter().any(|(a, b)| (a..b).contains(&offset));
            let of_lost = b.ever.iter().filter(|(offset, _)| lost(offset));
            excused.extend(of_lost.map(|(_, message)| message));
        }
        for message in 0..b.produced {
            let stored = self.clickhouse.get(&message).copied().unwrap_or(0);
            assert!(
                stored == 1 || (stored == 0 && excused.contains(&message)),
                "message {message}: stored {stored} times, excused {}",
                excused.contains(&message)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3000),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/corpus/regressions/ownership.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_message_is_stored_once_whatever_happens(ops in prop::collection::vec(op(), 0..80)) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
        world.settle_down();
    }
}
