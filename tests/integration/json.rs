//! Does `--json` print one object, and nothing else? And is a bar drawn on a terminal, and nowhere else?

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::fake_clickhouse::Fault;
use crate::support::world::World;

/// Commands by their help that take `--json`.
fn with_json() -> BTreeSet<String> {
    let files = fs::read_dir("tests/corpus/help").unwrap();
    let texts = files.map(|f| f.unwrap().path()).filter(|path| {
        let text = fs::read_to_string(path).unwrap();
        text.contains("--json ") || text.contains("--json\n")
    });
    let names = texts.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let words = |name: String| Some(name.strip_prefix("anonymizer-")?.replace('-', " "));
    names.filter_map(words).collect()
}

#[test]
fn each_command_prints_one_object_and_nothing_else() {
    let mut w = World::of(1);
    w.kafka.send(&[b"no capnp".to_vec()]);
    w.kafka.produce(1, 300);
    let program = w.run_when_read([Fault::ExceptionHeader {
        http: 400,
        code: 131,
    }]);
    let status = w.setup.wait_status(|s| {
        s["queue"]["batches"][0]["state"]["rejected"].is_object() && s["queue"]["quarantined"] == 1
    });
    let seq = status["queue"]["batches"][0]["seq"].to_string();
    program.stop();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    // Named by others: `batches drop` by `reconcile::a_dropped_batch_...`, what is held by `runbook::held_rows`,
    // `privacy audit` by `policy::an_audit_...`.
    let elsewhere = [
        "batches drop",
        "held drop",
        "held export",
        "held send",
        "privacy audit",
    ];
    let mut seen: BTreeSet<String> = elsewhere.map(str::to_owned).into();
    let mut f = |words: &[&str], list: &str| {
        let out = w.call(&[words, &["--json"]].concat());
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words:?}: {said}");
        assert!(!said.contains(['\r', '\x1b']), "{words:?} drew: {said:?}");
        let found: Value = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{words:?}: {e}: {}", String::from_utf8_lossy(&out.stdout)));
        assert!(found.is_object(), "{words:?}: {found}");
        if !list.is_empty() {
            let of = if list == "." { &found } else { &found[list] };
            let items = of["items"].as_array().unwrap();
            assert_eq!(of["count"], items.len(), "{words:?}: {found}");
        }
        for n in 1..=2.min(words.len()) {
            seen.insert(words[..n].join(" "));
        }
    };
    f(&["status", "--no-kafka"], "");
    f(&["verify"], "");
    f(&["batches", "list"], ".");
    f(&["batches", "show", &seq], "");
    f(&["batches", "export", &seq, "--output", &at("batch")], "");
    f(&["held", "list"], ".");
    f(&["batches", "stored", &seq, "--yes"], "");
    f(&["batches", "retry", &seq], "");
    f(&["quarantine", "list"], ".");
    f(&["quarantine", "show", "0", "0"], ".");
    f(&["quarantine", "export", &at("messages")], "");
    f(&["quarantine", "retry"], ".");
    f(&["quarantine", "drop", "--all", "--yes"], ".");
    f(&["quarantine", "list"], ".");
    f(&["export", "--output", &at("rows")], "");
    f(&["reconcile", "--counts-only"], "");
    f(&["capacity", "--rate", "1", "--retention", "30d"], "");
    f(&["schema", "print"], ".");
    f(&["config", "print"], "");
    f(&["check"], ".");
    f(&["check", "--clickhouse"], ".");
    f(&["replay"], "uncommitted");
    f(&["reconcile"], "");
    f(&["repair"], "");
    f(&["adopt", "--unrecognised"], "");
    f(&["produce", "--count", "1"], "");
    let missed: Vec<String> = with_json().difference(&seen).cloned().collect();
    assert!(missed.is_empty(), "not tried: {missed:?}");
}

#[test]
fn how_far_it_is_is_drawn_on_a_terminal() {
    let mut w = World::of(1).with("--flush-interval", "1h");
    w.kafka.produce(1, 3000);
    let program = w.setup.run();
    w.wait_queued(3000);
    program.stop();
    let dir = tempfile::tempdir().unwrap();
    let draws = |name: &str, terminal: bool| {
        let mut export = w.setup.command("export");
        export.arg("--output").arg(dir.path().join(name));
        if !terminal {
            return export.output().unwrap();
        }
        let words = std::iter::once(export.get_program()).chain(export.get_args());
        let line: Vec<String> = words
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        // It runs the command on a terminal of its own.
        let mut script = std::process::Command::new("script");
        script
            .args(["-qec", &line.join(" "), "/dev/null"])
            .env("TERM", "xterm")
            .output()
            .unwrap()
    };
    let out = draws("on-a-terminal", true);
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("reading ["), "{said:?}");
    assert!(said.contains("of 3,000 rows"), "{said:?}");
    assert!(said.contains("3000 rows in"), "{said:?}");
    let out = draws("piped", false);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("3000 rows in"), "{said:?}");
    assert!(
        !said.contains("reading") && !said.contains('\x1b'),
        "{said:?}"
    );
}
