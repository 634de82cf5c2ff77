//! Taking a partition: where Kafka's log, the group's commit and our own rows agree, and where reading goes
//! on from there.

use std::ops::Range;

use super::incarnation::cuts_in;
use super::parting::{Log, Parting, parting, parting_of_commit};
use super::{
    AssignError, CommitError, Committed, Cut, Facts, Group, GroupError, Held, Lanes, Note,
    OffsetCommit, Ownership, Start, StartAt, resolve,
};
use crate::queue::{LostRange, QueueError, Trail};

/// What is known of a partition before it is read on.
struct Before {
    /// The last commit is of a topic that is gone.
    recreated: bool,
    /// The last commit of this log.
    committed: Option<Committed>,
    cut: Cut,
    /// The last commit does not know of the cut.
    unaware: bool,
    /// The log's name, see [`crate::queue::Lane::topic`].
    topic: String,
    trail: Trail,
    /// Where Kafka's log parts from what we read.
    of_ours: Option<Parting>,
    /// Up to where our own rows are eligible.
    local: Option<i64>,
    /// Up to where the log was read, by us or the group.
    known: Option<i64>,
    /// Where another log begins than the one that was read.
    fresh: Option<Parting>,
}

/// Where reading goes on.
struct Goal {
    topic: String,
    offset: i64,
    note: Note,
    trail: Trail,
}

