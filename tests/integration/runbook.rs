//! The sections of `ops/runbook.md`, walked: an instance is brought into the situation of the alert, what the
//! section says is typed into a shell as it stands there, and then the situation is over, each row stored once.
//!
//! A command that is typed here and is not in the section fails, and so does one that stands there by itself and
//! was not typed. What a number or a name stands for is told by the test.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::Value;

use crate::delivery::{Since, lost_before};
use crate::situations::fires;
use crate::support::fake_clickhouse::{Fault, Multiset};
use crate::support::program::{Program, Setup};
use crate::support::wait::PATIENCE;
use crate::support::world::World;

/// A person with one section before them, and a shell.
struct Walk {
    section: String,
    /// What stands in lines of its own, and was not typed yet.
    left: RefCell<BTreeSet<String>>,
    /// `anonymizer` is there the program with its settings, and files are written there.
    dir: tempfile::TempDir,
}

/// One line, one space between two words, without a comment.
fn plain(line: &str) -> String {
    let line = line.split(" #").next().unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Walk {
    fn of(section: &str, setup: &Setup) -> Walk {
        let book = fs::read_to_string("ops/runbook.md").unwrap();
        let head = format!("\n## {section}\n");
        let (_, text) = book.split_once(&head).expect(section);
        let text = text.split("\n## ").next().unwrap().replace("\\\n", " ");
        let alone = text.lines().filter(|line| line.starts_with("    "));
        let left = RefCell::new(alone.map(plain).collect());
        let dir = tempfile::tempdir().unwrap();
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
        let run = setup.command("run");
        let mut script = String::from("#!/bin/sh\n");
        for (name, value) in run.get_envs() {
            let (name, value) = (name.to_str().unwrap(), quoted(value.unwrap()));
            script += &format!("export {name}={value}\n");
        }
        let settings: Vec<String> = run.get_args().skip(1).map(quoted).collect();
        let program = quoted(run.get_program());
        script += &format!("exec {program} \"$@\" {}\n", settings.join(" "));
        let file = dir.path().join("anonymizer");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        Walk {
            section: text,
            left,
            dir,
        }
    }

    /// Types the one command of the section that has these words, with what others of them stand for.
    fn tries(&self, words: &str, stand_for: &[(&str, &str)]) -> Output {
        let alone = self.section.lines().filter(|l| l.starts_with("    "));
        let spans = self.section.split('`').skip(1).step_by(2);
        let all: Vec<String> = alone.chain(spans).map(plain).collect();
        let whole = format!("anonymizer {words}");
        let is_meant = |line: &&String| match all.contains(&whole) {
            true => **line == whole,
            false => line.contains(words),
        };
        let found: BTreeSet<&String> = all.iter().filter(is_meant).collect();
        let line = *found.first().expect(words);
        assert_eq!(found.len(), 1, "{words}: which of {found:?}?");
        self.left.borrow_mut().remove(line);
        let mut typed = line.clone();
        for (name, value) in stand_for {
            assert!(typed.contains(name), "no {name} in {typed}");
            typed = typed.replace(name, value);
        }
        let path = std::env::var("PATH").unwrap();
        Command::new("sh")
            .args(["-c", &typed])
            .env("PATH", format!("{}:{path}", self.dir.path().display()))
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }

    /// The same, which must succeed; what it prints.
    fn types(&self, words: &str, stand_for: &[(&str, &str)]) -> String {
        let out = self.tries(words, stand_for);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words}: {said}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// A file that a command wrote.
    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// All that stands in lines of its own was typed.
    fn end(self) {
        let left = self.left.into_inner();
        assert!(left.is_empty(), "not typed: {left:?}");
    }
}

fn place(walk: &Walk, name: &str) -> String {
    walk.dir.path().join(name).display().to_string()
}

fn first_batch(w: &World, is: impl Fn(&Value) -> bool) -> String {
    let status = w.setup.wait_status(|s| is(&s["queue"]["batches"][0]));
    status["queue"]["batches"][0]["seq"].to_string()
}

#[test]
fn down() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.stores(1, 300);
    program.kill();
    w.kafka.produce(2, 300);
    let walk = Walk::of("AnonymizerDown", &w.setup);
    let said = walk.types("anonymizer check", &[]);
    assert!(said.contains("ok      queue: opens"), "{said}");
    walk.end();
    w.finish(w.setup.run());
}

/// Rows that Kafka was told of, and a data dir that is a copy.
fn copied() -> (World, Setup) {
    let mut w = World::of(1).with("--flush-interval", "1h");
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.setup
        .wait_status(|s| s["queue"]["rows"] == 300 && s["queue"]["tail_lanes"] == 0);
    program.stop();
    let copy = w.setup.data_dir().with_file_name("copy");
    let cp = Command::new("cp")
        .arg("-a")
        .args([&w.setup.data_dir(), &copy])
        .status();
    assert!(cp.unwrap().success());
    let mut other = w.another();
    other.set("--data-dir", copy.to_str().unwrap());
    (w, other)
}

