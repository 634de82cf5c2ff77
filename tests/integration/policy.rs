//! Is a change of what is masked told, kept in the data dir, and true of the rows that come then?

use anonymizer::privacy::Policy;
use anonymizer::privacy::policy::{Ipv4Bits, Query};
use anonymizer::record::synth::Synth;
use serde_json::{Value, json};

use crate::support::stack::free_port;
use crate::support::world::World;

/// Bits, without the times.
fn policies(status: &Value) -> Vec<(Value, Value)> {
    let all = status["privacy"].as_array().unwrap().iter();
    all.map(|p| (p["ipv4_bits"].clone(), p["ipv6_bits"].clone()))
        .collect()
}

#[test]
fn a_change_holds_from_then_on_and_is_told_wherever_one_looks() {
    let mut w = World::of(2);
    let first = w.setup.run();
    w.stores(1, 200);
    w.wait_queued(0);
    let usual = (json!(8), json!(80));
    assert_eq!(policies(&w.setup.status()), std::slice::from_ref(&usual));
    assert!(!first.log().contains("another policy"), "{}", first.log());
    first.stop();

    w.setup.cut(&mut w.kafka, 16, 128);
    let second = w.setup.run();
    w.stores(2, 200);
    w.wait_queued(0);
    let both = [usual, (json!(16), json!(128))];
    let words = "16 bits of IPv4 and 128 of IPv6 addresses cut";
    let text = || {
        let mut command = w.setup.command("status");
        String::from_utf8(command.arg("--no-kafka").output().unwrap().stdout).unwrap()
    };
    let line = format!("masked          {words}, since ");
    assert!(text().contains(&line), "{}", text());
    assert_eq!(policies(&w.setup.status()), both);
    let log = second.log();
    assert!(log.contains(&format!("another policy: {words}")), "{log}");
    assert_eq!(log.matches(words).count(), 2, "and at the start: {log}");
    w.finish(second);
    assert!(text().contains(&line), "{}", text());
    assert_eq!(policies(&w.setup.status()), both);

    // Less is masked again: that may be a settings file that was lost.
    w.setup.unset("--mask-ipv4-bits");
    w.kafka.policy.ipv4_bits = Ipv4Bits::default();
    let third = w.setup.run();
    third.wait_log("another policy");
    let is_warned = |l: &str| l.contains("WARN") && l.contains("another policy");
    assert!(third.log().lines().any(is_warned), "{}", third.log());
    w.stores(3, 200);
    w.finish(third);
}

/// What a URL has that goes, each word once.
const CANARIES: [&str; 4] = [
    "canary-in-the-query",
    "canary-of-a-token",
    "canary@example.com",
    "198.51.100.77",
];

/// Records that become rows, and as many that cannot.
fn with_canaries() -> Vec<Vec<u8>> {
    let [query, token, mail, address] = CANARIES;
    let urls = [
        format!("/stays/a?q={query}"),
        format!("/stays/b;token={token}/c?x=1"),
        format!("/stays/{mail}/d"),
        format!("/stays/e/{address}"),
    ];
    let mut messages = Vec::new();
    for time in [1_700_000_000_000, u64::MAX] {
        for (mut record, url) in Synth::new(1, 0).zip(&urls) {
            record.timestamp_epoch_milli = time;
            (record.remote_addr, record.url) = (address.to_owned(), url.clone());
            let mut message = Vec::new();
            record.encode_into(&mut message);
            messages.push(message);
        }
    }
    messages
}

