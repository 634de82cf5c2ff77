use super::super::verdict::Code;
use super::*;
use crate::flush::{FlushStatus, InFlight, Stored};
use crate::observe::forecast::{Counted, Forecast, Limits, Rates};
use crate::observe::status::{Kafka, Partition};
use crate::queue::fixture::Fixture;
use crate::queue::{LostRange, QuarantineTotals, Summary};
use crate::runtime::conditions::Trouble;

/// 12:05:29 of some day.
const NOW: u64 = 20_000 * 86_400_000 + 43_529_000;
const MINUTE: u64 = 60_000;

/// An instance that runs and has nothing to do.
fn calm() -> Status {
    Status {
        verdict: Verdict::default(),
        told_ms: NOW,
        live: true,
        copy: None,
        installation: "i".into(),
        privacy: vec![],
        queue: Fixture::new().q().summary().unwrap(),
        disk_bytes: 1,
        partitions: vec![0],
        kafka: Kafka::default(),
        lost: vec![],
        dropped: vec![],
        flush: FlushStatus {
            interval_ms: 63_000,
            request_timeout_ms: 120_000,
            next_slot_ms: NOW + 41_000,
            ..FlushStatus::default()
        },
        limits: Limits::default(),
        counted: Counted::default(),
        rates: Rates::default(),
        forecast: Forecast::default(),
    }
}

fn trouble(kind: &str, words: &str, minutes: u64) -> Trouble {
    Trouble {
        kind: kind.into(),
        words: words.into(),
        since_ms: NOW - minutes * MINUTE,
        times: 7,
    }
}

fn with_rows(mut s: Status, rows: u64, age_ms: u64) -> Status {
    s.queue.rows = rows;
    s.queue.oldest_ms = Some(NOW - age_ms);
    s.forecast.inserts = Some(1);
    s
}

fn said(s: &Status) -> String {
    judge(s, NOW).sentence
}

#[test]
fn all_is_well() {
    assert_eq!(said(&calm()), "OK: nothing was read yet");
    let mut s = calm();
    s.flush.stored = Some(Stored {
        at_ms: NOW - MINUTE,
        rows: 20_000,
        bytes: 1,
        queued_bytes: 1,
        took_ms: 1,
    });
    assert_eq!(
        said(&s),
        "OK: all rows that were read are in ClickHouse; last 20,000 rows stored 12:04 UTC"
    );
    let s = with_rows(s, 12, 20_000);
    assert_eq!(
        said(&s),
        "OK: 12 rows wait, none for longer than it should; next insert in 41s, drained in 1 insert"
    );
}

/// The sentence of the issue.
#[test]
fn clickhouse_that_refuses_connections_is_told_with_since_when_and_what_comes_next() {
    let mut s = with_rows(calm(), 20_000, 269_000);
    s.flush.failing = Some(trouble(
        "unreachable",
        "cannot connect: Connection refused",
        4,
    ));
    let verdict = judge(&s, NOW);
    assert_eq!(verdict.code, Code::Delayed);
    assert_eq!(
        verdict.sentence,
        "DELAYED, nothing lost: 20,000 rows wait since 12:01 UTC (4m 29s); ClickHouse, or the proxy \
         before it, cannot be reached since 12:01 UTC (4m) (7 times): cannot connect: Connection \
         refused; next try in 41s, drained in 1 insert"
    );
    assert_eq!(verdict.since_ms, Some(NOW - 4 * MINUTE));
}

