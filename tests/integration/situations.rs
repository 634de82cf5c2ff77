//! The situations a person on call meets: does one look at `status` say whether data is safe, since when
//! it is as it is, what happens next by itself, and what to do?
//!
//! And does the alert fire that `ops/prometheus/alerts.yml` has for it, on a real Prometheus?

use std::fs;

use anonymizer::queue::DataDir;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::Value;

use crate::check::{broker, refuse_passwords};
use crate::support::alone::alone;
use crate::support::fake_clickhouse::Fault;
use crate::support::kafka::messages;
use crate::support::program::Program;
use crate::support::prometheus::{Prometheus, impatient_rules};
use crate::support::small_disk::SmallDisk;
use crate::support::stack::free_port;
use crate::support::wait::wait;
use crate::support::world::World;

/// Waits until the verdict has this code, and its first finding is this one. The verdict then.
fn wait_verdict<Own>(w: &World<Own>, code: &str, what: &str) -> Value {
    let is = |s: &Value| {
        let verdict = &s["verdict"];
        verdict["code"] == code && verdict["findings"][0]["what"] == what
    };
    let status = w.setup.wait_status(is);
    let verdict = status["verdict"].clone();
    // What a person reads first is the same sentence.
    let said = String::from_utf8(w.call(&["status"]).stdout).unwrap();
    let title = verdict["sentence"].as_str().unwrap().split(':').next();
    assert!(said.starts_with(title.unwrap()), "{said}");
    verdict
}

fn says(verdict: &Value, words: &[&str]) {
    let sentence = verdict["sentence"].as_str().unwrap();
    for word in words {
        assert!(sentence.contains(word), "no {word:?} in: {sentence}");
    }
    assert!(verdict["since_ms"].is_u64(), "since when? {verdict}");
}

/// What to do is said, too.
fn tells_to(verdict: &Value, words: &str) {
    let act = verdict["act"].as_str().unwrap_or_default();
    assert!(act.contains(words), "{verdict}");
}

/// Where an instance is asked by HTTP.
fn url(program: &Program, path: &str) -> String {
    program.pages() + path
}

/// What `/readyz` answers: the status and its words.
fn ready(program: &Program) -> (u16, String) {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut answer = agent.get(url(program, "/readyz")).call().unwrap();
    (
        answer.status().as_u16(),
        answer.body_mut().read_to_string().unwrap(),
    )
}

/// A real Prometheus with our rules, of which each fires at once, sees this one fire.
pub fn fires(program: &Program, alert: &str) {
    let at = url(program, "");
    let instance = at.trim_start_matches("http://");
    Prometheus::start(&impatient_rules(), &[instance]).wait_firing(alert);
}

/// The same where no instance runs.
fn fires_without_instance(alert: &str) {
    let nobody = format!("127.0.0.1:{}", free_port());
    Prometheus::start(&impatient_rules(), &[&nobody]).wait_firing(alert);
}

#[test]
fn clickhouse_down_from_the_start() {
    let mut w = World::of(1);
    // A port that was free a moment ago, and where nobody listens now.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    w.setup.set("--clickhouse-url", &format!("http://{nobody}"));
    w.kafka.produce(1, 20_000);
    let program = w.setup.run();
    w.wait_queued(20_000);
    let verdict = wait_verdict(&w, "delayed", "unreachable");
    says(
        &verdict,
        &[
            "DELAYED, nothing lost: 20,000 rows wait since",
            "cannot be reached since",
            "Connection refused",
            "next try",
        ],
    );
    tells_to(&verdict, "proxy");
    fires(&program, "AnonymizerClickHouseDown");
    program.stop();
    let verdict = w.setup.status()["verdict"].clone();
    assert_eq!(verdict["findings"][0]["what"], "stopped", "{verdict}");
    let sentence = verdict["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("the instance is not running"),
        "{sentence}"
    );
}

#[test]
fn the_proxy_refuses_for_ever() {
    let mut w = World::of(1);
    w.kafka.produce(1, 500);
    w.clickhouse
        .state()
        .faults
        .extend((0..1000).map(|_| Fault::Limited503(None)));
    let program = w.setup.run();
    w.wait_queued(500);
    // Refusals now and then are ordinary: it takes a minute of them.
    let status = w
        .setup
        .wait_status(|s| s["flush"]["failing"]["times"].as_u64() >= Some(2));
    assert_eq!(status["flush"]["failing"]["kind"], "limited", "{status}");
    let verdict = wait_verdict(&w, "delayed", "refused");
    says(
        &verdict,
        &[
            "500 rows wait",
            "the proxy refuses every request since",
            "next try",
        ],
    );
    tells_to(&verdict, "one request a minute");
    fires(&program, "AnonymizerProxyRefusing");
    w.clickhouse.state().faults.clear();
    w.finish(program);
}

