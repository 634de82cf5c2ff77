//! What is known of the server and its tables, from one look to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clickhouse::{Found, SchemaState, Server};
use crate::queue::Doubt;
use crate::runtime::clock::Moment;

/// So many names of servers are kept.
const MOST_NAMES: usize = 8;

/// Servers that took turns so long ago do so no more.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The server and its tables, as the last look found them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    /// The server.
    pub server: Server,
    /// When it was started, by its own clock; 0 if it does not tell.
    #[serde(default)]
    pub started: u64,
    /// Tables and views that exist, by name.
    pub tables: BTreeMap<String, Found>,
    /// How many blocks all writers together add to a table in an hour, the most of any; `None`: not known yet.
    #[serde(default)]
    pub blocks_an_hour: Option<f64>,
    /// Names of the servers that answered inserts, the newest last.
    #[serde(default)]
    pub(super) names: Vec<String>,
    /// Ids of servers, by the names that they had when the tables were looked at.
    #[serde(default)]
    pub(super) ids: BTreeMap<String, String>,
    /// When one of them came back after another.
    #[serde(default)]
    pub(super) turned: Option<Moment>,
    /// How often that happened, each time within a day of the time before.
    #[serde(default)]
    pub(super) turns: u32,
}

/// What was written in less time says little of an hour.
const TELLING: Duration = Duration::from_secs(10 * 60);

impl Known {
    /// Takes in how much was written since the last look, which was so long ago.
    pub fn pace(&mut self, state: &SchemaState, since: Duration) {
        let written = self.tables.iter().filter_map(|(name, before)| {
            let now = state
                .found
                .get(name)
                .filter(|now| now.uuid == before.uuid)?;
            now.blocks?.checked_sub(before.blocks?)
        });
        if since >= TELLING
            && let Some(most) = written.max()
        {
            self.blocks_an_hour = Some(most as f64 * 3600.0 / since.as_secs_f64());
        }
    }

    /// Takes in what a look found.
    pub fn look(&mut self, state: &SchemaState) {
        let mut tables = state.found.clone();
        // Another replica may lag behind: it misses nothing.
        if state.server_id == self.server.id {
            for (name, found) in &mut tables {
                if let Some(before) = self.tables.get(name) {
                    found.follow(before);
                }
            }
        }
        self.tables = tables;
        self.server = Server {
            version: state.version.clone(),
            scheme: state.scheme,
            id: state.server_id.clone(),
        };
        self.started = state.started;
        if !state.server_name.is_empty() && !state.server_id.is_empty() {
            let (name, id) = (state.server_name.clone(), state.server_id.clone());
            self.ids.insert(name, id);
            let names = &self.names;
            let current = &state.server_name;
            if self.ids.len() > MOST_NAMES {
                self.ids.retain(|n, _| n == current || names.contains(n));
            }
        }
    }

    /// Why what this server does not have, another may have, while a table is kept by one server alone: the
    /// batch was sent to another one, or a proxy sends requests to several in turn.
    pub fn elsewhere(&self, doubt: &Doubt) -> Option<String> {
        self.elsewhere_at(doubt, &Moment::now())
    }

    fn elsewhere_at(&self, doubt: &Doubt, now: &Moment) -> Option<String> {
        let alone = |found: &Found| found.window.is_some() && !found.is_replicated();
        if !self.tables.values().any(alone) {
            return None;
        }
        let other = doubt.servers.iter().find(|s| s.is_other_than(&self.server));
        if let Some(other) = other {
            return Some(format!(
                "it was sent to another server ({}) than the one that answers now ({})",
                other.id, self.server.id
            ));
        }
        let recent = self.turned.as_ref().is_some_and(|t| now.since(t) < DAY);
        (recent && self.takes_turns()).then(|| {
            format!(
                "several servers answer in turn ({}), each with tables of its own",
                self.names()
            )
        })
    }