#[test]
fn down_as_a_copy_whose_original_is_gone() {
    let (w, mut copy) = copied();
    // There is no commit by which Kafka could tell.
    copy.set("--kafka-group", "expired");
    let mut refused = copy.run();
    refused.wait();
    let log = refused.log();
    assert!(log.contains("is a copy"), "{log}");
    let walk = Walk::of("AnonymizerDown", &copy);
    walk.types("adopt --original-is-gone", &[]);
    w.finish_as(&copy, copy.run());
}

#[test]
fn tables_wrong() {
    let mut w = World::of(1);
    let column = "http_log.request_time_milli".to_owned();
    let wrong = (column.clone(), "UInt32".to_owned());
    w.clickhouse.state().types.extend([wrong]);
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.held_for("request_time_milli");
    let walk = Walk::of("AnonymizerTablesWrong", &w.setup);
    let said = walk.types("schema print", &[]);
    assert!(said.contains("request_time_milli"), "{said}");
    let found = walk.tries("check --clickhouse", &[]);
    assert_eq!(found.status.code(), Some(3));
    let said = String::from_utf8(found.stdout).unwrap();
    assert!(said.contains("DIFFERS  http_log: "), "{said}");
    walk.end();
    w.clickhouse.state().types.remove(&column);
    w.finish(program);
}

#[test]
fn stale() {
    let mut w = World::of(1).with("--flush-interval", "1h");
    w.setup.set("--freshness-target", "10s");
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.wait_queued(300);
    fires(&program, "AnonymizerStale");
    let walk = Walk::of("AnonymizerStale", &w.setup);
    let said = walk.types("status", &[]);
    assert!(said.contains(" all that Kafka got up to "), "{said}");
    let status: Value = serde_json::from_str(&walk.types("status --json", &[])).unwrap();
    let partition = &status["kafka"]["partitions"][0];
    assert!(partition["visible_through_ms"].is_u64(), "{status}");
    walk.end();
    program.stop();
    w.setup.set("--flush-interval", "1s");
    w.finish(w.setup.run());
}

#[test]
fn kafka_access() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.stores(1, 300);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    w.kafka.refuse_once(RDKafkaApiKey::Fetch, denied);
    let status = w.setup.wait_status(|s| s["kafka"]["fault"].is_object());
    fires(&program, "AnonymizerKafkaAccess");
    let walk = Walk::of("AnonymizerKafkaAccess", &w.setup);
    let reason = status["kafka"]["fault"]["kind"].as_str().unwrap();
    assert!(walk.section.contains(&format!("`{reason}`")), "{reason}");
    // The right is there again: a look from outside finds nothing.
    let said = walk.types("check", &[]);
    assert!(said.contains("ok      kafka"), "{said}");
    walk.end();
    w.stores(2, 300);
    w.setup.wait_status(|s| s["kafka"]["fault"].is_null());
    w.finish(program);
}

#[test]
fn access_refused() {
    let mut w = World::of(1);
    let file = w.setup.data_dir().with_file_name("password");
    fs::write(&file, "wrong\n").unwrap();
    w.setup
        .set("--clickhouse-password-file", file.to_str().unwrap());
    w.clickhouse.state().password = Some("right".into());
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.held_for("AUTHENTICATION_FAILED");
    let walk = Walk::of("AnonymizerAccessRefused", &w.setup);
    assert!(walk.section.contains("`clickhouse_password_file`"));
    fs::write(&file, "right\n").unwrap();
    walk.end();
    w.finish(program);
}

/// 300 rows in a batch that ClickHouse refuses.
fn refused() -> (World, Program, String) {
    let mut w = World::of(1);
    w.kafka.produce(1, 300);
    let program = w.run_when_read([Fault::ExceptionHeader {
        http: 500,
        code: 469,
    }]);
    let seq = first_batch(&w, |b| b["state"]["rejected"].is_object());
    (w, program, seq)
}

#[test]
fn data_refused() {
    let (w, program, seq) = refused();
    let walk = Walk::of("AnonymizerDataRefused", &w.setup);
    let said = walk.types("batches list", &[]);
    assert!(said.contains("REJECTED (code 469)"), "{said}");
    let said = walk.types("batches show", &[("17", &seq)]);
    assert!(said.contains("\"rejected\""), "{said}");
    walk.types("batches export", &[("17", &seq)]);
    assert_eq!(walk.file("rows.tsv").lines().count(), 300);
    walk.types("batches retry", &[("17", &seq)]);
    walk.end();
    w.finish(program);
}

#[test]
fn data_refused_and_given_up() {
    let (mut w, program, seq) = refused();
    let walk = Walk::of("AnonymizerDataRefused", &w.setup);
    walk.types("batches drop", &[("17", &seq)]);
    let status = w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    assert_eq!(status["dropped"][0]["rows"], 300, "{status}");
    w.kafka.expected = Multiset::new();
    w.stores(2, 300);
    w.finish(program);
}

