//! Kafka by each way in, and by none.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::broker::{Broker, PASSWORD};
use crate::support::fake_clickhouse::FakeClickHouse;
use crate::support::kafka::{Kafka, messages};
use crate::support::program::Setup;
use crate::support::tls::Identity;
use crate::support::world::World;

pub type Secure = World<Arc<Broker>>;

/// A topic of its own, and the settings for it.
pub fn world(topic: &str, partitions: i32) -> Secure {
    let broker = Broker::get();
    let w = World::on(broker.topic(topic, partitions));
    w.with("--kafka-topic", topic)
        .with("--kafka-group", topic)
        .and(|_| broker)
}

/// Has the program come to a listener with these properties, and with the password of all.
pub fn come(setup: &mut Setup, broker: &Broker, listener: &str, properties: &[&str]) {
    setup.set("--kafka-brokers", &broker.at(listener));
    for property in properties {
        // A file beside the certificates.
        let at = format!(
            "={}/",
            broker.file("").display().to_string().trim_end_matches('/')
        );
        setup.add("--kafka-properties", &property.replace("=@", &at));
    }
}

const TLS: &str = "security.protocol=ssl";
pub const AUTHORITY: &str = "ssl.ca.location=@authority.pem";
const SASL: &str = "security.protocol=sasl_plaintext";
pub const SASL_TLS: &str = "security.protocol=sasl_ssl";
const PLAIN: &str = "sasl.mechanism=PLAIN";
const USER: &str = "sasl.username=anonymizer";

pub fn another(kafka: &Kafka, topic: &str, clickhouse: &FakeClickHouse) -> Setup {
    let mut setup = Setup::new(kafka, clickhouse);
    setup.set("--kafka-topic", topic);
    setup.set("--kafka-group", topic);
    setup
}

#[test]
fn every_way_in_reads_every_record_once() {
    let topic = "ways-in";
    let mut w = world(topic, 2);
    let password = w.own.file("ways-password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let password = password.display().to_string();
    let ways: [(&str, &[&str]); 5] = [
        ("TLS", &[TLS, AUTHORITY]),
        (
            "MTLS",
            &[
                TLS,
                AUTHORITY,
                "ssl.certificate.location=@client.pem",
                "ssl.key.location=@client.key",
            ],
        ),
        ("PLAIN", &[SASL, PLAIN, USER]),
        (
            "SCRAM",
            &[SASL_TLS, AUTHORITY, "sasl.mechanism=SCRAM-SHA-256", USER],
        ),
        (
            "SCRAM",
            &[SASL_TLS, AUTHORITY, "sasl.mechanism=SCRAM-SHA-512", USER],
        ),
    ];
    for (seed, (listener, properties)) in (1..).zip(ways) {
        // One instance after the other: each has its own queue, and they share the group.
        let mut setup = another(&w.kafka, topic, &w.clickhouse);
        come(&mut setup, &w.own, listener, properties);
        if properties.contains(&USER) {
            setup.set("--kafka-password-file", &password);
        }
        let program = setup.run();
        w.kafka.produce(seed, 300);
        w.wait_all_stored();
        setup.wait_status(|s| s["queue"]["rows"] == 0 && s["verdict"]["code"] == "ok");
        program.stop();
    }
    w.assert_exactly_once();
}

/// A way that leads nowhere: listener, properties, the reason's word, and words of its sentence and remedy.
type Refusal = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

const REFUSALS: &[Refusal] = &[
    (
        "PLAINTEXT",
        &[TLS, AUTHORITY],
        "no-tls",
        "security.protocol",
    ),
    ("TLS", &[], "wants-tls", "security.protocol"),
    ("PLAIN", &[], "wants-sasl", "sasl_plaintext"),
    (
        "TLS",
        &[SASL_TLS, AUTHORITY, PLAIN, USER],
        "no-sasl",
        "without SASL",
    ),
    (
        "TLS",
        &[TLS, "ssl.ca.location=@stranger.pem"],
        "authority",
        "ssl.ca.location",
    ),
    ("EXPIRED", &[TLS, AUTHORITY], "expired", "renewed"),
    (
        "ELSEWHERE",
        &[TLS, AUTHORITY],
        "host-name",
        "advertised.listeners",
    ),
    (
        "MTLS",
        &[TLS, AUTHORITY],
        "client-certificate",
        "ssl.certificate.location",
    ),
    (
        "PLAIN",
        &[SASL, PLAIN, "sasl.username=nobody"],
        "password",
        "kafka_password_file",
    ),
    (
        "SCRAM",
        &[
            SASL_TLS,
            AUTHORITY,
            "sasl.mechanism=SCRAM-SHA-512",
            "sasl.username=nobody",
        ],
        "password",
        "SCRAM-SHA-512",
    ),
    (
        "PLAIN",
        &[SASL, "sasl.mechanism=SCRAM-SHA-256", USER],
        "mechanism",
        "supported mechanisms: PLAIN",
    ),
    (
        "PLAIN",
        &[SASL, PLAIN, "sasl.username=stranger"],
        "topic-denied",
        "DESCRIBE and READ",
    ),
    (
        "PLAIN",
        &[SASL, PLAIN, "sasl.username=lonely"],
        "group-denied",
        "READ the group",
    ),
];

#[test]
fn every_refusal_has_its_words_and_loses_nothing() {
    let topic = "refusals";
    let mut w = world(topic, 2);
    w.kafka.produce(1, 500);
    let broker = &w.own;
    thread::scope(|scope| {
        scope.spawn(|| broker.deny(true, "stranger", &["--operation", "All", "--topic", "*"]));
        scope.spawn(|| broker.deny(true, "lonely", &["--operation", "All", "--group", topic]));
    });
    let next = AtomicUsize::new(0);
    let (kafka, clickhouse) = (&w.kafka, &w.clickhouse);
    let look = || {
        while let Some(refusal) = REFUSALS.get(next.fetch_add(1, Ordering::SeqCst)) {
            let mut setup = another(kafka, topic, clickhouse);
            refused(&mut setup, broker, refusal);
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(look);
        }
    });
    assert_eq!(w.clickhouse.state().row_count(), 0);
    // Of all that was in vain nothing is left.
    w.setup.set("--kafka-brokers", &w.own.at("PLAINTEXT"));
    w.finish(w.setup.run());
}

