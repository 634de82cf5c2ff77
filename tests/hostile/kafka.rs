//! Kafka as ownership and a reader see it: one partition, whose log may be cut and grow again, lose its
//! start, or be that of a topic that was made again; and the group's last commit.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use anonymizer::ownership::{CommitError, Committed, Group, GroupError, Note, OffsetCommit};
use anonymizer::queue::LostRange;
use anonymizer::record::Mark;

use crate::support::chance::Chance;

/// The topic's name.
pub const TOPIC: &str = "http_log";

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    AnswerLost,
    RequestLost,
}

/// A message, told by its number, and the epoch of the leader that took it.
#[derive(Clone, Copy)]
struct Record {
    epoch: i32,
    message: u64,
}

#[derive(Default)]
struct Log {
    /// Which topic of that name it is of.
    topic: u32,
    epoch: i32,
    low: i64,
    /// By offset, those below `low` as well.
    records: Vec<Record>,
    committed: Option<(i64, Option<i32>, String)>,
    fate: Vec<Fate>,
    /// Whether the topic's id cannot be asked for now.
    hides_id: bool,
    /// Whether it was made again since the id was told last: then the brokers that do not tell it do not
    /// let it be read either.
    is_strange: Cell<bool>,
    /// Whether a process that kept it was told it.
    told_id: Cell<bool>,
    /// Every offset that a message ever had.
    ever: BTreeMap<i64, Vec<u64>>,
    /// Messages that a reader has on its disk, and whose offsets the next commit is for.
    read: Vec<u64>,
    /// Messages whose own commit was applied: they may not go away any more.
    covered: BTreeSet<u64>,
    /// Cut off the log, or deleted with the topic.
    cut: BTreeSet<u64>,
    /// Taken by retention where no commit was of their leader's epoch: nobody can know of them.
    unknown: BTreeSet<u64>,
    produced: u64,
}

/// The broker and the group's coordinator.
pub struct Broker {
    /// Whether it is new enough to have ids of topics.
    has_ids: bool,
    log: RefCell<Log>,
}

impl Broker {
    pub fn new(has_ids: bool) -> Broker {
        Broker {
            has_ids,
            log: RefCell::default(),
        }
    }

    pub fn has_ids(&self) -> bool {
        self.has_ids
    }

    /// How many messages were ever produced; their numbers are those below.
    pub fn produced(&self) -> u64 {
        self.log.borrow().produced
    }

    pub fn produce(&self, messages: u64) {
        let log = &mut *self.log.borrow_mut();
        for _ in 0..messages {
            let offset = log.records.len() as i64;
            log.records.push(Record {
                epoch: log.epoch,
                message: log.produced,
            });
            log.ever.entry(offset).or_default().push(log.produced);
            log.produced += 1;
        }
    }

    /// Another leader is chosen, which lacks the newest messages. Returns how many it lacks.
    pub fn cut(&self, most: u64) -> usize {
        let log = &mut *self.log.borrow_mut();
        log.epoch += 1;
        let left = log.records.len().saturating_sub(most as usize);
        let gone = log.records.split_off(left.max(log.low as usize));
        log.cut.extend(gone.iter().map(|r| r.message));
        gone.len()
    }

    /// Retention takes the oldest messages.
    pub fn retain(&self, most: u64) -> usize {
        let log = &mut *self.log.borrow_mut();
        let low = (log.low + most as i64).min(log.records.len() as i64);
        let read = log.committed.as_ref().map(|(_, epoch, _)| *epoch);
        let gone = &log.records[log.low as usize..low as usize];
        let unseen = gone
            .iter()
            .filter(|r| read.is_none_or(|e| e < Some(r.epoch)));
        log.unknown.extend(unseen.map(|r| r.message));
        let taken = gone.len();
        log.low = low;
        taken
    }

    /// The topic is deleted and made again; brokers forget its offsets, or do not.
    pub fn make_again(&self, forget: bool, epoch: i32) {
        let log = &mut *self.log.borrow_mut();
        // Those that retention took before, too: of a topic that is gone nobody can ask.
        let gone = log.records.drain(..);
        log.cut.extend(gone.map(|r| r.message));
        (log.low, log.epoch) = (0, epoch);
        log.topic += 1;
        log.is_strange.set(true);
        if forget {
            log.committed = None;
        }
    }

    /// What becomes of the next commit; those after it are answered.
    pub fn next_commit(&self, fate: Fate) {
        self.log.borrow_mut().fate = vec![fate];
    }

    /// Whether the topic's id cannot be asked for from now on. Of one that was never told a topic made again
    /// cannot be told from a log that was cut (LIMITATIONS.md).
    pub fn hide_id(&self, hides: bool) {
        let log = &mut *self.log.borrow_mut();
        log.hides_id = hides && log.told_id.get();
    }

    /// What the next commit is for.
    pub fn will_cover(&self, read: Vec<u64>) {
        self.log.borrow_mut().read = read;
    }

