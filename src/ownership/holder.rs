//! The partitions held now: taking them, committing for them, letting them go.

use std::collections::BTreeMap;

use super::{
    AssignError, CommitError, Committed, Facts, Group, GroupError, Lanes, LostRange, Note,
    OffsetCommit, Resolution, Start, StartAt, resolve,
};
use crate::queue::{Lane, LaneState, QueueError};
use crate::record::LaneId;

struct Held {
    lane: LaneId,
    note: Note,
}

/// The partitions held now, and the lanes behind them. Lives in the store thread.
pub struct Ownership<'a, L, G> {
    queue: &'a L,
    group: &'a G,
    topic: String,
    /// The topic with its id, see [`Lane::topic`].
    incarnation: String,
    start_at: StartAt,
    held: BTreeMap<i32, Held>,
}

impl<'a, L: Lanes, G: Group> Ownership<'a, L, G> {
    /// Holds nothing yet.
    pub fn new(queue: &'a L, group: &'a G, topic: &str, start_at: StartAt) -> Self {
        Ownership {
            queue,
            group,
            topic: topic.to_owned(),
            incarnation: topic.to_owned(),
            start_at,
            held: BTreeMap::new(),
        }
    }

    /// Takes partitions that were just assigned: resolves what is left of earlier ownerships,
    /// opens a lane for each and says where to read on.
    ///
    /// # Errors
    /// [`AssignError::Group`] may be tried again: what was settled stays settled, and a partition
    /// already taken is left out.
    pub fn assign(&mut self, partitions: &[i32], now_ms: u64) -> Result<Vec<Start>, AssignError> {
        self.identify_topic()?;
        let committed = self.group.committed(partitions)?;
        let mut starts = Vec::new();
        for &partition in partitions {
            let start = match self.held.get(&partition) {
                Some(held) => self.queue.lane(held.lane).map(|l| (held.lane, l.next)),
                None => Some(self.take(partition, committed.get(&partition), now_ms)?),
            };
            if let Some((lane, offset)) = start {
                starts.push(Start {
                    partition,
                    lane,
                    offset,
                });
            }
        }
        Ok(starts)
    }

    fn take(
        &mut self,
        partition: i32,
        committed: Option<&Committed>,
        now_ms: u64,
    ) -> Result<(LaneId, i64), AssignError> {
        let (low, high) = self.group.watermarks(partition)?;
        let me = self.queue.installation();
        let recreated = committed.is_some_and(|c| self.is_of_another_topic(c));
        if let Some(c) = committed.filter(|_| recreated) {
            log::error!(
                "partition {partition}: the topic was deleted and created again; the committed \
                 offset {} is of the old one, reading starts at {low}",
                c.offset
            );
        }
        let mut committed = committed.filter(|_| !recreated).cloned();
        self.hold_tails_of_other_topics(partition)?;
        for tail in self.tails_of(Some(partition)) {
            let facts = Facts {
                me,
                committed: committed.as_ref(),
                low: Some(low),
            };
            let r = resolve(tail.eligible, tail.next, &facts);
            let held = self.apply(&tail, &r)?;
            if let Some(offset) = r.claim.filter(|_| !held) {
                let note = self.note_after(committed.as_ref());
                self.claim(&tail, offset, &note)?;
                committed = Some(Committed {
                    offset,
                    note: Some(note),
                });
            }
        }
        let local = self.queue.eligible_next(&self.incarnation, partition)?;
        let known = local.max(committed.as_ref().map(|c| c.offset));
        self.name_a_reset(partition, local, committed.as_ref(), now_ms)?;
        let offset = match known {
            Some(offset) => self.within(partition, offset, low, high, now_ms)?,
            None if recreated => low,
            None => match self.start_at {
                StartAt::Earliest => low,
                StartAt::Latest => {
                    log::warn!(
                        "partition {partition}: no committed offset; kafka_start is latest, so its \
                         records {low}..{high} are skipped"
                    );
                    high
                }
                StartAt::Stop => return Err(AssignError::NoStart(partition)),
            },
        };
        let note = self.note_after(committed.as_ref());
        let lane = self.queue.open_lane(&self.incarnation, partition, offset)?;
        self.held.insert(partition, Held { lane, note });
        Ok((lane, offset))
    }

    /// Learns the topic's id. Returns whether it is another one than before. Where it cannot be
    /// learnt, the last one known stands.
    fn identify_topic(&mut self) -> Result<bool, QueueError> {
        let last = self.queue.incarnation(&self.topic)?;
        let now = match self.group.topic_id() {
            Ok(Some(id)) => format!("{}@{id}", self.topic),
            Ok(None) => return Ok(false),
            Err(e) => {
                log::warn!("cannot learn the topic's id, so it is taken for the one known: {e}");
                self.incarnation = last.unwrap_or_else(|| self.topic.clone());
                return Ok(false);
            }
        };
        let changed = self.incarnation != now && self.incarnation != self.topic;
        if last.as_ref() != Some(&now) {
            self.queue.keep_incarnation(&self.topic, &now)?;
        }
        self.incarnation = now;
        Ok(changed)
    }

