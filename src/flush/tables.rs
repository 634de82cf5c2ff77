//! Making sure that raw table, totals tables and views exist before anything is inserted: a view
//! that comes later than the first row leaves the totals wrong for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::known::Known;
use super::window;
use crate::clickhouse::{
    AllowedDuplicates, Found, ObjectKind, Schema, SchemaError, SchemaState, Sink, SinkError,
    Window, insert_settings,
};
use crate::queue::{Mark, Queue, QueueError};
use crate::runtime::clock::{Moment, now_ms};

/// Name under which the queue remembers that the tables exist.
const TABLES: &str = "tables";

#[derive(Serialize, Deserialize)]
struct Remembered {
    /// URL, database, table and statements that the check was made for.
    target: String,
    complete: bool,
    /// What was seen.
    #[serde(default)]
    known: Known,
    /// When they were all seen last, Unix ms.
    #[serde(default)]
    checked_ms: u64,
    /// Types of the raw table's columns. None: a program remembered it that did not look at them.
    #[serde(default)]
    types: Vec<String>,
    /// What each insert sends, since the server knows it.
    #[serde(default)]
    settings: Vec<(String, String)>,
}

/// Inserts go on without a view that fills totals: nothing but a look tells that it was dropped.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What the next request has to be for the tables' sake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// All exist: insert.
    Nothing,
    /// Ask what exists.
    Check,
    /// Run a statement that creates an object.
    Create {
        /// The object's name.
        name: String,
        /// The statement.
        sql: String,
    },
    /// Objects are missing and must not be created by us now, or are not as they must be; why, and which.
    Hold(String),
}

/// What is known of the tables.
pub struct Tables<'a> {
    queue: &'a Queue,
    schema: Schema,
    target: String,
    create: bool,
    allowed: AllowedDuplicates,
    complete: bool,
    missing: Option<Vec<String>>,
    /// What is there and must not be inserted into, in words.
    problems: Vec<String>,
    known: Known,
    checked_ms: u64,
    types: Vec<String>,
    settings: Vec<(String, String)>,
    /// Most rows of an insert, for the parameters that a check proves.
    max_rows: u64,
    /// How long a token has to be known.
    needed: Duration,
}

impl<'a> Tables<'a> {
    /// Takes up what was remembered, if it was for the same place and statements.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read.
    pub fn load(
        queue: &'a Queue,
        schema: Schema,
        place: &str,
        create: bool,
        allowed: AllowedDuplicates,
        max_rows: u64,
        needed: Duration,
    ) -> Result<Self, QueueError> {
        let statements: String = schema.objects().iter().map(|o| o.sql.as_str()).collect();
        let digest = xxhash_rust::xxh3::xxh3_64(statements.as_bytes());
        let target = format!("{place} {digest:016x}");
        let remembered: Option<Remembered> = queue.load(TABLES)?;
        let remembered = remembered.filter(|r| r.target == target);
        // What an older version of this program saw says nothing of the server, nor of types.
        let looked =
            |r: &Remembered| r.complete && !r.known.tables.is_empty() && !r.types.is_empty();
        let complete = remembered.as_ref().is_some_and(looked);
        let (mut known, checked_ms, types, settings) = remembered
            .map(|r| (r.known, r.checked_ms, r.types, r.settings))
            .unwrap_or_default();
        known.none_to_come(&Moment::now());
        Ok(Tables {
            queue,
            schema,
            target,
            create,
            allowed,
            complete,
            missing: None,
            problems: Vec::new(),
            known,
            checked_ms,
            types,
            settings,
            max_rows,
            needed,
        })
    }

    /// Whether it is long ago that all were seen, or long to come: then the clock was set back.
    pub fn is_due(&self) -> bool {
        let since = Duration::from_millis(now_ms().abs_diff(self.checked_ms));
        self.complete && since >= LOOK_AGAIN
    }