impl<L: Lanes, G: Group> Ownership<'_, L, G> {
    pub(super) fn take(
        &mut self,
        partition: i32,
        committed: Option<&Committed>,
        now_ms: u64,
    ) -> Result<Start, AssignError> {
        let (low, high) = self.group.watermarks(partition)?;
        let group = self.group;
        let log = Log {
            low,
            high,
            look: &|offset| group.first_from(partition, offset),
        };
        let mut before = self.before(partition, committed, &log)?;
        self.hold_tails_of_other_topics(partition, &before.topic)?;
        self.settle_tails(partition, &mut before, low)?;
        self.name_a_reset(
            partition,
            before.local,
            before.committed.as_ref(),
            high,
            now_ms,
        )?;
        let committed = before.committed.clone();
        let Goal {
            topic,
            offset,
            note,
            trail,
        } = self.goal(partition, before, &log, now_ms)?;
        let epoch = epoch_before(offset, &trail)
            .or_else(|| committed.as_ref().filter(|c| c.offset == offset)?.epoch)
            // Of a record that is gone it was not seen that the log still has it.
            .filter(|_| offset > low);
        let lane = self
            .queue
            .open_lane_behind(&topic, partition, offset, trail)?;
        let known = committed.is_some();
        self.held.insert(partition, Held { lane, note, known });
        Ok(Start {
            partition,
            lane,
            offset,
            epoch,
        })
    }

    /// What is known of the partition, by us, by the group and by Kafka's log.
    fn before(
        &self,
        partition: i32,
        committed: Option<&Committed>,
        log: &Log<'_>,
    ) -> Result<Before, AssignError> {
        let recreated = committed.is_some_and(|c| self.is_of_another_topic(c));
        if let Some(c) = committed.filter(|_| recreated) {
            log::error!(
                "partition {partition}: the topic was deleted and created again; the committed \
                 offset {} is of the old one, reading starts at {}",
                c.offset,
                log.low
            );
        }
        let mut committed = committed.filter(|_| !recreated).cloned();
        let cut = self.cuts_of(partition, committed.as_ref())?;
        let unaware = committed
            .as_ref()
            .is_some_and(|c| cuts_in(c).is_some_and(|n| n != cut.number));
        if unaware {
            committed = of_this_log(committed, log)?;
        }
        let topic = self.log_name(cut);
        let trail = self.trail_of(partition, &topic)?;
        let next = trail.last().map_or(0, |m| m.offset + 1);
        let of_ours = parting(&trail, next, log)?;
        let local = self.eligible_next(partition, &topic)?;
        let local = local.max((cut.number > 0).then_some(cut.at));
        let known = local.max(committed.as_ref().map(|c| c.offset));
        let parting = match committed.as_ref().filter(|c| known == Some(c.offset)) {
            Some(c) if !self.is_ours(c) => of_theirs(c, of_ours.clone(), log)?,
            // After a crash the trail may end before our own commit.
            Some(c) if next < c.offset => {
                let theirs = of_theirs(c, None, log)?;
                of_ours.iter().cloned().chain(theirs).min_by_key(|p| p.at)
            }
            _ => of_ours.clone(),
        };
        let fresh = self.fresh_log(partition, known, committed.as_ref(), parting, log);
        Ok(Before {
            recreated,
            committed,
            cut,
            unaware,
            topic,
            trail,
            of_ours,
            local,
            known,
            fresh,
        })
    }

    /// Resolves what earlier ownerships left of this log. What is claimed is committed then.
    fn settle_tails(
        &self,
        partition: i32,
        before: &mut Before,
        low: i64,
    ) -> Result<(), AssignError> {
        let mut claimed = None;
        for tail in self.tails_of(partition, &before.topic) {
            let facts = Facts {
                me: self.queue.installation(),
                committed: before.committed.as_ref(),
                low: Some(low),
                parted: before.of_ours.as_ref().map(|p| p.at),
            };
            let r = resolve(tail.eligible, tail.next, &facts);
            let held = self.apply(&tail, &r)?;
            if let Some(offset) = r.claim.filter(|_| !held) {
                let note = self.note_after(before.committed.as_ref(), before.cut.number);
                let epoch = tail.trail.epoch_at(offset - 1);
                self.claim(&tail, offset, epoch, &note)?;
                before.committed = Some(Committed {
                    offset,
                    epoch,
                    note: Some(note),
                });
                claimed = Some(offset);
            }
        }
        if let (Some(_), Some(ours)) = (claimed, &before.of_ours) {
            // What was claimed is of the log that was. Of this one the group has read up to `read`, and
            // the claim covers what both have.
            let read = before.fresh.as_ref().map(|p| p.at).or(before.known);
            if read.is_none_or(|read| read < ours.at) {
                before.fresh = Some(ours.clone());
            } else if before.fresh.is_none() {
                before.fresh = read.map(Parting::cleanly_at);
            }
        }
        before.known = before.known.max(claimed);
        Ok(())
    }

    /// Where reading goes on, in which log, and what commits say from there.
    fn goal(
        &self,
        partition: i32,
        before: Before,
        log: &Log<'_>,
        now_ms: u64,
    ) -> Result<Goal, AssignError> {
        let Before {
            topic,
            cut,
            trail,
            known,
            ..
        } = before;
        // Marks of records that may be others now must not be looked for again.
        let sure = before.of_ours.as_ref().map_or(i64::MAX, |p| p.unsure.start);
        let mut note = self.note_after(before.committed.as_ref(), cut.number);
        note.cut |= before.unaware;
        if let Some(parting) = before.fresh {
            let at = self.within(partition, parting.at, log.low, now_ms)?;
            let cut = Cut {
                number: cut.number + 1,
                at,
            };
            let trail = with_end(trail.below(at.min(sure)), at, log)?;
            let note = self.go_on_at(partition, cut, known, &parting, &trail, now_ms)?;
            return Ok(Goal {
                topic: self.log_name(cut),
                offset: at,
                note,
                trail,
            });
        }
        let is_beyond = known.is_some_and(|known| known > log.high);
        let offset = match known {
            Some(_) if is_beyond => log.high,
            Some(offset) => self.within(partition, offset, log.low, now_ms)?,
            // Of the new topic nothing was read: what retention took of it has a name, too.
            None if before.recreated => self.within(partition, 0, log.low, now_ms)?,
            None => self.first_start(partition, log.low, log.high)?,
        };
        let trail = with_end(trail.below(offset.min(sure)), offset, log)?;
        if is_beyond {
            self.go_back_to_the_end(partition, offset, &trail, &note)?;
        }
        Ok(Goal {
            topic,
            offset,
            note,
            trail,
        })
    }

    fn first_start(&self, partition: i32, low: i64, high: i64) -> Result<i64, AssignError> {
        match self.start_at {
            StartAt::Earliest => Ok(low),
            StartAt::Latest => {
                log::warn!(
                    "partition {partition}: no committed offset; kafka_start is latest, so its \
                     records {low}..{high} are skipped"
                );
                Ok(high)
            }
            StartAt::Stop => Err(AssignError::NoStart(partition)),
        }
    }

    fn is_ours(&self, committed: &Committed) -> bool {
        let owner = committed.note.as_ref().map(|n| n.owner.as_str());
        owner == Some(self.queue.installation())
    }

    /// How the log has to be taken for another one than that in which `known` lies, if it has.
    fn fresh_log(
        &self,
        partition: i32,
        known: Option<i64>,
        committed: Option<&Committed>,
        parting: Option<Parting>,
        log: &Log<'_>,
    ) -> Option<Parting> {
        let known = known?;
        // Brokers without ids do not tell a topic that was created again from one that was cut.
        let has_id = self.incarnation.contains('@');
        match parting {
            Some(p) if p.at < known && p.whole && !has_id => {
                log::error!(
                    "partition {partition}: Kafka has nothing of what we read: the topic was \
                     created again"
                );
                Some(Parting::cleanly_at(log.low))
            }
            Some(p) if p.at < known => Some(p),
            _ if known <= log.high => None,
            // An offset beyond the end that an operator set.
            _ if committed.is_some_and(|c| c.note.is_none() && c.offset == known) => None,
            _ if has_id => Some(Parting::cleanly_at(log.high)),
            _ => Some(Parting::cleanly_at(log.low)),
        }
    }

    /// The log was cut below `known` and is another one since, the one with number `cut.number`. Before
    /// anything is read of it the group is told, so that no instance takes an offset of one log for one of
    /// the other.
    fn go_on_at(
        &self,
        partition: i32,
        cut: Cut,
        known: Option<i64>,
        parting: &Parting,
        trail: &Trail,
        now_ms: u64,
    ) -> Result<Note, AssignError> {
        let at = cut.at;
        log::error!(
            "partition {partition}: Kafka's log was cut: our next offset is {}, but from {at} on it \
             has other records, or none, in place of those that were read; reading goes on at {at}",
            known.unwrap_or(at)
        );
        if !parting.unsure.is_empty() {
            let (from, to) = (parting.unsure.start, parting.unsure.end);
            log::error!(
                "partition {partition}: whether offsets {from}..{to} hold records that were read \
                 before the log was cut cannot be told: they will not be read"
            );
            self.name_lost(partition, from..to, true, now_ms)?;
        }
        // Where former owners ended is told in offsets of the log that was.
        let note = self.note_after(None, cut.number);
        self.commit_one(partition, at, epoch_before(at, trail), &note)?;
        self.queue.keep_cut(&self.incarnation, partition, cut)?;
        self.queue.sync()?;
        Ok(note)
    }

    /// An operator set the group's offset beyond the end: lowered at once, or what comes meanwhile
    /// would be skipped at the next start as well.
    fn go_back_to_the_end(
        &self,
        partition: i32,
        high: i64,
        trail: &Trail,
        note: &Note,
    ) -> Result<(), AssignError> {
        log::error!(
            "partition {partition}: the committed offset was not set by this program and lies beyond \
             Kafka's end; reading goes on at the end, {high}"
        );
        self.commit_one(partition, high, epoch_before(high, trail), note)
    }

    pub(super) fn commit_one(
        &self,
        partition: i32,
        offset: i64,
        epoch: Option<i32>,
        note: &Note,
    ) -> Result<(), AssignError> {
        // A crash may come before the lane that begins there.
        let cut = note
            .topic_id
            .as_deref()
            .and_then(|id| Some(id.split_once('#')?.1));
        let cut = cut.and_then(|n| n.parse().ok()).unwrap_or_default();
        let log = self.log_name(Cut {
            number: cut,
            at: offset,
        });
        self.queue.keep_reached(&log, partition, offset)?;
        self.queue.sync()?;
        let commit = OffsetCommit {
            partition,
            offset,
            epoch,
            metadata: note.stamped(&self.stamp_now()?).text(),
        };
        let refused = |e: CommitError| AssignError::Group(GroupError(e.to_string()));
        self.group.commit(&[commit]).map_err(refused)
    }

    /// `offset`, or what Kafka has in its place; what it lost is recorded.
    fn within(
        &self,
        partition: i32,
        offset: i64,
        low: i64,
        now_ms: u64,
    ) -> Result<i64, QueueError> {
        if offset < low {
            self.record_lost(partition, offset, low, now_ms)?;
        }
        Ok(offset.max(low))
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
        self.name_lost(partition, from..to, false, now_ms)
    }

    fn name_lost(
        &self,
        partition: i32,
        offsets: Range<i64>,
        unsure: bool,
        noticed_ms: u64,
    ) -> Result<(), QueueError> {
        self.queue.record_lost(LostRange {
            topic: self.topic.clone(),
            partition,
            from: offsets.start,
            to: offsets.end,
            noticed_ms,
            unsure,
        })
    }

    /// A commit that this program did not make moved the offset.
    fn name_a_reset(
        &self,
        partition: i32,
        local: Option<i64>,
        committed: Option<&Committed>,
        high: i64,
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
            let end = c.offset.min(high);
            if end > local {
                self.record_lost(partition, local, end, now_ms)?;
            }
        } else if c.offset < local {
            log::warn!(
                "partition {partition}: the committed offset {} was not set by this program, and is \
                 behind ours: reading goes on at {local}, so that nothing is stored twice",
                c.offset
            );
        }
        Ok(())
    }

    fn note_after(&self, committed: Option<&Committed>, cuts: u32) -> Note {
        let mut note = Note::succeed(
            self.queue.installation(),
            committed.map(|c| c.offset),
            committed.and_then(|c| c.note.as_ref()),
        );
        let id = self.incarnation.split_once('@').map(|(_, id)| id);
        note.topic_id = match (id, cuts) {
            (id, 0) => id.map(str::to_owned),
            (id, n) => Some(format!("{}#{n}", id.unwrap_or_default())),
        };
        note
    }
}

