//! Does `capacity` take sizes from ClickHouse without stealing a slot?

use std::process::Output;

use anonymizer::cli::capacity::model::Factors;
use serde_json::Value;

use crate::support::fake_clickhouse::Fault;
use crate::support::world::World;

const PLAN: [&str; 4] = ["--rate", "200", "--retention", "30d"];

/// With a ClickHouse that tells its sizes.
fn measurable() -> World {
    let w = World::of(1);
    // The check of the tables reads it, too, and not only of the active ones.
    let parts = "system.parts WHERE active".to_owned();
    w.clickhouse.state().answers.insert(parts, answer());
    w
}

impl World {
    fn capacity(&self, words: &[&str]) -> Output {
        let mut command = self.setup.command("capacity");
        command.args(PLAN).args(words).output().unwrap()
    }

    fn questions(&self) -> usize {
        // The check of the tables reads it, too.
        let asked = |sql: &str| sql.contains("system.parts") && !sql.contains("AS kind");
        let all = self.clickhouse.requests();
        all.iter().filter(|r| asked(&r.sql)).count()
    }
}

/// A raw row of 10 bytes, and in each totals table half a row of 4 bytes for it.
fn answer() -> String {
    let mut text = "http_log\t10000000\t100000000\t1000000\n".to_owned();
    for table in Factors::built_in().totals {
        text += &format!("{}\t5000000\t20000000\t500000\n", table.name);
    }
    text
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn sizes_are_asked_for_through_the_limiter_and_never_beside_an_instance() {
    let mut w = measurable();
    let program = w.setup.run();
    w.stores(1, 300);
    w.wait_queued(0);
    let out = w.capacity(&["--measure"]);
    assert!(!out.status.success());
    assert!(
        said(&out).contains("stop it") && said(&out).contains("--measured"),
        "{}",
        said(&out)
    );
    assert_eq!(w.questions(), 0, "no slot of the instance was used");
    program.stop();

    let before = w.setup.status()["flush"]["last_attempt_ms"]
        .as_u64()
        .unwrap();
    // The limiter's 503 costs nothing, so it asks again.
    w.clickhouse.fail(Fault::Limited503(None));
    let out = w.capacity(&["--measure", "--json"]);
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("slot"), "{}", said(&out));
    let flush = &w.setup.status()["flush"];
    assert!(
        flush["last_attempt_ms"].as_u64().unwrap() >= before + 1000,
        "{flush}"
    );
    assert_eq!(flush["last_outcome"], "answered");
    let estimate: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(estimate["tables"][0]["bytes_per_row"], 10.0);
    assert_eq!(w.questions(), 1);
    w.clickhouse.assert_no_violation();

    // The same from a file, without a request.
    let file = w.setup.data_dir().join("answer.tsv");
    std::fs::write(&file, answer()).unwrap();
    let again = w.capacity(&["--measured", file.to_str().unwrap(), "--json"]);
    assert_eq!(again.stdout, out.stdout);
    assert_eq!(w.questions(), 1);
}

#[test]
fn a_question_that_is_refused_ends_with_the_servers_words() {
    let mut w = measurable();
    let program = w.setup.run();
    w.stores(1, 300);
    w.wait_queued(0);
    program.stop();
    w.clickhouse.fail(Fault::ExceptionHeader {
        http: 403,
        code: 497,
    });
    let out = w.capacity(&["--measure"]);
    assert!(!out.status.success());
    assert!(said(&out).contains("497"), "{}", said(&out));
    w.clickhouse.state().answers.clear();
    let out = w.capacity(&["--measure"]);
    assert!(
        !out.status.success() && said(&out).contains("no answer"),
        "{}",
        said(&out)
    );
}