/// Nobody can tell of a batch; a person looked, and has seen its rows in ClickHouse, or none of them.
#[test]
fn hold_for_a_batch_that_nobody_can_tell_of() {
    for (since, rows, remedy, inserts) in [
        (Since::OthersWrote, 5, "batches stored", 1),
        (Since::OtherServer, 300, "batches retry", 2),
    ] {
        let (mut w, program) = lost_before(since, rows);
        w.held_for("Look whether its rows are there");
        // Others wait behind it.
        w.kafka.produce(2, 100);
        let seq = first_batch(&w, |b| b["may_be_stored"] == true);
        let walk = Walk::of("AnonymizerHold", &w.setup);
        walk.types("batches export", &[(" N", &format!(" {seq}"))]);
        assert_eq!(walk.file("rows.tsv").lines().count(), rows);
        walk.types(remedy, &[(" N", &format!(" {seq}"))]);
        walk.end();
        w.wait_all_stored();
        let again = w.inserts().iter().filter(|r| r.rows == rows as u64).count();
        assert_eq!(again, inserts, "{remedy}");
        w.finish(program);
    }
}

/// A copy that was adopted: its original sent its rows, or never will.
#[test]
fn held_rows() {
    for has_sent in [true, false] {
        let (mut w, copy) = copied();
        if has_sent {
            w.setup.set("--flush-interval", "1s");
            let original = w.setup.run();
            w.wait_all_stored();
            w.wait_queued(0);
            original.stop();
        }
        let adopted = copy.command("adopt").output().unwrap();
        assert!(adopted.status.success(), "{adopted:?}");
        // What comes later is not kept waiting.
        let program = copy.run();
        w.kafka.produce(2, 100);
        let later = if has_sent { 400 } else { 100 };
        w.clickhouse
            .wait_until(|s| s.row_count() == later, PATIENCE);
        let status = copy.wait_status(|s| s["verdict"]["findings"][0]["what"] == "held-rows");
        let act = status["verdict"]["act"].as_str().unwrap();
        let walk = Walk::of("AnonymizerHeldRows", &copy);
        let said = walk.types("held list", &[]);
        let (lane, _) = said.split_once(':').unwrap();
        let lane = lane.trim_start_matches("lane ");
        assert!(said.contains("300 rows, http_log p0"), "{said}");
        let number = format!(" {lane}");
        assert!(act.contains(&format!("held export{number}")), "{act}");
        walk.types("held export", &[(" 3", &number)]);
        assert_eq!(walk.file("rows.tsv").lines().count(), 300);
        let remedy = if has_sent { "held drop" } else { "held send" };
        // What a script gets of it is one object.
        let json = place(&walk, "rows.json");
        let more = ["export", lane, "--output", &json, "--json"];
        let written = copy.command("held").args(more).output().unwrap();
        let written: Value = serde_json::from_slice(&written.stdout).unwrap();
        assert_eq!(written["rows"], 300, "{written}");
        walk.types(remedy, &[(" 3", &number)]);
        copy.wait_status(|s| s["verdict"]["code"] == "ok" && s["queue"]["rows"] == 0);
        assert_eq!(walk.types("held list", &[]), "");
        w.finish_as(&copy, program);
    }
}

#[test]
fn quarantine() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.kafka.send(&[b"no message".to_vec()]);
    w.stores(1, 300);
    w.setup
        .wait_status(|s| s["queue"]["quarantined"] == 1 && s["queue"]["tail_lanes"] == 0);
    let walk = Walk::of("AnonymizerQuarantine", &w.setup);
    let said = walk.types("quarantine list", &[]);
    assert!(said.contains("1 messages"), "{said}");
    let place = [("3 12345", "0 0")];
    walk.types("quarantine show", &place);
    let said = walk.types("quarantine retry", &[]);
    assert!(said.contains("1 stay in quarantine"), "{said}");
    walk.types("quarantine drop", &place);
    walk.end();
    w.setup.wait_status(|s| s["queue"]["quarantined"] == 0);
    w.finish(program);
}

#[test]
fn quarantine_full() {
    let mut w = World::of(1).with("--max-quarantine-bytes", "1MiB");
    let program = w.setup.run();
    w.kafka.send(&vec![b"no message".to_vec(); 5000]);
    w.setup
        .wait_status(|s| s["kafka"]["pause"]["kind"] == "quarantine");
    w.kafka.produce(1, 300);
    let walk = Walk::of("AnonymizerQuarantineFull", &w.setup);
    let to = place(&walk, "saved");
    walk.types("quarantine export", &[("/var/tmp/quarantine", &to)]);
    assert!(walk.file("saved/manifest.json").contains("\"offset\""));
    let asked = walk.tries("quarantine drop --all", &[]);
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(said.contains("would be lost for good"), "{said}");
    walk.types("quarantine drop --all --yes", &[]);
    walk.end();
    w.finish(program);
}
