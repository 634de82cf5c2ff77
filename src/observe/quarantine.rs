//! What the command `quarantine` asks of a queue, a page at a time: answered by the live instance in
//! its own process, or by the command itself where none runs. So an answer is never late or large.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::privacy::Policy;
use crate::privacy::message::{Masked, hash};
use crate::queue::{Page, QuarantineEntry, Queue, QueueError, Retried, Which};
use crate::row::row;
use crate::runtime::clock::now_ms;

/// One step.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The facts of entries; answered by a page of [`Entry`]s without bytes.
    List(Which),
    /// Entries with their bytes.
    Read(Which),
    /// Decode again; answered by a page of [`Entry`]s and what became of each.
    Retry(Which),
    /// Remove for good; answered by a page of what is gone.
    Drop(Which),
}

/// An entry as it goes through the socket.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its facts.
    #[serde(flatten)]
    pub facts: QuarantineEntry,
    /// How many of its bytes are kept: all or none.
    pub kept_bytes: Option<u64>,
    /// The bytes, in hex, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// What became of it, where it was retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<Retried>,
}

impl Entry {
    fn new(mut facts: QuarantineEntry, with_bytes: bool, now: &Policy) -> Entry {
        let kept = facts.message.kept.take();
        let by = &facts.message.policy;
        let shown = kept.as_ref().and_then(|kept| kept.shown(by, now));
        if kept.is_some() && shown.is_none() {
            let why = "kept by an earlier version or policy, and not shown: it may hold an address; `retry` can use it";
            facts.message.not_kept = Some(why.to_owned());
        }
        if let Some(kept) = &kept {
            // An earlier version's is the message's; that of more than is shown would tell the rest.
            facts.message.hash = hash(shown.as_ref().unwrap_or(kept).as_bytes());
        }
        let shown = shown.as_ref().map(Masked::as_bytes);
        Entry {
            kept_bytes: shown.map(|k| k.len() as u64),
            hex: shown.filter(|_| with_bytes).map(hex),
            retried: None,
            facts,
        }
    }

    /// The kept bytes, if they were asked for.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        unhex(self.hex.as_deref()?)
    }
}

impl Ask {
    /// The same for the page that begins after `which.after`.
    pub fn of(self, which: Which) -> Ask {
        match self {
            Ask::List(_) => Ask::List(which),
            Ask::Read(_) => Ask::Read(which),
            Ask::Retry(_) => Ask::Retry(which),
            Ask::Drop(_) => Ask::Drop(which),
        }
    }

    /// Which entries are meant.
    pub fn which(&self) -> Which {
        let (Ask::List(which) | Ask::Read(which) | Ask::Retry(which) | Ask::Drop(which)) = self;
        *which
    }

    /// Does it, by the policy that holds in the data dir. What it changed is on the disk when it returns.
    ///
    /// # Errors
    /// [`QueueError`] if the queue cannot be read or written.
    pub fn answer(&self, queue: &Queue) -> Result<Value, QueueError> {
        let now = queue.policy()?;
        let page = match *self {
            Ask::List(which) => entries(queue.quarantine_page(which)?, false, &now),
            Ask::Read(which) => entries(queue.quarantine_page(which)?, true, &now),
            Ask::Drop(which) => {
                let page = queue.drop_quarantined(which)?;
                queue.sync()?;
                entries(page, false, &now)
            }
            Ask::Retry(which) => {
                let page = queue.retry_quarantined(which, now_ms(), |message, bytes, out| {
                    row(bytes, &message.policy.stricter(&now), out)
                })?;
                queue.sync()?;
                Page {
                    next: page.next,
                    damaged: page.damaged,
                    entries: page
                        .entries
                        .into_iter()
                        .map(|(facts, retried)| Entry {
                            retried: Some(retried),
                            ..Entry::new(facts, false, &now)
                        })
                        .collect(),
                }
            }
        };
        Ok(serde_json::to_value(page).expect("BUG: a page cannot be written as JSON"))
    }
}

fn entries(page: Page<QuarantineEntry>, with_bytes: bool, now: &Policy) -> Page<Entry> {
    Page {
        next: page.next,
        damaged: page.damaged,
        entries: page
            .entries
            .into_iter()
            .map(|facts| Entry::new(facts, with_bytes, now))
            .collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .map(|d| char::from(DIGITS[usize::from(d)]))
        .collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
            _ => None,
        })
        .collect()
}
