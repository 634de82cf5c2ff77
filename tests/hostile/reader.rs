//! What the store thread does with Kafka: takes the partition, appends, syncs, commits, lets it go.

use std::path::Path;

use anonymizer::ownership::{AssignError, CommitOutcome, Ownership, Start, StartAt};
use anonymizer::queue::{PackedBlock, Queue};
use anonymizer::record::Mark;
use anonymizer::row::minutes::Minutes;

use super::files::Image;
use super::kafka::{Broker, Fate, TOPIC, disturb};
use crate::support::chance::Chance;
use crate::support::fake_clickhouse::row;

/// Most messages in a block.
const BLOCK: u64 = 150;

/// Where a reader dies: at a sync or a commit, before it or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    Appended,
    Synced,
    Committed,
}

/// One process's reading of the partition.
pub struct Reader<'a> {
    pub queue: &'a Queue,
    pub broker: &'a Broker,
    pub dir: &'a Path,
    pub chance: &'a mut Chance,
    pub trace: &'a mut Vec<String>,
    ownership: Ownership<'a, Queue, Broker>,
    at: Option<Start>,
    /// Messages that were read and not committed.
    read: Vec<u64>,
}

impl<'a> Reader<'a> {
    pub fn new(
        queue: &'a Queue,
        broker: &'a Broker,
        dir: &'a Path,
        chance: &'a mut Chance,
        trace: &'a mut Vec<String>,
    ) -> Reader<'a> {
        Reader {
            queue,
            broker,
            dir,
            chance,
            trace,
            ownership: Ownership::new(queue, broker, TOPIC, StartAt::Earliest),
            at: None,
            read: Vec::new(),
        }
    }

    /// Reads while messages come and Kafka is what it is. With `death` the files as they are at that point
    /// of one of the commits.
    pub fn read(&mut self, death: Option<Death>) -> Result<Option<Image>, String> {
        let rounds = 1 + self.chance.below(5);
        let last = self.chance.below(rounds);
        for round in 0..rounds {
            let messages = 1 + self.chance.below(BLOCK);
            self.broker.produce(messages);
            self.trace.push(format!("{messages} messages"));
            if self.chance.one_in(3) {
                self.trace.extend(disturb(self.broker, self.chance));
                self.broker.hide_id(self.chance.one_in(8));
            }
            self.fetch()?;
            let fate = match self.chance.below(8) {
                0 => Fate::AnswerLost,
                1 => Fate::RequestLost,
                _ => Fate::Answered,
            };
            if fate != Fate::Answered {
                self.trace.push(format!("commit: {fate:?}"));
                self.broker.next_commit(fate);
            }
            let death = death.filter(|_| round == last);
            if let Some(image) = self.commit(death)? {
                return Ok(Some(image));
            }
        }
        self.let_go()?;
        Ok(None)
    }

    /// Reads all that there is while nobody is hostile.
    pub fn read_to_the_end(&mut self) -> Result<(), String> {
        self.broker.next_commit(Fate::Answered);
        self.broker.hide_id(false);
        while self.fetch()? {
            self.commit(None)?;
        }
        self.commit(None)?;
        self.let_go()
    }

    /// Appends what follows, or takes the partition anew where Kafka's log is another one. Returns whether
    /// there may be more.
    fn fetch(&mut self) -> Result<bool, String> {
        if self.at.is_some() {
            // To be believed it has to be told twice. What is read in between, for up to 70 s, is a limit that
            // is written down (LIMITATIONS.md).
            let mut again = false;
            for _ in 0..2 {
                again |= self
                    .ownership
                    .topic_was_recreated()
                    .map_err(|e| e.to_string())?;
            }
            if again {
                self.trace.push("it reads the topic anew".into());
                self.let_go()?;
            }
        }
        let Some(start) = self.take()? else {
            return Ok(true);
        };
        if self.broker.is_truncated(start.offset, start.epoch) {
            self.trace.push("it is told that the log was cut".into());
            self.let_go()?;
            self.take()?;
            return Ok(true);
        }
        let messages = self
            .broker
            .fetch(start.offset, 1 + self.chance.below(BLOCK));
        let Some((last, _)) = messages.last() else {
            return Ok(false);
        };
        let at = Start {
            offset: last.offset + 1,
            epoch: Some(last.epoch),
            ..start
        };
        let block = block(&messages);
        let stored = self.queue.append(start.lane, &block);
        if !stored.map_err(|e| e.to_string())? {
            return Err(format!("a block at {} is not taken", start.offset));
        }
        self.trace
            .push(format!("read {}..{}", block.first, block.next));
        self.read
            .extend(messages.iter().map(|(_, message)| message));
        self.at = Some(at);
        Ok(true)
    }

    /// Takes the partition if it does not hold it.
    fn take(&mut self) -> Result<Option<Start>, String> {
        if self.at.is_none() {
            match self.ownership.assign(&[0], 1) {
                Ok(starts) => self.at = starts.first().copied(),
                // Asked again later.
                Err(AssignError::Group(e)) => self.trace.push(format!("not taken: {e}")),
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(self.at)
    }

    /// Syncs and commits.
    fn commit(&mut self, death: Option<Death>) -> Result<Option<Image>, String> {
        let image = |at: Death| (death == Some(at)).then(|| Image::of(self.dir));
        let appended = image(Death::Appended);
        if appended.is_some() {
            return Ok(appended);
        }
        self.queue.sync().map_err(|e| e.to_string())?;
        let synced = image(Death::Synced);
        if synced.is_some() {
            return Ok(synced);
        }
        self.broker.kept_id();
        // Of one that dies before it sees the answer the queue has what was synced.
        let committed = image(Death::Committed);
        self.broker.will_cover(self.read.clone());
        let taken = self.ownership.commit().map_err(|e| e.to_string())?;
        self.broker.will_cover(Vec::new());
        if matches!(taken, CommitOutcome::Acknowledged(_)) {
            self.read.clear();
        }
        Ok(committed)
    }

    /// As at a rebalance: commits, and lets the partition go.
    fn let_go(&mut self) -> Result<(), String> {
        self.commit(None)?;
        self.at = None;
        self.read.clear();
        self.ownership.release(&[0]).map_err(|e| e.to_string())
    }
}

fn block(messages: &[(Mark, u64)]) -> PackedBlock {
    let mut plain = Vec::new();
    let mut seconds = Vec::new();
    for (_, message) in messages {
        let row = row(*message);
        seconds.push(u32::from_le_bytes(row[..4].try_into().unwrap()));
        plain.extend_from_slice(&row);
    }
    let (first, last) = (messages[0].0, messages[messages.len() - 1].0);
    PackedBlock {
        first: first.offset,
        next: last.offset + 1,
        rows: messages.len() as u32,
        raw_len: plain.len() as u32,
        frame: zstd::encode_all(&plain[..], 1).unwrap(),
        minutes: seconds.into_iter().collect::<Minutes>(),
        appended_ms: 1,
        kafka_ms: 0,
        quarantined: Vec::new(),
        last: Some(last),
    }
}
