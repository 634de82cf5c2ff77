//! Whether what the tables remember of inserts is enough for what this program does, and others do.
//!
//! A batch whose answer was lost is sent again, once ClickHouse was asked for it, a few slots later. Its token
//! is trusted within half of a window (`horizon.rs`); what is forgotten sooner recognises nothing.

use std::time::Duration;

use crate::clickhouse::{Problem, SchemaState, Scheme};

/// The longest that a token has to be known: an answer that does not come, a slot to ask, one to send.
pub fn needed(interval: Duration, request_timeout: Duration) -> Duration {
    request_timeout + interval * 3
}

/// Adds to a look at the tables what is wrong with their windows. `blocks_an_hour` is what all writers
/// together were seen to write.
pub fn judge(state: &mut SchemaState, needed: Duration, blocks_an_hour: Option<f64>) {
    let entries_a_block = Scheme::entries(state.scheme);
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    for (name, found) in &state.found {
        let Some(window) = found.window else { continue };
        let long = humantime::format_duration(Duration::from_secs(needed.as_secs()));
        if let Some(age) = window.age.filter(|age| !age.is_zero() && *age < needed * 2) {
            problems.push(Problem::too_short(
                name,
                format!(
                    "{name} remembers an insert for {} s, and a resend may come {long} after it: ALTER TABLE {name} \
                     MODIFY SETTING replicated_deduplication_window_seconds = 604800",
                    age.as_secs(),
                ),
            ));
        }
        let trusted = window.entries / entries_a_block / 2;
        let written = blocks_an_hour.map_or(0.0, |rate| rate * needed.as_secs_f64() / 3600.0);
        if window.entries > 0 && written >= trusted as f64 {
            notes.push(format!(
                "{name} remembers {} inserts, and all its writers make as many within {:.0} minutes: a batch whose \
                 answer is lost may have to be held. Raise {}deduplication_window of {name}",
                window.entries / entries_a_block,
                needed.as_secs_f64() * 2.0 * trusted as f64 / written / 60.0,
                if found.is_replicated() {
                    "replicated_"
                } else {
                    "non_replicated_"
                },
            ));
        }
    }
    state.problems.append(&mut problems);
    state.notes.append(&mut notes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::{Found, Window};

    fn state(engine: &str, entries: u64, age: Option<u64>) -> SchemaState {
        let found = Found {
            engine: engine.into(),
            window: Some(Window {
                entries,
                age: age.map(Duration::from_secs),
            }),
            ..Found::default()
        };
        SchemaState {
            found: [("t".to_owned(), found)].into(),
            scheme: Scheme::of("26.9.2.1", "new_unified_hash"),
            ..SchemaState::default()
        }
    }

    /// At the defaults: two minutes without an answer and three slots are 309 s.
    const NEEDED: Duration = Duration::from_secs(309);

    #[test]
    fn seconds_that_are_over_before_a_resend_hold() {
        assert_eq!(
            needed(Duration::from_secs(63), Duration::from_secs(120)),
            NEEDED
        );
        for (age, holds) in [(60, 1), (617, 1), (618, 0), (3600, 0)] {
            let mut state = state("ReplicatedMergeTree", 10_000, Some(age));
            judge(&mut state, NEEDED, None);
            assert_eq!(state.problems.len(), holds, "{age} s: {:?}", state.problems);
        }
        let mut state = state("ReplicatedMergeTree", 10_000, Some(60));
        judge(&mut state, NEEDED, None);
        let words = &state.problems[0].words;
        assert!(
            words.contains("for 60 s, and a resend may come 5m 9s after"),
            "{words}"
        );
        assert!(state.problems[0].may_be_allowed());
    }

    /// 378 inserts a minute, as 6 million records a second take at the defaults.
    #[test]
    fn writers_that_fill_a_window_before_a_resend_are_told_of() {
        let rate = Some(378.0 * 60.0);
        for (entries, told) in [(100, 1), (3_800, 1), (4_000, 0), (10_000, 0)] {
            let mut state = state("MergeTree", entries, None);
            judge(&mut state, NEEDED, rate);
            assert_eq!(state.notes.len(), told, "{entries}: {:?}", state.notes);
            assert_eq!(state.problems, []);
        }
        let mut alone = state("MergeTree", 100, None);
        judge(&mut alone, NEEDED, Some(60.0));
        judge(&mut alone, NEEDED, None);
        assert!(alone.notes.is_empty());
    }
}
