//! What an earlier version of this program has made, and which is not what this one would make. It goes on
//! working, so it is said, not held: nothing of a person's is replaced unasked.

use super::{Found, ObjectKind, SchemaObject};

/// What a person should know of it.
pub(super) fn note(object: &SchemaObject, found: &Found) -> Option<String> {
    let name = &object.name;
    match object.kind {
        ObjectKind::View if found.select.contains("{from:DateTime}") => Some(format!(
            "the view {name} is an earlier version's: it reads its range in the server's time zone, and \
             today's dashboard asks it for what it does not have. `DROP VIEW {name}`, and it is made anew"
        )),
        ObjectKind::Table if is_of_a_zone(&found.partition) => Some(format!(
            "the partitions of {name} ({}) are of the server's time zone: once that changes, ClickHouse hides \
             rows from a SELECT with a condition on their time. Ask by toUnixTimestamp(...), or move the rows \
             to a table as ops/clickhouse/ has it",
            found.partition
        )),
        _ => None,
    }
}

/// Whether a partition key takes the server's time zone: a function of a time that is not told one.
fn is_of_a_zone(key: &str) -> bool {
    const OF_SECONDS: [&str; 2] = ["toUnixTimestamp(", "toUInt32("];
    ["(timestamp)", "(time)"].iter().any(|column| {
        key.match_indices(column).any(|(at, _)| {
            let function = &key[..=at];
            !OF_SECONDS.iter().any(|f| function.ends_with(f))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_the_servers_time_zone_are_told_from_others() {
        let f = |key: &str, want: bool| assert_eq!(is_of_a_zone(key), want, "{key}");
        f("toYear(timestamp)", true);
        f("toYYYYMM(time)", true);
        f("toRelativeDayNum(timestamp) % 38", true);
        f("(resource_id, toDate(timestamp))", true);
        f("toYear(timestamp, 'UTC')", false);
        f("toRelativeDayNum(timestamp, 'UTC') % 38", false);
        f("intDiv(toUnixTimestamp(timestamp), 86400)", false);
        f("", false);
    }

    #[test]
    fn what_this_version_makes_needs_no_note() {
        for object in super::super::Schema::new("default", "edge")
            .unwrap()
            .objects()
        {
            let sql = object.sql.as_str();
            let key = sql.lines().find_map(|l| l.strip_prefix("PARTITION BY "));
            let mut found = Found {
                select: sql.to_owned(),
                partition: key.unwrap_or_default().to_owned(),
                ..Found::default()
            };
            assert_eq!(note(object, &found), None);
            found.select = sql.replace("{from:UInt64}", "{from:DateTime}");
            found.partition = found.partition.replace(", 'UTC'", "");
            let changes = object.kind != ObjectKind::MaterializedView;
            assert_eq!(note(object, &found).is_some(), changes, "{}", object.name);
        }
    }
}