fn refused(setup: &mut Setup, broker: &Broker, (listener, properties, word, words): &Refusal) {
    come(setup, broker, listener, properties);
    setup.env(
        "ANONYMIZER_KAFKA_PROPERTIES",
        &format!("sasl.password={PASSWORD}"),
    );
    let case = format!("{word} at {listener}");
    // `check` asks for the topic, and joins no group.
    if *word != "group-denied" {
        let out = setup.command("check").output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(out.status.code(), Some(3), "{case}: {said}");
        let line = said.lines().find(|l| l.starts_with("FAILED  kafka: "));
        let line = line.unwrap_or_else(|| panic!("{case}: {said}"));
        assert!(line.contains(words), "{case}: {line}");
        assert!(!said.contains(PASSWORD), "{case}: {said}");
    }
    let program = setup.run();
    let status = setup.wait_status(|s| s["kafka"]["fault"]["kind"] == **word);
    let verdict = &status["verdict"];
    assert_eq!(verdict["code"], "delayed", "{case}: {verdict}");
    assert_eq!(
        verdict["findings"][0]["what"], "kafka-access",
        "{case}: {verdict}"
    );
    let told = format!("{} {}", verdict["sentence"], verdict["act"]);
    assert!(told.contains(words), "{case}: {told}");
    assert!(!status.to_string().contains(PASSWORD), "{case}: {status}");
    assert!(!program.log().contains(PASSWORD), "{case}");
    program.stop();
}

/// Waits until Kafka lets it in.
fn wait_in(w: &Secure) -> Value {
    w.setup
        .wait_status(|s| s["kafka"]["fault"].is_null() && s["kafka"]["outside"].is_null())
}

