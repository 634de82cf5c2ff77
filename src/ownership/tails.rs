//! Tails of earlier ownerships: settled, claimed, or held for a person.

use super::incarnation::cuts_in;
use super::{AssignError, Committed, Facts, Group, Lanes, Note, Ownership, Resolution, resolve};
use crate::queue::{Lane, LaneState, QueueError};

impl<L: Lanes, G: Group> Ownership<'_, L, G> {
    /// Rows of a topic that is gone cannot be read again nor committed: whether another instance has
    /// them cannot be known.
    pub(super) fn hold_tails_of_other_topics(
        &self,
        partition: i32,
        log: &str,
    ) -> Result<(), QueueError> {
        for lane in self.queue.tails() {
            let other = lane.topic_name() == self.topic && !self.is_of_log(&lane, log);
            if other && lane.partition == partition && lane.state == LaneState::Ended {
                let of = |log: &str| log.split('#').next().map(str::to_owned);
                let why = if of(&lane.topic) == of(log) {
                    "Kafka's log was cut since they were read, as after a broker's loss of power"
                } else {
                    "the topic was deleted and created again since they were read"
                };
                self.hold(&lane, why)?;
            }
        }
        Ok(())
    }

    /// Resolves tails of partitions that are not held, as far as the last commits tell: a
    /// partition may never come back.
    ///
    /// # Errors
    /// [`AssignError::Group`] may be tried again.
    pub fn resolve_absent(&self) -> Result<(), AssignError> {
        let mut tails = self.queue.tails();
        tails.retain(|l| {
            l.topic_name() == self.topic
                && l.state == LaneState::Ended
                && !self.held.contains_key(&l.partition)
        });
        if tails.is_empty() {
            return Ok(());
        }
        let partitions: Vec<i32> = tails.iter().map(|l| l.partition).collect();
        let committed = self.group.committed(&partitions)?;
        self.judge_all(&committed)?;
        for tail in tails {
            let committed = committed.get(&tail.partition);
            let cut = self.queue.cut(&self.incarnation, tail.partition)?;
            let log = self.log_name(cut.unwrap_or_default());
            let of_another = |c: &Committed| {
                self.is_of_another_topic(c)
                    || cuts_in(c).is_some_and(|n| n != cut.unwrap_or_default().number)
            };
            // Of another log nothing can be told until the partition is assigned.
            if !self.is_of_log(&tail, &log) || committed.is_some_and(of_another) {
                continue;
            }
            let facts = Facts {
                me: self.queue.installation(),
                committed,
                low: None,
                parted: None,
            };
            self.apply(&tail, &resolve(tail.eligible, tail.next, &facts))?;
        }
        Ok(())
    }

    pub(super) fn tails_of(&self, partition: i32, log: &str) -> Vec<Lane> {
        let mut tails = self.queue.tails();
        tails.retain(|l| {
            self.is_of_log(l, log) && l.state == LaneState::Ended && l.partition == partition
        });
        tails
    }

    /// Returns whether the rest of the tail is held, so that nothing more may be done with it.
    pub(super) fn apply(&self, tail: &Lane, r: &Resolution) -> Result<bool, QueueError> {
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
    pub(super) fn claim(
        &self,
        tail: &Lane,
        offset: i64,
        epoch: Option<i32>,
        note: &Note,
    ) -> Result<(), AssignError> {
        self.commit_one(tail.partition, offset, epoch, note)?;
        log::warn!(
            "partition {}: Kafka no longer has offsets {}..{offset}, which we stored before; they are \
             committed and will be sent",
            tail.partition,
            tail.eligible
        );
        self.queue.settle(tail.id, offset, offset..offset)?;
        Ok(())
    }
}
