//! Do the commands that look at, save and send what is stored do what they say, beside a live
//! instance and on a data dir without one?

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::fake_clickhouse::{Fault, Multiset, parse_rows};
use crate::support::program::Program;
use crate::support::world::World;

impl World {
    /// A live instance with `rows` rows queued and no slot to send them.
    fn queued(&mut self, rows: usize) -> Program {
        self.setup.set("--flush-interval", "1h");
        self.kafka.produce(1, rows);
        let program = self.setup.run();
        self.wait_queued(rows);
        program
    }
}

fn multiset(body: &[u8]) -> Multiset {
    let mut all: Multiset = HashMap::new();
    for row in parse_rows(body).unwrap() {
        *all.entry(row).or_default() += 1;
    }
    all
}

#[test]
fn verify_finds_a_whole_queue_whole_live_and_stopped() {
    let mut w = World::new();
    let program = w.queued(3000);
    let live = w.json(&["verify", "--json"]);
    assert_eq!(live["rows"], 3000);
    program.stop();
    let offline = w.json(&["verify", "--json"]);
    assert_eq!(offline["rows"], 3000);
    assert_eq!(offline["damage"], serde_json::json!([]));
}

#[test]
fn verify_calls_nothing_damaged_while_rows_come_and_go() {
    let mut w = World::new();
    let program = w.run_with([]);
    for seed in 1..6 {
        w.kafka.produce(seed, 3000);
        for _ in 0..4 {
            let found = w.json(&["verify", "--json"]);
            assert_eq!(found["damage"], serde_json::json!([]));
        }
    }
    program.stop();
}

#[test]
fn export_writes_each_row_once_live_and_stopped_to_a_file_and_to_stdout() {
    let mut w = World::new();
    let program = w.queued(3000);
    let dir = tempfile::tempdir().unwrap();
    let check = |w: &World, name: &str| {
        let file = dir.path().join(name);
        let path = file.to_str().unwrap();
        w.ok(&["export", "--format", "rowbinary", "--output", path]);
        assert_eq!(multiset(&fs::read(&file).unwrap()), w.kafka.expected);
        let stdout = w.ok(&["export", "--format", "rowbinary"]);
        assert_eq!(multiset(&stdout), w.kafka.expected);
        assert_eq!(w.ok(&["export"]).split(|b| *b == b'\n').count(), 3001);
        let again = w.refused(&["export", "--output", path]);
        assert!(again.contains("File exists"), "{again}");
    };
    check(&w, "live");
    program.stop();
    check(&w, "offline");
}

#[test]
fn a_rejected_batch_is_listed_exported_and_retried_live_and_stopped() {
    let mut w = World::new();
    w.kafka.produce(1, 300);
    // As a person would see it: refused at first, refused again at the first retry.
    let program = w.run_when_read([REJECTED, REJECTED]);
    let rejected = |s: &Value| s["queue"]["batches"][0]["state"]["rejected"].is_object();
    w.setup.wait_status(rejected);
    let seq = w.json(&["batches", "list", "--json"])["items"][0]["seq"].to_string();
    let listed = w.said(&["batches", "list"]);
    assert!(listed.contains("asked for by the test"), "{listed}");
    let words = w.refused(&["batches", "retry", "77"]);
    assert!(words.contains("no batch 77"), "{words}");
    w.ok(&["batches", "retry", &seq]);
    w.setup
        .wait_status(|s| rejected(s) && s["queue"]["batches"][0]["attempts"] == 2);
    let exported = w.ok(&["batches", "export", &seq, "--format", "rowbinary"]);
    // It may hold a part of the rows only.
    assert!(exported.len() > 100 && parse_rows(&exported).is_some());
    w.setup
        .wait_status(|s| s["queue"]["batches"].as_array().unwrap().len() == 1);
    program.stop();

    assert_eq!(w.json(&["batches", "show", &seq])["attempts"], 2);
    assert_eq!(
        w.ok(&["batches", "export", &seq, "--format", "rowbinary"]),
        exported
    );
    w.ok(&["batches", "retry", &seq]);
    // It may be stored, so this says once more that it may go out.
    w.ok(&["batches", "retry", &seq]);
    w.finish(w.setup.run());
}

/// ClickHouse refuses the data.
const REJECTED: Fault = Fault::ExceptionHeader {
    http: 400,
    code: 131,
};

#[test]
fn a_rescued_disk_is_replayed_without_kafka() {
    let mut w = World::new();
    let program = w.queued(3000);
    let words = w.refused(&["replay"]);
    assert!(words.contains("stopped"), "{words}");
    program.stop();
    w.setup.set("--kafka-brokers", "127.0.0.1:1");
    w.setup.set("--flush-interval", "1s");
    let said = w.said(&["replay"]);
    assert!(said.contains("3000 rows sent, 0 left"), "{said}");
    w.assert_exactly_once();
}

