//! librdkafka's mock cluster with the topic `http_log`, in this process.
//!
//! It keeps 5 MiB a partition and drops the oldest beyond that: for small tests only.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anonymizer::anonymize::anonymize;
use anonymizer::decode::decode;
use anonymizer::encode::encode;
use anonymizer::synth::Synth;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::fake_clickhouse::Multiset;

pub const TOPIC: &str = "http_log";
pub const GROUP: &str = "anonymizer";
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker. Stops when dropped.
pub struct Kafka {
    pub cluster: MockCluster<'static, DefaultProducerContext>,
    partitions: i32,
    /// The rows that ClickHouse has to have in the end.
    pub expected: Multiset,
}

impl Kafka {
    pub fn start(partitions: i32) -> Kafka {
        let cluster = MockCluster::new(1).expect("mock cluster");
        cluster.create_topic(TOPIC, partitions, 1).expect("topic");
        Kafka {
            cluster,
            partitions,
            expected: HashMap::new(),
        }
    }

    /// Produces `count` records of `seed`, evenly over the partitions, and waits for the acks.
    pub fn produce(&mut self, seed: u64, count: usize) {
        let messages: Vec<Vec<u8>> = Synth::new(seed, 1_700_000_000_000)
            .take(count)
            .map(|record| {
                let mut message = Vec::new();
                record.encode_into(&mut message);
                message
            })
            .collect();
        self.send(&messages);
    }

    /// Produces messages as they are; those that decode are expected as rows.
    pub fn send(&mut self, messages: &[Vec<u8>]) {
        let producer: BaseProducer = self.config().set("linger.ms", "5").create().unwrap();
        for (i, message) in messages.iter().enumerate() {
            let mut row = Vec::new();
            if let Ok(Ok(())) = decode(message, |r| encode(&anonymize(r), &mut row)) {
                *self.expected.entry(row).or_default() += 1;
            }
            let record = BaseRecord::<(), Vec<u8>>::to(TOPIC)
                .partition(i as i32 % self.partitions)
                .payload(message);
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Committed offset of each partition that has one.
    pub fn committed(&self) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = self.config().set("group.id", GROUP).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(TOPIC, 0, self.partitions - 1);
        let list = consumer.committed_offsets(list, PATIENCE).unwrap();
        list.elements()
            .iter()
            .filter_map(|e| match e.offset() {
                Offset::Offset(offset) => Some((e.partition(), offset)),
                _ => None,
            })
            .collect()
    }

    pub fn expected_rows(&self) -> u64 {
        self.expected.values().sum()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers());
        config
    }
}
