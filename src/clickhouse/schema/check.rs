//! The answer to the check (`question.rs`), and what it says of the tables.
//!
//! A line of the answer is a kind of thing, its name, and named fields, as JSON. So another question is
//! another part of the SELECT and another arm where its lines are read; what is not known is passed over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::columns;
use super::question::{PLAIN, REPLICATED, REPLICATED_SECONDS};
use super::settings;
use super::state::{self, Column, Setting};
use super::{
    Found, OLDEST, Problem, Schema, SchemaError, SchemaState, Window, earlier, engines, views,
};
use crate::clickhouse::Scheme;

/// One line of the answer.
#[derive(Debug, Deserialize)]
struct Line {
    kind: String,
    name: String,
    fields: Fields,
}

/// The named fields of a line.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Empty if it is not there.
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// `None` if it is no number.
    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }
}

impl Schema {
    /// Reads the answer to [`check_query`](Self::check_query).
    ///
    /// # Errors
    /// [`SchemaError::Answer`] if it is none.
    pub fn parse_check(
        &self,
        answer: &str,
        pinned: &[(String, String)],
    ) -> Result<SchemaState, SchemaError> {
        let mut state = SchemaState::default();
        let mut blocks = BTreeMap::new();
        let mut columns = Vec::new();
        for line in answer.lines() {
            let Ok(Line { kind, name, fields }) = serde_json::from_str(line) else {
                return Err(SchemaError::Answer(line.chars().take(200).collect()));
            };
            match kind.as_str() {
                "server" => {
                    state.version = fields.text("version").to_owned();
                    // An engine inside another program has none.
                    let id = fields.text("id");
                    let is_nil = id.chars().all(|c| matches!(c, '0' | '-'));
                    state.server_id = if is_nil { "" } else { id }.to_owned();
                    state.server_name = fields.text("name").to_owned();
                    state.started = fields.number("started").unwrap_or(0);
                    state.scheme = Scheme::of(&state.version, fields.text("hashes"));
                }
                "blocks" => drop(blocks.insert(name, fields)),
                "table" => drop(state.found.insert(name, found(&fields))),
                "column" => columns.push((name, fields)),
                "setting" => {
                    let setting = Setting {
                        value: fields.text("value").to_owned(),
                        fixed: fields.text("fixed") == "1",
                    };
                    state.settings.insert(name, setting);
                }
                _ => {}
            }
        }
        if state.version.is_empty() {
            // Whoever answered did not run the question.
            return Err(SchemaError::Answer(answer.chars().take(200).collect()));
        }
        for (name, found) in &mut state.found {
            let kind = if found.is_replicated() {
                "replicated"
            } else {
                "plain"
            };
            // A table without parts has none yet.
            found.blocks = blocks.get(name).map_or(Some(0), |f| f.number(kind));
            let listed = blocks.get(name).map_or("", |f| f.text("partitions"));
            found.partitions = partitions(listed);
        }
        for (name, fields) in columns {
            if let Some(table) = state.found.get_mut(fields.text("table")) {
                let column = Column {
                    kind: fields.text("type").to_owned(),
                    default_kind: fields.text("default_kind").to_owned(),
                };
                table.columns.insert(name, column);
            }
        }
        self.judge(&mut state, pinned);
        Ok(state)
    }

    /// Says what is missing, what is wrong, and what an insert has to know.
    fn judge(&self, state: &mut SchemaState, pinned: &[(String, String)]) {
        if state.release().is_none_or(|release| release < OLDEST) {
            let words = format!(
                "ClickHouse {} was not seen to store a resend once, in totals as in raw rows; {OLDEST} and \
                 later were",
                state.version
            );
            state.problems.push(Problem::doubles("ClickHouse", words));
        }
        state
            .problems
            .extend(settings::problems(&state.settings, pinned));
        state.known_settings = settings::known(&state.settings);
        for object in &self.objects {
            let Some(found) = state.found.get(&object.name) else {
                state.missing.push(object.name.clone());
                continue;
            };
            let judged = [
                engines::problems(object, found, &self.table),
                columns::problems(object, found),
                views::problems(object, found, &self.database),
            ];
            state.problems.extend(judged.into_iter().flatten());
            if !views::is_ours(object, found, &self.database) {
                let words = format!(
                    "the view {} asks something else than ops/clickhouse/ does: the totals are as it has them",
                    object.name
                );
                state.notes.push(words);
            }
            state.notes.extend(earlier::note(object, found));
            let prefix = format!("{}.", self.database);
            let ours = |view: &str| {
                let name = view.strip_prefix(&prefix);
                name.is_some_and(|name| self.objects.iter().any(|o| o.name == name))
            };
            for view in found.dependents.iter().filter(|view| !ours(view)) {
                let words = format!(
                    "{view} takes what comes into {}: what it cannot store fails the insert, and its table \
                     needs a deduplication window of its own",
                    object.name
                );
                state.notes.push(words);
            }
        }
        let raw = state.found.get(&self.table);
        state.types = raw
            .and_then(|raw| columns::types(&raw.columns))
            .unwrap_or_default();
    }
}