/// A disk is given up after a replay that ends well.
#[test]
fn a_replay_that_leaves_refused_rows_does_not_end_well() {
    let mut w = World::new();
    let program = w.run_with([]);
    w.setup.set("--flush-interval", "1h");
    program.stop();
    w.queued(300).stop();
    w.setup.set("--flush-interval", "1s");
    w.clickhouse.state().faults.extend([REJECTED]);
    let out = w.call(&["replay"]);
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(words.contains("refused 1 batch"), "{words}");
    assert_eq!(out.status.code(), Some(3), "{words}");
    let seq = w.json(&["batches", "list", "--json"])["items"][0]["seq"].to_string();
    w.ok(&["batches", "retry", &seq]);
    w.ok(&["replay"]);
    w.assert_exactly_once();
}

#[test]
fn delivered_batches_are_sent_again_only_if_they_are_gone() {
    let mut w = World::new().with("--keep-delivered", "1h");
    w.kafka.produce(1, 3000);
    // One batch: of several, those without a row that is found are sent.
    let program = w.run_when_read([]);
    w.setup
        .wait_status(|s| s["queue"]["delivered_rows"] == 3000);
    assert_eq!(w.setup.status()["queue"]["rows"], 0);
    w.refused(&["replay", "--delivered"]);
    program.stop();
    // The table was emptied, and with it what it knew of tokens.
    let forget = |w: &World, answer: &str| {
        let mut state = w.clickhouse.state();
        state.rows.clear();
        state.tokens.clear();
        state.answers.insert("xxh3".into(), answer.into());
    };
    forget(&w, "");
    w.ok(&["replay", "--delivered"]);
    assert!(w.clickhouse.state().rows == w.kafka.expected);
    let all = w.clickhouse.requests();
    let inserts = all.iter().filter_map(|r| r.token.as_ref());
    let tokens: std::collections::BTreeSet<_> = inserts.clone().collect();
    assert_eq!(inserts.count(), 2 * tokens.len(), "each token twice");

    // Of every row that is asked for as often as it is in the batch, or more.
    let hashes: Vec<String> = all
        .iter()
        .filter_map(|r| r.sql.split_once("h IN ("))
        .flat_map(|(_, rest)| rest.split(')').next().unwrap().split(','))
        .map(str::to_owned)
        .collect();
    let answer =
        |hashes: &[String]| -> String { hashes.iter().map(|h| format!("{h}\t9\n")).collect() };
    forget(&w, &answer(&hashes));
    let said = w.said(&["replay", "--delivered"]);
    assert!(said.contains("is there"), "{said}");
    assert_eq!(w.clickhouse.rows(), 0);
    forget(&w, &answer(&hashes[..1]));
    let out = w.call(&["replay", "--delivered"]);
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(words.contains("partly"), "{words}");
    assert_eq!(out.status.code(), Some(3), "{words}");
    assert_eq!(w.clickhouse.rows(), 0);
    forget(&w, &answer(&hashes[..1]));
    w.ok(&["replay", "--delivered", "--force"]);
    assert!(w.clickhouse.rows() > 0);
    w.clickhouse.assert_no_violation();
}

#[test]
fn a_repaired_queue_is_whole_and_delivers_the_rest() {
    let mut w = World::new();
    let program = w.queued(3000);
    let words = w.refused(&["repair"]);
    assert!(words.contains("stopped"), "{words}");
    program.stop();
    let said = w.said(&["repair"]);
    assert!(said.contains("3000 rows"), "{said}");
    assert_eq!(w.json(&["verify", "--json"])["rows"], 3000);
    w.setup.set("--flush-interval", "1s");
    let program = w.setup.run();
    program.wait_log("installation");
    w.wait_queued(0);
    program.stop();
    assert!(w.clickhouse.state().rows == w.kafka.expected);
}

