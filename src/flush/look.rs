//! What fits in ClickHouse and what does not, by name, for a person: the check that comes before the first
//! insert, asked by a command.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Flusher;
use crate::clickhouse::{SchemaState, SinkError};
use crate::queue::QueueError;

/// What a look at the tables found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablesFound {
    /// ClickHouse's release.
    pub version: String,
    /// Each table and view, in the order of creation; `ClickHouse` before them, if it does not fit itself.
    pub objects: Vec<ObjectFound>,
    /// What a person should know, and inserts do not depend on.
    pub notes: Vec<String>,
}

/// One table or view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFound {
    /// Its name.
    pub name: String,
    /// See [`Fit`].
    pub fit: Fit,
    /// What does not fit, and what to do.
    pub words: Vec<String>,
}

/// Whether an object is as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// It is, or its owner allows what differs.
    Fits,
    /// It is not there.
    Missing,
    /// Inserts are held because of it.
    Differs,
}

impl TablesFound {
    fn new(state: &SchemaState, names: impl Iterator<Item = String>) -> TablesFound {
        let words = |name: &str| -> Vec<String> {
            let of = state.problems.iter().filter(|p| p.object == name);
            of.map(|p| p.words.clone()).collect()
        };
        let names: Vec<String> = names.collect();
        let others = state.problems.iter().map(|p| &p.object);
        let mut others: Vec<&String> = others.filter(|name| !names.contains(name)).collect();
        others.dedup();
        let objects = others.into_iter().chain(&names).map(|name| {
            let words = words(name);
            let fit = match (words.is_empty(), state.found.contains_key(name)) {
                (false, _) => Fit::Differs,
                (true, false) => Fit::Missing,
                (true, true) => Fit::Fits,
            };
            ObjectFound {
                name: name.clone(),
                fit,
                words,
            }
        });
        TablesFound {
            version: state.version.clone(),
            objects: objects.collect(),
            notes: state.notes.clone(),
        }
    }
}

impl Flusher<'_> {
    /// Looks in the next slot, again only if the proxy's limiter refuses and `within` is not over. `None`
    /// if a stop was requested.
    ///
    /// # Errors
    /// The outer error is the queue's, the inner one what ClickHouse or the proxy answered.
    pub fn look(
        &mut self,
        within: Duration,
    ) -> Result<Option<Result<TablesFound, SinkError>>, QueueError> {
        let until = Instant::now() + within;
        loop {
            if self.shutdown.wait(self.limiter.wait()) {
                return Ok(None);
            }
            match self.look_once()? {
                Err(SinkError::Limited { .. }) if Instant::now() < until => {}
                answer => return Ok(Some(answer)),
            }
        }
    }

    /// One request. What it finds counts as the flusher's own check; a failure concerns the command alone.
    pub(super) fn look_once(&mut self) -> Result<Result<TablesFound, SinkError>, QueueError> {
        self.begin("check")?;
        match self.tables.check(&self.sink)? {
            Ok(state) => {
                self.tables_answered(&state)?;
                Ok(Ok(TablesFound::new(&state, self.tables.names())))
            }
            Err(e) => {
                self.command_failed(&e)?;
                Ok(Err(e))
            }
        }
    }
}
