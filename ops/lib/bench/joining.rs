//! How long a partition stands still while members join a group: librdkafka's consumers alone, as a
//! baseline for the program's instances.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

const TOPIC: &str = "http_log";

/// Three members that join one after the other, `wait` seconds apart, while somebody produces to all
/// partitions. Prints the longest time in which no record of a partition came, in seconds.
pub fn joining(brokers: &str, group: &str, wait: u64) {
    let began = Instant::now();
    let wait = Duration::from_secs(wait);
    let last: Mutex<BTreeMap<i32, (Instant, Duration)>> = Mutex::default();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for member in 0..3 {
            let (last, done) = (&last, &done);
            scope.spawn(move || {
                std::thread::sleep(wait * member);
                read(brokers, group, member, last, done);
            });
        }
        std::thread::sleep(wait.saturating_sub(began.elapsed()));
        // What came before the first member had everything does not count.
        for (_, longest) in last.lock().expect("alive").values_mut() {
            *longest = Duration::ZERO;
        }
        std::thread::sleep(2 * wait);
        done.store(true, Ordering::SeqCst);
    });
    let last = last.lock().expect("alive");
    let longest = last.values().map(|(_, longest)| *longest).max();
    println!("{}", longest.unwrap_or(wait).as_secs_f64());
}

fn read(
    brokers: &str,
    group: &str,
    member: u32,
    last: &Mutex<BTreeMap<i32, (Instant, Duration)>>,
    done: &AtomicBool,
) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        // As the program does.
        .set("group.instance.id", format!("member-{member}"))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("auto.offset.reset", "latest")
        .set("auto.commit.interval.ms", "250")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[TOPIC]).expect("subscribed");
    while !done.load(Ordering::SeqCst) {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let now = Instant::now();
            let mut last = last.lock().expect("alive");
            let entry = last
                .entry(message.partition())
                .or_insert((now, Duration::ZERO));
            entry.1 = entry.1.max(now - entry.0);
            entry.0 = now;
        }
    }
}
