//! Making sure that raw table, totals tables and views exist before anything is inserted: a view
//! that comes later than the first row leaves the totals wrong for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::queue::{Queue, QueueError};
use crate::sink::{Schema, SchemaError, SchemaState, Sink, SinkError};

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
}

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
        let (uuids, window) = remembered.map(|r| (r.uuids, r.window)).unwrap_or_default();
        Ok(Tables {
            queue,
            schema,
            target,
            create,
            complete,
            missing: None,
            uuids,
            window,
            replaced: Vec::new(),
        })
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
        if ambiguous {
            return Need::Hold(format!(
                "missing: {}, while a batch may be stored already; restore them, or create them \
                 yourself if its rows are gone",
                missing.join(", ")
            ));
        }
        let object = self.schema.objects().iter().find(|o| &o.name == name);
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
            Ok(state) => {
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
                if state.missing.is_empty() {
                    self.remember(true)?;
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

    /// Notes which tables are not the ones that were there at the last check.
    fn compare(&mut self, state: &SchemaState) {
        for (name, found) in &state.found {
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
            },
        )
    }
}
