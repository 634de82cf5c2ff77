//! Are messages that cannot become rows kept without an address, bounded, and given back?
//!
//! Each command is tried on a live instance and on a data dir that none runs on.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anonymizer::privacy::message::mask;
use anonymizer::privacy::policy::Ipv4Bits;
use anonymizer::privacy::{Policy, Quarantined};
use anonymizer::queue::{DataDir, PackedBlock, Queue};
use anonymizer::record::synth::Synth;
use anonymizer::row::minutes::Minutes;
use serde_json::Value;

use crate::support::kafka::TOPIC;
use crate::support::program::Program;
use crate::support::spellings;
use crate::support::wait::{MOMENT, PATIENCE, until};
use crate::support::world::World;

const ADDRESS: &str = "192.0.2.77";

impl World {
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
    fn says(&self, args: &[&str]) -> String {
        let out = self.quarantine(args);
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{args:?}: {words}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn refuses(&self, args: &[&str]) -> String {
        let out = self.quarantine(args);
        assert!(!out.status.success(), "{args:?} succeeded");
        String::from_utf8(out.stdout).unwrap() + &String::from_utf8_lossy(&out.stderr)
    }

    fn list(&self) -> Vec<Value> {
        let said = self.says(&["list", "--json"]);
        let list: Value = serde_json::from_str(&said).unwrap();
        let items = list["items"].as_array().unwrap().clone();
        assert_eq!(list["count"], items.len());
        items
    }

    /// Three messages that cannot become rows: a text, a record with an impossible time, noise.
    fn send_bad(&mut self) {
        let mut late = include_bytes!("../../data/golden/plain.capnp").to_vec();
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
        self.prepare_with_tail(messages, messages.len(), &Policy::default());
    }

    /// Masked by this policy; the commit of those behind the first `committed` was not acknowledged.
    fn prepare_with_tail(&mut self, messages: &[Vec<u8>], committed: usize, by: &Policy) {
        let queue = Queue::open(DataDir::lock(&self.setup.data_dir()).unwrap()).unwrap();
        let lane = queue.open_lane(TOPIC, 7, 0).unwrap();
        let next = messages.len() as i64;
        let entry = |(i, m): (usize, &Vec<u8>)| Quarantined::of(i as i64, "a fault".into(), m, by);
        let block = PackedBlock {
            first: 0,
            next,
            rows: 0,
            raw_len: 0,
            frame: Vec::new(),
            minutes: Minutes::default(),
            appended_ms: 1_700_000_000_000,
            kafka_ms: 0,
            quarantined: messages.iter().enumerate().map(entry).collect(),
            last: None,
        };
        assert!(queue.append(lane, &block).unwrap());
        queue.acknowledge(lane, committed as i64).unwrap();
        queue.sync().unwrap();
        self.kafka.expect(messages);
    }

    /// Runs `f` without an instance, or beside one.
    fn beside(&self, live: bool, f: impl FnOnce()) {
        let program = live.then(|| self.run());
        f();
        if let Some(program) = program {
            program.stop();
        }
    }
}

fn records(count: usize) -> Vec<Vec<u8>> {
    let encoded = |record: anonymizer::record::synth::SynthRecord| {
        let mut message = Vec::new();
        record.encode_into(&mut message);
        message
    };
    Synth::new(5, 1_700_000_000_000)
        .map(encoded)
        // Not so where a URL has a session in eight digits.
        .filter(|message| mask(message, &Policy::default()).is_ok())
        .take(count)
        .collect()
}

/// A long record with an impossible time, of which all bytes are kept.
fn long() -> Vec<u8> {
    let mut record = Synth::new(5, 1_700_000_000_000).next().unwrap();
    record.timestamp_epoch_milli = u64::MAX;
    record.url = "z".repeat(60_000);
    let mut message = Vec::new();
    record.encode_into(&mut message);
    message
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
    let mut w = World::of(1);
    w.send_bad();
    let dir = tempfile::tempdir().unwrap();
    let look = |w: &World, name: &str| {
        let to = dir.path().join(name);
        let shown: Vec<String> = (0..3)
            .map(|i| w.says(&["show", "0", &i.to_string()]))
            .collect();
        w.says(&["export", to.to_str().unwrap()]);
        (w.list(), w.says(&["list"]), shown, files_of(&to))
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
    assert_eq!(facts(0, "kept_bytes"), Value::Null);
    assert_eq!(facts(1, "kept_bytes"), facts(1, "len"));
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
    assert_eq!(names.len(), 2, "a message and a manifest: {names:?}");
    let everything = format!("{list:?}{text}{shown:?}{:?}", files);
    assert!(!everything.contains(ADDRESS) && !everything.contains("203.0.113.9"));
    assert!(
        files
            .iter()
            .all(|(_, bytes)| !bytes.windows(10).any(|w| w == ADDRESS.as_bytes()))
    );
    assert!(w.refuses(&["show", "0", "3"]).contains("no message"));
}

/// Every spelling in a text, a URL and an address, through Kafka: none is in any file of the data dir, in
/// what the commands print, nor in the log.
#[test]
fn no_spelling_of_an_address_reaches_the_disk_or_the_log() {
    let mut w = World::of(1);
    let address: Ipv4Addr = ADDRESS.parse().unwrap();
    let spellings = [spellings::plain(address), spellings::as_a_number(address)].concat();
    let mut messages = Vec::new();
    for spelling in &spellings {
        messages.push(format!("{{\"host\": \"{spelling}\"}}").into_bytes());
        for (remote_addr, url) in [(ADDRESS, &spelling[..]), (spelling, "/a")] {
            let mut record = Synth::new(5, 1_700_000_000_000).next().unwrap();
            record.timestamp_epoch_milli = u64::MAX;
            (record.remote_addr, record.url) = (remote_addr.to_owned(), url.to_owned());
            let mut message = Vec::new();
            record.encode_into(&mut message);
            messages.push(message);
        }
    }
    w.kafka.send(&messages);
    let program = w.run_until_quarantined(messages.len() as u64);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("export");
    w.says(&["export", to.to_str().unwrap()]);
    let said = w.says(&["list", "--json"]) + &w.says(&["retry"]);
    let log = program.log();
    program.stop();
    let mut seen = files_of(&to);
    seen.push(("said".into(), said.into_bytes()));
    seen.push(("log".into(), log.into_bytes()));
    for file in walk(&w.setup.data_dir()) {
        seen.push((file.display().to_string(), fs::read(file).unwrap()));
    }
    let mut masked = 0;
    for (name, bytes) in &seen {
        let text = String::from_utf8_lossy(bytes);
        masked += text.matches("192.0.2.10").count();
        let found = spellings
            .iter()
            .find(|spelling| text.contains(&spelling[..]));
        assert_eq!(found, None, "{name}");
    }
    assert!(masked > 0, "what was kept is among what was looked at");
}

/// All files below a folder.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let (dirs, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|p| p.is_dir());
    dirs.iter().flat_map(|d| walk(d)).chain(files).collect()
}

#[test]
fn what_decodes_now_is_retried_and_stored_once() {
    for live in [false, true] {
        let mut w = World::of(1);
        let mut messages = records(600);
        messages.push(b"still no record".to_vec());
        w.prepare(&messages);
        w.beside(live, || {
            let out = w.says(&["retry", "7", "5"]);
            assert!(out.contains("1 messages are rows now"), "{out}");
            let out = w.says(&["retry"]);
            assert!(out.contains("599 messages are rows now"), "{out}");
            assert!(out.contains("1 stay in quarantine"), "{out}");
            let out = w.says(&["retry"]);
            assert!(out.contains("0 messages are rows now"), "{out}");
            assert_eq!(w.list().len(), 1);
            assert!(w.refuses(&["retry", "7", "5"]).contains("no message"));
        });
        w.finish(w.run());
    }
}

/// Kept by a looser policy, or by a stricter one, than the one that holds.
#[test]
fn what_is_retried_is_masked_by_both_policies_and_shown_so() {
    let of = |bits| Policy {
        ipv4_bits: Ipv4Bits::new(bits).unwrap(),
        ..Policy::default()
    };
    for (live, by, now) in [(false, 8, 16), (true, 8, 24), (false, 16, 8), (true, 24, 8)] {
        let mut w = World::of(1).with("--mask-ipv4-bits", &now.to_string());
        w.kafka.policy = of(by.max(now));
        let mut record = Synth::new(5, 1_700_000_000_000).next().unwrap();
        (record.remote_addr, record.url) = ("198.51.123.77".into(), "/a".into());
        let mut message = Vec::new();
        record.encode_into(&mut message);
        w.prepare_with_tail(&[message], 1, &of(by));
        // A stopped instance's policy is known by its data dir.
        w.run().stop();
        w.beside(live, || {
            let said = w.says(&["show", "7", "0"]) + &w.says(&["list", "--json"]);
            let cut = if by.max(now) == 24 {
                "198.51"
            } else {
                "198.51.123"
            };
            assert!(said.contains("198.") && !said.contains(cut), "{said}");
            w.says(&["retry"]);
        });
        w.finish(w.run());
    }
}

#[test]
fn a_kill_during_a_retry_neither_loses_nor_doubles() {
    let mut w = World::of(1);
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
    w.says(&["retry"]);
    assert_eq!(held(&w), (count as u64, 0));
    w.finish(w.run());
}

#[test]
fn a_drop_needs_yes_and_says_what_is_lost() {
    for live in [false, true] {
        let mut w = World::of(1);
        w.prepare(&[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        w.beside(live, || {
            let words = w.refuses(&["drop", "--all"]);
            assert!(words.contains("3 messages would be lost"), "{words}");
            assert!(words.contains("http_log p7 offset 1"), "{words}");
            assert_eq!(w.list().len(), 3);
            let words = w.says(&["drop", "7", "1", "--yes"]);
            assert!(words.contains("http_log p7 offset 1"), "{words}");
            assert_eq!(w.list().len(), 2);
            assert!(
                w.refuses(&["drop", "7", "1", "--yes"])
                    .contains("no message")
            );
            w.refuses(&["drop", "--yes"]);
            w.says(&["drop", "--all", "--yes"]);
            assert!(w.list().is_empty());
        });
        assert_eq!(w.setup.status()["queue"]["quarantine"]["bytes"], 0);
    }
}

/// Makes the entry of the second message one that nobody can read, as a bad disk would.
fn damage(w: &World) {
    let config = sled::Config::new().path(w.setup.data_dir().join("queue"));
    // As the program has it, or sled refuses.
    let config = config.segment_size(8 << 20);
    // Another test's command has our lock between its fork and its exec.
    let db = until(MOMENT, || config.open().ok(), || "it stays locked".into());
    let entries = db.open_tree("quarantine").unwrap();
    let (key, _) = entries.iter().nth(1).unwrap().unwrap();
    entries.insert(key, b"{".to_vec()).unwrap();
    db.flush().unwrap();
}

/// `drop --all` once ended at such an entry, and what lay behind it stayed.
#[test]
fn a_damaged_message_is_named_and_keeps_no_other() {
    for live in [false, true] {
        let mut w = World::of(1);
        w.prepare(&[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        damage(&w);
        w.beside(live, || {
            let words = w.refuses(&["list"]);
            assert!(words.contains("offset 2"), "{words}");
            let words = w.refuses(&["drop", "--all", "--yes"]);
            assert!(words.contains("2 messages dropped"), "{words}");
            assert_eq!(named(words.split("DAMAGED").next().unwrap()), [0, 2]);
            assert!(words.contains("DAMAGED and left as it is"), "{words}");
            assert!(
                words.contains("quarantined message at offset 1 of lane"),
                "{words}"
            );
            let words = w.refuses(&["drop", "7", "1", "--yes"]);
            assert!(words.contains("offset 1 of lane"), "{words}");
        });
    }
}

#[test]
fn an_export_has_its_name_once_it_is_whole() {
    let mut w = World::of(1);
    w.prepare(&[long(), long()]);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("out");
    let partial = dir.path().join("out.partial");
    let export = ["export", &format!("{}/", to.display())];
    // As a kill leaves it.
    fs::create_dir(&partial).unwrap();
    let words = w.refuses(&export);
    assert!(words.contains("out.partial is there"), "{words}");
    assert!(!to.exists());
    fs::remove_dir(&partial).unwrap();
    w.says(&export);
    assert_eq!(files_of(&to).len(), 3);
    assert!(!partial.exists());
    let words = w.refuses(&export);
    assert!(words.contains("it is there already"), "{words}");

    // Killed whenever: what has the name is whole.
    for i in 0..10 {
        let to = dir.path().join(format!("killed-{i}"));
        let mut child = w.setup.command("quarantine");
        let mut child = child
            .args(["export", to.to_str().unwrap()])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Any time will do; the kills spread over opening and writing.
        std::thread::sleep(Duration::from_millis(8 * i));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!to.exists() || files_of(&to).len() == 3);
    }
}

#[test]
fn a_list_is_summed_by_reason_filtered_and_cut() {
    let mut w = World::of(2);
    w.send_bad();
    let program = w.run_until_quarantined(3);
    let list = |args: &[&str]| -> Value {
        let said = w.says(&[&["list", "--json"], args].concat());
        serde_json::from_str(&said).unwrap()
    };
    let all = list(&[]);
    let reasons = all["reasons"].as_array().unwrap();
    let sum = |name: &str| -> u64 { reasons.iter().map(|r| r[name].as_u64().unwrap()).sum() };
    let items = all["items"].as_array().unwrap();
    assert_eq!(
        (items.len(), all["count"].as_u64(), sum("count")),
        (3, Some(3), 3)
    );
    let bytes: u64 = items.iter().map(|e| e["len"].as_u64().unwrap()).sum();
    assert_eq!(sum("bytes"), bytes);
    for reason in reasons {
        assert!(reason["first_ms"].as_u64() <= reason["last_ms"].as_u64());
        assert!(reason["first_ms"].as_u64() > Some(1_700_000_000_000));
    }
    let one = list(&["--limit", "1"]);
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&one["count"], &one["reasons"]),
        (&all["count"], &all["reasons"])
    );
    assert_eq!(list(&["--limit", "0"])["items"], serde_json::json!([]));
    let second = list(&["--partition", "1"]);
    assert_eq!(second["count"], 1);
    assert_eq!(second["reasons"][0]["partitions"], serde_json::json!([1]));
    let late = list(&["--reason", "DateTime"]);
    assert_eq!(
        (&late["count"], &late["items"][0]["offset"]),
        (&1.into(), &0.into())
    );
    assert_eq!(list(&["--reason", "no such"])["count"], 0);
    let text = w.says(&["list", "--limit", "1"]);
    assert!(text.contains("(2 more are not shown)"), "{text}");
    assert!(
        text.contains("DateTime") && text.contains("partitions 1"),
        "{text}"
    );
    program.stop();
}

/// Offsets of the messages that a command names, a line each.
fn named(words: &str) -> Vec<u64> {
    let lines = words.lines().filter_map(|l| l.split_once("offset "));
    let numbers = lines.map(|(_, rest)| rest.split(':').next().unwrap());
    numbers.map(|n| n.parse().unwrap()).collect()
}

#[test]
fn what_a_drop_says_is_what_was_dropped() {
    // More than fit on a page.
    const COUNT: usize = 2500;
    for live in [false, true] {
        let mut w = World::of(1);
        let messages: Vec<_> = (0..COUNT).map(|i| format!("no {i}").into_bytes()).collect();
        w.prepare_with_tail(&messages, COUNT - 2, &Policy::default());
        w.beside(live, || {
            let offsets = || -> Vec<u64> {
                let list = w.list();
                let offset = |entry: &Value| entry["offset"].as_u64().unwrap();
                list.iter().map(offset).collect()
            };
            // The words of a drop, and that what they name is what is gone.
            let dropped = |args: &[&str]| {
                let before = offsets();
                let words = w.says(args);
                let after = offsets();
                let gone: Vec<u64> = before.into_iter().filter(|o| !after.contains(o)).collect();
                assert_eq!(named(&words), gone, "{args:?}");
                (gone.len(), words)
            };
            // No such offset, no such partition.
            for nothing in [["7", "9999"], ["6", "1"]] {
                let words = w.refuses(&[&["drop", "--yes"], &nothing[..]].concat());
                assert!(words.contains("no message of partition"), "{words}");
                assert!(!words.contains("dropped"), "{words}");
            }
            assert_eq!(offsets().len(), COUNT);

            let (gone, words) = dropped(&["drop", "7", "1", "--yes"]);
            assert_eq!(gone, 1);
            assert!(
                words.ends_with("1 messages dropped, 1 of them for good\n"),
                "{words}"
            );
            assert!(!words.contains("not acknowledged"), "{words}");
            // Of the tail.
            let (gone, words) = dropped(&["drop", "7", "2499", "--yes"]);
            assert_eq!(gone, 1);
            assert!(words.contains("1 of them may come back"), "{words}");
            assert!(
                words.ends_with("1 messages dropped, 0 of them for good\n"),
                "{words}"
            );

            let words = w.refuses(&["drop", "--all"]);
            assert!(
                words.contains("2497 messages would be lost for good"),
                "{words}"
            );
            assert_eq!(named(&words), offsets());
            let (gone, words) = dropped(&["drop", "--all", "--yes"]);
            assert_eq!(gone, COUNT - 2);
            assert!(words.contains("1 of them may come back"), "{words}");
            assert!(
                words.ends_with("2498 messages dropped, 2497 of them for good\n"),
                "{words}"
            );

            let (gone, words) = dropped(&["drop", "--all", "--yes"]);
            assert_eq!((gone, &words[..]), (0, "no message is in quarantine\n"));
        });
    }
}

#[test]
fn a_full_quarantine_pauses_reading_until_a_person_makes_room() {
    let mut w = World::of(1).with("--max-quarantine-bytes", "1MiB");
    w.kafka.send(&vec![long(); 25]);
    let program = w.run();
    program.wait_log("max_quarantine_bytes is 1048576");
    w.kafka.produce(1, 300);
    w.says(&["drop", "--all", "--yes"]);
    program.wait_log("reading from Kafka goes on");
    program.stop();
    w.finish(w.run());
}

#[test]
fn a_full_quarantine_that_may_drop_names_what_is_lost() {
    let mut w = World::of(1)
        .with("--max-quarantine-bytes", "1MiB")
        .with("--quarantine-full", "drop-oldest");
    w.kafka.send(&vec![long(); 25]);
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
    w.finish(w.run());
}
