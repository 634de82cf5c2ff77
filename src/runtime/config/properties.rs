//! `kafka_properties`: any property of librdkafka, except those that the promise rests on.

use std::collections::BTreeMap;

use super::{ConfigError, source::Raw};

/// The setting's name.
pub(super) const NAME: &str = "kafka_properties";

const BY_SETTING: &str = "has a setting of its own";
const OFFSETS: &str =
    "would let offsets move before their rows are on the disk: records would be lost";
const RESET: &str = "would jump over records that Kafka no longer holds without a word; kafka_start says where to begin";
const PRODUCER: &str =
    "is set by produce, which counts a record only when all replicas have it, once";
const EVENTS: &str = "changes what the consumer is told, and the program sets what it needs";

/// What may not be set, and why. Aliases of librdkafka's are listed beside their property.
const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", BY_SETTING),
    ("metadata.broker.list", BY_SETTING),
    ("group.id", BY_SETTING),
    ("enable.auto.commit", OFFSETS),
    ("auto.commit.enable", OFFSETS),
    ("auto.commit.interval.ms", OFFSETS),
    ("enable.auto.offset.store", OFFSETS),
    ("offset.store.method", OFFSETS),
    ("auto.offset.reset", RESET),
    ("enable.partition.eof", EVENTS),
    ("enabled_events", EVENTS),
    ("acks", PRODUCER),
    ("request.required.acks", PRODUCER),
    ("enable.idempotence", PRODUCER),
    ("transactional.id", PRODUCER),
];

/// The name of the setting that stands for a refused property, for the message.
fn setting_for(property: &str) -> &'static str {
    match property {
        "bootstrap.servers" | "metadata.broker.list" => ": kafka_brokers",
        "group.id" => ": kafka_group",
        _ => "",
    }
}

/// Whether a property's value must not be shown.
pub(super) fn is_secret(property: &str) -> bool {
    const WORDS: [&str; 6] = [
        "password",
        "secret",
        "pem",
        "token",
        "oauthbearer.config",
        "assertion",
    ];
    let property = property.to_ascii_lowercase();
    WORDS.iter().any(|word| property.contains(word))
}

/// Splits `name=value`; the value may hold more of `=`.
pub(super) fn split(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    (!name.is_empty()).then(|| (name.to_string(), value.trim().to_string()))
}

/// Splits what the environment holds: `a=1,b=2`. A piece without `=` belongs to the value before it,
/// as in `debug=broker,topic,linger.ms=5`. `None` if the first piece has no `=`.
pub(super) fn split_list(text: &str) -> Option<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = vec![];
    for piece in text.split(',').filter(|piece| !piece.trim().is_empty()) {
        match (split(piece), all.last_mut()) {
            (Some(property), _) => all.push(property),
            (None, Some((_, value))) => *value += &format!(",{}", piece.trim()),
            (None, None) => return None,
        }
    }
    Some(all)
}

/// Refuses what breaks the promise, and asks librdkafka itself about the rest.
pub(super) fn check(raw: &Raw) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut checked = BTreeMap::new();
    for (property, given) in raw.properties() {
        let error = |reason: String| ConfigError::Property {
            property: property.clone(),
            origin: Box::new(given.origin.clone()),
            reason,
        };
        if let Some((_, reason)) = REFUSED.iter().find(|(name, _)| name == property) {
            return Err(error(format!(
                "cannot be set: it {reason}{}",
                setting_for(property)
            )));
        }
        let asked = rdkafka::ClientConfig::new()
            .set(property, &given.value)
            .create_native_config();
        match asked {
            Ok(_) => _ = checked.insert(property.clone(), given.value.clone()),
            Err(rdkafka::error::KafkaError::ClientConfig(_, words, ..)) if !is_secret(property) => {
                return Err(error(format!("is refused by librdkafka: {words}")));
            }
            Err(_) => return Err(error("is refused by librdkafka".into())),
        }
    }
    Ok(checked)
}
