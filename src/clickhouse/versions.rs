//! Between which releases of ClickHouse a token stays known.
//!
//! A table keeps hashes of tokens, and releases make them in different ways. A token that was stored by one
//! way and is sent again by another is not known: its rows are stored twice. Since 26.3 a server tells its
//! way. What is proven is what `ops/engine-matrix` tried (`data/reports/engines.md`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::schema::Version;

/// How a server makes hashes of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// The old way: 25.5 to 26.1.
    Separate,
    /// The old and the new way, each with an entry of its own: 26.3 and 26.5.
    Double,
    /// The new way: since 26.7.
    Unified,
}

use Scheme::{Double, Separate, Unified};

/// A token stored by the first is known to the second.
const KNOWN_ACROSS: &[(Scheme, Scheme)] = &[
    (Separate, Separate),
    (Separate, Double),
    (Double, Double),
    (Double, Unified),
    (Unified, Unified),
];

/// Releases without the setting that were tried.
const SEPARATE: (Version, Version) = (Version::new(25, 5), Version::new(26, 1));

impl Scheme {
    /// From what `version()` answers, and `insert_deduplication_version` of the server's settings; empty
    /// where there is none. `None` for what was not tried.
    pub fn of(version: &str, setting: &str) -> Option<Scheme> {
        match setting {
            "compatible_double_hashes" => Some(Double),
            "new_unified_hash" => Some(Unified),
            "" => {
                let release: Version = version.parse().ok()?;
                let (from, to) = SEPARATE;
                (from <= release && release <= to).then_some(Separate)
            }
            _ => None,
        }
    }

    /// How many entries of a table's window a block takes at the most. As many as were ever seen where
    /// it is not known.
    pub fn entries(scheme: Option<Scheme>) -> u64 {
        match scheme {
            Some(Separate | Unified) => 1,
            Some(Double) | None => 2,
        }
    }
}

/// A server as far as tokens go.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Server {
    /// What `version()` answered; empty if it was not asked.
    pub version: String,
    /// Its way of making hashes, if it was tried.
    pub scheme: Option<Scheme>,
    /// Which server it is: what `serverUUID()` answered; empty if it was not asked.
    #[serde(default)]
    pub id: String,
}

impl Server {
    /// Whether `later` is another server. Where no tables are shared it knows nothing of what this one has.
    pub fn is_other_than(&self, later: &Server) -> bool {
        !self.id.is_empty() && !later.id.is_empty() && self.id != later.id
    }

    /// Whether a token that this server stored is known to `later`, which has the same data.
    pub fn is_known_to(&self, later: &Server) -> bool {
        if self.version.is_empty() || later.version.is_empty() {
            return false;
        }
        if self.version == later.version && self.scheme == later.scheme {
            return true;
        }
        let release = |server: &Server| server.version.parse::<Version>().ok();
        // A step back is not safe: an older release may not even read what a newer one wrote.
        let forward = release(self)
            .zip(release(later))
            .is_some_and(|(a, b)| a <= b);
        let pair = self.scheme.zip(later.scheme);
        forward && pair.is_some_and(|pair| KNOWN_ACROSS.contains(&pair))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version.as_str() {
            "" => f.write_str("a release that is not known"),
            version => f.write_str(version),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn report() -> Value {
        serde_json::from_str(include_str!("../../data/reports/engines.json")).unwrap()
    }

    fn server(engines: &Value, release: &str) -> Server {
        let text = |name: &str| engines[release][name].as_str().unwrap();
        let setting = text("scheme");
        let setting = if setting.starts_with('(') {
            ""
        } else {
            setting
        };
        Server {
            version: text("version").to_owned(),
            scheme: Scheme::of(text("version"), setting),
            ..Server::default()
        }
    }

    #[test]
    fn no_boundary_is_called_safe_across_which_an_engine_stored_twice() {
        let report = report();
        let (mut safe, mut unsafe_ones) = (0, 0);
        for upgrade in report["upgrades"].as_array().unwrap() {
            let way = upgrade["way"].as_array().unwrap();
            let end = |at: &Value| server(&report["engines"], at.as_str().unwrap());
            let (old, new) = (end(&way[0]), end(way.last().unwrap()));
            let once = upgrade["outcome"] == "once";
            if old.is_known_to(&new) {
                assert!(once, "{upgrade}");
                safe += 1;
            } else if !once {
                unsafe_ones += 1;
            }
        }
        assert!(safe >= 10 && unsafe_ones >= 6, "{safe} {unsafe_ones}");
    }

    #[test]
    fn no_block_takes_more_entries_than_the_engines_took() {
        let report = report();
        for (release, partitions) in report["entries"].as_object().unwrap() {
            let most = Scheme::entries(server(&report["engines"], release).scheme);
            for (_, tables) in partitions.as_object().unwrap() {
                for (table, entries) in tables.as_object().unwrap() {
                    let entries = entries.as_f64().unwrap();
                    assert!(entries <= most as f64, "{release} {table}: {entries}");
                }
            }
        }
    }

    #[test]
    fn what_was_not_tried_is_not_called_safe() {
        let of = |version: &str, setting: &str| Server {
            version: version.into(),
            scheme: Scheme::of(version, setting),
            ..Server::default()
        };
        let untried = of("24.8.1.1", "");
        assert_eq!(untried.scheme, None);
        assert!(untried.is_known_to(&untried), "nothing changed");
        assert!(!untried.is_known_to(&of("24.8.1.2", "")));
        assert!(
            !of("26.9.1.1", "some_later_hash").is_known_to(&of("26.9.1.1", "new_unified_hash"))
        );
        assert!(!Server::default().is_known_to(&Server::default()));
        assert_eq!(Scheme::entries(None), 2);
    }
}
