//! Do alerts and dashboards ask for what the program exports, and does a real Prometheus agree?

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anonymizer::clickhouse::SinkError;
use anonymizer::row::RowError;
use anonymizer::runtime::clock::now_ms;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::kafka::messages;
use crate::support::program::Program;
use crate::support::prometheus::{Prometheus, impatient_rules, lint};
use crate::support::stack::free_port;
use crate::support::wait::wait;
use crate::support::world::World;

/// The address of the metrics.
struct Port(String);

type Watched = World<Port>;

fn watched(partitions: i32) -> Watched {
    let listen = format!("127.0.0.1:{}", free_port());
    let w = World::of(partitions).with("--http-listen", &listen);
    w.and(|_| Port(listen))
}

impl Watched {
    /// A program that answers.
    fn run(&self) -> Program {
        let program = self.setup.run();
        program.wait_log("metrics at http://");
        program
    }

    /// In the older format, which tools read.
    fn metrics(&self) -> String {
        let mut answer = ureq::get(format!("http://{}/metrics", self.own.0))
            .header("Accept", "text/plain")
            .call()
            .unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    /// One sample of ours, by its name with its labels.
    fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let begin = format!("anonymizer_{name} ");
        let value = text.lines().find_map(|l| l.strip_prefix(&begin));
        let value = value.unwrap_or_else(|| panic!("no {begin} in {text}"));
        value.parse().unwrap()
    }

    fn prometheus(&self, rules: &str) -> Prometheus {
        Prometheus::start(rules, &[&self.own.0])
    }
}

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn alerts() -> String {
    file("ops/prometheus/alerts.yml")
}

/// What in an expression is the name of a series of ours.
fn names_in(expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c| !is_part(c));
    let prefixes = ["anonymizer_", "process_", "kafka_", "go_"];
    let is_name = |w: &&str| *w == "up" || prefixes.iter().any(|p| w.starts_with(p));
    words.filter(is_name).map(str::to_owned).collect()
}

/// What in an expression has labels: each choice of a `=~` by itself.
fn selectors_in(expression: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut all = Vec::new();
    for (brace, _) in expression.match_indices('{') {
        let name = expression[..brace].rsplit(|c| !is_part(c)).next().unwrap();
        let (labels, _) = expression[brace + 1..].split_once('}').expect(expression);
        if name.is_empty() {
            continue;
        }
        let choices = labels.split_once("=~\"").and_then(|(before, rest)| {
            let (choices, after) = rest.split_once('"')?;
            Some((before, choices, after))
        });
        match choices {
            Some((before, choices, after)) => all.extend(
                choices
                    .split('|')
                    .map(|choice| format!("{name}{{{before}=~\"{choice}\"{after}}}")),
            ),
            None => all.push(format!("{name}{{{labels}}}")),
        }
    }
    all
}

/// The expressions of a dashboard that Prometheus is asked for.
fn expressions(node: &Value, all: &mut Vec<String>) {
    match node {
        Value::Object(fields) => {
            if let Some(Value::String(expression)) = fields.get("expr") {
                all.push(expression.replace("$instance", ".*"));
            }
            fields.values().for_each(|v| expressions(v, all));
        }
        Value::Array(items) => items.iter().for_each(|v| expressions(v, all)),
        _ => {}
    }
}

#[test]
fn every_outcome_and_reason_is_there_before_it_happens_once() {
    let w = watched(1);
    let program = w.run();
    let text = w.metrics();
    let has = |name: &str, label: &str, value: &str| {
        let begin = format!("anonymizer_{name}{{{label}=\"{value}\"}} ");
        assert!(text.contains(&begin), "no {begin} in {text}");
    };
    for label in SinkError::LABELS {
        has("inserts_total", "outcome", label);
        has("queries_total", "outcome", label);
    }
    has("inserts_total", "outcome", "stored");
    for label in RowError::LABELS {
        has("quarantined_messages_total", "reason", label);
    }
    program.stop();
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let mut w = watched(1);
    let program = w.run();
    w.stores(1, 500);
    lint(&w.metrics()).unwrap();
    program.stop();
}

#[test]
fn rules_and_panels_ask_for_series_that_a_running_instance_has() {
    let mut w = watched(3);
    let program = w.run();
    w.stores(1, 3000);
    // As soon as the client has told of the logs' ends.
    let visible = |s: &Value| s["kafka"]["visible_through_ms"].is_u64();
    w.setup.wait_status(visible);
    let prometheus = w.prometheus(&alerts());
    prometheus.wait_scraped();
    let known: BTreeSet<String> = prometheus.names().into_iter().collect();

    let mut all = Vec::new();
    let rules = prometheus.rules();
    assert!(!rules.is_empty());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        all.push(rule["query"].as_str().unwrap().to_owned());
    }
    let board = file("ops/grafana/dashboards/forwarder.json");
    let board = serde_json::from_str(&board).unwrap();
    let before = all.len();
    expressions(&board, &mut all);
    assert!(all.len() > before);
    for expression in &all {
        prometheus.query(expression);
        for name in names_in(expression) {
            assert!(known.contains(&name), "no {name}: {expression}");
        }
        // A label that never has this value is as bad.
        for selector in selectors_in(expression) {
            let found = prometheus.query(&selector);
            assert!(!found.is_empty(), "no {selector}: {expression}");
        }
    }
    // What the alerts' own tests make up must be what there is.
    let tests = file("ops/prometheus/alerts_test.yml");
    let series = tests.lines().filter_map(|l| l.split_once("series: '"));
    for (_, series) in series {
        let series = series.split('\'').next().unwrap();
        // Instances are made up.
        let (begin, rest) = series.split_once(",instance=\"").expect(series);
        let (_, end) = rest.split_once('"').unwrap();
        let found = prometheus.query(&format!("{begin}{end}"));
        assert!(!found.is_empty(), "alerts_test.yml makes up {series}");
    }
    // With all well, nothing fires.
    assert_eq!(prometheus.firing(), [""; 0]);
    w.finish(program);
}

