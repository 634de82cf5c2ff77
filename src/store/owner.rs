//! Whether this data dir is still the one of its installation id, asked before rows are sent
//! (`ownership/fence.rs`).

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::{Store, StoreError};
use crate::ownership::{AssignError, Group, Looked, Stamped};
use crate::queue::{Moved, Queue, QueueError};

/// A data dir that lies elsewhere than it last lay sends nothing before its own commit is so old: an original
/// asks before each insert, and what it was about to send has begun by then.
const SETTLE: Duration = Duration::from_secs(20);

/// The same if it holds no partition, by which it could tell of itself.
const SETTLE_UNTOLD: Duration = Duration::from_secs(300);

/// For so long after partitions went to others, who may be a copy that has told nothing yet.
const LET_GO: Duration = Duration::from_secs(10);

/// After so long without an acknowledgement rows are sent though Kafka does not take the number of their
/// batch, as long as no note tells of another owner: who took the membership has told of itself by then.
const REFUSED: Duration = Duration::from_secs(10);

/// May a batch be sent now?
pub struct Ask {
    /// The number that the next batch will have; all before it are synced.
    pub sealed: u64,
    /// For the answer.
    pub reply: Sender<bool>,
}

/// What is known of being the one.
pub(super) struct Owner {
    pub(super) asks: Receiver<Ask>,
    /// The data dir lies elsewhere than it last lay, and Kafka has not cleared it yet.
    pub(super) doubt: Option<Doubt>,
    /// When partitions were let go last.
    pub(super) let_go: Option<Instant>,
    /// Since when the number of sealed batches is not acknowledged.
    refused: Option<Instant>,
}

/// Why it may be a copy.
pub(super) struct Doubt {
    moved: Moved,
    is_declared: bool,
    /// When it was first asked whether rows may be sent, and when Kafka was told of this run.
    asked: Option<Instant>,
    told: Option<Instant>,
}

impl Owner {
    pub(super) fn of(queue: &Queue) -> Result<Owner, QueueError> {
        let (moved, runs) = (queue.moved()?, queue.runs()?);
        let is_in_doubt = moved != Moved::default() || runs.declared;
        if !is_in_doubt {
            // Of the first start by this release.
            queue.accept_place()?;
        }
        Ok(Owner {
            asks: crossbeam_channel::never(),
            doubt: is_in_doubt.then_some(Doubt {
                moved,
                is_declared: runs.declared,
                asked: None,
                told: None,
            }),
            let_go: None,
            refused: None,
        })
    }
}

impl<G: Group> Store<'_, G> {
    /// Answers the flusher.
    pub(super) fn answer(&mut self, ask: Option<Ask>) -> Result<(), StoreError> {
        let Some(Ask { sealed, reply }) = ask else {
            return Ok(());
        };
        let may_send = self.may_send(sealed)?;
        // It has ended, or asks again.
        let _ = reply.send(may_send);
        Ok(())
    }

    /// **First tell, then look**: of two owners that do so at least one sees the other.
    pub(super) fn may_send(&mut self, sealed: u64) -> Result<bool, StoreError> {
        self.ownership.sealed(sealed);
        // While Kafka is away rows are sent on, by a data dir that lies where it lay.
        if self.ownership.is_away() {
            return Ok(self.owner.doubt.is_none());
        }
        self.sync_and_commit()?;
        let stamped = self.ownership.stamp()?;
        if !self.look_for_others()? {
            return Ok(self.owner.doubt.is_none());
        }
        if let Stamped::Not(e) = &stamped {
            let since = *self.owner.refused.get_or_insert_with(Instant::now);
            log::debug!("Kafka does not take the number of sealed batches: {e}");
            if since.elapsed() < REFUSED {
                return Ok(false);
            }
        } else {
            self.owner.refused = None;
        }
        let let_go = self.owner.let_go;
        if stamped == Stamped::NoneHeld && let_go.is_some_and(|at| at.elapsed() < LET_GO) {
            return Ok(false);
        }
        self.settled(stamped == Stamped::Told)
    }

    /// Tells Kafka of this run as soon as it can be told, if the data dir may be a copy: rows wait for it.
    pub(super) fn introduce(&mut self) -> Result<(), StoreError> {
        if self.owner.doubt.is_none() || self.ownership.is_away() {
            return Ok(());
        }
        self.sync_and_commit()?;
        let stamped = self.ownership.stamp()?;
        if self.look_for_others()? && stamped == Stamped::Told {
            self.settled(true)?;
        }
        Ok(())
    }

    /// Whether nothing is in doubt any more.
    fn settled(&mut self, is_told: bool) -> Result<bool, StoreError> {
        let Some(doubt) = &mut self.owner.doubt else {
            return Ok(true);
        };
        let asked = *doubt.asked.get_or_insert_with(Instant::now);
        if is_told {
            doubt.told.get_or_insert_with(Instant::now);
        }
        let is_settled = doubt.told.is_some_and(|at| at.elapsed() >= SETTLE);
        if !is_settled && asked.elapsed() < SETTLE_UNTOLD {
            return Ok(false);
        }
        self.owner.doubt = None;
        self.queue.accept_place()?;
        self.queue.sync()?;
        Ok(true)
    }

    /// Looks for another owner, which is an error, and returns whether Kafka answered.
    pub(super) fn look_for_others(&mut self) -> Result<bool, StoreError> {
        let looked = match self.ownership.look_for_others() {
            Ok(looked) => looked,
            Err(AssignError::Queue(e)) => return Err(e.into()),
            Err(e) => {
                log::debug!("Kafka does not tell whether there is another owner: {e}");
                return Ok(false);
            }
        };
        let Some(doubt) = &self.owner.doubt else {
            return Ok(true);
        };
        if doubt.moved.file && looked == Looked::Untold && !doubt.is_declared {
            self.queue.refuse_copy()?;
        }
        if doubt.moved.file && doubt.asked.is_none() && !doubt.is_declared {
            log::warn!(
                "the queue lies in another file than it last lay in, and all that Kafka has of this \
                 installation is in it: it is taken for a volume that was moved"
            );
        }
        Ok(true)
    }
}