/// Bits of sled's own files are flipped: whatever it makes of them, nothing panics, and a repair
/// either leaves a whole queue or says that it cannot.
#[test]
fn damage_to_the_files_never_ends_in_a_panic() {
    let mut w = World::new();
    w.queued(3000).stop();
    let db = w.setup.data_dir().join("queue/db");
    let whole = fs::read(&db).unwrap();
    let mut lost = 0;
    for n in 1..8 {
        let mut bytes = whole.clone();
        let used = bytes.iter().rposition(|b| *b != 0).unwrap();
        bytes[used * n / 8] ^= 0x10;
        fs::write(&db, &bytes).unwrap();
        for words in [&["verify"][..], &["export"], &["repair"]] {
            let out = w.call(words);
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(
                out.status.code().is_some_and(|c| [0, 1, 3].contains(&c)),
                "{words:?}: {said}"
            );
            let listed = String::from_utf8_lossy(&out.stdout);
            if words[0] == "verify" {
                let code = if listed.contains("DAMAGED") { 3 } else { 0 };
                assert_eq!(out.status.code(), Some(code), "{listed}{said}");
            }
            // What was lost is not only listed.
            if words[0] == "repair" && (listed.contains("LOST") || listed.contains("is lost")) {
                assert_eq!(out.status.code(), Some(3), "{listed}");
                lost += 1;
            }
        }
        let found = w.call(&["verify", "--json"]);
        let found: Value = serde_json::from_slice(&found.stdout).unwrap();
        let store = found["damage"][0]["part"] == "store";
        assert!(store || found["damage"] == serde_json::json!([]), "{found}");
        for entry in fs::read_dir(w.setup.data_dir()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("queue") {
                fs::remove_dir_all(entry.path()).unwrap();
            }
        }
        fs::create_dir_all(db.parent().unwrap()).unwrap();
    }
    assert!(lost > 0, "nothing was ever lost");
}

#[test]
fn a_copied_data_dir_is_not_replayed_before_it_is_adopted() {
    let mut w = World::new();
    let program = w.queued(3000);
    let words = w.refused(&["adopt"]);
    assert!(words.contains("an instance runs"), "{words}");
    program.stop();
    // The original is none, and its rows are not held for a mistake.
    for more in [&["adopt"][..], &["adopt", "--original-is-gone"]] {
        let words = w.refused(more);
        assert!(words.contains("no copy"), "{words}");
    }
    let status = w.setup.status();
    assert!(status["copy"].is_null(), "{status}");
    assert_eq!(status["queue"]["lanes"][0]["eligible"], 1000, "{status}");
    let data = w.setup.data_dir();
    let copy = data.with_file_name("copy");
    let cp = std::process::Command::new("cp")
        .arg("-a")
        .args([&data, &copy])
        .status();
    assert!(cp.unwrap().success());
    w.setup.set("--data-dir", copy.to_str().unwrap());
    w.setup.set("--flush-interval", "1s");
    let words = w.refused(&["replay"]);
    assert!(words.contains("anonymizer adopt"), "{words}");
    // Nor do those who only look call it fine.
    let words = w.setup.status()["copy"].to_string();
    assert!(words.contains("anonymizer adopt"), "{words}");
    let checked = String::from_utf8(w.call(&["check"]).stdout).unwrap();
    assert!(checked.contains("COPY    queue: the data dir"), "{checked}");
    let verified = w.call(&["verify", "--json"]);
    let said = String::from_utf8(verified.stderr).unwrap();
    assert!(said.contains("COPY"), "{said}");
    let found: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(found["damage"], serde_json::json!([]));
    let said = w.said(&["adopt"]);
    assert!(said.contains("3000 rows are HELD"), "{said}");
    let said = w.said(&["replay"]);
    assert!(said.contains("0 rows sent, 3000 left"), "{said}");
    // The original is not touched by any of it.
    w.setup.set("--data-dir", data.to_str().unwrap());
    w.ok(&["replay"]);
    assert!(w.clickhouse.state().rows == w.kafka.expected);
}

/// Modes of everything below a directory, itself included.
fn modes(dir: &Path) -> Vec<(PathBuf, u32)> {
    let mut all = vec![(dir.to_owned(), fs::metadata(dir).unwrap().mode() & 0o777)];
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        match meta.is_dir() {
            true => all.extend(modes(&entry.path())),
            false => all.push((entry.path(), meta.mode() & 0o777)),
        }
    }
    all
}

#[test]
fn the_data_dir_is_its_owners_alone_whatever_the_umask() {
    let mut w = World::new();
    // The umask that lets everybody write.
    let mut shell = std::process::Command::new("sh");
    let run = w.setup.command("run");
    shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]);
    shell.arg(run.get_program()).args(run.get_args());
    let mut child = shell.stderr(std::process::Stdio::null()).spawn().unwrap();
    w.setup.wait_status(|s| s["live"] == true);
    child.kill().unwrap();
    child.wait().unwrap();
    let data = w.setup.data_dir();
    // One of an earlier version.
    for dir in [&data, &data.join("queue")] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let program = w.queued(300);
    for (path, mode) in modes(&data) {
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
    program.stop();
}

