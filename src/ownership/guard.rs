//! Looking for another owner of our installation id, and telling of ourselves. The rules are `fence.rs`'s.

use std::collections::BTreeMap;

use super::fence::{Here, OBJECTION, Told, Verdict, What, judge};
use super::incarnation::{Identified, cuts_in};
use super::{AssignError, CommitError, Committed, Group, Lanes, OffsetCommit, Ownership};
use crate::queue::{Lane, QueueError, Stamp};

/// What a look at all notes found. Another owner is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// No note tells of a run of ours.
    Untold,
    /// Notes tell of runs of ours, and of no other.
    Ours,
}

/// What became of telling how many batches were sealed.
#[derive(Debug, PartialEq, Eq)]
pub enum Stamped {
    /// Kafka knows.
    Told,
    /// No partition is held by which it could be told.
    NoneHeld,
    /// The commit was not acknowledged.
    Not(CommitError),
}

impl<L: Lanes, G: Group> Ownership<'_, L, G> {
    /// Looks whether the installation id has another owner. To be asked before the group is joined, if the
    /// data dir may be a copy, before a batch is sent for the first time, and from time to time.
    ///
    /// # Errors
    /// [`QueueError::SecondOwner`]: nothing may be sent or committed any more. [`AssignError::Group`] may be
    /// tried again.
    pub fn look_for_others(&mut self) -> Result<Looked, AssignError> {
        let notes = self.group.notes()?;
        if !self.identified
            && let Identified::Unknown(e) = self.identify_topic()?
        {
            return Err(e.into());
        }
        self.accept_declared(&notes)?;
        self.judge_all(&notes)
    }

    /// It is known that no broker can be asked now.
    pub fn is_away(&self) -> bool {
        self.group.is_away()
    }

    /// The number that the next batch has; what was sealed is synced. Each commit tells it from now on.
    pub fn sealed(&mut self, next_batch: u64) {
        self.sealed = next_batch;
    }

    /// Has Kafka know what [`Ownership::sealed`] was told, by a commit that changes no offset. To be called
    /// right after [`Ownership::commit`].
    ///
    /// # Errors
    /// [`QueueError`] if the queue failed.
    pub fn stamp(&mut self) -> Result<Stamped, QueueError> {
        if self.told == Some(self.sealed) {
            return Ok(Stamped::Told);
        }
        let stamp = self.stamp_now()?;
        match self.commit_nothing_new(&stamp)? {
            None => Ok(Stamped::NoneHeld),
            Some(Ok(())) => {
                self.told = Some(stamp.sealed);
                Ok(Stamped::Told)
            }
            Some(Err(e)) => Ok(Stamped::Not(e)),
        }
    }

    pub(super) fn stamp_now(&self) -> Result<Stamp, QueueError> {
        Ok(Stamp {
            run: self.queue.runs()?.now,
            sealed: self.sealed,
        })
    }

    /// Judges the last commits of partitions.
    pub(super) fn judge_all(&self, all: &BTreeMap<i32, Committed>) -> Result<Looked, AssignError> {
        let (runs, next_batch) = (self.queue.runs()?, self.queue.next_batch());
        let mut looked = Looked::Untold;
        for (&partition, committed) in all {
            let Some(note) = &committed.note else {
                continue;
            };
            let told = Told {
                stamp: note.runs.get(self.queue.installation()),
                covered: self.covered(partition, committed)?,
            };
            let here = Here {
                runs: &runs,
                next_batch,
                first_batch: self.first_batch,
                reached: self.reached(partition, committed)?,
            };
            let what = match judge(told, here) {
                Verdict::Untold => continue,
                Verdict::Ours => {
                    looked = Looked::Ours;
                    continue;
                }
                Verdict::Another => "was made by a start that was not on this data dir".to_owned(),
                Verdict::Behind(What::Rows) => format!(
                    "covers offsets below {}, and this data dir never had those from {} on",
                    told.covered.unwrap_or_default(),
                    here.reached.unwrap_or_default()
                ),
                Verdict::Behind(What::Batches) => {
                    "tells of batches that were never sealed on this data dir".to_owned()
                }
            };
            let words = format!(
                "the last commit of installation {} for partition {partition} {what}",
                self.queue.installation()
            );
            log::error!("another owner of this installation: {words}");
            let error = self.queue.second_owner(words);
            self.object();
            return Err(error.into());
        }
        Ok(looked)
    }

    /// Up to where a commit of ours covers the log that we know.
    fn covered(&self, partition: i32, committed: &Committed) -> Result<Option<i64>, QueueError> {
        let cut = self.queue.cut(&self.incarnation, partition)?;
        let is_known_log = self.identified
            && !self.is_of_another_topic(committed)
            && cuts_in(committed) == Some(cut.unwrap_or_default().number);
        let me = self.queue.installation();
        let note = committed.note.as_ref().filter(|_| is_known_log);
        Ok(note.and_then(|note| match note.owner == me {
            true => Some(committed.offset),
            false => note.former.get(me).copied(),
        }))
    }

    /// Up to where we know that log.
    fn reached(&self, partition: i32, committed: &Committed) -> Result<Option<i64>, QueueError> {
        let cut = self.queue.cut(&self.incarnation, partition)?;
        let cut = cut.filter(|cut| cuts_in(committed) == Some(cut.number));
        let log = self.log_name(cut.unwrap_or_default());
        let reached = self.queue.reached(&log, partition)?;
        let reached = reached.max(cut.filter(|cut| cut.number > 0).map(|cut| cut.at));
        if log != self.incarnation || log == self.topic {
            return Ok(reached);
        }
        // Lanes that were begun while the topic's id was not known.
        Ok(reached.max(self.queue.reached(&self.topic, partition)?))
    }

    /// A person said that this data dir is the one: what is known by now is its own.
    fn accept_declared(&self, all: &BTreeMap<i32, Committed>) -> Result<(), QueueError> {
        let mut runs = self.queue.runs()?;
        if !runs.declared {
            return Ok(());
        }
        let me = self.queue.installation();
        let mut stamps = Vec::new();
        for (&partition, committed) in all {
            let note = committed.note.as_ref();
            stamps.extend(note.and_then(|note| note.runs.get(me)).cloned());
            let cut = self.queue.cut(&self.incarnation, partition)?;
            let (log, covered) = (
                self.log_name(cut.unwrap_or_default()),
                self.covered(partition, committed)?,
            );
            let reached = self.reached(partition, committed)?;
            if let Some(covered) = covered.filter(|to| reached < Some(*to)) {
                self.queue.keep_reached(&log, partition, covered)?;
            }
        }
        runs.accept(stamps);
        self.queue.keep_runs(&runs)
    }

    /// Leaves word for the other owner, if it can be left without covering a row.
    fn object(&self) {
        let stamp = self.stamp_now().map(|stamp| Stamp {
            sealed: OBJECTION,
            ..stamp
        });
        let left = stamp.and_then(|stamp| self.commit_nothing_new(&stamp));
        if let Ok(Some(Err(e))) = left {
            log::warn!("the other owner cannot be told: {e}");
        }
    }

    /// Commits anew what is committed, for its note. `None` if there is nothing of the kind.
    fn commit_nothing_new(
        &self,
        stamp: &Stamp,
    ) -> Result<Option<Result<(), CommitError>>, QueueError> {
        let known = self.held.iter().filter(|(_, held)| held.known);
        let mut known = known.filter_map(|(p, held)| Some((*p, held, self.queue.lane(held.lane)?)));
        let Some((partition, held, lane)) = known.find(|(.., lane)| !Lane::has_tail(lane)) else {
            return Ok(None);
        };
        // The lane itself, which tells up to where we are.
        self.queue.sync()?;
        Ok(Some(self.group.commit(&[OffsetCommit {
            partition,
            offset: lane.next,
            epoch: lane.trail.epoch_at(lane.next - 1),
            metadata: held.note.stamped(stamp).text(),
        }])))
    }
}