    /// Whether a name came back after another one, and not because one server was given its old name again:
    /// then all names have the same id, and it does not happen twice in a day.
    pub fn takes_turns(&self) -> bool {
        let first = self.names.first().and_then(|name| self.ids.get(name));
        let is_one = first.is_some_and(|id| self.names.iter().all(|n| self.ids.get(n) == Some(id)));
        self.turned.is_some() && !(is_one && self.turns < 2)
    }

    /// The servers' names.
    pub fn names(&self) -> String {
        self.names.join(", ")
    }

    /// Whether servers of several names answered.
    pub fn names_differ(&self) -> bool {
        self.names.len() > 1
    }

    /// Notes who answered an insert. `None` if it is the same as before, else whether the name is new.
    pub fn note(&mut self, name: &str, now: &Moment) -> Option<bool> {
        if self.names.last().is_some_and(|last| last == name) {
            return None;
        }
        let is_new = self.names.iter().all(|known| known != name);
        if !is_new {
            self.names.retain(|known| known != name);
            let again = self.turned.as_ref().is_some_and(|t| now.since(t) < DAY);
            self.turns = if again { self.turns + 1 } else { 1 };
            self.turned = Some(now.clone());
        }
        self.names.push(name.to_owned());
        if self.names.len() > MOST_NAMES {
            self.names.remove(0);
        }
        Some(is_new)
    }