#[test]
fn the_proxy_hangs() {
    let mut w = World::of(1).with("--request-timeout", "20s");
    w.kafka.produce(1, 500);
    let program = w.run_with([Fault::Hang(std::time::Duration::from_secs(600))]);
    w.wait_insert();
    let status = w
        .setup
        .wait_status(|s| s["flush"]["in_flight"]["what"] == "insert");
    assert_eq!(status["flush"]["in_flight"]["rows"], 500, "{status}");
    let verdict = wait_verdict(&w, "delayed", "hangs");
    says(&verdict, &["500 rows wait since", "has had no answer for"]);
    fires(&program, "AnonymizerRequestHangs");
    w.clickhouse.release();
    w.finish(program);
}

#[test]
fn a_column_of_another_type() {
    let mut w = World::of(1);
    let column = "http_log.request_time_milli".to_owned();
    w.clickhouse
        .state()
        .types
        .insert(column.clone(), "UInt32".into());
    w.kafka.produce(1, 500);
    let program = w.setup.run();
    let verdict = wait_verdict(&w, "held", "hold");
    says(
        &verdict,
        &[
            "HELD, nothing lost: 500 rows wait since",
            "request_time_milli",
            "UInt32",
        ],
    );
    tells_to(&verdict, "rows go on once it is mended");
    fires(&program, "AnonymizerTablesWrong");
    w.clickhouse.state().types.remove(&column);
    w.finish(program);
    assert_eq!(w.setup.status()["verdict"]["code"], "ok");
}

#[test]
fn a_constraint_that_refuses_the_data() {
    let mut w = World::of(1);
    let program = w.run_with([Fault::ExceptionHeader {
        http: 500,
        code: 469,
    }]);
    w.kafka.produce(1, 500);
    let verdict = wait_verdict(&w, "held", "rejected");
    says(
        &verdict,
        &["is set aside, ClickHouse refuses its data", "469"],
    );
    tells_to(&verdict, "anonymizer batches retry");
    fires(&program, "AnonymizerDataRefused");
    let seq = w.setup.status()["queue"]["batches"][0]["seq"].to_string();
    w.ok(&["batches", "retry", &seq]);
    w.finish(program);
}

#[test]
fn a_wrong_password() {
    let mut w = World::of(1);
    w.clickhouse.state().password = Some("right".into());
    w.kafka.produce(1, 500);
    let program = w.setup.run();
    let verdict = wait_verdict(&w, "held", "hold");
    says(
        &verdict,
        &["inserts are held since", "AUTHENTICATION_FAILED"],
    );
    fires(&program, "AnonymizerAccessRefused");
    w.clickhouse.state().password = None;
    w.finish(program);
}

#[test]
fn kafka_down_from_the_start_and_later() {
    alone(|| {
        let mut w = World::of(1);
        w.kafka.brokers_down();
        let program = w.setup.run();
        let verdict = wait_verdict(&w, "delayed", "kafka-down");
        says(&verdict, &["Kafka does not answer since"]);
        tells_to(&verdict, "brokers");
        fires(&program, "AnonymizerKafkaDown");
        let (status, words) = ready(&program);
        assert_eq!(status, 503, "{words}");
        assert!(words.starts_with("Kafka does not answer"), "{words}");
        w.kafka.brokers_up();
        w.stores(1, 500);
        w.setup.wait_status(|s| s["verdict"]["code"] == "ok");
        assert_eq!(ready(&program), (200, "ready\n".into()));
        w.kafka.brokers_down();
        wait_verdict(&w, "delayed", "kafka-down");
        w.kafka.brokers_up();
        w.setup.wait_status(|s| s["kafka"]["down"].is_null());
        w.stores(2, 500);
        w.finish(program);
    });
}

#[test]
fn a_wrong_password_of_kafka() {
    let mut w = World::of(1).with("--kafka-brokers", &broker(refuse_passwords));
    for property in ["security.protocol=sasl_plaintext", "sasl.mechanisms=PLAIN"] {
        w.setup.add("--kafka-properties", property);
    }
    w.setup.env(
        "ANONYMIZER_KAFKA_PROPERTIES",
        "sasl.username=u,sasl.password=hunter2",
    );
    let program = w.setup.run();
    let verdict = wait_verdict(&w, "delayed", "kafka-access");
    says(
        &verdict,
        &[
            "DELAYED, nothing lost: Kafka does not let it in since",
            "refuses the user or password (SASL): invalid secret",
        ],
    );
    tells_to(&verdict, "kafka_password_file");
    fires(&program, "AnonymizerKafkaAccess");
    assert!(!program.log().contains("hunter2"));
    program.stop();
}