    /// What a client learns that has read up to `next`, the last in `epoch`.
    pub fn is_truncated(&self, next: i64, epoch: Option<i32>) -> bool {
        let log = self.log.borrow();
        let later = |e: i32| log.records.iter().position(|r| r.epoch > e);
        let end = epoch
            .and_then(later)
            .map_or(log.records.len() as i64, |at| at as i64);
        end.max(log.low) < next || next < log.low
    }

    /// The id that was told is on the reader's disk.
    pub fn kept_id(&self) {
        self.log.borrow().told_id.set(true);
    }

    /// At most so many messages from an offset on, of one leader's epoch.
    pub fn fetch(&self, from: i64, most: u64) -> Vec<(Mark, u64)> {
        let log = self.log.borrow();
        if log.hides_id && log.is_strange.get() {
            return Vec::new();
        }
        let from_there = log.records.get(from as usize..).unwrap_or_default();
        let epoch = from_there.first().map(|r| r.epoch);
        from_there
            .iter()
            .take(most as usize)
            .take_while(|r| Some(r.epoch) == epoch)
            .zip(from..)
            .map(|(r, offset)| (mark(offset, r), r.message))
            .collect()
    }

    /// Why a message may be missing, which is in no row anywhere; `None` if it may not.
    pub fn excuse(&self, message: u64, named: &[LostRange]) -> Option<&'static str> {
        let log = self.log.borrow();
        let at = |range: &LostRange| {
            let mut offsets = log.ever.range(range.from..range.to);
            offsets.any(|(_, all)| all.contains(&message))
        };
        let named_as = |unsure: bool| named.iter().any(|r| r.unsure == unsure && at(r));
        if named_as(true) {
            return Some("named, unsure");
        }
        if log.covered.contains(&message) {
            return None;
        }
        if log.cut.contains(&message) {
            return Some("cut off before its commit");
        }
        if named_as(false) {
            return Some("named");
        }
        log.unknown
            .contains(&message)
            .then_some("of a leader nobody saw")
    }

    /// Whether a named range has an offset whose messages are all stored: it would be named without need.
    pub fn is_needless(&self, range: &LostRange, stored: impl Fn(u64) -> bool) -> Option<i64> {
        let log = self.log.borrow();
        let mut offsets = log.ever.range(range.from..range.to);
        offsets
            .find(|(_, all)| all.iter().all(|m| stored(*m)))
            .map(|(offset, _)| *offset)
    }
}

fn mark(offset: i64, record: &Record) -> Mark {
    Mark {
        offset,
        epoch: record.epoch,
        hash: record.message,
    }
}

impl Group for Broker {
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        let log = &mut *self.log.borrow_mut();
        let fate = log.fate.pop().unwrap_or(Fate::Answered);
        if fate != Fate::RequestLost {
            for o in offsets {
                log.committed = Some((o.offset, o.epoch, o.metadata.clone()));
            }
            let read = std::mem::take(&mut log.read);
            log.covered.extend(read);
        }
        match fate {
            Fate::Answered => Ok(()),
            _ => Err(CommitError::Unanswered("lost".into())),
        }
    }

    fn committed(&self, _: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
        let log = self.log.borrow();
        let last = log.committed.iter().map(|(offset, epoch, text)| {
            let committed = Committed {
                offset: *offset,
                epoch: *epoch,
                note: Note::parse(text),
            };
            (0, committed)
        });
        Ok(last.collect())
    }

    fn topic_id(&self) -> Result<Option<String>, GroupError> {
        let log = self.log.borrow();
        if log.hides_id {
            return Err(GroupError("no broker answers".into()));
        }
        log.is_strange.set(false);
        Ok(self.has_ids.then(|| format!("id{}", log.topic)))
    }

    fn watermarks(&self, _: i32) -> Result<(i64, i64), GroupError> {
        let log = self.log.borrow();
        Ok((log.low, log.records.len() as i64))
    }

    fn first_from(&self, _: i32, offset: i64) -> Result<Option<Mark>, GroupError> {
        let log = self.log.borrow();
        let at = offset.max(log.low);
        Ok(log.records.get(at as usize).map(|r| mark(at, r)))
    }
}

/// What happens to Kafka meanwhile. Returns it in words.
pub fn disturb(broker: &Broker, chance: &mut Chance) -> Option<String> {
    match chance.below(12) {
        0 | 1 => Some(format!(
            "Kafka lost its newest {} messages",
            broker.cut(1 + chance.below(200))
        )),
        2 => Some(format!(
            "retention took {} messages",
            broker.retain(1 + chance.below(300))
        )),
        // Without ids a topic made again cannot be told from one that was cut (LIMITATIONS.md).
        3 if broker.has_ids() => {
            let forget = chance.one_in(2);
            broker.make_again(forget, chance.below(2) as i32);
            let offsets = if forget { "forgotten" } else { "kept" };
            Some(format!("the topic was made again, its offsets {offsets}"))
        }
        4 => {
            broker.cut(0);
            Some("another leader, which lacks nothing".into())
        }
        _ => None,
    }
}
