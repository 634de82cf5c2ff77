//! Do the commands of the README and the runbook work as they are written, and is there what they name?
//!
//! Hosts and paths stand for what the reader has: here for the neighbours of the test. What needs minutes,
//! a registry or an engine of its own is run elsewhere: `ops/quickstart` and `ops/test` by hand and by CI,
//! the queries by `tests/engine/totals.rs`, `docker compose` by `ops/compose-test`; of Kubernetes' two commands
//! `ops/helm-test` runs the first one dry, `ops/pod-test` the second one in a container.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anonymizer::flush::Hold;
use anonymizer::observe::word::Word;
use anonymizer::row::RowError;

use crate::support::wait::PATIENCE;
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
        // A function that makes `anonymizer` the program of a container is none of its calls.
        let is_call = command.contains("anonymizer ") && !command.contains("\"$@\"");
        if (indented || fenced) && is_call {
            all.push(command.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    all
}

/// Everything that stands in a page as `code` within a sentence or a table.
fn spans(page: &str) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let mut fenced = false;
    let is_prose = |line: &&str| {
        fenced ^= line.starts_with("```");
        !fenced && !line.starts_with("    ") && !line.starts_with("```")
    };
    let prose: Vec<&str> = text.lines().filter(is_prose).collect();
    let prose = prose.join(" ");
    let spans = prose.split('`').skip(1).step_by(2);
    spans.map(str::to_owned).collect()
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
        // In a container the service's name stands before the program's.
        let twice = words.get(at + 1).is_some_and(program);
        let words = words[at + 1 + usize::from(twice)..].iter();
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
        let named = spans(page).into_iter();
        let named = named.filter(|span| span.starts_with("anonymizer ") && !span.ends_with("..."));
        // N is a number that the reader has.
        let named = named.map(|span| span.replace(" N", " 17"));
        for line in typed(page).into_iter().chain(named) {
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
    assert!(checked >= 40, "{checked}");
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

/// The first cells of a section's table.
fn cells(text: &str, section: &str, title: &str) -> Vec<String> {
    let (_, section) = text.split_once(section).unwrap();
    let (_, table) = section.split_once(title).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim().to_owned())
        .collect()
}

/// What stands as `code` in them.
fn words_of(cells: &[String]) -> BTreeSet<&str> {
    cells
        .iter()
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn the_runbook_has_a_row_for_each_finding_and_hold_and_none_for_another() {
    let text = fs::read_to_string("ops/runbook.md").unwrap();
    let found = cells(&text, "# Runbook", "| finding | section |");
    assert_eq!(words_of(&found), Word::ALL.iter().copied().collect());
    // These three have sections of their own.
    let mut holds: BTreeSet<&str> = Hold::WORDS.into_iter().collect();
    for own in ["tables", "access", "data"] {
        assert!(holds.remove(own), "{own}");
    }
    let held = cells(&text, "## AnonymizerHold\n", "| reason | what it is | do |");
    assert_eq!(words_of(&held), holds);
    let (_, quarantine) = text.split_once("## AnonymizerQuarantine\n").unwrap();
    let (means, _) = quarantine.split_once("**Safe?**").unwrap();
    let named: BTreeSet<&str> = means.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, RowError::LABELS.into_iter().collect());
}

/// All sources of the program.
fn sources(dir: &Path, all: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else {
            *all += &fs::read_to_string(path).unwrap();
        }
    }
}

/// Words that look like a setting, and are one of nginx or of ClickHouse, or a label.
const OF_OTHERS: [&str; 4] = [
    "client_max_body_size",
    "insert_deduplication_token",
    "proxy_read_timeout",
    "too_large",
];

#[test]
fn each_metric_setting_and_line_of_the_log_that_the_runbook_names_is_there() {
    let mut w = World::of(1);
    let program = w.run_with([]);
    w.stores(1, 100);
    w.setup.wait_status(|s| s["kafka"]["unread"].is_u64());
    let mut answer = ureq::get(program.pages() + "/metrics").call().unwrap();
    let metrics = answer.body_mut().read_to_string().unwrap();
    w.finish(program);
    let schema: serde_json::Value = serde_json::from_str(&w.said(&["config", "schema"])).unwrap();
    let settings = schema["properties"].as_object().unwrap();
    let mut seen = (0, 0);
    for span in spans("ops/runbook.md") {
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        for name in span
            .split(|c| !is_word(c))
            .filter(|n| n.starts_with("anonymizer_"))
        {
            let sample = |line: &str| {
                line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "))
            };
            assert!(metrics.lines().any(sample), "{name} is no metric");
            seen.0 += 1;
        }
        let word = span.split(' ').next().unwrap();
        let looks_so = word.contains('_')
            && word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(is_word);
        if looks_so && !word.starts_with("anonymizer_") && !OF_OTHERS.contains(&word) {
            assert!(settings.contains_key(word), "{word} is no setting");
            seen.1 += 1;
        }
    }
    assert!(seen.0 >= 5 && seen.1 >= 10, "{seen:?}");

    let mut all = String::new();
    sources(Path::new("src"), &mut all);
    let text = fs::read_to_string("ops/runbook.md").unwrap();
    let lines = cells(&text, "## AnonymizerDown", "| the log says | do |");
    for words in words_of(&lines) {
        // What differs from case to case stands between.
        for part in words.split("...").flat_map(|part| part.split("(pid N)")) {
            assert!(all.contains(part.trim()), "the log never says {words}");
        }
    }
}