    /// Whether the topic was deleted and created again under the partitions held, so that they must
    /// be read anew. Asked from time to time: with larger offsets Kafka gives no sign of it.
    ///
    /// # Errors
    /// [`QueueError`] if the queue failed.
    pub fn topic_was_recreated(&mut self) -> Result<bool, QueueError> {
        Ok(!self.held.is_empty() && self.identify_topic()?)
    }

    fn is_of_another_topic(&self, committed: &Committed) -> bool {
        let id = committed.note.as_ref().and_then(|n| n.topic_id.as_ref());
        id.is_some_and(|id| {
            self.incarnation.contains('@') && self.incarnation != format!("{}@{id}", self.topic)
        })
    }

    /// Rows of a topic that is gone cannot be read again nor committed: whether another instance has
    /// them cannot be known.
    fn hold_tails_of_other_topics(&self, partition: i32) -> Result<(), QueueError> {
        for lane in self.queue.tails() {
            let other = lane.topic_name() == self.topic
                && lane.topic != self.topic
                && lane.topic != self.incarnation;
            if other && lane.partition == partition && lane.state == LaneState::Ended {
                self.hold(
                    &lane,
                    "the topic was deleted and created again since they were read",
                )?;
            }
        }
        Ok(())
    }

    /// `offset`, or what Kafka has in its place; what it lost is recorded.
    fn within(
        &self,
        partition: i32,
        offset: i64,
        low: i64,
        high: i64,
        now_ms: u64,
    ) -> Result<i64, QueueError> {
        if offset < low {
            self.record_lost(partition, offset, low, now_ms)?;
            return Ok(low);
        }
        if offset > high {
            log::error!(
                "partition {partition}: our next offset is {offset}, but Kafka ends at {high}: the \
                 topic was created again or cut; reading from its start, {low}"
            );
            return Ok(low);
        }
        Ok(offset)
    }

