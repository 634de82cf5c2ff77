//! `kafka_properties`: any property of librdkafka, except those that the promise rests on.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rdkafka::error::KafkaError;

use super::{ConfigError, Origin};
use crate::kafka::oauth;
use table::{ALIASES, Decision, TABLE};

/// The setting's name.
pub(super) const NAME: &str = "kafka_properties";

/// librdkafka's own name of the property that it would set by `name`: one of its aliases, or after
/// the prefix `topic.`, which it takes off a name that it does not know.
pub(super) fn resolve(name: &str) -> Option<&'static str> {
    let known = |name: &str| {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name, |(_, property)| property);
        let mut all = TABLE.iter().flat_map(|group| group.names);
        all.find(|property| **property == name).copied()
    };
    known(name).or_else(|| known(name.strip_prefix("topic.")?))
}

/// Whether a property's value must not be shown.
pub(super) fn is_secret(property: &str) -> bool {
    const WORDS: [&str; 7] = [
        "password",
        "passphrase",
        "secret",
        "pem",
        "token",
        "oauthbearer.config",
        "assertion",
    ];
    let property = property.to_ascii_lowercase();
    if property == oauth::ENDPOINT {
        return false;
    }
    WORDS.iter().any(|word| property.contains(word))
}

/// Properties that are secrets themselves, or hold one.
const SECRETS: [&str; 8] = [
    "sasl.password",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// Whether nobody else may see a property's value. [`is_secret`] covers more: names that may be slips.
pub(super) fn holds_a_secret(property: &str) -> bool {
    SECRETS.contains(&resolve(property).unwrap_or(property))
}

/// Splits `name=value`; the value may hold more of `=`.
pub(super) fn split(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    (!name.is_empty()).then(|| (name.to_string(), value.trim().to_string()))
}

/// Splits what the environment holds: `a=1,b=2`. A piece without `=` belongs to the value before it,
/// as in `debug=broker,topic,linger.ms=5`.
///
/// # Errors
/// What is wrong, without any text that was given: a piece that does not begin with a property's name
/// may be the rest of a password with a comma.
pub(super) fn split_list(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut all: Vec<(String, String)> = vec![];
    for piece in text.split(',').filter(|piece| !piece.trim().is_empty()) {
        match (split(piece), all.last_mut()) {
            (Some((name, value)), _) if resolve(&name).is_some() => all.push((name, value)),
            (None, Some((_, value))) => *value += &format!(",{}", piece.trim()),
            (_, last) => {
                let after = last.map_or(String::new(), |(name, _)| format!(" after {name}"));
                return Err(format!(
                    "is not name=value{after}, with a name that librdkafka knows; a value with a \
                     comma before a = belongs into the file or the flag"
                ));
            }
        }
    }
    Ok(all)
}

/// The property that `name` sets, if it may have that value.
///
/// # Errors
/// Why not, as the end of a sentence that begins with the name.
fn decide(name: &str, value: &str) -> Result<&'static str, String> {
    let property = resolve(name);
    let group = TABLE
        .iter()
        .find(|g| property.is_some_and(|p| g.names.contains(&p)));
    if let Some(group) = group {
        let within = |a: i64, b: i64| value.parse().is_ok_and(|n: i64| (a..=b).contains(&n));
        let why = group.why;
        match group.decision {
            Decision::Never => return Err(format!("cannot be set: it {why}")),
            Decision::Only(only) if value != only => {
                return Err(format!("cannot be set to anything but {only}: it {why}"));
            }
            Decision::Within(a, b) if !within(a, b) => {
                return Err(format!("must be a number from {a} to {b}: it {why}"));
            }
            Decision::Ours([]) if value.is_empty() => return Err("is empty".into()),
            Decision::Ours(only) if !only.is_empty() && !only.contains(&value) => {
                let only = only.join(" or ");
                return Err(format!("cannot be set to anything but {only}: it {why}"));
            }
            Decision::Ours(_) => return Ok(property.unwrap_or_default()),
            _ => {}
        }
    }
    // Asked last: it may load a file that the property names.
    let asked = rdkafka::ClientConfig::new()
        .set(name, value)
        .create_native_config();
    match (asked, property) {
        (Ok(_), Some(property)) => Ok(property),
        (Ok(_), None) => Err("cannot be set: librdkafka does not list it".into()),
        (Err(KafkaError::ClientConfig(_, words, ..)), _) if !is_secret(name) => {
            Err(format!("is refused by librdkafka: {words}"))
        }
        (Err(_), _) => Err("is refused by librdkafka".into()),
    }
}

/// Refuses what breaks the promise, and asks librdkafka itself about the rest: names as they were typed,
/// values and where they are from. The properties by librdkafka's own names, so that none is set twice.
pub(super) fn check<'a>(
    given: impl Iterator<Item = (&'a String, &'a String, &'a Origin)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut checked = BTreeMap::new();
    for (name, value, origin) in given {
        let property = decide(name, value).map_err(|reason| ConfigError::Property {
            property: name.clone(),
            origin: Box::new(origin.clone()),
            reason,
        })?;
        checked.insert(property.to_owned(), value.clone());
    }
    Ok(checked)
}
