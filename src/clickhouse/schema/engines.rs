//! Which tables recognise a resend, and keep all rows.

use super::state::is_replicated;
use super::{Found, ObjectKind, Problem, SchemaObject, Window};

/// What is wrong with the engine of a table, or with its window. `raw` is the table of the rows.
pub(super) fn problems(object: &SchemaObject, found: &Found, raw: &str) -> Vec<Problem> {
    let (name, engine) = (&object.name, &found.engine);
    match (object.kind, found.window) {
        (ObjectKind::View, _) => Vec::new(),
        (ObjectKind::MaterializedView, _) if engine == "MaterializedView" => Vec::new(),
        (ObjectKind::MaterializedView, _) => vec![Problem::differs(
            name,
            format!("{name} is {} and must be a materialized view", a(engine)),
        )],
        (ObjectKind::Table, None) => vec![Problem::doubles(
            name,
            format!(
                "{name} is {}, which does not recognise a resend; it must be a MergeTree",
                a(engine)
            ),
        )],
        (ObjectKind::Table, Some(window)) => {
            let merges = match engine_family(engine) {
                "MergeTree" => false,
                // Made for sums, and asked with sum().
                "SummingMergeTree" => name == raw,
                _ => true,
            };
            let mut problems = Vec::new();
            if merges {
                problems.push(Problem::merges(
                    name,
                    format!(
                        "{name} is {}, which merges rows away that differ",
                        a(engine)
                    ),
                ));
            }
            if is_empty(window) {
                problems.push(Problem::doubles(
                    name,
                    format!(
                        "{name} does not recognise a resend: ALTER TABLE {name} MODIFY SETTING {}",
                        if is_replicated(engine) {
                            "replicated_deduplication_window = 10000, \
                             replicated_deduplication_window_seconds = 604800"
                        } else {
                            "non_replicated_deduplication_window = 10000"
                        }
                    ),
                ));
            }
            problems
        }
    }
}

/// Whether the table remembers nothing.
fn is_empty(window: Window) -> bool {
    window.entries == 0 || window.age.is_some_and(|age| age.is_zero())
}

/// Only tables of the MergeTree family deduplicate. A Distributed one leaves it to those behind it, and
/// what a view writes to is another table.
pub(super) fn deduplicates(engine: &str) -> bool {
    engine.ends_with("MergeTree")
}

/// The engine without where its parts are.
fn engine_family(engine: &str) -> &str {
    let rest = engine.strip_prefix("Replicated").unwrap_or(engine);
    rest.strip_prefix("Shared").unwrap_or(rest)
}

/// With its article.
fn a(engine: &str) -> String {
    let vowel = engine.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{} {engine}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::super::state::ProblemKind;
    use super::*;
    use std::time::Duration;

    fn of(kind: ObjectKind, name: &str, engine: &str, window: Option<Window>) -> Vec<ProblemKind> {
        let object = SchemaObject {
            name: name.into(),
            kind,
            sql: String::new(),
        };
        let found = Found {
            engine: engine.into(),
            window,
            ..Found::default()
        };
        let all = problems(&object, &found, "t").into_iter();
        all.map(|p| p.kind).collect()
    }

    #[test]
    fn what_cannot_recognise_a_resend_is_named() {
        let window = |entries, seconds: Option<u64>| {
            let age = seconds.map(Duration::from_secs);
            Some(Window { entries, age })
        };
        let week = window(10_000, Some(604_800));
        let table = |name, engine, window| of(ObjectKind::Table, name, engine, window);
        use ProblemKind::{Differs, Doubles, Merges};
        assert_eq!(table("t", "MergeTree", window(100, None)), []);
        assert_eq!(table("t", "ReplicatedMergeTree", week), []);
        assert_eq!(table("t", "SharedMergeTree", week), []);
        assert_eq!(table("t_1m", "SummingMergeTree", window(100, None)), []);
        assert_eq!(table("t_1m", "ReplicatedSummingMergeTree", week), []);
        assert_eq!(table("t", "MergeTree", window(0, None)), [Doubles]);
        let hours = table("t", "ReplicatedMergeTree", window(10_000, Some(0)));
        assert_eq!(hours, [Doubles]);
        for engine in [
            "Distributed",
            "Buffer",
            "Memory",
            "Log",
            "StripeLog",
            "Null",
            "View",
            "MaterializedView",
            "Merge",
            "Kafka",
        ] {
            assert_eq!(table("t", engine, None), [Doubles], "{engine}");
            assert_eq!(table("t_1m", engine, None), [Doubles], "{engine}");
            let fill = of(ObjectKind::MaterializedView, "v", engine, None);
            let want: &[ProblemKind] = match engine {
                "MaterializedView" => &[],
                _ => &[Differs],
            };
            assert_eq!(fill, want, "{engine}");
        }
        let one = window(100, None);
        assert_eq!(table("t", "ReplacingMergeTree", one), [Merges]);
        assert_eq!(table("t", "SummingMergeTree", one), [Merges]);
        assert_eq!(
            table("t_1m", "ReplicatedReplacingMergeTree", week),
            [Merges]
        );
        assert_eq!(of(ObjectKind::View, "traffic", "View", None), []);
    }
}
