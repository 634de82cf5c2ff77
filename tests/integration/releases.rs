//! Is a queue that another release wrote opened, and all of it sent once?
//!
//! `tests/corpus/queues/` has one of each release, beside it what must be in it; ops/CHANGELOG.md says how
//! that of the release to come is written.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anonymizer::queue::{DataDir, Queue, format_version};
use anonymizer::row::read::rows;
use anonymizer::row::{Format, write_row};
use serde_json::{Value, json};

use crate::support::fake_clickhouse::{Fault, Multiset};
use crate::support::wait::PATIENCE;
use crate::support::world::World;

const QUEUES: &str = "tests/corpus/queues";

/// ClickHouse refuses the data.
const REJECTED: Fault = Fault::ExceptionHeader {
    http: 400,
    code: 131,
};

/// As lines, sorted, each as often as it is there.
fn lines(stored: &Multiset) -> String {
    let mut all = Vec::new();
    for (raw, times) in stored {
        let row = rows(raw).next().unwrap().unwrap();
        let mut line = Vec::new();
        write_row(Format::Tsv, &row, &mut line);
        all.extend(vec![String::from_utf8(line).unwrap(); *times as usize]);
    }
    all.sort();
    all.concat()
}

/// What can be told of a data dir without changing it, and must be the same for each later release.
fn contents(w: &World) -> Value {
    let status = w.setup.status();
    let queue = &status["queue"];
    let batches = queue["batches"].as_array().unwrap();
    let rows_of = |which: &dyn Fn(&Value) -> bool| -> u64 {
        let those = batches.iter().filter(|b| which(b));
        those.map(|b| b["rows"].as_u64().unwrap()).sum()
    };
    let is_open = |b: &Value| !b["state"]["delivered"].is_object();
    let quarantined = w.json(&["quarantine", "list", "--json"]);
    let messages = quarantined["items"].as_array().unwrap().iter();
    let told: BTreeSet<String> = messages
        .map(|m| format!("p{} {} {}", m["partition"], m["offset"], m["reason"]))
        .collect();
    json!({
        "installation": status["installation"],
        "rows": queue["rows"],
        "rows_not_sealed": queue["rows"].as_u64().unwrap() - rows_of(&is_open),
        "rows_rejected": rows_of(&|b| b["state"]["rejected"].is_object()),
        "rows_that_may_be_stored":
            rows_of(&|b| b["may_be_stored"] == true && b["state"] == "sealed"),
        "rows_delivered": queue["delivered_rows"],
        "quarantined": told,
        "counted": counted(&w.json(&["reconcile", "--counts-only", "--json"])),
    })
}

/// Rows of all partitions, whatever the minutes and days that they are counted by.
fn counted(counts: &Value) -> u64 {
    match counts {
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| match (name.as_str(), member) {
                ("consumed", Value::Number(n)) => n.as_u64().unwrap(),
                _ => counted(member),
            })
            .sum(),
        Value::Array(items) => items.iter().map(counted).sum(),
        _ => 0,
    }
}

/// Not a test: writes the queue of this release.
#[test]
#[ignore = "writes tests/corpus/queues, at a release"]
fn write_the_queue_of_this_release() {
    let mut w = World::of(2)
        .with("--keep-delivered", "1h")
        .with("--flush-interval", "5s");
    let program = w.run_with([]);
    w.stores(1, 300);
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    w.clickhouse.fail(REJECTED);
    w.kafka.produce(2, 200);
    let is_rejected = |b: &Value| b["state"]["rejected"].is_object();
    let any = |s: &Value, which: &dyn Fn(&Value) -> bool| {
        s["queue"]["batches"].as_array().unwrap().iter().any(which)
    };
    w.setup.wait_status(|s| any(s, &is_rejected));
    w.clickhouse.fail(Fault::ResetAfterBody);
    w.kafka.produce(3, 250);
    w.setup
        .wait_status(|s| any(s, &|b| b["may_be_stored"] == true && b["state"] == "sealed"));
    program.stop();
    w.setup.set("--flush-interval", "1h");
    let queued = w.setup.status()["queue"]["rows"].as_u64().unwrap();
    let program = w.setup.run();
    w.kafka.produce(4, 150);
    w.kafka
        .send(&[b"no record".to_vec(), vec![0xfe; 100], vec![0; 9]]);
    w.setup.wait_status(|s| {
        let q = &s["queue"];
        q["rows"] == queued + 150 && q["quarantined"] == 3 && q["tail_lanes"] == 0
    });
    program.stop();

    // What ClickHouse has not, the queue has.
    let mut expected = w.kafka.expected.clone();
    for (row, times) in &w.clickhouse.state().rows {
        *expected.get_mut(row).unwrap() -= times;
    }
    let mut contents = contents(&w);
    for part in [
        "rows_not_sealed",
        "rows_rejected",
        "rows_that_may_be_stored",
        "rows_delivered",
    ] {
        assert!(contents[part].as_u64().unwrap() > 0, "{contents:#}");
    }
    contents["format"] = format_version().into();
    fs::create_dir_all(QUEUES).unwrap();
    let name = format!("{QUEUES}/{}", env!("CARGO_PKG_VERSION"));
    fs::write(format!("{name}.json"), format!("{contents:#}\n")).unwrap();
    fs::write(format!("{name}.tsv"), lines(&expected)).unwrap();
    let tar = Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "-C"])
        .arg(w.setup.data_dir())
        .args(["--exclude=lock", "--exclude=control.sock", "-cf-", "."])
        .output()
        .unwrap();
    assert!(tar.status.success());
    let packed = zstd::bulk::compress(&tar.stdout, 19).unwrap();
    fs::write(format!("{name}.tar.zst"), packed).unwrap();
}