    /// After a start: what the wall clock says to come, since it was set back or the machine's was wrong,
    /// was now.
    pub fn none_to_come(&mut self, now: &Moment) {
        if let Some(turned) = self.turned.as_mut().filter(|t| t.is_to_come(now)) {
            *turned = now.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::Window;
    use crate::runtime::clock::Uptime;

    fn plain() -> Found {
        let window = Window {
            entries: 10,
            age: None,
        };
        Found {
            engine: "MergeTree".into(),
            uuid: "u".into(),
            window: Some(window),
            ..Found::default()
        }
    }

    fn known() -> Known {
        Known {
            tables: [("t".to_owned(), plain())].into(),
            ..Known::default()
        }
    }

    fn at(hours: u64) -> Moment {
        Moment {
            wall_ms: 1_000_000_000_000 + hours * 3_600_000,
            uptime: None,
        }
    }

    fn look(known: &mut Known, name: &str, id: &str) {
        let state = SchemaState {
            server_name: name.into(),
            server_id: id.into(),
            found: [("t".to_owned(), plain())].into(),
            ..SchemaState::default()
        };
        known.look(&state);
    }

    #[test]
    fn only_a_name_that_comes_back_is_of_a_second_server() {
        let mut known = known();
        let doubt = Doubt::default();
        for (name, change) in [
            ("a", Some(true)),
            ("a", None),
            ("b", Some(true)),
            ("c", Some(true)),
        ] {
            assert_eq!(known.note(name, &at(0)), change);
            assert_eq!(known.elsewhere_at(&doubt, &at(0)), None, "{name}");
        }
        assert_eq!(known.note("a", &at(0)), Some(false));
        let why = known.elsewhere_at(&doubt, &at(1)).unwrap();
        assert!(why.contains("in turn (b, c, a)"), "{why}");
        assert_eq!(known.elsewhere_at(&doubt, &at(24)), None, "long ago");
        known.tables.get_mut("t").unwrap().engine = "ReplicatedMergeTree".into();
        assert_eq!(known.elsewhere_at(&doubt, &at(1)), None, "shared tables");
    }

    #[test]
    fn a_server_that_gets_its_old_name_back_is_no_second_one() {
        let doubt = Doubt::default();
        let turned = |b_is: &str, again: bool| {
            let mut known = known();
            for (name, id) in [("a", "1"), ("b", b_is), ("a", "1")] {
                known.note(name, &at(0));
                look(&mut known, name, id);
            }
            if again {
                known.note("b", &at(2));
            }
            known.elsewhere_at(&doubt, &at(2)).is_some()
        };
        assert!(!turned("1", false), "one id under both names");
        assert!(turned("2", false));
        // Data that were copied have the same id, and no server is renamed twice a day.
        assert!(turned("1", true));
        // Nobody looked while it was `b`.
        let mut unseen = known();
        for name in ["a", "b", "a"] {
            unseen.note(name, &at(0));
        }
        look(&mut unseen, "a", "1");
        assert!(unseen.elsewhere_at(&doubt, &at(2)).is_some());
    }

    #[test]
    fn a_turn_that_the_clock_says_to_come_is_forgotten_in_a_day_all_the_same() {
        let mut known = known();
        for name in ["a", "b", "a"] {
            known.note(name, &at(9_000));
        }
        known.none_to_come(&at(0));
        let doubt = Doubt::default();
        assert!(known.elsewhere_at(&doubt, &at(23)).is_some());
        assert_eq!(known.elsewhere_at(&doubt, &at(24)), None);
        // While the machine runs, its own count of time is what holds.
        let of = |wall: u64, hours: u64| Moment {
            uptime: Some(Uptime {
                boot: "x".into(),
                ms: hours * 3_600_000,
            }),
            ..at(wall)
        };
        let mut known = super::tests::known();
        for name in ["a", "b", "a"] {
            known.note(name, &of(9_000, 1));
        }
        known.none_to_come(&of(0, 2));
        assert!(known.elsewhere_at(&doubt, &of(0, 24)).is_some());
        assert_eq!(known.elsewhere_at(&doubt, &of(0, 25)), None);
    }

    #[test]
    fn blocks_that_were_seen_and_are_gone_are_counted_as_a_drop() {
        let found = |blocks, partitions: &[(&str, u64, u64)]| Found {
            blocks: Some(blocks),
            partitions: partitions
                .iter()
                .map(|(id, first, last)| (id.to_string(), (*first, *last)))
                .collect(),
            ..plain()
        };
        let drops = |looks: &[Found]| {
            let mut known = Known::default();
            for look in looks {
                known.look(&SchemaState {
                    found: [("t".to_owned(), look.clone())].into(),
                    ..SchemaState::default()
                });
            }
            known.tables["t"].drops
        };
        let before = found(1000, &[("2025", 1, 990), ("2026", 3, 1000)]);
        let f = |now: Found| drops(&[before.clone(), now]);
        assert_eq!(f(before.clone()), 0);
        let more = found(
            1150,
            &[("2025", 1, 990), ("2026", 3, 1100), ("2027", 1101, 1150)],
        );
        assert_eq!(f(more.clone()), 0);
        // The newest went: also if others have written past it since.
        assert_eq!(f(found(990, &[("2025", 1, 990)])), 1);
        assert_eq!(f(found(1050, &[("2025", 1, 1050)])), 1);
        assert_eq!(f(found(1050, &[("2025", 1, 990), ("2026", 991, 1050)])), 1);
        assert_eq!(f(found(1050, &[("2025", 1, 1050), ("2026", 3, 980)])), 1);
        // What one look saw and the next does not, whatever was there at first.
        let mut looks = vec![before.clone(), more, before.clone(), before.clone()];
        assert_eq!(drops(&looks), 1);
        looks.push(found(0, &[]));
        assert_eq!(drops(&looks), 2);
        // A retention takes away what no window remembers any more.
        let old = found(1000, &[("2024", 1, 900), ("2026", 901, 1000)]);
        assert_eq!(
            drops(&[old.clone(), found(1000, &[("2026", 901, 1000)])]),
            0
        );
        assert_eq!(
            drops(&[old, found(1000, &[("2024", 800, 900), ("2026", 901, 1000)])]),
            0
        );
        let other = Found {
            uuid: "v".into(),
            ..found(1, &[])
        };
        assert_eq!(f(other), 0, "another table has a mark of its own");
    }
}