#[test]
fn a_link_in_the_place_of_a_file_is_not_followed() {
    let mut w = World::new();
    w.queued(300).stop();
    for name in ["lock", "synced"] {
        let file = w.setup.data_dir().join(name);
        let kept = fs::read(&file).unwrap();
        let other = w.setup.data_dir().with_file_name("other");
        fs::write(&other, "somebody else's").unwrap();
        fs::remove_file(&file).unwrap();
        symlink(&other, &file).unwrap();
        for command in ["status", "verify", "repair"] {
            let words = w.refused(&[command]);
            assert!(words.contains("it is a link"), "{command}: {words}");
        }
        assert_eq!(fs::read(&other).unwrap(), b"somebody else's");
        fs::remove_file(&file).unwrap();
        fs::write(&file, kept).unwrap();
    }
    // A socket that is left there is replaced, and so is a link.
    let other = w.setup.data_dir().with_file_name("other");
    symlink(&other, w.setup.data_dir().join("control.sock")).unwrap();
    let program = w.setup.run();
    w.setup.wait_status(|s| s["live"] == true);
    program.stop();
    assert_eq!(fs::read(&other).unwrap(), b"somebody else's");
}

#[test]
fn files_that_hold_no_queue_any_more_are_not_taken_for_a_new_one() {
    let mut w = World::new();
    w.queued(300).stop();
    let queue = w.setup.data_dir().join("queue");
    // All that a restore gave back.
    fs::remove_file(w.setup.data_dir().join("synced")).unwrap();
    fs::remove_dir_all(&queue).unwrap();
    fs::create_dir(&queue).unwrap();
    fs::write(queue.join("db"), "x").unwrap();
    for (command, code) in [("status", 1), ("check", 3), ("run", 1)] {
        let words = w.call(&[command]);
        assert_eq!(words.status.code(), Some(code), "{command}");
        let said = String::from_utf8([words.stderr, words.stdout].concat()).unwrap();
        assert!(said.contains("not one record"), "{command}: {said}");
    }
    // A mount of its own that is empty is one.
    fs::remove_dir_all(&queue).unwrap();
    fs::create_dir(&queue).unwrap();
    let program = w.setup.run();
    w.setup.wait_status(|s| s["live"] == true);
    program.stop();
}

#[test]
fn a_reader_of_stdout_that_goes_away_ends_a_command_quietly() {
    let mut w = World::new();
    w.queued(3000).stop();
    let all: &[&[&str]] = &[
        &["status"],
        &["status", "--json"],
        &["verify"],
        &["verify", "--json"],
        &["schema", "print"],
        &["export"],
        &["export", "--format", "rowbinary"],
        &["check"],
        &["batches", "list", "--json"],
        &["held", "list", "--json"],
        &["quarantine", "list"],
        &["reconcile", "--counts-only"],
        &["capacity", "--rate", "1", "--retention", "30d"],
        &["capacity", "--print-question"],
        &["produce", "--count", "1"],
        &["config", "print"],
        &["config", "schema"],
        &["config", "example"],
        &["completions", "bash"],
        &["man"],
        &["help", "settings"],
        &["help", "exit-codes"],
        &["top"],
        // What they do, they have done by then.
        &["adopt", "--unrecognised"],
        &["repair"],
        &["replay"],
    ];
    for words in all {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = w.setup.command(words[0]);
        // Only what the command itself has to say.
        command.env("RUST_LOG", "off");
        let out = command.args(&words[1..]).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(141), "{words:?}: {said}");
        assert_eq!(said, "", "{words:?}");
    }
    let help = w.said(&["help"]);
    let listed = help.split("\nCommands:\n").nth(1).unwrap();
    for line in listed.lines().take_while(|line| !line.is_empty()) {
        let name = line[2..].split(' ').next().unwrap();
        // Only the log speaks for `run`, on stderr; the others need an instance, see tap.rs and policy.rs.
        let is_tried = all.iter().any(|words| words[0] == name);
        assert!(
            is_tried || ["", "run", "tap", "privacy"].contains(&name),
            "{name}"
        );
    }
}

/// Whoever looks is root at night, and the service has a user of its own.
#[test]
fn root_leaves_no_file_in_a_queue_that_is_another_users() {
    if !rustix::process::geteuid().is_root() {
        return println!("left out: only root can give files away");
    }
    let mut w = World::new();
    w.queued(300).stop();
    let data = w.setup.data_dir();
    let queue = data.join("queue");
    let owners = || -> Vec<u32> {
        let files = fs::read_dir(&queue).unwrap();
        files
            .map(|f| f.unwrap().metadata().unwrap().uid())
            .collect()
    };
    let give_to = |user: &str| {
        let chown = std::process::Command::new("chown")
            .args(["-R", user])
            .arg(&data)
            .status();
        assert!(chown.unwrap().success());
    };
    give_to("65534:65534");
    for words in [
        &["status"][..],
        &["verify"],
        &["export"],
        &["replay"],
        &["repair"],
        &["batches", "list"],
    ] {
        let said = w.refused(words);
        assert!(
            said.contains("--reuid=65534 --regid=65534"),
            "{words:?}: {said}"
        );
        assert!(owners().iter().all(|uid| *uid == 65534), "{words:?}");
    }
    give_to("root:root");
    assert_eq!(w.setup.status()["queue"]["rows"], 300);
}
