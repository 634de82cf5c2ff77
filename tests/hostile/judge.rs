//! What has become of each message, told by its own row.

use std::collections::BTreeMap;

use anonymizer::queue::{LOST_RANGES, LaneState, LostRange, Queue};
use anonymizer::row::read::rows;

use super::kafka::Broker;
use crate::support::fake_clickhouse::{Multiset, row};

/// Where the rows are that ClickHouse has not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the batch of which nobody can tell whether it is stored: here, or there, or in both.
    Unclear,
    /// In a batch or a lane that was not sent.
    Waiting,
    /// In a lane that a person has to decide on.
    Held,
}

/// What a queue says of messages: where their rows are, and what it names as lost.
#[derive(Default)]
pub struct Left {
    rows: BTreeMap<u64, Place>,
    twice: Vec<u64>,
    named: Vec<LostRange>,
}

impl Left {
    /// Reads every row of the queue.
    pub fn of(queue: &Queue) -> Result<Left, String> {
        let summary = queue.summary().map_err(|e| e.to_string())?;
        let mut left = Left::default();
        for block in queue.blocks() {
            let (header, frame) = block.map_err(|e| e.to_string())?;
            let batch = summary.batches.iter().find(|b| b.covers(&header));
            let lane = summary.lanes.iter().find(|l| l.id == header.lane);
            let place = match (batch, lane) {
                (Some(batch), _) if batch.may_be_stored => Place::Unclear,
                (None, Some(lane))
                    if header.first >= lane.eligible
                        && matches!(lane.state, LaneState::Held(_)) =>
                {
                    Place::Held
                }
                _ => Place::Waiting,
            };
            let plain = zstd::decode_all(&frame[..]).map_err(|e| e.to_string())?;
            for row in rows(&plain) {
                let message = message(row.map_err(|e| e.to_string())?.url)?;
                if left.rows.insert(message, place).is_some() {
                    left.twice.push(message);
                }
            }
        }
        left.named = queue
            .load(LOST_RANGES)
            .map_err(|e| e.to_string())?
            .unwrap_or_default();
        Ok(left)
    }

    /// How many messages the queue names as lost, or may be.
    pub fn named(&self) -> u64 {
        self.named.iter().map(|r| (r.to - r.from) as u64).sum()
    }

    /// How many rows a person has to decide on.
    pub fn held(&self) -> u64 {
        let held = |place: &&Place| **place == Place::Held;
        self.rows.values().filter(held).count() as u64
    }

    /// Each message is stored once, or is where the queue says, or its loss has a name; and nothing else is
    /// stored. `stored` is what ClickHouse has.
    pub fn judge(&self, stored: &Multiset, broker: &Broker) -> Result<(), String> {
        let count = |message: u64| stored.get(&row(message)).copied().unwrap_or(0);
        let (mut faults, mut known) = (Vec::new(), 0);
        for message in 0..broker.produced() {
            let there = count(message);
            known += there;
            let place = self.rows.get(&message);
            let fault = match (there, place) {
                (1, None | Some(Place::Unclear)) | (0, Some(_)) => continue,
                (0, None) if broker.excuse(message, &self.named).is_some() => continue,
                (0, None) => "lost",
                (1, Some(_)) => "stored, and to be sent or decided on once more",
                _ => "doubled",
            };
            faults.push((message, fault, place));
        }
        faults.extend(self.twice.iter().map(|m| (*m, "queued twice", None)));
        if !faults.is_empty() {
            let all = faults.len();
            faults.truncate(6);
            return Err(format!("{all} messages are wrong, as {faults:?}"));
        }
        let strange = stored.values().sum::<u64>() - known;
        if strange > 0 {
            return Err(format!("{strange} rows are stored that no message has"));
        }
        for range in self.named.iter().filter(|r| !r.unsure) {
            let kept = |m| count(m) > 0 || self.rows.contains_key(&m);
            if let Some(offset) = broker.is_needless(range, kept) {
                return Err(format!(
                    "offset {offset} is named as lost and is not: {range:?}"
                ));
            }
        }
        Ok(())
    }
}

/// The number of the message that made a row.
fn message(url: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(url);
    let number = text.strip_prefix("/object/").and_then(|n| n.parse().ok());
    number.ok_or_else(|| format!("a row of no message: {text}"))
}
