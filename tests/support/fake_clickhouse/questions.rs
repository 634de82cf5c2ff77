//! What a query is answered: of the rows that are stored, or as a test has scripted it.

use std::collections::{BTreeMap, BTreeSet};

use super::exchange::Request;
use super::tables::schema_answer;
use super::{Outcome, State, lock};

impl Request<'_> {
    pub(super) fn query(&self, sql: &str) -> (Outcome, String, String) {
        let mut state = lock(self.shared);
        state.requests[self.index].sql = sql.to_string();
        let scripted = state.answers.iter().find(|(key, _)| sql.contains(*key));
        let text = if let Some((_, text)) = scripted {
            text.clone()
        } else if sql.contains("FROM system.tables") {
            schema_answer(&state, sql, &self.parameters)
        } else if sql.contains(" AS start, count()") {
            minutes_answer(&state, sql)
        } else if sql.contains("count()") {
            format!("{}\n", state.row_count())
        } else if sql.trim_start().starts_with("SELECT") {
            "1\n".to_string()
        } else {
            state.ddl.push(sql.to_string());
            let words = sql.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            for word in words {
                state.missing.remove(word);
            }
            String::new()
        };
        (Outcome::Answered, String::new(), text)
    }
}

/// Which of the rows that `PresenceQuery` asks for are stored, by their hash, and how often.
pub(super) fn found_rows(state: &State, sql: &str) -> BTreeMap<String, u64> {
    let before = sql.split(") GROUP BY name").next().unwrap_or_default();
    let hashes = before.rsplit(" IN (").next().unwrap_or_default();
    let wanted: BTreeSet<&str> = hashes.split(',').collect();
    let mut found = BTreeMap::new();
    for (row, times) in &state.rows {
        for row in anonymizer::row::read::rows(row).flatten() {
            let hash = anonymizer::row::content_hash(&row).to_string();
            if wanted.contains(hash.as_str()) {
                *found.entry(hash).or_default() += times;
            }
        }
    }
    found
}

/// The answer to `MinutesQuery::sql`, from the rows that are stored.
fn minutes_answer(state: &State, sql: &str) -> String {
    let number = |before: &str| -> u64 {
        let rest = sql
            .split(before)
            .nth(1)
            .unwrap_or_else(|| panic!("no {before:?} in {sql}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    let fine = number("toUnixTimestamp(timestamp) >= ")..number("toUnixTimestamp(timestamp) < ");
    let first = number(" BETWEEN ");
    let range = first..=number(&format!(" BETWEEN {first} AND "));
    let mut all: BTreeMap<u64, u64> = BTreeMap::new();
    for (row, times) in &state.rows {
        let second = u64::from(u32::from_le_bytes(row[..4].try_into().unwrap()));
        let length = if fine.contains(&second) { 60 } else { 86_400 };
        if range.contains(&second) {
            *all.entry(second / length * length).or_default() += times;
        }
    }
    all.iter()
        .map(|(start, rows)| format!("{start}\t{rows}\n"))
        .collect()
}
