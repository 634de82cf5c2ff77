//! Are messages that cannot become rows kept without an address, bounded, and given back?
//!
//! Each command is tried on a live instance and on a data dir that none runs on.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anonymizer::anonymize::anonymize;
use anonymizer::decode::decode;
use anonymizer::encode::encode;
use anonymizer::minutes::Minutes;
use anonymizer::queue::{DataDir, PackedBlock, Queue};
use anonymizer::record::Quarantined;
use anonymizer::synth::Synth;
use serde_json::Value;

use crate::support::fake_clickhouse::FakeClickHouse;
use crate::support::kafka::{Kafka, TOPIC};
use crate::support::program::{PATIENCE, Program, Setup};

const ADDRESS: &str = "192.0.2.77";

struct World {
    kafka: Kafka,
    clickhouse: FakeClickHouse,
    setup: Setup,
}

impl World {
    fn new() -> World {
        let kafka = Kafka::start(1);
        let clickhouse = FakeClickHouse::start();
        let setup = Setup::new(&kafka, &clickhouse);
        World {
            kafka,
            clickhouse,
            setup,
        }
    }

    /// `anonymizer quarantine ARGS`.
    fn quarantine(&self, args: &[&str]) -> Output {
        let mut command = self.setup.command("quarantine");
        command
            .env("RUST_LOG", "error")
            .args(args)
            .output()
            .unwrap()
    }

    /// The same; must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let out = self.quarantine(args);
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{args:?}: {words}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn refused(&self, args: &[&str]) -> String {
        let out = self.quarantine(args);
        assert!(!out.status.success(), "{args:?} succeeded");
        String::from_utf8(out.stdout).unwrap() + &String::from_utf8_lossy(&out.stderr)
    }

