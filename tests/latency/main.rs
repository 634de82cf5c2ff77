//! How long does a record take from Kafka to a row that can be read? Measured, not tested: on Kafka,
//! nginx at one request a minute and ClickHouse's engine, with the program's own defaults.
//!
//! ```text
//! cargo test --test latency [-- SECONDS [RECORDS_A_SECOND]]      600 and 200
//! ```
//! Then a backlog at once, for the bytes that a row takes in a body.

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anonymizer::record::synth::Synth;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use support::kafka::{GROUP, Kafka, TOPIC, messages};
use support::program::{Program, Setup};
use support::stack::{Stack, free_port};

const PARTITIONS: i32 = 6;
const TICK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(400);
const BACKLOG: usize = 400_000;

fn main() {
    let args: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse().ok())
        .collect();
    let seconds = args.first().copied().unwrap_or(600);
    let rate = args.get(1).copied().unwrap_or(200);
    let (kafka_port, clickhouse, proxy) = (free_port(), free_port(), free_port());
    let _stack = Stack::up(
        &["kafka", "clickhouse", "nginx"],
        vec![
            ("KAFKA_PORT", kafka_port.to_string()),
            ("KAFKA_CONTROLLER_PORT", free_port().to_string()),
            ("KAFKA_PARTITIONS", PARTITIONS.to_string()),
            ("CLICKHOUSE_PORT", clickhouse.to_string()),
            ("PROXY_PORT", proxy.to_string()),
        ],
    );
    let kafka = Kafka::at(&format!("127.0.0.1:{kafka_port}"), PARTITIONS);
    let mut setup = Setup::at(&kafka, &format!("http://127.0.0.1:{proxy}"));
    for (name, default) in [
        ("--flush-interval", "63s"),
        ("--sync-interval", "250ms"),
        ("--min-free-disk", "2GiB"),
    ] {
        setup.set(name, default);
    }
    let program = setup.run();
    program.wait_log("the tables exist");

    let clickhouse = format!("http://127.0.0.1:{clickhouse}/");
    let producing = AtomicBool::new(true);
    let config = kafka.config();
    let config = &config;
    let (sent, visible, committed) = std::thread::scope(|scope| {
        let committed = scope.spawn(|| watch_commits(config.clone(), &producing));
        let visible = scope.spawn(|| watch_rows(&clickhouse, &producing, rate * seconds));
        let sent = produce(&kafka, rate, Duration::from_secs(seconds));
        producing.store(false, Ordering::SeqCst);
        (sent, visible.join().unwrap(), committed.join().unwrap())
    });
    println!("{rate} records a second over {PARTITIONS} partitions for {seconds} s");
    show("produced -> visible in ClickHouse", visible);
    show(
        "produced -> synced, and committed to Kafka",
        sent.iter()
            .filter_map(|(partition, offset, at)| {
                let seen = committed.iter();
                let first = seen
                    .filter(|(p, next, _)| p == partition && next > offset)
                    .map(|(_, _, when)| when.saturating_sub(*at));
                first.min()
            })
            .collect(),
    );
    backlog(&kafka, &setup, program);
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

/// Sends records that say, in `bytes_sent`, when they were given to the producer. Returns for each its
/// partition, offset and that time.
fn produce(kafka: &Kafka, rate: u64, time: Duration) -> Vec<(i32, i64, u64)> {
    let producer: BaseProducer = kafka.config().set("linger.ms", "0").create().unwrap();
    let mut records = Synth::new(7, now_ms());
    let mut sent = Vec::new();
    let began = Instant::now();
    while began.elapsed() < time {
        let due = rate as u128 * began.elapsed().as_millis() / 1000;
        while (sent.len() as u128) < due {
            let at = now_ms();
            let partition = sent.len() as i32 % PARTITIONS;
            let mut record = records.next().unwrap();
            record.bytes_sent = at;
            let mut message = Vec::new();
            record.encode_into(&mut message);
            let record = BaseRecord::<(), Vec<u8>>::to(TOPIC)
                .partition(partition)
                .payload(&message);
            producer.send(record).map_err(|(e, _)| e).unwrap();
            // The topic is new, so offsets count from 0.
            sent.push((partition, sent.len() as i64 / i64::from(PARTITIONS), at));
        }
        producer.poll(TICK);
    }
    producer.flush(PATIENCE).unwrap();
    sent
}

