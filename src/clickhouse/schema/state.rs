//! What the check found.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Version;
use crate::clickhouse::Scheme;

/// A column of a table in ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its type, as ClickHouse writes it.
    pub kind: String,
    /// `DEFAULT`, `MATERIALIZED`, `ALIAS`, `EPHEMERAL`, or nothing.
    pub default_kind: String,
}

/// A setting as the check found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its value for this request.
    pub value: String,
    /// Whether the server keeps this user from changing it.
    pub fixed: bool,
}

/// Whether the window of a replicated table counts.
pub(super) fn is_replicated(engine: &str) -> bool {
    engine.starts_with("Replicated") || engine.starts_with("Shared")
}

/// So many partitions of a table are followed, the newest.
pub(super) const MOST_PARTITIONS: usize = 64;

/// What the check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaState {
    /// Names of objects that do not exist, in the order of creation.
    pub missing: Vec<String>,
    /// What is there and yet keeps the promise from holding.
    pub problems: Vec<Problem>,
    /// What a person should know, and inserts do not depend on.
    pub notes: Vec<String>,
    /// What exists, by name. A UUID that changed says that a table was replaced.
    pub found: BTreeMap<String, Found>,
    /// What `version()` answers, `26.9.2.1`.
    pub version: String,
    /// `serverUUID()`: which server it is, however often it is started.
    pub server_id: String,
    /// Its name, which it also gives with each answer to an insert; empty if it does not tell.
    pub server_name: String,
    /// When it was started, Unix seconds by its own clock; 0 if it does not tell.
    pub started: u64,
    /// How it makes hashes of tokens; `None` where that was not tried.
    pub scheme: Option<Scheme>,
    /// Settings that were asked for and are known there, with their values for this request.
    pub settings: BTreeMap<String, Setting>,
    /// What each insert sends besides what is pinned with its batch, since this server knows it.
    pub known_settings: Vec<(String, String)>,
    /// The types of the raw table's columns, in the order of a row; empty if one is not there.
    pub types: Vec<String>,
}

/// An object that exists. What is only judged is not remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// ClickHouse's engine name.
    pub engine: String,
    /// ClickHouse's UUID of the table.
    pub uuid: String,
    /// What the table remembers of inserts; `None` for what does not deduplicate.
    pub window: Option<Window>,
    /// How many blocks all its writers have written, by their numbers; `None` if unknown.
    pub blocks: Option<u64>,
    /// The newest partitions: numbers of their first and last block.
    #[serde(default)]
    pub partitions: BTreeMap<String, (u64, u64)>,
    /// How often a look missed blocks that the one before had seen.
    #[serde(default)]
    pub drops: u64,
    /// Its columns.
    #[serde(skip)]
    pub columns: BTreeMap<String, Column>,
    /// Of a view: what it asks.
    #[serde(skip)]
    pub select: String,
    /// Of a table: what makes its partitions.
    #[serde(skip)]
    pub partition: String,
    /// Of a view that fills a table: which.
    #[serde(skip)]
    pub target: String,
    /// Of a view: whether it is filled by the clock, not by inserts.
    #[serde(skip)]
    pub refreshes: bool,
    /// Views that take what is inserted into it.
    #[serde(skip)]
    pub dependents: Vec<String>,
}

impl Found {
    /// Whether no partition is finer than an hour: its key is made of the time alone, by functions that are
    /// known to be coarse.
    pub fn keeps_hours_whole(&self) -> bool {
        const COARSE: [&str; 12] = [
            "toYear",
            "toYYYYMM",
            "toYYYYMMDD",
            "toDate",
            "toMonday",
            "toStartOfHour",
            "toStartOfDay",
            "toStartOfWeek",
            "toStartOfMonth",
            "toStartOfQuarter",
            "toStartOfYear",
            "toRelativeDayNum",
        ];
        // Names between quotes are of time zones.
        let key = self.partition.split('\'').step_by(2).collect::<String>();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = key
            .split(|c| !is_name(c))
            .filter(|name| name.starts_with(|c: char| !c.is_ascii_digit()));
        let mut others = names.filter(|name| *name != "timestamp" && !COARSE.contains(name));
        let in_a_function = |at: usize| {
            let before = key[..at].strip_suffix('(').unwrap_or_default();
            COARSE.contains(&before.rsplit(|c| !is_name(c)).next().unwrap_or_default())
        };
        others.next().is_none()
            && key
                .match_indices("timestamp")
                .all(|(at, _)| in_a_function(at))
    }

