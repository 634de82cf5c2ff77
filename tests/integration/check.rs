//! Does `check` say what keeps `run` from working, each fault in its own words, and change nothing?

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::Value;

use crate::support::world::World;

/// What `check` says, and whether all was well.
fn checked(w: &World, words: &[&str]) -> (bool, String) {
    let out = w.call(&[&["check"], words].concat());
    (out.status.success(), String::from_utf8(out.stdout).unwrap())
}

#[test]
fn where_there_is_no_queue_none_is_made() {
    let w = World::of(1);
    let dir = w.setup.data_dir();
    let (well, said) = checked(&w, &[]);
    assert!(well, "{said}");
    assert!(said.contains("`run` would create it in"), "{said}");
    assert!(!dir.exists());
    let (well, said) = checked(&w, &["--clickhouse"]);
    assert!(!well && said.contains("there is no queue in"), "{said}");
    assert!(!dir.exists());
    assert!(w.clickhouse.requests().is_empty());

    let file = tempfile::NamedTempFile::new().unwrap();
    let w = w.with("--data-dir", file.path().join("data").to_str().unwrap());
    let (well, said) = checked(&w, &[]);
    assert!(!well, "{said}");
    assert!(
        said.contains("is no directory") || said.contains("Not a directory"),
        "{said}"
    );
}

#[test]
fn the_tables_are_looked_at_in_a_slot_live_and_stopped() {
    for live in [true, false] {
        let w = World::of(1);
        let program = w.run_with([]);
        let program = match live {
            true => Some(program),
            false => {
                program.stop();
                None
            }
        };
        let asked = || w.clickhouse.requests().len();
        let before = asked();
        let (well, said) = checked(&w, &[]);
        assert!(well && said.contains("--clickhouse"), "{said}");
        assert_eq!(asked(), before, "it asked nothing");
        let (well, said) = checked(&w, &["--clickhouse"]);
        assert!(well && said.contains("fits     http_log\n"), "{said}");
        assert_eq!(asked(), before + 1);
        let column = "http_log.bytes_sent".to_owned();
        w.clickhouse
            .state()
            .types
            .insert(column.clone(), "Int64".into());
        w.clickhouse
            .state()
            .missing
            .insert("http_log_1m".to_owned());
        let (well, said) = checked(&w, &["--clickhouse"]);
        assert!(!well, "{said}");
        assert!(said.contains("DIFFERS  http_log: "), "{said}");
        assert!(said.contains("http_log.bytes_sent is Int64"), "{said}");
        assert!(said.contains("MISSING  http_log_1m\n"), "{said}");
        let out = w.call(&["check", "--clickhouse", "--json"]);
        let found: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(found["failed"], 1);
        let objects = found["tables"]["objects"].as_array().unwrap();
        let of = |name: &str| objects.iter().find(|o| o["name"] == name).unwrap();
        assert_eq!(of("http_log")["fit"], "differs");
        assert_eq!(of("http_log_1m")["fit"], "missing");
        assert_eq!(of("http_log_1d")["fit"], "fits");
        w.clickhouse.state().types.remove(&column);
        w.clickhouse.state().missing.clear();
        if let Some(program) = program {
            program.stop();
        }
    }
}