#[test]
fn a_password_that_is_corrected_in_its_file_is_used() {
    let mut w = world("password", 2);
    let file = w.own.file("password");
    fs::write(&file, "wrong\n").unwrap();
    let path = file.display().to_string();
    w.setup.set("--kafka-password-file", &path);
    let broker = Arc::clone(&w.own);
    come(
        &mut w.setup,
        &broker,
        "SCRAM",
        &[SASL_TLS, AUTHORITY, "sasl.mechanism=SCRAM-SHA-512", USER],
    );
    w.kafka.produce(1, 500);
    let program = w.setup.run();
    w.setup
        .wait_status(|s| s["kafka"]["fault"]["kind"] == "password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    w.wait_all_stored();
    wait_in(&w);
    w.finish(program);
}

#[test]
fn certificates_that_are_renewed_are_used_and_those_that_do_not_get_in_are_not() {
    let mut w = world("renewed", 2);
    let (certificate, key) = (w.own.file("renewed.pem"), w.own.file("renewed.key"));
    let put = |identity: &Identity| {
        identity.write(&certificate);
        identity.write_key(&key);
    };
    put(&Identity::signed("first", &w.own.authority));
    let broker = Arc::clone(&w.own);
    come(
        &mut w.setup,
        &broker,
        "MTLS",
        &[
            TLS,
            AUTHORITY,
            "ssl.certificate.location=@renewed.pem",
            "ssl.key.location=@renewed.key",
        ],
    );
    let program = w.setup.run();
    w.kafka.produce(1, 500);
    w.wait_all_stored();
    // Of an authority that the broker does not know: what is there goes on.
    put(&Identity::signed("second", &Identity::authority()));
    let status = w.setup.wait_status(|s| s["kafka"]["client"].is_object());
    let words = status["kafka"]["client"]["words"].to_string();
    assert!(words.contains("do not get in"), "{words}");
    assert!(words.contains("does not take our certificate"), "{words}");
    w.kafka.produce(2, 500);
    w.wait_all_stored();
    put(&Identity::signed("third", &w.own.authority));
    program.wait_log("joining the group anew with them");
    w.kafka.produce(3, 500);
    w.wait_all_stored();
    w.setup.wait_status(|s| s["verdict"]["code"] == "ok");
    w.finish(program);
}

#[test]
fn a_right_that_is_taken_away_is_named_until_it_is_back() {
    let topic = "fickle";
    let mut w = world(topic, 2);
    let broker = Arc::clone(&w.own);
    come(
        &mut w.setup,
        &broker,
        "PLAIN",
        &[SASL, PLAIN, "sasl.username=fickle"],
    );
    w.setup.env(
        "ANONYMIZER_KAFKA_PROPERTIES",
        &format!("sasl.password={PASSWORD}"),
    );
    let program = w.setup.run();
    w.kafka.produce(1, 500);
    w.wait_all_stored();
    let what = ["--operation", "Read", "--topic", topic];
    w.own.deny(true, "fickle", &what);
    w.kafka.produce(2, 500);
    let status = w
        .setup
        .wait_status(|s| s["kafka"]["fault"]["kind"] == "topic-denied");
    assert_eq!(status["verdict"]["findings"][0]["what"], "kafka-access");
    w.own.deny(false, "fickle", &what);
    w.wait_all_stored();
    wait_in(&w);
    w.finish(program);
}

#[test]
fn records_are_read_whatever_they_were_compressed_with() {
    let topic = "compressed";
    let mut w = world(topic, 2);
    let program = w.setup.run();
    for (seed, codec) in (1..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let messages = messages(seed, 500);
        w.kafka.expect(&messages);
        let mut config = w.kafka.config();
        config.set("compression.type", codec);
        w.kafka
            .send_with(&config, messages.iter().map(|m| (m.as_slice(), None)));
    }
    w.finish(program);
    // The broker keeps batches as they came: all five are there.
    let codecs = codecs(&fs::read(w.own.log(topic, 0)).unwrap());
    assert_eq!(codecs, BTreeSet::from([0, 1, 2, 3, 4]));
}

/// The codecs of the batches of a segment (attributes, bits 0 to 2).
fn codecs(mut log: &[u8]) -> BTreeSet<u8> {
    let mut all = BTreeSet::new();
    // The base offset; the length of what follows; leader's epoch, version, checksum; attributes.
    while let (Some(length), Some(attributes)) = (log.get(8..12), log.get(22)) {
        let length = length.iter().fold(0, |n, b| n << 8 | usize::from(*b));
        if length == 0 {
            break;
        }
        all.insert(attributes & 7);
        log = log.get(12 + length..).unwrap_or_default();
    }
    all
}