    /// What has to be done next. `ambiguous` says that a batch may be stored already: then nothing
    /// is created, since a new table would not know its token.
    pub fn need(&self, ambiguous: bool) -> Need {
        if self.complete {
            return Need::Nothing;
        }
        let Some(missing) = &self.missing else {
            return Need::Check;
        };
        if !self.problems.is_empty() {
            return Need::Hold(self.problems.join("; "));
        }
        let Some(name) = missing.first() else {
            return Need::Check;
        };
        if !self.create {
            return Need::Hold(format!(
                "missing: {}; create them (`ops/clickhouse/`), or run without no_create_tables",
                missing.join(", ")
            ));
        }
        let object = self.schema.objects().iter().find(|o| &o.name == name);
        if ambiguous && object.is_none_or(|o| o.kind != ObjectKind::View) {
            return Need::Hold(format!(
                "missing: {}, while a batch may be stored already; restore them, or create them \
                 yourself if its rows are gone",
                missing.join(", ")
            ));
        }
        match object {
            Some(o) => Need::Create {
                name: o.name.clone(),
                sql: o.sql.clone(),
            },
            None => Need::Check,
        }
    }

    /// Asks what exists: one request, sent with the parameters of an insert, `pinned`.
    ///
    /// # Errors
    /// The outer error is the queue's, the inner one what ClickHouse or the proxy answered.
    pub fn check(&mut self, sink: &Sink) -> Result<Result<SchemaState, SinkError>, QueueError> {
        Ok(self.ask(sink, &[])?.map(|(state, _)| state))
    }