#[test]
fn each_fault_has_its_code_and_its_word() {
    let f = |change: &dyn Fn(&mut Status), code: Code, what: &str| {
        let mut s = with_rows(calm(), 10, 20_000);
        change(&mut s);
        let verdict = judge(&s, NOW);
        let first = verdict.findings.first().map(|f| f.what.text());
        assert_eq!(
            (verdict.code, first.unwrap_or_default()),
            (code, what),
            "{verdict:?}"
        );
        assert!(
            verdict.sentence.starts_with(code.title()),
            "{}",
            verdict.sentence
        );
    };
    let failing =
        |kind, minutes| move |s: &mut Status| s.flush.failing = Some(trouble(kind, "w", minutes));
    // One instance of several is refused now and then.
    f(&failing("limited", 1), Code::Ok, "");
    f(&failing("limited", 3), Code::Delayed, "refused");
    f(&failing("unreachable", 0), Code::Delayed, "unreachable");
    f(&failing("retry", 0), Code::Delayed, "failing");
    let hangs = |s: &mut Status| {
        s.flush.in_flight = Some(InFlight {
            what: "insert".into(),
            rows: 10,
            bytes: 10,
            since_ms: NOW - MINUTE,
        });
    };
    f(&hangs, Code::Delayed, "hangs");
    f(
        &|s| s.flush.hold = Some("column x".into()),
        Code::Held,
        "hold",
    );
    f(&|s| s.flush.to_create = 3, Code::Delayed, "creating");
    f(
        &|s| s.kafka.down = Some(trouble("unreachable", "w", 1)),
        Code::Delayed,
        "kafka-down",
    );
    let refused = |kind| {
        move |s: &mut Status| {
            s.kafka.down = Some(trouble("unreachable", "w", 1));
            s.kafka.fault = Some(trouble(kind, "w", 1));
        }
    };
    f(&refused("password"), Code::Delayed, "kafka-access");
    f(&refused("refused"), Code::Delayed, "kafka-down");
    f(
        &|s| s.kafka.client = Some(trouble("client", "w", 1)),
        Code::Delayed,
        "kafka-client",
    );
    f(
        &|s| s.kafka.commits = Some(trouble("commit", "w", 0)),
        Code::Ok,
        "",
    );
    f(
        &|s| s.kafka.commits = Some(trouble("commit", "w", 1)),
        Code::Delayed,
        "commits",
    );
    f(
        &|s| s.kafka.group = Some(trouble("group", "w", 0)),
        Code::Delayed,
        "kafka-group",
    );
    let pause = |kind| move |s: &mut Status| s.kafka.pause = Some(trouble(kind, "w", 20));
    f(&pause("disk"), Code::Paused, "disk-full");
    f(&pause("queue"), Code::Paused, "queue-full");
    f(&pause("quarantine"), Code::Paused, "quarantine");
    f(&|s| s.copy = Some("w".into()), Code::Held, "copy");
    f(&|s| s.live = false, Code::Delayed, "stopped");
    f(
        &|s| s.queue.oldest_ms = Some(NOW - 5 * MINUTE),
        Code::Delayed,
        "backlog",
    );
    let full = |s: &mut Status| s.forecast.full_ms = Some(NOW + 10 * MINUTE);
    f(&full, Code::AtRisk, "filling");
    let nearly = |s: &mut Status| {
        (s.limits.max_quarantine_bytes, s.limits.quarantine_drops) = (100, true);
        s.queue.quarantine.bytes = 80;
    };
    f(&nearly, Code::AtRisk, "quarantine");
}

