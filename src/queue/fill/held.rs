//! Rows of which nobody can tell whether another instance sent them, and what a person decides.

use serde::{Deserialize, Serialize};

use crate::queue::{CommandError, Lane, LaneId, LaneState, Queue, QueueError};

/// The held rows of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRows {
    /// The lane.
    pub lane: Lane,
    /// Rows from its eligible offset on.
    pub rows: u64,
}

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// ClickHouse does not have them: they are sent as all others.
    Send,
    /// ClickHouse has them, from another instance: they are removed here.
    Drop,
}

impl Queue {
    /// All that are held, a lane each.
    ///
    /// # Errors
    /// [`QueueError`] if a block cannot be read.
    pub fn held(&self) -> Result<Vec<HeldRows>, QueueError> {
        let held = self.tails().into_iter().filter(Lane::is_held);
        held.map(|lane| {
            let rows = self.tail_rows(&lane)?;
            Ok(HeldRows { lane, rows })
        })
        .collect()
    }

    /// A person decided about the held rows of a lane. Returns them as they were; durable when it returns.
    ///
    /// # Errors
    /// [`CommandError::NotHeld`], or a failure of the queue.
    pub fn decide(&self, id: LaneId, fate: Fate) -> Result<HeldRows, CommandError> {
        let held = self.held()?.into_iter().find(|h| h.lane.id == id);
        let held = held.ok_or(CommandError::NotHeld { lane: id })?;
        let (from, to) = (held.lane.eligible, held.lane.next);
        let settled = match fate {
            Fate::Send => self.settle(id, to, to..to)?,
            Fate::Drop => self.settle(id, from, from..to)?,
        };
        debug_assert!(settled, "BUG: a tail ends within a block");
        // Only then: until its tail is gone nobody else may resolve it.
        self.update_lane(id, |lane| lane.state = LaneState::Ended)?;
        self.forget_if_spent(id)?;
        self.sync()?;
        Ok(held)
    }
}