/// Partitions as [`Schema::blocks`] lists them: `id:first:last`, between spaces.
fn partitions(listed: &str) -> BTreeMap<String, (u64, u64)> {
    let read = |text: &str| {
        let mut fields = text.rsplitn(3, ':');
        let (last, first) = (fields.next()?, fields.next()?);
        let id = fields.next()?.to_owned();
        Some((id, (first.parse().ok()?, last.parse().ok()?)))
    };
    listed.split(' ').filter_map(read).collect()
}

/// What a line of [`Schema::tables`] tells.
fn found(fields: &Fields) -> Found {
    let engine = fields.text("engine");
    let window = engines::deduplicates(engine).then(|| match state::is_replicated(engine) {
        false => Window {
            entries: fields.number(PLAIN).unwrap_or(0),
            age: None,
        },
        true => Window {
            entries: fields.number(REPLICATED).unwrap_or(0),
            age: fields.number(REPLICATED_SECONDS).map(Duration::from_secs),
        },
    });
    Found {
        engine: engine.to_owned(),
        uuid: fields.text("uuid").to_owned(),
        window,
        blocks: None,
        partitions: BTreeMap::new(),
        drops: 0,
        columns: BTreeMap::new(),
        select: fields.text("select").to_owned(),
        partition: fields.text("partition").to_owned(),
        target: fields.text("target").to_owned(),
        refreshes: fields.text("refreshes") == "1",
        dependents: fields
            .text("dependents")
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ObjectKind, SchemaObject};
    use super::*;

    fn three() -> Schema {
        let object = |name: &str, kind| SchemaObject {
            name: name.into(),
            kind,
            sql: String::new(),
        };
        Schema {
            database: "it's".into(),
            table: "t".into(),
            objects: vec![
                object("t_1m", ObjectKind::Table),
                object("t", ObjectKind::Table),
                object("t_view", ObjectKind::MaterializedView),
            ],
        }
    }

    const SERVER: &str = r#"{"kind":"server","name":"","fields":{"version":"26.9.2.1"}}"#;

    /// A line of the answer; the windows are plain, replicated, and its seconds.
    fn table(name: &str, engine: &str, windows: [u64; 3]) -> String {
        let [plain, replicated, seconds] = windows;
        format!(
            "\n{}",
            serde_json::json!({"kind": "table", "name": name, "fields": {
                "engine": engine, "uuid": format!("u-{name}"), PLAIN: plain.to_string(),
                REPLICATED: replicated.to_string(), REPLICATED_SECONDS: seconds.to_string(),
            }})
        )
    }

    #[test]
    fn the_check_names_what_is_missing_and_what_has_no_window() {
        let schema = three();
        let query = schema.check_query(&[]);
        assert!(query.contains(r"database = 'it\'s'"), "{query}");
        assert!(query.contains("IN ('t_1m', 't', 't_view')"), "{query}");

        let f = |lines: &[String], missing: &[&str], without: &[&str]| {
            let answer = SERVER.to_owned() + &lines.concat();
            let state = schema.parse_check(&answer, &[]).unwrap();
            assert_eq!(state.missing, missing);
            let named: Vec<&str> = state.problems.iter().map(|p| p.object.as_str()).collect();
            assert_eq!(named, without);
            state
        };
        f(&[], &["t_1m", "t", "t_view"], &[]);
        let whole = [
            table("t", "MergeTree", [10_000, 0, 0]),
            table("t_1m", "SummingMergeTree", [10_000, 0, 0]),
            table("t_view", "MaterializedView", [0, 0, 0]),
        ];
        let state = f(&whole, &[], &[]);
        assert!(state.is_complete());
        assert_eq!(state.found["t"].uuid, "u-t");
        assert_eq!(state.version, "26.9.2.1");
        f(
            &[
                table("t", "ReplicatedMergeTree", [0, 100, 3600]),
                table("t_1m", "SummingMergeTree", [0, 100, 3600]),
            ],
            &["t_view"],
            &["t_1m"],
        );
        f(
            &[
                table("t", "ReplicatedMergeTree", [100, 0, 0]),
                table("t_1m", "Distributed", [0, 0, 0]),
            ],
            &["t_view"],
            &["t_1m", "t"],
        );
        for bad in ["", "<html>", table("t", "MergeTree", [1, 1, 1]).trim()] {
            assert!(schema.parse_check(bad, &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_narrowest_window_counts_inserts_and_seconds_over_all_tables() {
        let answer = [
            SERVER.to_owned(),
            table("t", "ReplicatedMergeTree", [7, 500, 3600]),
            table("t_1m", "SummingMergeTree", [100, 1, 1]),
        ];
        let state = three().parse_check(&answer.concat(), &[]).unwrap();
        let hour = Duration::from_secs(3600);
        let want = Window {
            entries: 100,
            age: Some(hour),
        };
        assert_eq!(state.window(), Some(want));
    }
}