#[test]
fn a_pause_that_kafkas_retention_may_overtake_is_a_risk() {
    let mut s = calm();
    s.kafka.pause = Some(trouble("disk", "no room", 20));
    assert_eq!(judge(&s, NOW).code, Code::Paused);
    s.kafka.unread = Some(1000);
    let verdict = judge(&s, NOW);
    assert_eq!(verdict.code, Code::AtRisk);
    assert!(
        verdict.sentence.contains("1,000 records wait in Kafka"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn a_loss_heads_everything_for_a_day() {
    let lost = |hours: u64| LostRange {
        topic: "http_log".into(),
        partition: 3,
        from: 100,
        to: 1100,
        noticed_ms: NOW - hours * 60 * MINUTE,
        unsure: false,
    };
    let mut s = calm();
    s.flush.hold = Some("column x".into());
    s.lost = vec![lost(23)];
    let verdict = judge(&s, NOW);
    assert_eq!(verdict.code, Code::Lost);
    assert!(
        verdict
            .sentence
            .starts_with("LOST: 1,000 records of http_log p3 100..1100: "),
        "{}",
        verdict.sentence
    );
    assert_eq!(verdict.findings[1].code, Code::Held, "the hold follows");
    s.lost = vec![lost(25)];
    assert_eq!(judge(&s, NOW).code, Code::Held);
    let drops = |ms| QuarantineTotals {
        dropped: 5,
        dropped_ms: Some(ms),
        ..QuarantineTotals::default()
    };
    s.queue = Summary {
        quarantine: drops(NOW - MINUTE),
        ..s.queue
    };
    assert_eq!(judge(&s, NOW).code, Code::Lost);
}

#[test]
fn records_that_wait_in_kafka_are_told_when_nobody_reads_them() {
    let partition = |still: Option<u64>| Partition {
        partition: 3,
        unread: Some(1000),
        still_since_ms: still,
        ..Partition::default()
    };
    let mut s = calm();
    s.kafka.unread = Some(1000);
    s.kafka.partitions = vec![partition(Some(NOW - 10_000))];
    assert_eq!(judge(&s, NOW).code, Code::Ok, "a moment is nothing");
    s.kafka.partitions = vec![partition(Some(NOW - 70_000))];
    let verdict = judge(&s, NOW);
    assert_eq!(
        (verdict.code, verdict.findings[0].what.text()),
        (Code::Delayed, "not-read")
    );
    // They are read, but it takes long.
    s.kafka.partitions = vec![partition(Some(NOW))];
    s.rates.rows_in = 10.0;
    let verdict = judge(&s, NOW);
    assert_eq!(
        verdict.sentence,
        "DELAYED, nothing lost: 1,000 records wait in Kafka; at 10 records a second they are read in 1m 40s"
    );
    // Of a stopped instance.
    s = calm();
    s.live = false;
    assert_eq!(
        said(&s),
        "DELAYED, nothing lost: the instance is not running: what waits in Kafka is unknown"
    );
    s.kafka.unread = Some(0);
    assert_eq!(
        said(&s),
        "OK: the instance is not running, and nothing waits"
    );
    s.kafka.unread = Some(12);
    assert_eq!(
        said(&s),
        "DELAYED, nothing lost: the instance is not running: 12 records unread in Kafka"
    );
}

#[test]
fn words_of_others_do_not_make_a_sentence_endless() {
    let mut s = calm();
    s.flush.hold = Some("\u{e9}".repeat(5000));
    assert!(said(&s).len() < 700, "{}", said(&s).len());
}

/// A topic that does not exist, or a group that does not let it in: nothing is read, and that is not OK.
#[test]
fn who_is_no_member_of_the_group_is_not_well() {
    let mut s = calm();
    s.kafka.outside = Some(trouble("group", "UnknownTopicOrPartition", 0));
    assert_eq!(judge(&s, NOW).code, Code::Ok, "it has only just begun");
    s.kafka.outside = Some(trouble("group", "UnknownTopicOrPartition", 2));
    let verdict = judge(&s, NOW);
    assert_eq!(verdict.code, Code::Delayed);
    assert!(
        verdict
            .sentence
            .contains("it is no member of the group since 12:03 UTC"),
        "{}",
        verdict.sentence
    );
}

/// Said once of 500 messages in quarantine and no row: "nothing was read yet".
/// Each field of that name, here and of a later version.
#[test]
fn all_that_goes_on_is_told_by_the_clock_as_it_is_set_now() {
    let mut s = with_rows(calm(), 5, MINUTE);
    let some = || Some(trouble("k", "w", 1));
    s.kafka = Kafka {
        down: some(),
        client: some(),
        group: some(),
        outside: some(),
        commits: some(),
        pause: some(),
        partitions: vec![Partition {
            still_since_ms: Some(NOW - MINUTE),
            ..Partition::default()
        }],
        ..Kafka::default()
    };
    s.flush.failing = some();
    s.flush.hold_since_ms = Some(NOW - MINUTE);
    s.flush.in_flight = Some(InFlight {
        what: "insert".into(),
        rows: 10,
        bytes: 10,
        since_ms: NOW - MINUTE,
    });
    fn times(v: &serde_json::Value, all: &mut Vec<u64>) {
        match v {
            serde_json::Value::Object(of) => of.iter().for_each(|(name, v)| {
                if name.ends_with("since_ms") || name == "oldest_ms" {
                    all.extend(v.as_u64());
                }
                times(v, all);
            }),
            serde_json::Value::Array(of) => of.iter().for_each(|v| times(v, all)),
            _ => {}
        }
    }
    s.restate(|ms| ms + 86_400_000);
    let mut all = Vec::new();
    times(&serde_json::to_value(&s).unwrap(), &mut all);
    assert_eq!(all, [NOW - MINUTE + 86_400_000; 11]);
}

#[test]
fn what_is_in_quarantine_is_not_called_stored() {
    let mut s = calm();
    s.queue.quarantined = 500;
    assert_eq!(
        said(&s),
        "OK: no row was read yet; 500 messages in quarantine"
    );
}

#[test]
fn while_inserts_are_held_no_insert_is_announced() {
    let mut s = with_rows(calm(), 10, 20_000);
    s.flush.hold = Some("column x".into());
    let verdict = judge(&s, NOW);
    assert_eq!(verdict.next, "ClickHouse is asked again in 41s");
}

#[test]
fn one_insert_after_a_long_stop_is_not_called_more_than_one() {
    let s = with_rows(calm(), 10, 10 * MINUTE);
    let verdict = judge(&s, NOW);
    assert!(
        verdict.sentence.contains("longer than three slots"),
        "{}",
        verdict.sentence
    );
}