#[test]
fn what_is_cut_is_in_no_row_no_file_and_no_answer() {
    let mut w = World::of(1)
        .with("--mask-ipv4-bits", "24")
        .with("--mask-url-query", "drop")
        .with("--mask-url-parameters", "Token,sid")
        .with("--keep-delivered", "1h");
    w.setup.switch_on("--mask-url-addresses");
    w.kafka.policy = Policy {
        ipv4_bits: Ipv4Bits::new(24).unwrap(),
        url_query: Query::Drop,
        url_parameters: vec!["sid".into(), "token".into()],
        url_addresses: true,
        ..Policy::default()
    };
    w.kafka.send(&with_canaries());
    let program = w.setup.run();
    w.wait_all_stored();
    let status = w
        .setup
        .wait_status(|s| s["queue"]["quarantined"] == 4 && s["queue"]["rows"] == 0);
    let said = |words: &[&str]| {
        let out = w.call(words);
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };
    let show = |offset: &str| said(&["quarantine", "show", "0", offset]);
    let mut seen = vec![
        ("status", status.to_string()),
        ("list", said(&["quarantine", "list", "--json"])),
        ("kept", ["4", "5", "6", "7"].map(show).concat()),
        (
            "batches",
            said(&["batches", "export", "1", "--format", "csv"]),
        ),
        ("log", program.log()),
    ];
    w.finish(program);
    {
        let state = w.clickhouse.state();
        let rows: Vec<String> = state
            .rows
            .keys()
            .map(|row| String::from_utf8_lossy(row).into_owned())
            .collect();
        for url in ["/stays/a", "/stays/b;token=X/c", "/stays/X/d", "/stays/e/X"] {
            let of = |row: &&String| row.contains("198.X") && row.ends_with(url);
            assert_eq!(rows.iter().filter(of).count(), 1, "{url}: {rows:?}");
        }
        seen.push(("rows", rows.concat()));
    }
    for file in std::fs::read_dir(w.setup.data_dir().join("queue")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(path).unwrap();
            seen.push(("file", String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    for (name, text) in &seen {
        for canary in CANARIES {
            assert!(!text.contains(canary), "{canary} in {name}: {text}");
        }
    }
    // Those of which the rest may be kept are among what was looked at.
    let of = |name: &str| {
        seen.iter()
            .filter(|s| s.0 == name)
            .any(|s| s.1.contains("/stays/"))
    };
    assert!(of("kept") && of("batches") && of("file") && of("rows"));
}

#[test]
fn an_audit_sends_addresses_through_and_finds_none_that_is_not_masked() {
    let port = free_port();
    let mut w = World::of(2).with("--http-listen", &format!("127.0.0.1:{port}"));
    let ends = |w: &World, words: &[&str], code: i32, says: &str| {
        let out = w.call(&[&["privacy", "audit", "--canaries", "400"], words].concat());
        let words = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{words}");
        assert!(words.contains(says), "{words}");
        out.stdout
    };
    ends(&w, &[], 1, "no instance runs");

    let program = w.setup.run();
    w.stores(1, 200);
    // It produces to the partitions that are read.
    w.setup.wait_status(|s| {
        s["kafka"]["partitions"]
            .as_array()
            .is_some_and(|p| p.len() == 2)
    });
    ends(&w, &["--also", "/not/there"], 2, "/not/there is not there");
    ends(&w, &["--kafka-topic", "other"], 1, "another kafka_topic");

    let out = ends(&w, &["--json"], 0, "");
    let audit: Value = serde_json::from_slice(&out).unwrap();
    for name in ["plain", "answers", "left_out"] {
        assert_eq!(audit[name], json!({"items": [], "count": 0}), "{audit}");
    }
    assert_eq!(audit["core_dumps"], false, "{audit}");
    // It sees what is compressed: all rows were there, masked.
    assert!(audit["masked"].as_u64() >= Some(400), "{audit}");
    assert!(audit["frames"].as_u64() >= Some(2), "{audit}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut unread = w.setup.command("privacy");
    let unread = unread.args(["audit", "--canaries", "1"]).stdout(writer);
    assert_eq!(unread.output().unwrap().status.code(), Some(141));
    drop(program);
}

/// A setting that is lost is a leak of bits, in what is stored and in what was masked by more.
#[test]
fn an_audit_judges_by_what_the_instance_masks() {
    let mut w = World::of(1);
    w.setup.cut(&mut w.kafka, 24, 128);
    let program = w.setup.run();
    w.stores(1, 100);
    let out = w.call(&[
        "privacy",
        "audit",
        "--canaries",
        "40",
        "--no-pages",
        "--json",
    ]);
    let audit: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(audit["plain"]["count"], 0, "{audit}");
    // `250.X` is too little to be told from other rows.
    assert_eq!(out.status.code(), Some(0), "{audit}");
    drop(program);
}
