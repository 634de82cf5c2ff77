//! Making sure that raw table, totals tables and views exist before anything is inserted: a view
//! that comes later than the first row leaves the totals wrong for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::{Queue, QueueError};
use crate::runtime::clock::now_ms;
use crate::sink::{Found, ObjectKind, Schema, SchemaError, SchemaState, Sink, SinkError};

/// Name under which the queue remembers that the tables exist.
const TABLES: &str = "tables";

#[derive(Serialize, Deserialize)]
struct Remembered {
    /// URL, database, table and statements that the check was made for.
    target: String,
    complete: bool,
    /// UUID of each table, to notice one that was replaced.
    #[serde(default)]
    uuids: BTreeMap<String, String>,
    /// Inserts that the smallest deduplication window holds.
    #[serde(default)]
    window: Option<u64>,
    /// When they were all seen last, Unix ms.
    #[serde(default)]
    checked_ms: u64,
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
    /// Objects are missing and must not be created by us now; why, and which.
    Hold(String),
}

/// What is known of the tables.
pub struct Tables<'a> {
    queue: &'a Queue,
    schema: Schema,
    target: String,
    create: bool,
    complete: bool,
    missing: Option<Vec<String>>,
    uuids: BTreeMap<String, String>,
    window: Option<u64>,
    checked_ms: u64,
    /// Tables that were replaced since a batch was sent that may be stored.
    replaced: Vec<String>,
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
    ) -> Result<Self, QueueError> {
        let statements: String = schema.objects().iter().map(|o| o.sql.as_str()).collect();
        let digest = xxhash_rust::xxh3::xxh3_64(statements.as_bytes());
        let target = format!("{place} {digest:016x}");
        let remembered: Option<Remembered> = queue.load(TABLES)?;
        let remembered = remembered.filter(|r| r.target == target);
        let complete = remembered.as_ref().is_some_and(|r| r.complete);
        let (uuids, window, checked_ms) = remembered
            .map(|r| (r.uuids, r.window, r.checked_ms))
            .unwrap_or_default();
        Ok(Tables {
            queue,
            schema,
            target,
            create,
            complete,
            missing: None,
            uuids,
            window,
            checked_ms,
            replaced: Vec::new(),
        })
    }

    /// Whether it is long ago that all were seen. A clock that was set back does not matter here.
    pub fn is_due(&self) -> bool {
        let since = Duration::from_millis(now_ms().saturating_sub(self.checked_ms));
        self.complete && since >= LOOK_AGAIN
    }

    /// What has to be done next. `ambiguous` says that a batch may be stored already: then nothing
    /// is created, since a new table would not know its token.
    pub fn need(&self, ambiguous: bool) -> Need {
        if self.complete {
            if ambiguous && !self.replaced.is_empty() {
                return Need::Hold(format!(
                    "replaced while a batch may be stored already: {}; the new table does not know \
                     its token. Restore the old one, or reject the batch",
                    self.replaced.join(", ")
                ));
            }
            return Need::Nothing;
        }
        let Some(missing) = &self.missing else {
            return Need::Check;
        };
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

    /// Asks which objects exist: one request.
    ///
    /// # Errors
    /// The outer error is the queue's, the inner one what ClickHouse or the proxy answered.
    pub fn check(&mut self, sink: &Sink) -> Result<Result<SchemaState, SinkError>, QueueError> {
        let answer = match sink.query(&self.schema.check_query()) {
            Ok(answer) => answer,
            Err(e) => return Ok(Err(e)),
        };
        match self.schema.parse_check(&answer) {
            Ok(mut state) => {
                self.spare_views(&mut state);
                self.tell_late(&state);
                for table in &state.without_window {
                    log::warn!(
                        "table {table} has no deduplication window: a resend would be stored twice \
                         there. Set non_replicated_deduplication_window as in ops/clickhouse/"
                    );
                }
                if !state.knows_tokens_in_views() {
                    log::warn!(
                        "ClickHouse {} does not deduplicate in views by the token (24.7 does): a resend \
                         would double the totals",
                        state.version
                    );
                }
                self.missing = Some(state.missing.clone());
                self.compare(&state);
                self.window = state.window();
                self.checked_ms = now_ms();
                if state.missing.is_empty() || self.complete {
                    self.remember(state.missing.is_empty())?;
                }
                Ok(Ok(state))
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

    /// Notes which tables are not the ones that were there at the last check. A view that fills totals
    /// counts as one: ClickHouse's tokens of its blocks hold its UUID.
    fn compare(&mut self, state: &SchemaState) {
        let holds_tokens = |(_, found): &(&String, &Found)| found.engine != "View";
        for (name, found) in state.found.iter().filter(holds_tokens) {
            match self.uuids.get(name) {
                Some(known) if *known != found.uuid && !self.replaced.contains(name) => {
                    self.replaced.push(name.clone());
                }
                _ => {}
            }
            self.uuids.insert(name.clone(), found.uuid.clone());
        }
    }

    /// No batch may be stored any more: what was replaced does not matter.
    pub fn settled(&mut self) {
        self.replaced.clear();
    }

    /// Inserts that the smallest deduplication window holds, as the last check found.
    pub fn window(&self) -> Option<u64> {
        self.window
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

    /// ClickHouse did not know a table after all.
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
                uuids: self.uuids.clone(),
                window: self.window,
                checked_ms: self.checked_ms,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::DataDir;

    #[test]
    fn what_was_seen_long_ago_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(DataDir::lock(dir.path()).unwrap()).unwrap();
        let load = || {
            let schema = Schema::new("default", "http_log").unwrap();
            Tables::load(&queue, schema, "here", true).unwrap()
        };
        let mut tables = load();
        assert!(!tables.is_due(), "the first look comes anyway");
        let day = LOOK_AGAIN.as_millis() as u64;
        for (ago, due) in [(day - 60_000, false), (day + 1, true), (u64::MAX, true)] {
            tables.checked_ms = now_ms().saturating_sub(ago);
            tables.remember(true).unwrap();
            assert_eq!(load().is_due(), due, "{ago} ms ago");
        }
    }
}
