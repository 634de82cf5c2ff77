//! The rules of ownership against random schedules: several instances, a coordinator, a crash or a
//! lost answer at every step, and ClickHouse as a multiset.
//!
//! The coordinator does what the real one does: it checks member and generation of a commit, not who
//! owns the partition; a member that stops answering is thrown out and does not know; an answer can
//! get lost after the commit was applied, or the request before. A crash forgets what was not synced,
//! up to any point since the last sync. Retention may remove what nobody has read.
//!
//! After each schedule everyone comes back, reads, commits and flushes in peace. Then every message
//! is in ClickHouse once, or in a recorded lost range, or in rows held for a person; and **at no time
//! is one there twice**.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::queue::{Lane, LaneState};

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
        1 => Just(Op::WipeNote),
    ]
}

/// Kafka: one partition and the group's coordinator.
#[derive(Default)]
struct Broker {
    low: i64,
    high: i64,
    committed: Option<(i64, String)>,
    generation: i32,
    /// Members of the current generation.
    members: Vec<usize>,
    owner: Option<usize>,
}

/// What one instance's data dir holds.
#[derive(Clone, Default)]
struct Disk {
    lanes: BTreeMap<LaneId, (Lane, Vec<(i64, i64)>)>,
    partitions: BTreeMap<i32, i64>,
    next_lane: u32,
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

    fn append(&self, id: LaneId, first: i64, next: i64) {
        self.write(|d| {
            let (lane, blocks) = d.lanes.get_mut(&id).expect("an open lane");
            assert_eq!(lane.state, LaneState::Open);
            lane.next = next;
            blocks.push((first, next));
        });
    }

    /// Takes out the rows that may be sent. The batch's token makes it happen once.
    fn flush(&self) -> Vec<i64> {
        let sent = self.write(|d| {
            let mut sent = Vec::new();
            for (lane, blocks) in d.lanes.values_mut() {
                let below = lane.eligible;
                blocks.retain(|(first, next)| {
                    let send = *next <= below;
                    if send {
                        sent.extend(*first..*next);
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
        held.flat_map(|(_, blocks)| blocks.iter().flat_map(|(a, b)| *a..*b))
            .collect()
    }
}

impl Lanes for ModelLanes {
    fn installation(&self) -> &str {
        &self.name
    }

    fn open_lane(&self, topic: &str, partition: i32, start: i64) -> Result<LaneId, QueueError> {
        Ok(self.write(|d| {
            d.next_lane += 1;
            let id = LaneId(d.next_lane);
            d.lanes
                .insert(id, (Lane::new(id, topic, partition, start), Vec::new()));
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
        let cuts = |(a, b): &(i64, i64)| {
            [eligible, drop.start, drop.end]
                .iter()
                .any(|c| a < c && c < b)
        };
        let straddles = {
            let disk = self.now.borrow();
            let Some((lane, blocks)) = disk.lanes.get(&id) else {
                return Ok(true);
            };
            let tail = blocks.iter().filter(|(a, _)| *a >= lane.eligible);
            tail.into_iter().any(cuts)
        };
        if straddles {
            return Ok(false);
        }
        self.write(|d| {
            let (lane, blocks) = d.lanes.get_mut(&id).expect("checked");
            let from = lane.eligible;
            blocks.retain(|(a, _)| *a < from || !drop.contains(a));
            lane.eligible = lane.eligible.max(eligible.min(lane.next));
            if drop.end >= lane.next && drop.start < lane.next {
                lane.next = drop.start.max(lane.eligible);
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

    fn eligible_next(&self, _: &str, partition: i32) -> Result<Option<i64>, QueueError> {
        let disk = self.now.borrow();
        let live = disk.lanes.values().map(|(l, _)| l.eligible);
        Ok(live.chain(disk.partitions.get(&partition).copied()).max())
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

    fn record_lost(&self, lost: LostRange) -> Result<(), QueueError> {
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
            broker.committed = Some((o.offset, o.metadata.clone()));
        }
        match fate {
            Fate::AnswerLost => Err(lost()),
            _ => Ok(()),
        }
    }

    fn committed(&self, _: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
        let broker = self.broker.borrow();
        let last = broker.committed.iter().map(|(offset, text)| {
            let note = Note::parse(text);
            (
                0,
                Committed {
                    offset: *offset,
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
        Ok((broker.low, broker.high))
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
    at: Option<(LaneId, i64)>,
}

struct World {
    broker: Rc<RefCell<Broker>>,
    instances: Vec<Instance>,
    clickhouse: BTreeMap<i64, u32>,
    /// Removed by retention before the group's first commit: nobody can know that they were there.
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
            Op::Produce(n) => self.broker.borrow_mut().high += i64::from(n),
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
                let low = (b.low + i64::from(n)).min(b.high);
                if b.committed.is_none() {
                    self.unknown.extend(b.low..low);
                }
                b.low = low;
            }
            Op::WipeNote => {
                if let Some((_, note)) = &mut self.broker.borrow_mut().committed {
                    note.clear();
                }
            }
        }
        for (message, count) in &self.clickhouse {
            assert_eq!(*count, 1, "message {message} is stored twice after {op:?}");
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
            Ok(starts) => new.at = Some((starts[0].lane, starts[0].offset)),
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
        let (low, high) = {
            let b = self.broker.borrow();
            (b.low, b.high)
        };
        let instance = &mut self.instances[i];
        if instance.life != Life::Running {
            return;
        }
        let Some((lane, at)) = instance.at else {
            return;
        };
        if at < low {
            // Out of range: after a commit the partition is taken anew where Kafka has records.
            self.sync_and_commit(i);
            let instance = &mut self.instances[i];
            if let Ok(starts) = instance.ownership.reposition(0) {
                instance.at = starts.first().map(|s| (s.lane, s.offset));
            }
            return;
        }
        let next = (at + n).min(high);
        if next > at {
            instance.lanes.append(lane, at, next);
            instance.at = Some((lane, next));
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
        let mut excused = self.unknown.clone();
        for instance in &self.instances {
            excused.extend(instance.lanes.held());
            let disk = instance.lanes.now.borrow();
            excused.extend(disk.lost.iter().flat_map(|(a, b)| *a..*b));
        }
        let high = self.broker.borrow().high;
        for message in 0..high {
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
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions/ownership.txt"))),
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
