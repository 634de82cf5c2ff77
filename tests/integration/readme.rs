//! Do the commands of the README and the runbook work as they are written?
//!
//! Hosts and paths stand for what the reader has: here for the neighbours of the test. What needs minutes,
//! a registry or an engine of its own is run elsewhere: `ops/quickstart` and `ops/test` by hand and by CI,
//! the queries by `tests/engine/totals.rs`; `docker compose` is not run.

use std::fs;

use crate::support::program::PATIENCE;
use crate::support::world::World;

/// Everything that a page says to type, with lines that go on joined.
fn typed(page: &str) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap().replace("\\\n", " ");
    let mut fenced = false;
    let mut all = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        let indented = line.starts_with("    ");
        let command = line.trim_start();
        if (indented || fenced) && command.contains("anonymizer ") {
            all.push(command.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    all
}

/// The words behind the program's name, up to a pipe or a redirection; each command of a line.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for part in line.split('|') {
        let words: Vec<&str> = part.split_whitespace().collect();
        let program = |w: &&str| *w == "anonymizer" || w.ends_with("/anonymizer");
        let Some(at) = words.iter().position(program) else {
            continue;
        };
        let words = words[at + 1..].iter();
        let words = words
            .take_while(|w| !w.starts_with('>') && !w.starts_with('#') && !w.starts_with("2>"));
        all.push(words.map(|w| (*w).to_owned()).collect());
    }
    all
}

#[test]
fn every_command_that_is_named_is_one() {
    let mut checked = 0;
    for page in ["README.md", "LIMITATIONS.md", "ops/runbook.md"] {
        for line in typed(page) {
            for mut words in calls(&line) {
                // `--help` is the last to be looked at: what stands before has to be right.
                words.push("--help".into());
                let out = std::process::Command::new(env!("CARGO_BIN_EXE_anonymizer"))
                    .args(&words)
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&out.stderr);
                assert!(out.status.success(), "{page}: {line}: {said}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 6, "{checked}");
}

/// The chapter "On a machine", from its first command to its last.
#[test]
fn the_chapter_on_a_machine_ends_with_all_rows_stored() {
    let mut w = World::of(2);
    w.kafka.produce(1, 500);
    let dir = tempfile::tempdir().unwrap();
    let here = |word: &str| {
        word.replace("kafka-1:9092", &w.kafka.brokers)
            .replace(
                "/var/lib/anonymizer",
                dir.path().join("data").to_str().unwrap(),
            )
            .replace("http://ch-proxy:8124", &w.clickhouse.url())
    };
    let text = fs::read_to_string("README.md").unwrap();
    let chapter = text.split("### On a machine").nth(1).unwrap();
    let chapter = chapter.split("\n### ").next().unwrap();
    let page = dir.path().join("chapter.md");
    fs::write(&page, chapter).unwrap();
    let mut ran = Vec::new();
    for line in typed(page.to_str().unwrap()) {
        for words in calls(&line) {
            let words: Vec<String> = words.iter().map(|word| here(word)).collect();
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_anonymizer"));
            command
                .args(&words)
                .env("ANONYMIZER_HTTP_LISTEN", "127.0.0.1:0");
            ran.push(words[0].clone());
            if words[0] != "run" {
                let out = command.output().unwrap();
                let said = String::from_utf8_lossy(&out.stderr);
                assert!(out.status.success(), "{line}: {said}");
                continue;
            }
            // The first slot is the check's; nobody waits a minute for the second one here.
            command.env("ANONYMIZER_FLUSH_INTERVAL", "1s");
            let mut child = command.spawn().unwrap();
            w.clickhouse.wait_until(|s| s.row_count() == 500, PATIENCE);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    assert_eq!(ran, ["check", "run", "schema"]);
    w.assert_exactly_once();
}

/// What a chapter says to type, one call after the other.
fn calls_of(chapter: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string("README.md").unwrap();
    let chapter = text.split(&format!("### {chapter}\n")).nth(1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("chapter.md");
    fs::write(&page, chapter.split("\n### ").next().unwrap()).unwrap();
    let lines = typed(page.to_str().unwrap());
    lines.iter().flat_map(|line| calls(line)).collect()
}

/// The chapter "Replay from the data dir", on a copy of what an instance left.
#[test]
fn the_chapter_on_replay_sends_all_rows_of_a_copy() {
    let mut w = World::of(2).with("--flush-interval", "1h");
    w.kafka.produce(1, 500);
    let program = w.setup.run();
    w.setup
        .wait_status(|s| s["queue"]["rows"] == 500 && s["queue"]["tail_lanes"] == 0);
    program.stop();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("data");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&w.setup.data_dir(), &copy])
        .status();
    assert!(copied.unwrap().success());
    let mut ran = Vec::new();
    for words in calls_of("Replay from the data dir") {
        let words = words.iter().map(|word| {
            word.replace("/mnt/anonymizer", copy.to_str().unwrap())
                .replace("http://ch-proxy:8124", &w.clickhouse.url())
        });
        let words: Vec<String> = words.collect();
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_anonymizer"))
            .args(&words)
            .env("ANONYMIZER_FLUSH_INTERVAL", "1s")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words:?}: {said}");
        ran.push(words[0].clone());
    }
    assert_eq!(ran, ["verify", "adopt", "replay", "status"]);
    w.assert_exactly_once();
}

#[test]
fn the_example_of_a_file_of_settings_is_taken() {
    let text = fs::read_to_string("README.md").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let examples: Vec<&str> = text.split("```json\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let file = dir.path().join("example.json");
        fs::write(&file, example.split("```").next().unwrap()).unwrap();
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_anonymizer"))
            .args(["config", "print", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
        let printed = String::from_utf8_lossy(&out.stdout);
        assert!(!printed.contains("from your secret store"), "{printed}");
    }
}
