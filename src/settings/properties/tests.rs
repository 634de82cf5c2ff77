#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_char, c_int, c_void};

use super::table::{ALIASES, Decision, Group, TABLE};
use super::*;

unsafe extern "C" {
    fn tmpfile() -> *mut c_void;
    fn rewind(file: *mut c_void);
    fn fgets(line: *mut c_char, size: c_int, file: *mut c_void) -> *mut c_char;
    fn fclose(file: *mut c_void) -> c_int;
}

/// Every property that the linked librdkafka lists, and what it is an alias of.
fn listed() -> BTreeMap<String, Option<String>> {
    let mut text = Vec::new();
    // SAFETY: the file is checked, used by this thread alone and closed once; a line never exceeds the
    // buffer, and is ended by a NUL within it.
    unsafe {
        let file = tmpfile();
        assert!(!file.is_null(), "no temporary file");
        rdkafka::bindings::rd_kafka_conf_properties_show(file.cast());
        rewind(file);
        let mut part = [0 as c_char; 4096];
        while !fgets(part.as_mut_ptr(), part.len() as c_int, file).is_null() {
            text.extend_from_slice(std::ffi::CStr::from_ptr(part.as_ptr()).to_bytes());
        }
        fclose(file);
    }
    let text = String::from_utf8(text).unwrap();
    let rows = text.lines().filter(|line| line.matches('|').count() >= 5);
    let rows = rows.filter(|line| !line.starts_with("Property ") && !line.starts_with("---"));
    let mut all = BTreeMap::new();
    for row in rows {
        let name = row.split('|').next().unwrap().trim().to_owned();
        let alias = row.split_once("Alias for `").map(|(_, rest)| rest);
        let alias = alias
            .and_then(|rest| rest.split('`').next())
            .map(str::to_owned);
        // The first one holds where a name is both the client's and a topic's.
        all.entry(name).or_insert(alias);
    }
    assert!(all.len() > 150, "{} properties", all.len());
    all
}

#[test]
fn every_property_of_librdkafka_is_decided_once_and_no_other() {
    let listed = listed();
    let mut decided = BTreeSet::new();
    for name in TABLE.iter().flat_map(|g| g.names) {
        assert!(
            decided.insert((*name).to_owned()),
            "{name} is decided twice"
        );
    }
    let own = listed.iter().filter(|(_, alias)| alias.is_none());
    let own: BTreeSet<String> = own.map(|(name, _)| name.clone()).collect();
    assert_eq!(decided, own);
    let aliases = listed
        .iter()
        .filter_map(|(name, of)| Some((name.as_str(), of.as_deref()?)));
    assert_eq!(aliases.collect::<Vec<_>>(), ALIASES);
}

/// A name of every property, as librdkafka takes it.
fn names() -> impl Iterator<Item = (String, String)> {
    let own = TABLE
        .iter()
        .flat_map(|g| g.names)
        .map(|name| (*name, *name));
    own.chain(ALIASES.iter().copied())
        .map(|(name, property)| (name.to_owned(), property.to_owned()))
}

fn takes(name: &str) -> bool {
    use rdkafka::error::KafkaError::ClientConfig;
    let set = rdkafka::ClientConfig::new()
        .set(name, "1")
        .create_native_config();
    !matches!(set, Err(ClientConfig(_, words, ..)) if words.contains("No such configuration"))
}

#[test]
fn a_name_is_resolved_as_librdkafka_resolves_it() {
    for (name, property) in names() {
        assert_eq!(resolve(&name), Some(property.as_str()), "{name}");
        let prefixed = format!("topic.{name}");
        assert!(
            !takes(&prefixed) || resolve(&prefixed).is_some(),
            "{prefixed} is taken by librdkafka"
        );
        let twice = format!("topic.topic.{name}");
        assert!(!takes(&twice), "{twice} is taken by librdkafka");
    }
    assert_eq!(
        resolve("topic.auto.offset.reset"),
        Some("auto.offset.reset")
    );
    assert_eq!(resolve("topic.acks"), Some("request.required.acks"));
}

#[test]
fn what_the_promise_rests_on_cannot_be_changed_by_any_name() {
    for group in TABLE
        .iter()
        .filter(|g| !matches!(g.decision, Decision::Free | Decision::Ours(_)))
    {
        for property in group.names {
            let aliases = ALIASES
                .iter()
                .filter(|(_, of)| of == property)
                .map(|(name, _)| *name);
            for name in aliases.chain([*property]) {
                for name in [name.to_owned(), format!("topic.{name}")] {
                    assert!(decide(&name, "-1").is_err(), "{name}");
                }
            }
        }
    }
    let refusal = |name: &str, value: &str| decide(name, value).unwrap_err();
    assert_eq!(
        decide("isolation.level", "read_committed"),
        Ok("isolation.level")
    );
    assert!(refusal("isolation.level", "read_uncommitted").contains("aborted"));
    assert_eq!(
        decide("max.poll.interval.ms", "600000"),
        Ok("max.poll.interval.ms")
    );
    assert!(refusal("max.poll.interval.ms", "6000").contains("300000"));
    assert!(refusal("topic.auto.offset.reset", "latest").contains("kafka_start"));
    assert!(refusal("group.instance.id", "one").contains("installation"));
    // Hidden: librdkafka takes it and does not list it.
    assert!(refusal("test.mock.num.brokers", "3").contains("does not list"));
}

#[test]
fn what_is_ours_is_what_tokens_are_asked_with_and_is_checked_here() {
    let is_ours = |group: &&Group| matches!(group.decision, Decision::Ours(_));
    let ours = TABLE.iter().filter(is_ours).flat_map(|group| group.names);
    let ours: BTreeSet<&str> = ours.copied().collect();
    assert_eq!(ours, BTreeSet::from(oauth::PROPERTIES));
    assert_eq!(decide("https.ca.location", "/ca"), Ok("https.ca.location"));
    assert!(decide("https.ca.location", "").is_err());
    assert!(decide("sasl.oauthbearer.method", "oidc").is_ok());
    assert!(decide("sasl.oauthbearer.method", "default").is_err());
    assert!(!is_secret(oauth::ENDPOINT));
}