    /// The same, and other SELECTs of lines in the same request. With the answer's own text.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn ask(
        &mut self,
        sink: &Sink,
        others: &[String],
    ) -> Result<Result<(SchemaState, String), SinkError>, QueueError> {
        // A token of its own: an answer that a proxy kept from another time does not have it.
        let canary = getrandom::u64().unwrap_or_else(|_| now_ms());
        let pinned = insert_settings(&format!("check-{canary:016x}"), self.max_rows);
        let question = self.schema.check_query_and(&pinned, others);
        let answer = match sink.query_as_insert(&question, &pinned) {
            Ok(answer) => answer,
            Err(e) => return Ok(Err(e)),
        };
        match self.schema.parse_check(&answer, &pinned) {
            Ok(mut state) => {
                self.spare_views(&mut state);
                self.tell_late(&state);
                let since = now_ms().saturating_sub(self.checked_ms);
                self.known.pace(&state, Duration::from_millis(since));
                window::judge(&mut state, self.needed, self.known.blocks_an_hour);
                self.spare_allowed(&mut state);
                state.notes.iter().for_each(|note| log::warn!("{note}"));
                self.missing = Some(state.missing.clone());
                self.known.look(&state);
                self.problems = state.problems.iter().map(|p| p.words.clone()).collect();
                self.types.clone_from(&state.types);
                self.settings.clone_from(&state.known_settings);
                self.checked_ms = now_ms();
                if state.is_complete() || self.complete {
                    self.remember(state.is_complete())?;
                }
                Ok(Ok((state, answer)))
            }
            Err(
                e @ (SchemaError::Answer(_) | SchemaError::Name(_) | SchemaError::Statement { .. }),
            ) => Ok(Err(SinkError::Hold {
                code: None,
                words: e.to_string(),
                ambiguous: false,
            })),
        }
    }

    /// A view to ask is for people; rows do not need it. Who creates the tables himself may leave it out.
    fn spare_views(&self, state: &mut SchemaState) {
        if !self.create {
            state.missing.retain(|m| self.kind(m) != ObjectKind::View);
        }
    }

    /// What its owner takes as it is holds nothing. It is said at each look.
    fn spare_allowed(&self, state: &mut SchemaState) {
        state.problems.retain(|problem| {
            let allowed = problem.may_be_allowed() && self.allowed.covers(&problem.object);
            if allowed {
                log::warn!("{} (allow_duplicates)", problem.words);
            }
            !allowed
        });
    }

    /// Says that totals which are created after the raw table do not have the rows it holds.
    fn tell_late(&self, state: &SchemaState) {
        let raw = self.schema.table();
        let late = |m: &&String| self.kind(m) != ObjectKind::View && *m != raw;
        let late: Vec<&str> = state
            .missing
            .iter()
            .filter(late)
            .map(String::as_str)
            .collect();
        if state.found.contains_key(raw) && !late.is_empty() {
            log::warn!(
                "{raw} is there without {}: rows that it holds will not be in the totals; \
                 README, \"Totals\", says how to fill them in",
                late.join(", ")
            );
        }
    }

    fn kind(&self, name: &str) -> ObjectKind {
        let object = self.schema.objects().iter().find(|o| o.name == name);
        object.map_or(ObjectKind::Table, |o| o.kind)
    }

    /// Names of all tables and views, in the order of creation.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.schema.objects().iter().map(|o| o.name.clone())
    }

    /// The server and its tables, as the last look found them.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The tables and views that have to be the same when a batch is sent again. A view that fills totals
    /// counts as one: older releases know its blocks by its UUID.
    pub fn marks(&self) -> BTreeMap<String, Mark> {
        let holds_tokens = |(_, found): &(&String, &Found)| found.engine != "View";
        let mark = |(name, found): (&String, &Found)| {
            let mark = Mark {
                uuid: found.uuid.clone(),
                blocks: found.blocks,
                drops: found.drops,
            };
            (name.clone(), mark)
        };
        let tables = self.known.tables.iter();
        tables.filter(holds_tokens).map(mark).collect()
    }

    /// Whether the raw table is on several servers, so that one may not have all rows yet.
    pub fn is_replicated(&self) -> bool {
        let raw = self.known.tables.get(self.schema.table());
        raw.is_some_and(Found::is_replicated)
    }

    /// Whether an hour of an insert is stored whole or not at all, by the raw table's partitions as the last
    /// look found them.
    pub fn keeps_hours_whole(&self) -> bool {
        let raw = self.known.tables.get(self.schema.table());
        raw.is_some_and(Found::keeps_hours_whole)
    }

    /// The narrowest deduplication window, as the last check found.
    pub fn window(&self) -> Option<Window> {
        let windows = self.known.tables.values().filter_map(|f| f.window);
        windows.reduce(Window::narrowest)
    }

    /// The types of the raw table's columns, as the last check found them.
    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// What each insert sends besides what is pinned with its batch.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// An insert was answered by the server of this name.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn answered_by(&mut self, name: &str) -> Result<(), QueueError> {
        let took_turns = self.known.takes_turns();
        let Some(is_new) = self.known.note(name, &Moment::now()) else {
            return Ok(());
        };
        if !took_turns && self.known.takes_turns() {
            log::warn!(
                "several servers answer at this address in turn ({}): if their tables are not replicated, a batch \
                 whose answer is lost cannot be asked for, and waits for a person",
                self.known.names()
            );
        }
        // Which server has this name, a look tells: it may be the former one under another.
        self.remember(self.complete && !(is_new && self.known.names_differ()))
    }

    /// An object was created. After the last one a check has the last word.
    pub fn created(&mut self, name: &str) {
        if let Some(missing) = &mut self.missing {
            missing.retain(|m| m != name);
            if missing.is_empty() {
                self.missing = None;
            }
        }
    }

    /// How many statements are still to be run.
    pub fn missing(&self) -> usize {
        self.missing.as_ref().map_or(0, Vec::len)
    }

    /// ClickHouse did not know a table after all, or takes a row for something else: look again.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn forget(&mut self) -> Result<(), QueueError> {
        self.missing = None;
        self.remember(false)
    }

    fn remember(&mut self, complete: bool) -> Result<(), QueueError> {
        self.complete = complete;
        self.queue.save(
            TABLES,
            &Remembered {
                target: self.target.clone(),
                complete,
                known: self.known.clone(),
                checked_ms: self.checked_ms,
                types: self.types.clone(),
                settings: self.settings.clone(),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::fixture::Fixture;

    #[test]
    fn what_was_seen_long_ago_is_looked_at_again() {
        let f = Fixture::new();
        let load = || {
            let schema = Schema::new("default", "http_log").unwrap();
            let allowed = AllowedDuplicates::None;
            Tables::load(f.q(), schema, "here", true, allowed, 1, Duration::ZERO).unwrap()
        };
        let mut tables = load();
        tables.types = vec!["DateTime".into()];
        assert!(!tables.is_due(), "the first look comes anyway");
        let day = LOOK_AGAIN.as_millis() as u64;
        for (ago, due) in [(day - 60_000, false), (day + 1, true), (u64::MAX, true)] {
            tables.checked_ms = now_ms().saturating_sub(ago);
            tables.known.tables.insert("t".into(), Found::default());
            tables.remember(true).unwrap();
            assert_eq!(load().is_due(), due, "{ago} ms ago");
        }
        tables.checked_ms = now_ms() + 2 * day;
        tables.remember(true).unwrap();
        assert!(load().is_due(), "a clock was set back");
    }
}