    /// Records offsets that retention took before they were read.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn record_lost(
        &self,
        partition: i32,
        from: i64,
        to: i64,
        now_ms: u64,
    ) -> Result<(), QueueError> {
        log::error!("partition {partition}: offsets {from}..{to} are lost: they will not be read");
        self.queue.record_lost(LostRange {
            topic: self.topic.clone(),
            partition,
            from,
            to,
            noticed_ms: now_ms,
        })
    }

    /// A commit that this program did not make moved the offset.
    fn name_a_reset(
        &self,
        partition: i32,
        local: Option<i64>,
        committed: Option<&Committed>,
        now_ms: u64,
    ) -> Result<(), QueueError> {
        let (Some(local), Some(c)) = (local, committed.filter(|c| c.note.is_none())) else {
            return Ok(());
        };
        if c.offset > local {
            log::error!(
                "partition {partition}: the committed offset {} was not set by this program, and is \
                 ahead of ours, {local}: what lies between is skipped",
                c.offset
            );
            self.record_lost(partition, local, c.offset, now_ms)?;
        } else if c.offset < local {
            log::warn!(
                "partition {partition}: the committed offset {} was not set by this program, and is \
                 behind ours: reading goes on at {local}, so that nothing is stored twice",
                c.offset
            );
        }
        Ok(())
    }

    /// Kafka does not have the next offset of some partition held. Finds which, takes them anew
    /// where Kafka has records, and says where to read on. If none is out of range any more, all
    /// are read on from where they are. **To be called after a commit.**
    ///
    /// # Errors
    /// [`AssignError::Group`] may be tried again.
    pub fn reposition(&mut self, now_ms: u64) -> Result<Vec<Start>, AssignError> {
        self.identify_topic()?;
        let mut inside = Vec::new();
        let mut outside = Vec::new();
        for (&partition, held) in &self.held {
            let (low, high) = self.group.watermarks(partition)?;
            match self.queue.lane(held.lane) {
                Some(lane)
                    if (low..=high).contains(&lane.next) && lane.topic == self.incarnation =>
                {
                    inside.push(Start {
                        partition,
                        lane: held.lane,
                        offset: lane.next,
                    });
                }
                _ => outside.push(partition),
            }
        }
        if outside.is_empty() {
            return Ok(inside);
        }
        self.release(&outside)?;
        self.assign(&outside, now_ms)
    }

    /// Lets partitions go. What was synced has been committed before, or stays a tail.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn release(&mut self, partitions: &[i32]) -> Result<(), QueueError> {
        for partition in partitions {
            if let Some(held) = self.held.remove(partition) {
                self.queue.end_lane(held.lane)?;
            }
        }
        Ok(())
    }

    /// Commits all that the lanes hold, and makes it eligible once acknowledged. **To be called
    /// right after a sync, with no append in between.** Returns the number of partitions whose
    /// commit was acknowledged.
    ///
    /// # Errors
    /// `Ok(Err(_))` if the commit does not count: the rows stay a tail, and the next call covers
    /// them again. [`QueueError`] if the queue failed.
    pub fn commit(&mut self) -> Result<Result<usize, CommitError>, QueueError> {
        assert!(
            self.queue.is_synced(),
            "BUG: a commit before the sync of what it covers"
        );
        let mut lanes = Vec::new();
        let mut offsets = Vec::new();
        for (&partition, held) in &self.held {
            if let Some(lane) = self.queue.lane(held.lane).filter(Lane::has_tail) {
                offsets.push(OffsetCommit {
                    partition,
                    offset: lane.next,
                    metadata: held.note.text(),
                });
                lanes.push((held.lane, lane.next));
            }
        }
        if offsets.is_empty() {
            return Ok(Ok(0));
        }
        if let Err(e) = self.group.commit(&offsets) {
            return Ok(Err(e));
        }
        for (lane, offset) in &lanes {
            self.queue.acknowledge(*lane, *offset)?;
        }
        Ok(Ok(lanes.len()))
    }

    /// Whether rows wait for an acknowledgement.
    pub fn has_uncommitted(&self) -> bool {
        self.held
            .values()
            .any(|h| self.queue.lane(h.lane).is_some_and(|l| l.has_tail()))
    }

    /// Resolves tails of partitions that are not held, as far as the last commits tell: a
    /// partition may never come back.
    ///
    /// # Errors
    /// [`AssignError::Group`] may be tried again.
    pub fn resolve_absent(&self) -> Result<(), AssignError> {
        let tails: Vec<Lane> = self
            .tails_of(None)
            .into_iter()
            .filter(|l| !self.held.contains_key(&l.partition))
            .collect();
        if tails.is_empty() {
            return Ok(());
        }
        let partitions: Vec<i32> = tails.iter().map(|l| l.partition).collect();
        let committed = self.group.committed(&partitions)?;
        for tail in tails {
            let facts = Facts {
                me: self.queue.installation(),
                committed: committed.get(&tail.partition),
                low: None,
            };
            self.apply(&tail, &resolve(tail.eligible, tail.next, &facts))?;
        }
        Ok(())
    }

    /// The partitions held.
    pub fn partitions(&self) -> Vec<i32> {
        self.held.keys().copied().collect()
    }

    fn tails_of(&self, partition: Option<i32>) -> Vec<Lane> {
        let mut tails = self.queue.tails();
        tails.retain(|l| {
            (l.topic == self.incarnation || l.topic == self.topic)
                && l.state == LaneState::Ended
                && partition.is_none_or(|p| p == l.partition)
        });
        tails
    }

    /// Returns whether the rest of the tail is held, so that nothing more may be done with it.
    fn apply(&self, tail: &Lane, r: &Resolution) -> Result<bool, QueueError> {
        let unchanged = r.eligible == tail.eligible && r.drop.is_empty();
        if !unchanged {
            let settled = self.queue.settle(tail.id, r.eligible, r.drop.clone())?;
            if !settled {
                let why = format!(
                    "the committed offset lies within a stored block (eligible {}, dropped {:?})",
                    r.eligible, r.drop
                );
                self.hold(tail, &why)?;
                return Ok(true);
            }
            log::info!(
                "partition {}: rows {}..{} of an earlier run resolved: eligible below {}, dropped {:?}",
                tail.partition,
                tail.eligible,
                tail.next,
                r.eligible,
                r.drop
            );
        }
        if let Some(why) = &r.hold {
            self.hold(tail, why)?;
        }
        Ok(r.hold.is_some())
    }

    fn hold(&self, tail: &Lane, why: &str) -> Result<(), QueueError> {
        log::error!(
            "partition {}: stored rows {}..{} are held for you to decide: {why}",
            tail.partition,
            tail.eligible,
            tail.next
        );
        self.queue.hold_lane(tail.id, why)
    }

    /// Commits the end of a tail that Kafka no longer holds; only then are its rows eligible.
    fn claim(&self, tail: &Lane, offset: i64, note: &Note) -> Result<(), AssignError> {
        self.queue.sync()?;
        let commit = OffsetCommit {
            partition: tail.partition,
            offset,
            metadata: note.text(),
        };
        match self.group.commit(&[commit]) {
            Ok(()) => {
                log::warn!(
                    "partition {}: Kafka no longer has offsets {}..{offset}, which we stored before \
                     a crash; they are committed and will be sent",
                    tail.partition,
                    tail.eligible
                );
                self.queue.settle(tail.id, offset, offset..offset)?;
                Ok(())
            }
            Err(e) => Err(GroupError(e.to_string()).into()),
        }
    }

    fn note_after(&self, committed: Option<&Committed>) -> Note {
        let mut note = Note::succeed(
            self.queue.installation(),
            committed.map(|c| c.offset),
            committed.and_then(|c| c.note.as_ref()),
        );
        note.topic_id = self
            .incarnation
            .split_once('@')
            .map(|(_, id)| id.to_owned());
        note
    }
}