#[test]
fn poison_messages_that_fill_the_quarantine() {
    let mut w = World::of(1).with("--max-quarantine-bytes", "1MiB");
    let program = w.setup.run();
    w.kafka.send(&vec![b"no message".to_vec(); 5000]);
    let verdict = wait_verdict(&w, "paused", "quarantine");
    says(
        &verdict,
        &[
            "PAUSED, nothing lost: reading is paused since",
            "bytes are in quarantine",
        ],
    );
    tells_to(&verdict, "anonymizer quarantine list");
    let (status, words) = ready(&program);
    assert!(
        status == 503 && words.starts_with("reading is paused"),
        "{status} {words}"
    );
    fires(&program, "AnonymizerQuarantineFull");
    w.kafka.produce(1, 500);
    // What waits in Kafka meanwhile is counted, and stays so while the client tells what it knew before.
    let status = w
        .setup
        .wait_status(|s| s["kafka"]["unread"].as_u64() >= Some(500));
    let told = |s: &Value| s["kafka"]["told_ms"].as_u64();
    let later = w.setup.wait_status(|s| told(s) > told(&status));
    assert!(later["kafka"]["unread"].as_u64() >= Some(500), "{later}");
    w.ok(&["quarantine", "drop", "--all", "--yes"]);
    w.finish(program);
}

#[test]
fn a_full_disk() {
    let w = World::of(6);
    let at = w.setup.data_dir().with_file_name("disk");
    let Some(disk) = SmallDisk::mount(&at.with_extension("image"), &at, 200) else {
        return;
    };
    let data = at.join("data").display().to_string();
    let mut w = w.with("--data-dir", &data).and(|_| disk);
    let program = w.setup.run();
    w.stores(1, 3000);
    let filler = w.own.fill();
    let verdict = wait_verdict(&w, "paused", "disk-full");
    says(
        &verdict,
        &["reading is paused since", "bytes of disk are free"],
    );
    tells_to(&verdict, "free the disk");
    fires(&program, "AnonymizerPaused");
    fs::remove_file(filler).unwrap();
    w.setup.wait_status(|s| s["verdict"]["code"] == "ok");
    w.finish(program);
}

#[test]
fn a_data_dir_that_was_copied() {
    let mut w = World::of(1).with("--flush-interval", "1h");
    w.kafka.produce(1, 500);
    let program = w.setup.run();
    w.wait_queued(500);
    program.stop();
    let data = w.setup.data_dir();
    let copy = data.with_file_name("copy");
    let cp = std::process::Command::new("cp")
        .arg("-a")
        .args([&data, &copy])
        .status();
    assert!(cp.unwrap().success());
    // What was started last goes on, and the other is the copy.
    let mut other = w.another();
    other.set("--data-dir", copy.to_str().unwrap());
    let program = other.run();
    other.wait_status(|s| s["kafka"]["partitions"][0]["committed"] == 500 && s["live"] == true);
    program.wait_log("partitions assigned");
    w.kafka.produce(2, 1);
    other.wait_status(|s| s["kafka"]["partitions"][0]["committed"] == 501);
    program.stop();
    let out = w.call(&["run"]);
    assert_eq!(out.status.code(), Some(1));
    let verdict = w.setup.status()["verdict"].clone();
    assert_eq!(verdict["code"], "held", "{verdict}");
    assert_eq!(verdict["findings"][0]["what"], "copy", "{verdict}");
    tells_to(&verdict, "anonymizer adopt");
    fires_without_instance("AnonymizerDown");
}

#[test]
fn two_instances_on_one_data_dir() {
    let mut w = World::of(1);
    let program = w.setup.run();
    program.wait_log("installation");
    let out = w.call(&["run"]);
    assert_eq!(out.status.code(), Some(1));
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(words.contains("in use"), "{words}");
    w.stores(1, 500);
    w.finish(program);
}

#[test]
fn killed_with_records_unread() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.stores(1, 500);
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.kill();
    w.kafka.produce(2, 700);
    let status = w.setup.status();
    assert_eq!(status["kafka"]["unread"], 700, "{status}");
    let verdict = &status["verdict"];
    assert_eq!(verdict["findings"][0]["what"], "stopped", "{verdict}");
    let sentence = verdict["sentence"].as_str().unwrap();
    assert!(
        sentence.contains(
            "DELAYED, nothing lost: the instance is not running: 700 records unread in Kafka"
        ),
        "{sentence}"
    );
    tells_to(verdict, "anonymizer run");
    fires_without_instance("AnonymizerDown");
    let program = w.setup.run();
    w.finish(program);
}

