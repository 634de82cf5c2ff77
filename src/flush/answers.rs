//! The last requests and what came of each, for people: in memory only.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::runtime::clock::now_ms;

/// Requests remembered. Those alike that follow each other count as one.
const MOST: usize = 20;

/// A request that ended, or several in a row that ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Answered {
    /// When the last of them ended, Unix ms.
    pub at_ms: u64,
    /// What it was: `insert`, `check`, or a statement's object.
    pub what: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its body.
    pub bytes: u64,
    /// How long it took, ms.
    pub took_ms: u64,
    /// `ok`, or the label of what went wrong, as in the metric `inserts`.
    pub outcome: String,
    /// The server's or the proxy's words, or our own. No address and no password is in them.
    pub words: String,
    /// How many ended alike, one after the other.
    pub times: u64,
}

impl Answered {
    /// What its outcome means, and what happens next by itself.
    pub fn meaning(&self) -> &'static str {
        match self.outcome.as_str() {
            "ok" if self.what == "insert" => {
                "ClickHouse acknowledged the rows; they left the queue."
            }
            "ok" => "ClickHouse answered.",
            "limited" => {
                "The proxy let it not pass: nothing is stored, no slot was used. Tried again soon."
            }
            "too_large" => {
                "The body was too long for the way: the rows go again in smaller bodies."
            }
            "unreachable" => "No connection was made: nothing was sent. Tried again soon.",
            "retry" => {
                "It failed or was not answered: the same rows go again under the same token, which stores them once."
            }
            "missing" => {
                "ClickHouse does not know the table or the database: the tables are looked at again."
            }
            "hold" => "A person must act; the rows are kept and tried again slowly.",
            "reject" => "ClickHouse refuses the data: the batch is set aside and kept.",
            "unreadable" => {
                "The queue could not be read: the program ends rather than send something else."
            }
            _ => "",
        }
    }
}

/// See the module. The newest is the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Answers(VecDeque<Answered>);

impl Answers {
    /// The newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Answered> {
        self.0.iter().rev()
    }

    /// A request ended that began at `since_ms`, with `what` in it: its name, rows and bytes.
    pub(super) fn add(
        &mut self,
        (what, rows, bytes): (&str, u64, u64),
        since_ms: u64,
        outcome: &str,
        words: &str,
    ) {
        let at_ms = now_ms();
        let mut times = 1;
        if outcome != "ok"
            && let Some(last) = self.0.back()
            && (last.what.as_str(), last.outcome.as_str()) == (what, outcome)
        {
            times += last.times;
            self.0.pop_back();
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(Answered {
            at_ms,
            what: what.to_owned(),
            rows,
            bytes,
            took_ms: at_ms.saturating_sub(since_ms),
            outcome: outcome.to_owned(),
            words: words.to_owned(),
            times,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::SinkError;

    #[test]
    fn refusals_in_a_row_are_one_and_no_more_are_kept_than_fit() {
        let mut answers = Answers::default();
        let insert = ("insert", 5, 700);
        for _ in 0..61 {
            answers.add(
                insert,
                now_ms(),
                "limited",
                "the proxy's limiter refused the request",
            );
        }
        answers.add(insert, now_ms(), "ok", "stored 5 rows");
        let told: Vec<_> = answers
            .newest_first()
            .map(|a| (a.outcome.as_str(), a.times))
            .collect();
        assert_eq!(told, [("ok", 1), ("limited", 61)]);
        for _ in 0..100 {
            answers.add(insert, now_ms(), "ok", "stored 5 rows");
        }
        assert_eq!(answers.newest_first().count(), MOST);
    }

    #[test]
    fn every_label_has_a_meaning() {
        for label in ["ok"].into_iter().chain(SinkError::LABELS) {
            let mut answers = Answers::default();
            answers.add(("insert", 0, 0), 0, label, "");
            assert_ne!(
                answers.newest_first().next().unwrap().meaning(),
                "",
                "{label}"
            );
        }
    }
}