#[test]
fn records_that_kafka_no_longer_had_fire_an_alert() {
    let mut w = watched(1);
    w.setup.set("--kafka-properties", "session.timeout.ms=6000");
    let program = w.run();
    w.stores(1, 300);
    let prometheus = w.prometheus(&impatient_rules());
    prometheus.wait_scraped();
    assert!(
        !prometheus
            .firing()
            .contains(&"AnonymizerLostRecords".into())
    );
    // Frozen, it is overtaken by retention: the mock cluster keeps 5 MiB.
    program.signal(Signal::STOP);
    let sent = messages(2, 50_000);
    w.kafka
        .send_keyed(sent.iter().map(|m| (m.as_slice(), None)));
    program.signal(Signal::CONT);
    prometheus.wait_firing("AnonymizerLostRecords");
}

/// Each row once, and none twice, whichever way it is counted.
#[test]
fn every_row_is_counted_in_its_delays() {
    let mut w = watched(2);
    let program = w.run();
    w.stores(1, 2500);
    w.wait_queued(0);
    for delay in ["record_to_stored", "queue_to_stored", "kafka_to_queue"] {
        let count = w.metric(&format!("{delay}_seconds_count"));
        assert_eq!(count, 2500.0, "{delay}");
    }
    let inserts = w.metric("inserts_total{outcome=\"stored\"}");
    assert_eq!(w.metric("insert_rows_sum"), 2500.0);
    assert_eq!(w.metric("insert_rows_count"), inserts);
    assert_eq!(w.metric("insert_duration_seconds_count"), inserts);
    assert!(w.metric("insert_body_bytes_sum") > 2500.0);
    // They were appended and stored a moment ago.
    assert!(w.metric("queue_to_stored_seconds_bucket{le=\"60.0\"}") > 0.0);
    let since = now_ms() as f64 / 1000.0 - w.metric("last_insert_timestamp_seconds");
    assert!((-1.0..60.0).contains(&since), "{since} s ago");
    program.stop();
}

/// A command that is no longer there, or takes other words, is of no help at night.
#[test]
fn every_command_of_the_runbook_is_one() {
    let runbook = file("ops/runbook.md");
    // What stands by itself, and what is quoted in a sentence.
    let quoted = runbook.split('`').skip(1).step_by(2);
    let alone = runbook.lines().filter_map(|l| l.strip_prefix("    "));
    let mut seen = BTreeSet::new();
    for line in quoted.chain(alone) {
        let command = line.split(['#', '>']).next().unwrap().trim();
        let Some(words) = command.strip_prefix("anonymizer ") else {
            continue;
        };
        // A number that the reader puts in.
        let words = words
            .split_whitespace()
            .map(|w| if w == "N" { "1" } else { w });
        let words: Vec<&str> = words.chain(["--help"]).collect();
        let out = Command::new(env!("CARGO_BIN_EXE_anonymizer"))
            .args(&words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{command}: {said}");
        seen.insert(words[0].to_owned());
    }
    assert!(seen.len() > 8, "{seen:?}");
}

/// A number that was true when a partition was held would be an alert for ever.
#[test]
fn the_lag_of_a_partition_goes_with_it() {
    let w = watched(2);
    let lag_of = |partition: usize| {
        let begin = format!("anonymizer_kafka_lag{{partition=\"{partition}\"}} ");
        w.metrics().lines().any(|l| l.starts_with(&begin))
    };
    let first = w.run();
    let told = || "lag by partition".to_owned();
    wait(|| lag_of(0) && lag_of(1), told);
    let second = w.another();
    let program = second.run();
    second.wait_status(|s| s["partitions"].as_array().map(Vec::len) == Some(1));
    wait(|| lag_of(0) != lag_of(1), told);
    program.stop();
    first.stop();
}

/// Headings as GitHub makes anchors of them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter_map(|l| l.strip_prefix("## "));
    let anchor = |heading: &str| {
        let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
        let heading = heading.to_lowercase();
        let kept: String = heading.chars().filter(|c| kept(*c)).collect();
        kept.replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_alert_says_what_to_do_and_where_to_read_more() {
    let runbook = file("ops/runbook.md");
    let anchors = anchors(&runbook);
    let rules = alerts();
    let mut seen = BTreeSet::new();
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        for part in ["severity:", "summary:", "action:"] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
        let (_, url) = rule.split_once("runbook_url: ").expect(name);
        let (path, anchor) = url.lines().next().unwrap().split_once('#').expect(name);
        assert!(path.ends_with("ops/runbook.md"), "{name}: {path}");
        let anchor = anchor.trim_end_matches('"');
        assert!(anchors.contains(anchor), "{name}: no section {anchor}");
        assert_eq!(
            anchor,
            name.to_lowercase(),
            "a section is named as its alert"
        );
        seen.insert(anchor.to_owned());
    }
    // Nor is there a section that no alert leads to, but for the general ones.
    for section in anchors.difference(&seen) {
        assert!(!section.starts_with("anonymizer"), "no alert {section}");
    }
}
