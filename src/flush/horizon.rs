//! Whether ClickHouse still knows the token of a batch that may be stored.
//!
//! A table remembers the hashes of so many blocks, whoever writes them, and forgets the oldest first. How
//! many were written since the first attempt is read off the numbers of its blocks. A token is trusted
//! while at most half of a window went by: the next slot is a minute away.

use std::time::Duration;

use super::known::Known;
use crate::clickhouse::Scheme;
use crate::queue::{Doubt, Mark};

/// Why the token cannot be relied on; `None` if every table knows it, on a server that reads it as the
/// one that may have stored it. `since` is the time since the first attempt.
pub fn distrust(doubt: &Doubt, now: &Known, since: Duration) -> Option<String> {
    if let Some(why) = now.elsewhere(doubt) {
        return Some(why);
    }
    if let Some(other) = doubt.servers.iter().find(|s| !s.is_known_to(&now.server)) {
        return Some(format!(
            "it was sent to ClickHouse {other}, and {} may not know its tokens",
            now.server
        ));
    }
    if doubt.servers.is_empty() {
        return Some("nobody knows which release of ClickHouse it was sent to".into());
    }
    if now.tables.is_empty() {
        return Some("the tables are not known".into());
    }
    for (name, table) in &now.tables {
        let Some(window) = table.window else {
            if table.engine.ends_with("View") {
                continue;
            }
            return Some(format!("{name} remembers no tokens"));
        };
        let Some(mark) = doubt.tables.get(name).filter(|m| m.uuid == table.uuid) else {
            return Some(format!("{name} is another table than when it was sent"));
        };
        if window.age.is_some_and(|age| since >= age / 2) {
            return Some(format!("{name} forgets tokens by time, and it is long ago"));
        }
        if table.drops != mark.drops {
            return Some(format!(
                "parts of {name} were dropped since, and nobody knows how much was written into it"
            ));
        }
        let written = table.blocks.zip(mark.blocks);
        let written = written.and_then(|(now, then)| now.checked_sub(then));
        let Some(written) = written else {
            return Some(format!(
                "nobody knows how much was written into {name} since"
            ));
        };
        let entries = written.saturating_mul(Scheme::entries(now.server.scheme));
        if entries >= window.entries.div_ceil(2) {
            return Some(format!(
                "{name} remembers {} blocks, and {written} were written since",
                window.entries / Scheme::entries(now.server.scheme)
            ));
        }
    }
    // A view that fills totals: older releases know its blocks by its own id.
    let replaced =
        |(name, mark): &(&String, &Mark)| now.tables.get(*name).is_none_or(|t| t.uuid != mark.uuid);
    let other = doubt.tables.iter().find(replaced);
    other.map(|(name, _)| format!("{name} is not the one that was there when it was sent"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::{Found, Server, Window};

    fn server(version: &str) -> Server {
        let setting = match version {
            "26.3.9.1" => "compatible_double_hashes",
            "26.9.2.1" => "new_unified_hash",
            _ => "",
        };
        Server {
            version: version.into(),
            scheme: Scheme::of(version, setting),
            ..Server::default()
        }
    }

    fn known(version: &str, blocks: u64, entries: u64, age: Option<u64>) -> Known {
        let age = age.map(Duration::from_secs);
        let found = Found {
            engine: "MergeTree".into(),
            uuid: "u".into(),
            window: Some(Window { entries, age }),
            blocks: Some(blocks),
            ..Found::default()
        };
        Known {
            server: server(version),
            tables: [("t".to_owned(), found)].into(),
            ..Known::default()
        }
    }

    fn doubt(version: &str, blocks: u64) -> Doubt {
        let mark = Mark {
            uuid: "u".into(),
            blocks: Some(blocks),
            drops: 0,
        };
        Doubt {
            servers: [server(version)].into(),
            tables: [("t".to_owned(), mark)].into(),
            ..Doubt::default()
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn trusted(doubt: &Doubt, now: &Known) -> bool {
        distrust(doubt, now, MINUTE).is_none()
    }

    #[test]
    fn what_all_writers_wrote_counts_and_not_the_time() {
        let doubt = doubt("26.9.2.1", 1000);
        assert!(trusted(&doubt, &known("26.9.2.1", 1004, 10, None)));
        assert!(!trusted(&doubt, &known("26.9.2.1", 1005, 10, None)));
        // Numbers that fall say that parts were dropped: nobody knows.
        assert!(!trusted(&doubt, &known("26.9.2.1", 999, 10, None)));
        assert!(!trusted(&doubt, &known("26.9.2.1", 1000, 0, None)));
    }

    #[test]
    fn a_window_is_not_taken_for_unused_after_parts_were_dropped() {
        let doubt = doubt("26.9.2.1", 1000);
        let mut now = known("26.9.2.1", 1001, 10, None);
        assert!(trusted(&doubt, &now));
        // 150 blocks came, and went with their partition.
        now.tables.get_mut("t").unwrap().drops = 1;
        let why = distrust(&doubt, &now, MINUTE).unwrap();
        assert!(why.contains("parts of t were dropped"), "{why}");
    }

    #[test]
    fn a_release_with_two_entries_a_block_forgets_twice_as_soon() {
        let doubt = doubt("26.3.9.1", 1000);
        assert!(trusted(&doubt, &known("26.3.9.1", 1002, 10, None)));
        assert!(!trusted(&doubt, &known("26.3.9.1", 1003, 10, None)));
    }

    #[test]
    fn a_window_by_time_is_counted_from_the_first_attempt() {
        let now = known("26.9.2.1", 1, 10_000, Some(3600));
        let of = |secs| distrust(&doubt("26.9.2.1", 0), &now, Duration::from_secs(secs));
        assert_eq!(of(1799), None);
        assert!(of(1800).is_some());
    }

    #[test]
    fn an_upgrade_that_was_not_proven_is_not_trusted() {
        let now = known("26.9.2.1", 0, 10, None);
        assert!(trusted(&doubt("26.3.9.1", 0), &now));
        assert!(!trusted(&doubt("25.8.2.1", 0), &now));
        assert!(!trusted(&Doubt::default(), &now));
    }

    #[test]
    fn another_server_knows_the_token_only_of_a_replicated_table() {
        let mut doubt = doubt("26.9.2.1", 0);
        let mut now = known("26.9.2.1", 0, 10, None);
        doubt.servers = [Server {
            id: "a".into(),
            ..server("26.9.2.1")
        }]
        .into();
        assert!(trusted(&doubt, &now), "who does not tell is no other");
        now.server.id = "a".into();
        assert!(trusted(&doubt, &now));
        now.server.id = "b".into();
        let why = distrust(&doubt, &now, MINUTE).unwrap();
        assert!(why.contains("another server (a)"), "{why}");
        now.tables.get_mut("t").unwrap().engine = "ReplicatedMergeTree".into();
        assert!(trusted(&doubt, &now));
    }

    #[test]
    fn another_table_does_not_know_the_token() {
        let doubt = doubt("26.9.2.1", 0);
        let mut now = known("26.9.2.1", 0, 10, None);
        now.tables.get_mut("t").unwrap().uuid = "v".into();
        assert!(!trusted(&doubt, &now));
        now.tables.clear();
        assert!(!trusted(&doubt, &now));
    }
}
