//! `produce` against librdkafka's mock cluster, read back with a consumer.

use super::*;
use crate::privacy::Policy;
use crate::settings::Settings;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

const PARTITIONS: i32 = 3;

fn config(brokers: &str) -> Config {
    let mut config = Settings::default().load_from([]).unwrap();
    config.kafka_brokers = brokers.to_string();
    config
}

fn args(count: u64) -> ProduceArgs {
    ProduceArgs {
        count,
        seed: 11,
        start_ms: Some(1_700_000_000_000),
        ..Default::default()
    }
}

fn produce_to(brokers: &str, args: &ProduceArgs) -> anyhow::Result<Summary> {
    produce(
        args,
        &config(brokers),
        interval(args, None)?,
        &AtomicBool::new(false),
    )
}

/// The payloads of each partition, in order.
fn read_all(brokers: &str, count: u64) -> Vec<Vec<Vec<u8>>> {
    let consumer: BaseConsumer = config(brokers)
        .kafka_client()
        .unwrap()
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for p in 0..PARTITIONS {
        list.add_partition_offset("http_log", p, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut all = vec![vec![]; PARTITIONS as usize];
    let deadline = Instant::now() + Duration::from_secs(20);
    for _ in 0..count {
        let message = loop {
            assert!(Instant::now() < deadline, "not all {count} records came");
            if let Some(message) = consumer.poll(Duration::from_secs(1)) {
                break message.unwrap();
            }
        };
        all[message.partition() as usize].push(message.payload().unwrap().to_vec());
    }
    assert!(
        consumer.poll(Duration::from_millis(500)).is_none(),
        "more than {count} records"
    );
    all
}

fn mock() -> MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("http_log", PARTITIONS, 1).unwrap();
    cluster
}

#[test]
fn what_is_produced_is_what_the_seed_says_and_what_the_summary_counts() {
    let cluster = mock();
    let brokers = cluster.bootstrap_servers();
    let summary = produce_to(&brokers, &args(5_000)).unwrap();

    let mut expected = vec![vec![]; PARTITIONS as usize];
    let mut counted = Summary::default();
    for (i, record) in Synth::new(11, 1_700_000_000_000).take(5_000).enumerate() {
        let mut payload = vec![];
        record.encode_into(&mut payload);
        counted.add(&record, payload.len());
        expected[i % PARTITIONS as usize].push(payload);
    }
    assert_eq!(summary, counted);
    assert_eq!(summary.count, 5_000);
    assert_eq!(summary.timestamp_ms, (1_700_000_000_000, 1_700_000_004_999));
    for counts in [
        summary.by_response_status.values().sum::<u64>(),
        summary.by_resource_id.values().sum(),
        summary.by_masked_addr.values().sum(),
    ] {
        assert_eq!(counts, 5_000);
    }
    assert!(
        read_all(&brokers, 5_000) == expected,
        "other records than the seed's"
    );
}

#[test]
fn a_stop_ends_it_with_all_that_was_sent_delivered() {
    let cluster = mock();
    let config = config(&cluster.bootstrap_servers());
    let stop = AtomicBool::new(false);
    let summary = std::thread::scope(|scope| {
        let endless = scope.spawn(|| produce(&args(0), &config, Duration::from_millis(2), &stop));
        let consumer: BaseConsumer = config.kafka_client().unwrap().create().unwrap();
        let there = |p| {
            let ends = consumer.fetch_watermarks("http_log", p, Duration::from_secs(1));
            ends.map_or(0, |(_, end)| end)
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while (0..PARTITIONS).map(there).sum::<i64>() < 10 {
            assert!(Instant::now() < deadline, "no records came");
        }
        stop.store(true, Ordering::Relaxed);
        endless.join().unwrap().unwrap()
    });
    assert!(summary.count >= 10, "{}", summary.count);
    let read = read_all(&config.kafka_brokers, summary.count);
    assert_eq!(
        read.iter().map(|p| p.len() as u64).sum::<u64>(),
        summary.count
    );
}

#[test]
fn the_rate_is_kept() {
    let cluster = mock();
    let args = ProduceArgs {
        rate: Some(1_000),
        ..args(1_500)
    };
    let start = Instant::now();
    let summary = produce_to(&cluster.bootstrap_servers(), &args).unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(1_499),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(summary.count, 1_500);
}

#[test]
fn a_full_queue_waits_and_nothing_is_left_out() {
    let cluster = mock();
    let mut config = config(&cluster.bootstrap_servers());
    config
        .kafka_properties
        .insert("queue.buffering.max.messages".into(), "100".into());
    let summary = produce(
        &args(3_000),
        &config,
        Duration::ZERO,
        &AtomicBool::new(false),
    )
    .unwrap();
    assert_eq!(summary.count, 3_000);
    let read = read_all(&config.kafka_brokers, 3_000);
    assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [1_000; 3]);
}

#[test]
fn a_record_that_kafka_refuses_is_an_error() {
    let cluster = mock();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 8]);
    let error = produce_to(&cluster.bootstrap_servers(), &args(10)).unwrap_err();
    assert!(
        format!("{error:#}").contains("Kafka did not take a record"),
        "{error:#}"
    );
}

#[test]
fn the_delay_of_the_environment_yields_to_the_flags() {
    let with = |rate, delay| ProduceArgs {
        rate,
        delay,
        ..Default::default()
    };
    let ms = Duration::from_millis;
    assert_eq!(interval(&with(None, None), None).unwrap(), ms(0));
    assert_eq!(interval(&with(None, None), Some("")).unwrap(), ms(0));
    assert_eq!(interval(&with(None, None), Some("100")).unwrap(), ms(100));
    assert_eq!(interval(&with(None, Some(7)), Some("100")).unwrap(), ms(7));
    assert_eq!(
        interval(&with(Some(50), None), Some("100")).unwrap(),
        ms(20)
    );
    assert_eq!(interval(&with(Some(0), None), Some("100")).unwrap(), ms(0));
    let error = interval(&with(None, None), Some("fast"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("KAFKA_PRODUCER_DELAY_MS") && error.contains("fast"),
        "{error}"
    );
}

#[test]
fn addresses_are_masked_by_the_rule() {
    assert_eq!(masked("1.2.3.4"), "1.2.3.X");
    assert_eq!(masked("2001:db8:85a3:1::7334"), "2001:db8:85a3::X");
}

/// Two rules written apart: if one of them is wrong, an end-to-end test would only show a riddle.
#[test]
fn the_program_masks_what_is_produced_as_the_summary_does() {
    for record in Synth::new(5, 0).take(20_000) {
        let address = &record.remote_addr;
        let by_program = crate::privacy::anonymize::mask(address.as_bytes(), &Policy::default());
        assert_eq!(
            by_program.as_bytes(),
            masked(address).as_bytes(),
            "{address}"
        );
    }
}