/// Only its limiter knows when a slot is free, so it asks, as it would: that is not what was to be checked.
#[test]
fn beside_a_live_instance_it_says_whose_settings_clickhouse_was_asked_with() {
    let mut w = World::of(1);
    let program = w.run_with([]);
    let (well, said) = checked(&w, &["--clickhouse"]);
    assert!(well, "{said}");
    assert!(
        said.contains("; asked with the live instance's settings\n"),
        "{said}"
    );
    assert!(
        said.contains("ok      given settings: the live instance's are the same"),
        "{said}"
    );

    w.setup.set("--kafka-group", "other");
    w.setup
        .env("ANONYMIZER_KAFKA_PROPERTIES", "sasl.password=hunter2");
    let (well, said) = checked(&w, &["--clickhouse"]);
    assert!(well, "{said}");
    assert!(
        said.contains("kafka_group: anonymizer there, other here"),
        "{said}"
    );
    assert!(
        said.contains("sasl.password: not set there, *** here"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");

    // What is listened on, until it is not.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    w.setup.set("--clickhouse-url", &format!("http://{gone}"));
    w.setup.set("--clickhouse-table", "edge");
    let before = w.clickhouse.requests().len();
    let out = w.call(&["check", "--clickhouse", "--json"]);
    assert_eq!(out.status.code(), Some(3));
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    let last = found["items"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["name"], &last["result"]),
        (&"given settings".into(), &"failed".into())
    );
    let words = last["words"].as_str().unwrap();
    assert!(
        words.contains("clickhouse_table: http_log there, edge here"),
        "{words}"
    );
    assert!(
        words.contains(&format!("{gone} takes no connection: ")),
        "{words}"
    );
    let differ = found["live_instance_differs"].as_array().unwrap();
    let table = differ
        .iter()
        .find(|d| d["name"] == "clickhouse_table")
        .unwrap();
    assert_eq!(
        (&table["live"], &table["given"]),
        (&"http_log".into(), &"edge".into())
    );
    assert_eq!(
        w.clickhouse.requests().len(),
        before + 1,
        "one slot, and none of these"
    );
    program.stop();
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let w = World::of(1).with("--kafka-topic", "nope");
    let (well, said) = checked(&w, &[]);
    assert!(!well && said.contains("there is no topic nope"), "{said}");
}

#[test]
fn a_broker_without_tls_is_named() {
    let mut w = World::of(1);
    w.setup.add("--kafka-properties", "security.protocol=ssl");
    let (well, said) = checked(&w, &[]);
    assert!(
        !well && said.contains("FAILED  kafka: no TLS with"),
        "{said}"
    );
}

/// A broker that answers each connection with `f`; lives as long as the process.
pub fn broker(f: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || f(stream.unwrap()));
        }
    });
    address
}

#[test]
fn a_broker_that_does_not_answer_is_waited_for_no_longer_than_ten_seconds() {
    let silent = broker(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let w = World::of(1).with("--kafka-brokers", &silent);
    let (well, said) = checked(&w, &[]);
    assert!(!well, "{said}");
    assert!(
        said.contains(&format!("kafka: {silent} does not answer within 10 s")),
        "{said}"
    );
    // The other parts were looked at all the same.
    assert!(said.contains("ok      queue"), "{said}");
}

/// Kafka's protocol, as far as a password goes: every one is wrong.
#[expect(clippy::big_endian_bytes, reason = "so has Kafka's protocol them")]
pub fn refuse_passwords(mut stream: TcpStream) {
    let mut len = [0; 4];
    while stream.read_exact(&mut len).is_ok() {
        let mut request = vec![0; u32::from_be_bytes(len) as usize];
        if stream.read_exact(&mut request).is_err() {
            return;
        }
        let short = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let (api, version) = (short(0), short(2));
        let mut answer = request[4..8].to_vec();
        match (api, version) {
            // ApiVersions; of a newer form it knows nothing but the old one.
            (18, v) => {
                answer.extend(if v == 0 { [0, 0] } else { [0, 35] });
                let known: [[u16; 3]; 4] = [[3, 0, 4], [17, 0, 1], [18, 0, 0], [36, 0, 0]];
                answer.extend([0, 0, 0, known.len() as u8]);
                for number in known.concat() {
                    answer.extend(number.to_be_bytes());
                }
            }
            // SaslHandshake.
            (17, _) => answer.extend(b"\0\0\0\0\0\x01\0\x05PLAIN"),
            // SaslAuthenticate.
            (36, _) => answer.extend(b"\0\x3a\0\x0einvalid secret\0\0\0\0"),
            _ => return,
        }
        let len = (answer.len() as u32).to_be_bytes();
        if stream.write_all(&[&len[..], &answer].concat()).is_err() {
            return;
        }
    }
}

#[test]
fn a_wrong_password_of_kafka_is_named_and_not_shown() {
    let mut w = World::of(1).with("--kafka-brokers", &broker(refuse_passwords));
    for property in [
        "security.protocol=sasl_plaintext",
        "sasl.mechanisms=PLAIN",
        "sasl.username=u",
    ] {
        w.setup.add("--kafka-properties", property);
    }
    w.setup
        .env("ANONYMIZER_KAFKA_PROPERTIES", "sasl.password=hunter2");
    let (well, said) = checked(&w, &[]);
    assert!(!well, "{said}");
    assert!(
        said.contains("refuses the user or password (SASL)"),
        "{said}"
    );
    assert!(said.contains("invalid secret"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
