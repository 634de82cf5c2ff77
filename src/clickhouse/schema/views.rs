//! Whether the views that fill the totals are those of the DDL.

use super::{Found, ObjectKind, Problem, SchemaObject};

/// What is wrong with where a view writes, and when. A view that writes elsewhere leaves a table of the
/// totals without rows, and nobody has looked at the one it fills.
pub(super) fn problems(object: &SchemaObject, found: &Found, database: &str) -> Vec<Problem> {
    if object.kind != ObjectKind::MaterializedView || found.engine != "MaterializedView" {
        return Vec::new();
    }
    let name = &object.name;
    let mut problems = Vec::new();
    let ours = target(&object.sql).unwrap_or_default();
    let theirs = plain(&found.target, database);
    if theirs != ours {
        let theirs = if theirs.is_empty() {
            "a table of its own"
        } else {
            &theirs
        };
        let words =
            format!("{name} fills {theirs} and must fill {ours}: drop it, and it is made anew");
        problems.push(Problem::differs(name, words));
    }
    if found.refreshes {
        let words = format!(
            "{name} is refreshed by the clock and must be filled by each insert: drop it, and it is made anew"
        );
        problems.push(Problem::differs(name, words));
    }
    problems
}

/// Whether the view asks what the DDL's does. One that does not is its owner's affair: he may count
/// something else in a table that he has changed to fit. It is said, not held.
pub(super) fn is_ours(object: &SchemaObject, found: &Found, database: &str) -> bool {
    let ours = select(&object.sql).map(|sql| plain(sql, database));
    object.kind != ObjectKind::MaterializedView
        || ours.is_some_and(|ours| ours == plain(&found.select, database))
}

/// The table that a statement's view writes to.
fn target(sql: &str) -> Option<&str> {
    let (_, rest) = sql.split_once(" TO ")?;
    rest.split_whitespace().next()
}

/// The question of a statement's view.
fn select(sql: &str) -> Option<&str> {
    let at = sql.find("SELECT ")?;
    Some(&sql[at..])
}

/// Without what ClickHouse adds when it writes a statement down: the database, quotes and spaces.
fn plain(sql: &str, database: &str) -> String {
    let bare: String = sql
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '`')
        .collect();
    bare.replace(&format!("{database}."), "")
}

#[cfg(test)]
mod tests {
    use super::super::Schema;
    use super::*;

    fn view() -> SchemaObject {
        let schema = Schema::new("db", "edge").unwrap();
        let name = |o: &&SchemaObject| o.name == "edge_fill_1h";
        schema.objects().iter().find(name).unwrap().clone()
    }

    fn found(target: &str, select: &str) -> Found {
        Found {
            engine: "MaterializedView".into(),
            target: target.into(),
            select: select.into(),
            ..Found::default()
        }
    }

    #[test]
    fn a_view_as_clickhouse_writes_it_down_is_known_again() {
        let asks = "SELECT toStartOfHour(time, 'UTC') AS time, resource_id, response_status, \
                    cache_status, sum(bytes_sent) AS bytes_sent, sum(requests) AS requests \
                    FROM db.edge_1m GROUP BY ALL";
        let good = found("db.edge_1h", asks);
        assert!(is_ours(&view(), &good, "db"));
        assert_eq!(problems(&view(), &good, "db"), []);

        let other = found("db.edge_1h", &asks.replace("toStartOfHour", "toStartOfDay"));
        assert!(!is_ours(&view(), &other, "db"));
        assert_eq!(problems(&view(), &other, "db"), []);
    }

    #[test]
    fn a_view_that_fills_another_table_or_by_the_clock_is_named() {
        for (target, says) in [
            ("db.edge_1d", "fills edge_1d and must fill edge_1h"),
            ("other.edge_1h", "fills other.edge_1h and must"),
            ("", "fills a table of its own"),
        ] {
            let all = problems(&view(), &found(target, ""), "db");
            assert!(all[0].words.contains(says), "{all:?}");
        }
        let mut clock = found("db.edge_1h", "");
        clock.refreshes = true;
        assert!(problems(&view(), &clock, "db")[0].words.contains("clock"));
    }
}