/// A world whose data dir is the stored one of a release.
fn restored(name: &str) -> World {
    let w = World::of(2);
    let packed = fs::File::open(format!("{QUEUES}/{name}.tar.zst")).unwrap();
    fs::create_dir_all(w.setup.data_dir()).unwrap();
    let mut tar = Command::new("tar")
        .args(["--no-same-owner", "-xC"])
        .arg(w.setup.data_dir())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let unpacked = zstd::stream::decode_all(packed).unwrap();
    tar.stdin.take().unwrap().write_all(&unpacked).unwrap();
    assert!(tar.wait().unwrap().success());
    w
}

#[test]
fn the_queue_of_each_release_is_opened_and_all_of_it_sent_once() {
    let mut tried = BTreeSet::new();
    for entry in fs::read_dir(QUEUES).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".tar.zst") else {
            continue;
        };
        let stored =
            |kind: &str| fs::read_to_string(Path::new(QUEUES).join(format!("{name}.{kind}")));
        let mut expected: Value = serde_json::from_str(&stored("json").unwrap()).unwrap();
        assert!(expected.as_object_mut().unwrap().remove("format").is_some());
        let w = restored(name);
        assert_eq!(contents(&w), expected, "{name}");
        let verified = w.json(&["verify", "--json"]);
        assert_eq!(verified["damage"], json!([]), "{name}");

        // Out of an archive it is a copy.
        w.ok(&["adopt", "--original-is-gone"]);
        let sent = w.call(&["replay"]);
        let words = String::from_utf8_lossy(&sent.stderr);
        assert_eq!(sent.status.code(), Some(3), "{name}: {words}");
        for batch in w.json(&["batches", "list", "--json"])["items"]
            .as_array()
            .unwrap()
        {
            if batch["state"]["rejected"].is_object() {
                let seq = batch["seq"].to_string();
                w.ok(&["batches", "retry", &seq]);
            }
        }
        w.ok(&["replay"]);
        assert_eq!(w.setup.status()["queue"]["rows"], 0, "{name}");
        let arrived = lines(&w.clickhouse.state().rows);
        assert!(arrived == stored("tsv").unwrap(), "{name}: {arrived}");
        w.clickhouse.assert_no_violation();
        tried.insert(name.to_owned());
    }
    assert!(tried.contains("0.1.0"), "{tried:?}");
}

#[test]
fn an_upgrade_is_told_once_with_both_formats() {
    let w = World::of(1);
    w.setup.run().stop();
    let queue = Queue::open(DataDir::lock_within(&w.setup.data_dir(), PATIENCE).unwrap()).unwrap();
    let before = json!({"release": "0.0.9", "format": "3.1"});
    queue.save("writer", &before).unwrap();
    queue.sync().unwrap();
    drop(queue);
    let program = w.setup.run();
    program.wait_log("the queue was last written by anonymizer 0.0.9, in format 3.1; from now on");
    program.stop();
    let program = w.setup.run();
    program.wait_log("metrics at");
    assert!(!program.log().contains("last written by"));
    program.stop();
    let version = w.said(&["--version"]);
    assert!(
        version.contains(&format!("queue format {})", format_version())),
        "{version}"
    );
}
