//! The topic `http_log`, on librdkafka's mock cluster in this process or on real brokers, and the rows
//! that must come of what was produced.
//!
//! The mock cluster keeps 5 MiB a partition and drops the oldest beyond that: for small tests only.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anonymizer::privacy::Policy;
use anonymizer::privacy::anonymize::anonymize;
use anonymizer::record::decode::decode;
use anonymizer::record::synth::Synth;
use anonymizer::row::encode::encode;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::bindings;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use super::alone::is_alone;
use super::fake_clickhouse::Multiset;
use super::held_ports::{HeldPorts, hold_ports};

pub const TOPIC: &str = "http_log";
pub const GROUP: &str = "anonymizer";
/// Those of the mock cluster.
const BROKERS: [i32; 2] = [0, 1];
const PATIENCE: Duration = Duration::from_secs(90);

/// A cluster; a mock one stops when dropped.
pub struct Kafka {
    /// The client that has the mock cluster.
    mock: Option<BaseProducer>,
    pub brokers: String,
    partitions: i32,
    topic: String,
    /// By which the rows of what is produced from now on are masked.
    pub policy: Policy,
    /// The rows that ClickHouse has to have in the end.
    pub expected: Multiset,
    /// While the mock cluster's brokers are down.
    held: Option<HeldPorts>,
}

impl Kafka {
    /// A mock cluster that answers as quickly as a real one: its group forms in a tenth of a second instead
    /// of three, and the broker 0 is there, which it names as the controller.
    #[allow(unsafe_code)]
    pub fn start(partitions: i32) -> Kafka {
        let owner: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create()
            .expect("mock cluster");
        // SAFETY: the client was made with a mock cluster, which lives as long as it does.
        unsafe {
            let mock = bindings::rd_kafka_handle_mock_cluster(owner.client().native_ptr());
            bindings::rd_kafka_mock_group_initial_rebalance_delay_ms(mock, 100);
            let added = bindings::rd_kafka_mock_broker_add(mock, 0);
            assert_eq!(added, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
        }
        let mut kafka = Kafka::at("", partitions);
        kafka.mock = Some(owner);
        let brokers = {
            let mock = kafka.mock();
            mock.create_topic(TOPIC, partitions, 1).expect("topic");
            mock.bootstrap_servers()
        };
        kafka.brokers = brokers;
        kafka
    }

    /// Brokers that somebody else runs, with the topic.
    pub fn at(brokers: &str, partitions: i32) -> Kafka {
        Kafka {
            mock: None,
            brokers: brokers.to_owned(),
            partitions,
            topic: TOPIC.to_owned(),
            policy: Policy::default(),
            expected: HashMap::new(),
            held: None,
        }
    }

    /// Another topic of theirs.
    pub fn with_topic(mut self, topic: &str) -> Kafka {
        self.topic = topic.to_owned();
        self
    }

    /// Has the brokers make the topic.
    pub fn create_topic(&self) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let topic = NewTopic::new(&self.topic, self.partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let created = wait(admin.create_topics([&topic], &options)).unwrap();
        created[0].as_ref().unwrap();
    }

    pub fn is_mock(&self) -> bool {
        self.mock.is_some()
    }

    fn mock(&self) -> MockCluster<'_, DefaultProducerContext> {
        let owner = self.mock.as_ref().expect("a mock cluster");
        owner.client().mock_cluster().expect("a mock cluster")
    }

    /// Has the mock cluster answer the next thousand requests of a kind with an error.
    pub fn refuse(&self, requests: RDKafkaApiKey, error: RDKafkaRespErr) {
        self.mock().request_errors(requests, &[error; 1000]);
    }

    /// The same for one request.
    pub fn refuse_once(&self, requests: RDKafkaApiKey, error: RDKafkaRespErr) {
        self.mock().request_errors(requests, &[error]);
    }

    /// The mock cluster's brokers take no connections any more. Each takes its port anew at once, and ends this
    /// process if it does not get it: in a test that is [`alone`](super::alone::alone) only.
    pub fn brokers_down(&mut self) {
        assert!(is_alone(), "another test may have a broker's port");
        for id in BROKERS {
            self.mock().broker_down(id).unwrap();
        }
        let held = hold_ports(&self.mock().bootstrap_servers());
        self.held = Some(held);
    }

    /// They do again.
    pub fn brokers_up(&mut self) {
        self.held = None;
        for id in BROKERS {
            self.mock().broker_up(id).unwrap();
        }
    }

    /// Produces `count` records of `seed`, evenly over the partitions, and waits for the acks.
    pub fn produce(&mut self, seed: u64, count: usize) {
        self.send(&messages(seed, count));
    }

    /// Produces messages as they are; those that decode are expected as rows.
    pub fn send(&mut self, messages: &[Vec<u8>]) {
        self.expect(messages);
        self.send_keyed(messages.iter().map(|m| (m.as_slice(), None)));
    }

    /// Produces messages with the keys given, evenly over the partitions; expects nothing.
    pub fn send_keyed<'a>(&self, messages: impl Iterator<Item = (&'a [u8], Option<String>)>) {
        self.send_with(&self.config(), messages);
    }

    /// The same by a producer with these properties.
    pub fn send_with<'a>(
        &self,
        config: &ClientConfig,
        messages: impl Iterator<Item = (&'a [u8], Option<String>)>,
    ) {
        let producer: BaseProducer = config
            .clone()
            .set("linger.ms", "5")
            .set("message.max.bytes", "20000000")
            // Or a retry could put a record there twice, when its leader goes.
            .set("enable.idempotence", "true")
            .create()
            .unwrap();
        for ((message, key), partition) in messages.zip((0..self.partitions).cycle()) {
            let mut record = BaseRecord::<String, [u8]>::to(&self.topic)
                .partition(partition)
                .payload(message);
            record.key = key.as_ref();
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// Expects the rows of messages that are produced elsewhere.
    pub fn expect(&mut self, messages: &[Vec<u8>]) {
        for message in messages {
            let mut row = Vec::new();
            if let Ok(Ok(_)) = decode(message, |r| encode(&anonymize(r, &self.policy), &mut row)) {
                *self.expected.entry(row).or_default() += 1;
            }
        }
    }

    /// Committed offset of each partition that has one.
    pub fn committed(&self) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = self.config().set("group.id", GROUP).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, self.partitions - 1);
        let deadline = Instant::now() + PATIENCE;
        let list = loop {
            // A coordinator that is only just found, or moves, answers with an error.
            match consumer.committed_offsets(list.clone(), PATIENCE) {
                Ok(list) => break list,
                Err(e) => assert!(Instant::now() < deadline, "committed offsets: {e}"),
            }
        };
        list.elements()
            .iter()
            .filter_map(|e| match e.offset() {
                Offset::Offset(offset) => Some((e.partition(), offset)),
                _ => None,
            })
            .collect()
    }

    /// Produces to so many partitions from now on.
    pub fn grow(&mut self, partitions: i32) {
        self.partitions = partitions;
    }

    pub fn expected_rows(&self) -> u64 {
        self.expected.values().sum()
    }

    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }
}

/// The first `count` records of `seed`, as messages.
pub fn messages(seed: u64, count: usize) -> Vec<Vec<u8>> {
    Synth::new(seed, 1_700_000_000_000)
        .take(count)
        .map(|record| {
            let mut message = Vec::new();
            record.encode_into(&mut message);
            message
        })
        .collect()
}

/// rdkafka's admin calls are futures; there is no runtime here, and need be none.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(out) = future.as_mut().poll(&mut context) {
            return out;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