/// Asks ClickHouse ten times a second which rows can be read. Returns how long each took, in ms.
fn watch_rows(url: &str, producing: &AtomicBool, about: u64) -> Vec<u64> {
    let ask = |sql: &str| {
        let mut answer = ureq::post(url).send(sql).unwrap();
        let body = answer.body_mut().with_config().limit(1 << 30);
        body.read_to_vec().map(String::from_utf8).unwrap().unwrap()
    };
    let mut latencies = Vec::with_capacity(about as usize);
    let mut seen = BTreeMap::<u64, u64>::new();
    let mut count = 0;
    let mut ended = None;
    loop {
        let asked = now_ms();
        let now: u64 = ask("SELECT count() FROM http_log").trim().parse().unwrap();
        if now > count {
            count = now;
            let sql = "SELECT bytes_sent, count() FROM http_log GROUP BY bytes_sent";
            for line in ask(sql).lines() {
                let (at, n) = line.split_once('\t').unwrap();
                let (at, n): (u64, u64) = (at.parse().unwrap(), n.parse().unwrap());
                let known = seen.insert(at, n).unwrap_or(0);
                latencies.extend((known..n).map(|_| asked.saturating_sub(at)));
            }
        }
        // All have arrived when two slots bring nothing more.
        match (producing.load(Ordering::SeqCst), ended) {
            (true, _) => {}
            (false, None) => ended = Some(Instant::now()),
            (false, Some(at)) if at.elapsed() > Duration::from_secs(130) => return latencies,
            (false, Some(_)) => {}
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Asks Kafka for the committed offsets: what is committed was synced before. Returns partition, offset
/// and when it was first seen.
fn watch_commits(mut config: ClientConfig, producing: &AtomicBool) -> Vec<(i32, i64, u64)> {
    let consumer: BaseConsumer = config.set("group.id", GROUP).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(TOPIC, 0, PARTITIONS - 1);
    let mut seen = Vec::new();
    let mut last = BTreeMap::new();
    while producing.load(Ordering::SeqCst) {
        // No answer while the coordinator is still being found.
        let answer = consumer.committed_offsets(list.clone(), PATIENCE);
        for element in answer.iter().flat_map(TopicPartitionList::elements) {
            if let Offset::Offset(offset) = element.offset()
                && last.insert(element.partition(), offset) != Some(offset)
            {
                seen.push((element.partition(), offset, now_ms()));
            }
        }
        std::thread::sleep(TICK);
    }
    seen
}

fn show(what: &str, mut ms: Vec<u64>) {
    ms.sort_unstable();
    let at = |part: f64| ms[((ms.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    println!(
        "{what}: {} records, p50 {:.2} s, p95 {:.2} s, p99 {:.2} s, max {:.2} s",
        ms.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
}

/// Many records at once, so that blocks are full. Says how long the body was for how many rows.
fn backlog(kafka: &Kafka, setup: &Setup, program: Program) {
    program.stop();
    let stored = messages(8, BACKLOG);
    // librdkafka's own queue takes 100,000.
    for part in stored.chunks(50_000) {
        kafka.send_keyed(part.iter().map(|m| (m.as_slice(), None)));
    }
    let program = setup.run();
    let deadline = Instant::now() + PATIENCE;
    let (mut rows, mut bytes) = (0u64, 0u64);
    while rows < BACKLOG as u64 * 9 / 10 {
        assert!(Instant::now() < deadline, "{}", program.log());
        std::thread::sleep(Duration::from_secs(1));
        (rows, bytes) = inserted(&program.log());
    }
    program.stop();
    let row = bytes as f64 / rows as f64;
    println!("a backlog: {rows} rows in bodies of {bytes} bytes, {row:.1} bytes a row");
    for mebibytes in [1u64, 16, 64, 256] {
        let an_insert = (mebibytes << 20) as f64 / row;
        println!(
            "bodies of {mebibytes} MiB: {:.0} rows an insert, {:.0} a minute at one in 63 s; with at \
             most 1,000,000 rows an insert {:.0} a minute",
            an_insert,
            an_insert * 60.0 / 63.0,
            an_insert.min(1e6) * 60.0 / 63.0
        );
    }
}

/// Rows and bytes of all inserts that the log tells of.
fn inserted(log: &str) -> (u64, u64) {
    let number = |line: &str, before: &str, after: &str| -> Option<u64> {
        let rest = line.split_once(before)?.1;
        rest.split_once(after)?.0.parse().ok()
    };
    log.lines().fold((0, 0), |(rows, bytes), line| {
        match (
            number(line, "inserted ", " rows in "),
            number(line, " rows in ", " bytes in "),
        ) {
            (Some(r), Some(b)) => (rows + r, bytes + b),
            _ => (rows, bytes),
        }
    })
}
