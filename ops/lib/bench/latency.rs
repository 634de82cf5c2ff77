//! How long a record takes from the producer to the commit that follows its sync.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anonymizer::record::synth::Synth;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::fill::{INTERVAL, START_MS};

const TOPIC: &str = "http_log";
const PATIENCE: Duration = Duration::from_secs(30);

/// How often Kafka is asked for the commits: as much too late a commit is seen.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// Produces `rate` records a second for `seconds`, evenly over the partitions, and asks for the commits of
/// `group` meanwhile. Prints a line of JSON with percentiles in ms.
pub fn latency(brokers: &str, group: &str, rate: u64, seconds: u64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let producer: BaseProducer = config
        .clone()
        .set("linger.ms", "0")
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    let consumer: BaseConsumer = config.set("group.id", group).create().expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(TOPIC), PATIENCE)
        .expect("the topic");
    let partitions = metadata.topics()[0].partitions().len() as i32;
    let ends: Vec<i64> = (0..partitions)
        .map(|p| {
            let marks = consumer.fetch_watermarks(TOPIC, p, PATIENCE);
            marks.expect("an offset").1
        })
        .collect();

    let began = Instant::now();
    let done = AtomicBool::new(false);
    let (sent, commits) = std::thread::scope(|scope| {
        let commits = scope.spawn(|| watch(&consumer, partitions, began, &done));
        let sent = produce(&producer, &ends, rate, Duration::from_secs(seconds), began);
        producer.flush(PATIENCE).expect("all taken");
        // The last commits may take a while.
        std::thread::sleep(Duration::from_secs(3));
        done.store(true, Ordering::SeqCst);
        (sent, commits.join().expect("watcher"))
    });
    let mut took: Vec<f64> = Vec::with_capacity(sent.len());
    for (partition, offset, at) in sent {
        let seen = &commits[&partition];
        let first = seen.partition_point(|(next, _)| *next <= offset);
        let when = seen.get(first).map_or(PATIENCE, |(_, when)| *when);
        took.push(when.saturating_sub(at).as_secs_f64() * 1000.0);
    }
    took.sort_unstable_by(f64::total_cmp);
    let part = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!(
        "{{\"records\": {}, \"p50\": {:.1}, \"p95\": {:.1}, \"p99\": {:.1}, \"max\": {:.1}}}",
        took.len(),
        part(0.5),
        part(0.95),
        part(0.99),
        part(1.0)
    );
}

/// Partition, offset and time of each record when it was given to the producer.
fn produce(
    producer: &BaseProducer,
    ends: &[i64],
    rate: u64,
    time: Duration,
    began: Instant,
) -> Vec<(i32, i64, Duration)> {
    let mut synth = Synth::new(7, START_MS).with_interval(INTERVAL);
    let (mut sent, mut message) = (Vec::new(), Vec::new());
    while began.elapsed() < time {
        let due = u128::from(rate) * began.elapsed().as_micros() / 1_000_000;
        while (sent.len() as u128) < due {
            let partition = sent.len() % ends.len();
            message.clear();
            synth.next().expect("endless").encode_into(&mut message);
            let offset = ends[partition] + (sent.len() / ends.len()) as i64;
            let record = BaseRecord::<(), Vec<u8>>::to(TOPIC)
                .partition(partition as i32)
                .payload(&message);
            let at = began.elapsed();
            producer.send(record).map_err(|(e, _)| e).expect("sent");
            sent.push((partition as i32, offset, at));
        }
        producer.poll(Duration::from_millis(1));
    }
    sent
}

/// By partition the committed offsets in order, each with the time when it was first seen.
fn watch(
    consumer: &BaseConsumer,
    partitions: i32,
    began: Instant,
    done: &AtomicBool,
) -> BTreeMap<i32, Vec<(i64, Duration)>> {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(TOPIC, 0, partitions - 1);
    let mut seen: BTreeMap<i32, Vec<(i64, Duration)>> =
        (0..partitions).map(|p| (p, Vec::new())).collect();
    while !done.load(Ordering::SeqCst) {
        // No answer while the coordinator is still being found.
        let answer = consumer.committed_offsets(list.clone(), PATIENCE);
        let now = began.elapsed();
        for element in answer.iter().flat_map(TopicPartitionList::elements) {
            let all = seen.entry(element.partition()).or_default();
            if let Offset::Offset(offset) = element.offset()
                && all.last().is_none_or(|(last, _)| *last < offset)
            {
                all.push((offset, now));
            }
        }
        std::thread::sleep(ASK_EVERY);
    }
    seen
}