#[test]
fn retention_overtakes() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.stores(1, 300);
    program.stop();
    // The mock cluster keeps 5 MiB a partition.
    let sent = messages(2, 50_000);
    w.kafka
        .send_keyed(sent.iter().map(|m| (m.as_slice(), None)));
    let program = w.setup.run();
    let verdict = wait_verdict(&w, "lost", "lost");
    says(
        &verdict,
        &["LOST: ", "records of http_log", "Kafka no longer had them"],
    );
    tells_to(&verdict, "retention");
    fires(&program, "AnonymizerLostRecords");
    let status = w.setup.status();
    let kept = status["lost"][0]["to"].as_i64().unwrap() as usize - 300;
    w.kafka.expect(&sent[kept..]);
    w.finish(program);
}

/// The request of a group that is not allowed: the broker is there, and nothing is read.
#[test]
fn a_group_that_is_refused_is_no_silence() {
    let w = World::of(1);
    w.kafka.refuse(
        RDKafkaApiKey::OffsetFetch,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
    );
    let setup = w.another();
    let program = setup.run();
    program.wait_log("trying again");
    let status = setup.wait_status(|s| s["verdict"]["findings"][0]["what"] == "kafka-group");
    let sentence = status["verdict"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("where to go on"), "{sentence}");
    fires(&program, "AnonymizerKafkaTrouble");
    drop(program);
}

/// librdkafka tells of it once, and what it had fetched before comes into its statistics after that.
#[test]
fn a_right_that_is_taken_away_stays_said_until_a_record_comes() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.stores(1, 500);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    w.kafka.refuse_once(RDKafkaApiKey::Fetch, denied);
    let is_denied = |s: &Value| s["kafka"]["fault"]["kind"] == "topic-denied";
    let told = |s: &Value| s["kafka"]["told_ms"].as_u64();
    let first = told(&w.setup.wait_status(is_denied));
    let later = w.setup.wait_status(|s| told(s) > first);
    assert!(is_denied(&later), "{later}");
    w.stores(2, 1);
    w.setup.wait_status(|s| s["kafka"]["fault"].is_null());
    w.finish(program);
}

/// An instance more than there are partitions must not stop a rollout.
#[test]
fn a_member_without_partitions_is_ready() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.stores(1, 100);
    let setup = w.another();
    let second = setup.run();
    second.wait_log("metrics at http://");
    assert_eq!(ready(&second).0, 503, "it has only just begun to join");
    // Whichever of the two has the partition.
    wait(
        || (ready(&program).0, ready(&second).0) == (200, 200),
        || format!("{:?}", ready(&second)),
    );
    second.stop();
    w.finish(program);
}

#[test]
fn a_stopped_instance_with_nothing_queued_says_how_far_clickhouse_is() {
    let mut w = World::new();
    let program = w.run_with([]);
    w.kafka.produce(1, 300);
    w.finish(program);
    for words in [
        &["status", "--json", "--no-kafka"][..],
        &["status", "--json"],
    ] {
        let status = w.json(words);
        let partitions = status["kafka"]["partitions"].as_array().unwrap();
        let far =
            |name| -> Vec<Option<i64>> { partitions.iter().map(|p| p[name].as_i64()).collect() };
        for name in ["in_clickhouse", "committed", "read"] {
            assert_eq!(far(name), [Some(100); 3], "{name}: {status}");
        }
    }
    // Another instance of the group goes on: that this one had no part in it is seen.
    let setup = w.another();
    let program = setup.run();
    w.kafka.produce(2, 300);
    w.finish_as(&setup, program);
    let status = w.json(&["status", "--json"]);
    let p = &status["kafka"]["partitions"][0];
    assert_eq!(
        (&p["in_clickhouse"], &p["committed"]),
        (&100.into(), &200.into()),
        "{status}"
    );
}

/// Somebody looks while a supervisor starts it: the look must not hold the data dir while brokers that do not
/// answer are asked.
#[test]
fn a_look_at_a_stopped_instance_does_not_wait_for_kafka_with_the_lock_held() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.stores(1, 100);
    program.stop();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    w.setup.set("--kafka-brokers", &address);
    let mut look = w
        .setup
        .command("status")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (_asking, _) = silent.accept().unwrap();
    let locked = DataDir::lock(&w.setup.data_dir());
    assert!(look.try_wait().unwrap().is_none(), "it asks no longer");
    locked.expect("a start would be refused");
    assert!(look.wait().unwrap().success());
}