    /// Takes note of what is gone since an earlier look: who drops its newest parts lowers the numbers of
    /// blocks, and what was written in between cannot be told from them any more.
    pub fn follow(&mut self, before: &Found) {
        if before.uuid == self.uuid {
            self.drops = before.drops + u64::from(self.misses_blocks_of(before));
        }
    }

    fn misses_blocks_of(&self, before: &Found) -> bool {
        if self
            .blocks
            .zip(before.blocks)
            .is_some_and(|(now, then)| now < then)
        {
            return true;
        }
        // What a retention takes away is older than anything that a window remembers.
        let window = before.window.map_or(0, |window| window.entries);
        let newest = before.blocks.unwrap_or(0);
        let counts = |last: u64| self.is_replicated() || last.saturating_add(window) >= newest;
        let is_full = self.partitions.len() >= MOST_PARTITIONS;
        let lowest = self.partitions.values().map(|(_, last)| *last).min();
        let floor = lowest.filter(|_| is_full).unwrap_or(0);
        before.partitions.iter().any(|(id, (first, last))| {
            match self.partitions.get(id) {
                // It may only have left the list of the newest.
                None => *last > floor && counts(*last),
                Some((now_first, now_last)) => {
                    now_last < last || (now_first > first && counts(*now_first))
                }
            }
        })
    }

    /// Whether its rows may be on another server and not here yet.
    pub fn is_replicated(&self) -> bool {
        is_replicated(&self.engine)
    }
}

/// How long a table remembers an insert: until one of the two is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// How many entries it remembers. An insert makes one, or more, in each partition that it touches.
    pub entries: u64,
    /// For how long; `None` if time does not matter, as in tables that are not replicated.
    pub age: Option<Duration>,
}

impl Window {
    /// The narrower of both bounds.
    pub fn narrowest(self, other: Window) -> Window {
        let age = match (self.age, other.age) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Window {
            entries: self.entries.min(other.entries),
            age,
        }
    }
}

/// What is there and yet keeps the promise from holding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it concerns: a table or view by its name, or `ClickHouse`.
    pub object: String,
    /// See [`ProblemKind`].
    pub kind: ProblemKind,
    /// What is wrong, and what to do, for people.
    pub words: String,
}

/// What would happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// Rows would be stored wrong, or not at all. Never taken.
    Differs,
    /// A resend would be stored again.
    Doubles,
    /// The table merges rows away.
    Merges,
}

impl Problem {
    pub(super) fn differs(object: &str, words: String) -> Self {
        Self::new(ProblemKind::Differs, object, words)
    }

    pub(super) fn doubles(object: &str, words: String) -> Self {
        Self::new(ProblemKind::Doubles, object, words)
    }

    /// It remembers inserts, but not for long enough.
    pub fn too_short(object: &str, words: String) -> Self {
        Self::new(ProblemKind::Doubles, object, words)
    }

    pub(super) fn merges(object: &str, words: String) -> Self {
        Self::new(ProblemKind::Merges, object, words)
    }

    fn new(kind: ProblemKind, object: &str, words: String) -> Self {
        Self {
            object: object.to_owned(),
            kind,
            words,
        }
    }

    /// Whether its owner may say that he takes it, by the setting `allow_duplicates`.
    pub fn may_be_allowed(&self) -> bool {
        self.kind != ProblemKind::Differs
    }
}

impl SchemaState {
    /// Whether inserting is safe: everything exists, and is as it must be.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.problems.is_empty()
    }

    /// The narrowest window of all tables: beyond it a resend would be stored again in one of them.
    /// `None` if no table deduplicates.
    pub fn window(&self) -> Option<Window> {
        let windows = self.found.values().filter_map(|f| f.window);
        windows.reduce(Window::narrowest)
    }

    /// The server's release; `None` where it cannot be read.
    pub fn release(&self) -> Option<Version> {
        self.version.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_are_finer_than_an_hour_are_told() {
        let f = |partition: &str, want: bool| {
            let found = Found {
                partition: partition.into(),
                ..Found::default()
            };
            assert_eq!(found.keeps_hours_whole(), want, "{partition}");
        };
        f("", true);
        f("toYear(timestamp, 'UTC')", true);
        f("toYYYYMM(timestamp)", true);
        f("toRelativeDayNum(timestamp, 'UTC') % 38", true);
        f("(toYear(timestamp), toYYYYMM(timestamp))", true);
        f("timestamp", false);
        f("timestamp % 60", false);
        f("(timestamp, 1)", false);
        f("toStartOfMinute(timestamp)", false);
        f("resource_id % 16", false);
        f("(toYYYYMM(timestamp), response_status)", false);
        f("intDiv(toUInt32(timestamp), 600)", false);
    }
}
