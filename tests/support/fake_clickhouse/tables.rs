//! What is told of the server and its tables.

use std::collections::{BTreeMap, HashMap};

use anonymizer::clickhouse::{ObjectKind, Schema};
use serde_json::{Value, json};

use super::State;
use super::questions::found_rows;

/// The answer to `Schema::check_query`: a line for each name asked for, unless it is `missing`.
pub(super) fn schema_answer(
    state: &State,
    sql: &str,
    parameters: &HashMap<String, String>,
) -> String {
    let names = sql.split("AND name IN (").nth(1).unwrap_or_default();
    let names = names.split(')').next().unwrap_or_default();
    let line = |kind: &str, name: &str, fields: Value| {
        let line = json!({"kind": kind, "name": name, "fields": fields});
        format!("{line}\n")
    };
    let (version, hashes) = state.version.unwrap_or(("26.9.2.1", "new_unified_hash"));
    let mut answer = line(
        "server",
        "",
        json!({
            "version": version,
            "hashes": hashes,
            "id": state.server_id,
            "started": state.started.to_string(),
        }),
    );
    if sql.contains("'running' AS kind") {
        answer.push_str(&line("running", "", json!({"n": "0"})));
        let overflow = parameters.get("timeout_overflow_mode");
        let cut = state.cuts_answers && overflow.is_none_or(|mode| mode != "throw");
        let found = match cut {
            true => BTreeMap::new(),
            false => found_rows(state, sql),
        };
        for (hash, times) in found {
            answer.push_str(&line("row", &hash, json!({"n": times.to_string()})));
        }
        for part in sql.split("'sum' AS kind, '").skip(1) {
            let name = part.split('\'').next().unwrap_or_default();
            let rows = state.row_count() + u64::from(state.disagree.contains(name));
            let rows = rows.to_string();
            answer.push_str(&line("sum", name, json!({"hours": rows, "days": rows})));
        }
    }
    for (name, value) in parameters {
        let lost = state.lost_parameters.contains(name.as_str());
        let value = if lost { "" } else { value.as_str() };
        let fields = json!({"value": value, "fixed": "0"});
        answer.push_str(&line("setting", name, fields));
    }
    for (name, value, fixed) in &state.settings {
        let fields = json!({"value": value, "fixed": if *fixed { "1" } else { "0" }});
        answer.push_str(&line("setting", name, fields));
    }
    let schema = Schema::new("default", "http_log").unwrap();
    for name in names.split(',').map(|name| name.trim().trim_matches('\'')) {
        if state.missing.contains(name) {
            continue;
        }
        let window = if state.without_window.contains(name) {
            0
        } else {
            state.window.unwrap_or(10_000)
        };
        let first = "00000000-0000-0000-0000-000000000001";
        let uuid = state.uuid.as_deref().unwrap_or(first);
        let object = schema.objects().iter().find(|o| o.name == name);
        let kind = object.map_or(ObjectKind::Table, |o| o.kind);
        let engine = match (state.engines.get(name), kind) {
            (Some(engine), _) => engine.as_str(),
            (None, ObjectKind::Table) => "MergeTree",
            (None, ObjectKind::MaterializedView) => "MaterializedView",
            (None, ObjectKind::View) => "View",
        };
        let after = |mark: &str| {
            object
                .and_then(|o| o.sql.split_once(mark))
                .map(|(_, rest)| rest)
        };
        let target = after(" TO ").and_then(|rest| rest.split_whitespace().next());
        let select = after("SELECT ").map(|rest| format!("SELECT {rest}"));
        let fields = json!({
            "engine": engine,
            "uuid": uuid,
            "non_replicated_deduplication_window": window.to_string(),
            "target": target.unwrap_or_default(),
            "select": select.unwrap_or_default(),
        });
        answer.push_str(&line("table", name, fields));
        let blocks = (state.blocks + state.tokens.len() as u64).to_string();
        answer.push_str(&line("blocks", name, json!({"plain": blocks})));
        for (column, kind) in object.map(|o| o.columns()).unwrap_or_default() {
            let changed = state.types.get(&format!("{name}.{column}"));
            let kind = changed.unwrap_or(&kind);
            let fields = json!({"table": name, "type": kind, "default_kind": ""});
            answer.push_str(&line("column", &column, fields));
        }
    }
    answer
}