/// Where the log parts from what another instance read up to its commit. It may have read on after a cut
/// of what we read: ours then tells nothing of it.
fn of_theirs(
    committed: &Committed,
    of_ours: Option<Parting>,
    log: &Log<'_>,
) -> Result<Option<Parting>, GroupError> {
    match committed.epoch {
        Some(epoch) => parting_of_commit(committed.offset, epoch, log),
        None => Ok(of_ours),
    }
}

/// A trail with the record before `offset`, as it is now, if it is not known from before: by it a cut
/// below is found.
fn with_end(mut trail: Trail, offset: i64, log: &Log<'_>) -> Result<Trail, GroupError> {
    let known = trail.last().is_some_and(|last| last.offset + 1 == offset);
    if !known && offset > log.low && offset <= log.high {
        let found = (log.look)(offset - 1)?.filter(|m| m.offset + 1 == offset);
        if let Some(mark) = found {
            trail.push_behind_gap(mark);
        }
    }
    Ok(trail)
}

/// Leader epoch of the record right before `offset`. Not of an earlier one: behind a gap that one's
/// leader may have ended before.
fn epoch_before(offset: i64, trail: &Trail) -> Option<i32> {
    let last = trail.last().filter(|m| m.offset + 1 == offset)?;
    Some(last.epoch).filter(|epoch| *epoch >= 0)
}

/// A commit that does not know of a cut, if its records are there all the same: its note was lost in
/// between. Who held the partition before is then not known.
fn of_this_log(
    committed: Option<Committed>,
    log: &Log<'_>,
) -> Result<Option<Committed>, GroupError> {
    let Some(mut c) = committed else {
        return Ok(None);
    };
    let there = match c.epoch {
        Some(epoch) => parting_of_commit(c.offset, epoch, log)?.is_none(),
        None => false,
    };
    if let Some(note) = &mut c.note {
        note.former.clear();
        note.cut = true;
    }
    Ok(Some(c).filter(|_| there))
}
