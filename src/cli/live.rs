//! The settings of the live instance of a data dir, for commands that rest on them.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::observe::control::{self, Request};
use crate::settings::Config;

/// Settings that matter to nobody but this command: how it found the instance, and how it speaks.
const OF_THE_COMMAND: [&str; 2] = ["data_dir", "log_format"];

/// Name, value and source of each setting; secrets are covered.
type Settings = [(String, String, String)];

/// A setting of which the live instance has another value.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) name: String,
    pub(super) live: String,
    pub(super) given: String,
}

/// The live instance's settings.
pub(super) struct Live(Vec<(String, String, String)>);

impl Live {
    /// Asks for them. `None` if it has ended since.
    pub(super) fn ask(config: &Config) -> anyhow::Result<Option<Live>> {
        let told = control::ask(&config.data_dir, &Request::Settings)?;
        Ok(told.map(serde_json::from_value).transpose()?.map(Live))
    }

    /// Whether missing tables hold it.
    pub(super) fn waits_for_tables(&self) -> bool {
        value(&self.0, "no_create_tables") == "true"
    }

    /// Where the given ones are others.
    pub(super) fn differ(&self, given: &Settings) -> Vec<Difference> {
        let mut names: Vec<&String> = self.0.iter().chain(given).map(|(name, ..)| name).collect();
        names.retain(|name| !OF_THE_COMMAND.contains(&name.as_str()));
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        let both = names.into_iter().map(|name| Difference {
            name: name.clone(),
            live: value(&self.0, name).to_owned(),
            given: value(given, name).to_owned(),
        });
        both.filter(|d| d.live != d.given).collect()
    }
}

fn value<'a>(settings: &'a Settings, name: &str) -> &'a str {
    let found = settings.iter().find(|(of, ..)| of == name);
    found.map_or("", |(_, value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_another_is_named_but_not_what_is_the_commands_own() {
        let all = |of: &[(&str, &str)]| -> Vec<(String, String, String)> {
            of.iter()
                .map(|(name, value)| ((*name).into(), (*value).into(), String::new()))
                .collect()
        };
        let live = Live(all(&[
            ("data_dir", "./a"),
            ("clickhouse_table", "http_log"),
            ("kafka_group", "g"),
            ("sasl.password", "***"),
        ]));
        let given = all(&[
            ("data_dir", "/x/a"),
            ("clickhouse_table", "edge"),
            ("kafka_group", "g"),
            ("ssl.ca.location", "/ca"),
        ]);
        let differ = live.differ(&given);
        let names: Vec<&str> = differ.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(
            names,
            ["clickhouse_table", "sasl.password", "ssl.ca.location"]
        );
        assert_eq!((&*differ[1].live, &*differ[1].given), ("***", ""));
        assert!(live.differ(&live.0).is_empty());
    }
}