    fn list(&self) -> Vec<Value> {
        let lines = self.ok(&["list", "--json"]);
        lines
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    /// Three messages that cannot become rows: a text, a record with an impossible time, noise.
    fn send_bad(&mut self) {
        let mut late = include_bytes!("../data/golden/plain.capnp").to_vec();
        late[16..24].fill(0xff);
        let text = format!("{{\"remoteAddr\": \"{ADDRESS}\"}}").into_bytes();
        self.kafka.send(&[text, late, vec![0xfe; 100]]);
    }

    /// A live instance: before it has the lock, a command might take it away.
    fn run(&self) -> Program {
        let program = self.setup.run();
        program.wait_log("installation");
        program
    }

    fn run_until_quarantined(&self, count: u64) -> Program {
        let program = self.run();
        self.setup
            .wait_status(|s| s["queue"]["quarantined"] == count && s["queue"]["tail_lanes"] == 0);
        program
    }

    /// Puts messages into quarantine as a faulty decoder of an earlier version would have. Those that
    /// decode now are expected as rows.
    fn prepare(&mut self, messages: &[Vec<u8>]) {
        let queue = Queue::open(DataDir::lock(&self.setup.data_dir()).unwrap()).unwrap();
        let lane = queue.open_lane(TOPIC, 7, 0).unwrap();
        let next = messages.len() as i64;
        let entry = |(i, m): (usize, &Vec<u8>)| Quarantined::of(i as i64, "a fault".into(), m);
        let block = PackedBlock {
            first: 0,
            next,
            rows: 0,
            raw_len: 0,
            frame: Vec::new(),
            minutes: Minutes::default(),
            appended_ms: 1_700_000_000_000,
            quarantined: messages.iter().enumerate().map(entry).collect(),
        };
        assert!(queue.append(lane, &block).unwrap());
        queue.acknowledge(lane, next).unwrap();
        queue.sync().unwrap();
        for message in messages {
            let mut row = Vec::new();
            if let Ok(Ok(_)) = decode(message, |r| encode(&anonymize(r), &mut row)) {
                *self.kafka.expected.entry(row).or_default() += 1;
            }
        }
    }

    /// Runs `f` without an instance, or beside one.
    fn with(&self, live: bool, f: impl FnOnce()) {
        let program = live.then(|| self.run());
        f();
        if let Some(program) = program {
            program.stop();
        }
    }

    fn assert_all_stored_once(&self) {
        let program = self.run();
        let want = self.kafka.expected_rows();
        self.clickhouse
            .wait_until(|s| s.row_count() >= want, PATIENCE);
        self.setup.wait_status(|s| s["queue"]["rows"] == 0);
        program.stop();
        assert!(self.clickhouse.state().rows == self.kafka.expected);
        self.clickhouse.assert_no_violation();
    }
}

fn records(count: usize) -> Vec<Vec<u8>> {
    let encoded = |record: anonymizer::synth::SynthRecord| {
        let mut message = Vec::new();
        record.encode_into(&mut message);
        message
    };
    Synth::new(5, 1_700_000_000_000)
        .take(count)
        .map(encoded)
        .collect()
}

fn files_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap())
        .map(|f| {
            let name = f.file_name().into_string().unwrap();
            (name, fs::read(f.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_live_instance_and_its_data_dir_show_the_same_and_no_address() {
    let mut w = World::new();
    w.send_bad();
    let dir = tempfile::tempdir().unwrap();
    let look = |w: &World, name: &str| {
        let to = dir.path().join(name);
        let shown: Vec<String> = (0..3)
            .map(|i| w.ok(&["show", "0", &i.to_string()]))
            .collect();
        w.ok(&["export", to.to_str().unwrap()]);
        (w.list(), w.ok(&["list"]), shown, files_of(&to))
    };
    let program = w.run_until_quarantined(3);
    let live = look(&w, "live");
    program.stop();
    let offline = look(&w, "offline");
    assert_eq!(live, offline);

    let (list, text, shown, files) = live;
    assert_eq!(list.len(), 3);
    assert!(text.ends_with("3 messages\n"), "{text}");
    let facts = |i: usize, name: &str| list[i][name].clone();
    assert_eq!(
        (facts(0, "partition"), facts(0, "offset")),
        (0.into(), 0.into())
    );
    assert_eq!(facts(0, "kept_bytes"), facts(0, "len"));
    assert!(facts(1, "reason").as_str().unwrap().contains("DateTime"));
    assert_eq!(facts(2, "kept_bytes"), Value::Null);
    assert!(text.contains("hash only (of a form in which"), "{text}");
    assert!(shown[1].contains(&u64::MAX.to_string()), "{}", shown[1]);
    assert!(
        shown[1].contains("https://example.com/a/b?c=d"),
        "{}",
        shown[1]
    );
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 3, "two messages and a manifest: {names:?}");
    let everything = format!("{list:?}{text}{shown:?}{:?}", files);
    assert!(!everything.contains(ADDRESS) && !everything.contains("203.0.113.9"));
    assert!(
        files
            .iter()
            .all(|(_, bytes)| !bytes.windows(10).any(|w| w == ADDRESS.as_bytes()))
    );
    assert!(w.refused(&["show", "0", "3"]).contains("no message"));
}

#[test]
fn what_decodes_now_is_retried_and_stored_once() {
    for live in [false, true] {
        let mut w = World::new();
        let mut messages = records(600);
        messages.push(b"still no record".to_vec());
        w.prepare(&messages);
        w.with(live, || {
            let out = w.ok(&["retry", "7", "5"]);
            assert!(out.contains("1 messages are rows now"), "{out}");
            let out = w.ok(&["retry"]);
            assert!(out.contains("599 messages are rows now"), "{out}");
            assert!(out.contains("1 stay in quarantine"), "{out}");
            let out = w.ok(&["retry"]);
            assert!(out.contains("0 messages are rows now"), "{out}");
            assert_eq!(w.list().len(), 1);
            assert!(w.refused(&["retry", "7", "5"]).contains("no message"));
        });
        w.assert_all_stored_once();
    }
}

#[test]
fn a_kill_during_a_retry_neither_loses_nor_doubles() {
    let mut w = World::new();
    let count = 3000;
    w.prepare(&records(count));
    let held = |w: &World| {
        let s = w.setup.status();
        let of = |v: &Value| v.as_u64().unwrap();
        (of(&s["queue"]["rows"]), of(&s["queue"]["quarantined"]))
    };
    let mut within = 0;
    for i in 0..20 {
        let mut retry = w.setup.command("quarantine");
        let mut retry = retry
            .arg("retry")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Any time will do; the kills spread over opening and retrying.
        std::thread::sleep(Duration::from_millis(3 * i));
        retry.kill().unwrap();
        retry.wait().unwrap();
        let (rows, left) = held(&w);
        assert_eq!(rows + left, count as u64);
        within += u32::from(rows > 0 && left > 0);
    }
    eprintln!("{within} kills left a part");
    w.ok(&["retry"]);
    assert_eq!(held(&w), (count as u64, 0));
    w.assert_all_stored_once();
}

#[test]
fn a_drop_needs_yes_and_says_what_is_lost() {
    for live in [false, true] {
        let mut w = World::new();
        w.prepare(&[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        w.with(live, || {
            let words = w.refused(&["drop", "--all"]);
            assert!(words.contains("3 messages would be lost"), "{words}");
            assert!(words.contains("http_log p7 offset 1"), "{words}");
            assert_eq!(w.list().len(), 3);
            let words = w.ok(&["drop", "7", "1", "--yes"]);
            assert!(words.contains("http_log p7 offset 1"), "{words}");
            assert_eq!(w.list().len(), 2);
            assert!(
                w.refused(&["drop", "7", "1", "--yes"])
                    .contains("no message")
            );
            w.refused(&["drop", "--yes"]);
            w.ok(&["drop", "--all", "--yes"]);
            assert!(w.list().is_empty());
        });
        assert_eq!(w.setup.status()["queue"]["quarantine"]["bytes"], 0);
    }
}

#[test]
fn a_full_quarantine_pauses_reading_until_a_person_makes_room() {
    let mut w = World::new();
    w.setup.set("--max-quarantine-bytes", "1MiB");
    let long = vec![b'a'; 60_000];
    w.kafka.send(&vec![long; 25]);
    let program = w.run();
    program.wait_log("max_quarantine_bytes is 1048576");
    w.kafka.produce(1, 300);
    w.ok(&["drop", "--all", "--yes"]);
    program.wait_log("reading from Kafka goes on");
    program.stop();
    w.assert_all_stored_once();
}

#[test]
fn a_full_quarantine_that_may_drop_names_what_is_lost() {
    let mut w = World::new();
    w.setup.set("--max-quarantine-bytes", "1MiB");
    w.setup.set("--quarantine-full", "drop-oldest");
    let long = vec![b'a'; 60_000];
    w.kafka.send(&vec![long; 25]);
    w.kafka.produce(1, 300);
    let program = w.run();
    program.wait_log("http_log p0 offset 0");
    w.clickhouse.wait_until(|s| s.row_count() >= 300, PATIENCE);
    let status = w.setup.status();
    let totals = &status["queue"]["quarantine"];
    let of = |name: &str| totals[name].as_u64().unwrap();
    assert_eq!(of("entries") + of("dropped"), 25, "{totals}");
    assert!(of("bytes") <= 1 << 20, "{totals}");
    let log = program.log();
    assert!(log.contains("ERROR") && log.contains("are lost"), "{log}");
    program.stop();
    w.assert_all_stored_once();
}
