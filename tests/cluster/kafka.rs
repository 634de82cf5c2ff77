//! Real brokers of their own, each through `ops/stack`, and what operators and accidents do to them.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::cut::cut;
use crate::support::kafka::{GROUP, Kafka, TOPIC, wait};
use crate::support::stack::{Stack, free_port};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(120);
/// Where the brokers keep the groups' offsets, and in how many partitions (`server.properties`).
const OFFSETS_TOPIC: &str = "__consumer_offsets";
const OFFSETS_PARTITIONS: i32 = 10;

/// One or three nodes, each broker and controller. Stopped when dropped.
pub struct Cluster {
    nodes: Vec<Stack>,
    ports: Vec<u16>,
    partitions: i32,
}

impl Cluster {
    /// With the topic, which is on every node.
    pub fn start(nodes: usize, partitions: i32) -> Cluster {
        let cluster = Cluster::without_topic(nodes, partitions);
        cluster.create_topic(&[]);
        cluster
    }

    pub fn without_topic(nodes: usize, partitions: i32) -> Cluster {
        let ports: Vec<u16> = (0..nodes).map(|_| free_port()).collect();
        let controllers: Vec<u16> = (0..nodes).map(|_| free_port()).collect();
        let voters: Vec<String> = (1..)
            .zip(&controllers)
            .map(|(id, port)| format!("{id}@127.0.0.1:{port}"))
            .collect();
        let stacks = (0..nodes).map(|n| {
            let extra = format!(
                "node.id={}\n\
                 default.replication.factor={nodes}\n\
                 offsets.topic.replication.factor={nodes}\n\
                 transaction.state.log.replication.factor={nodes}\n\
                 controller.quorum.election.timeout.ms=500\n\
                 controller.quorum.fetch.timeout.ms=1500\n\
                 log.cleaner.backoff.ms=200\n\
                 log.cleaner.dedupe.buffer.size=16777216",
                n + 1
            );
            let environment = vec![
                ("KAFKA_PORT", ports[n].to_string()),
                ("KAFKA_CONTROLLER_PORT", controllers[n].to_string()),
                ("KAFKA_VOTERS", voters.join(",")),
                ("KAFKA_CLUSTER_ID", "dGVzdC1jbHVzdGVyLTAwMQ".into()),
                ("KAFKA_PARTITIONS", "0".into()),
                ("KAFKA_HEAP", "256m".into()),
                ("KAFKA_EXTRA", extra),
            ];
            Stack::new(&["kafka"], environment)
        });
        let cluster = Cluster {
            nodes: stacks.collect(),
            ports,
            partitions,
        };
        // A node is up when most are.
        thread::scope(|scope| {
            for node in &cluster.nodes {
                scope.spawn(|| node.start());
            }
        });
        cluster
    }

    pub fn address(&self) -> String {
        let all: Vec<String> = self
            .ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        all.join(",")
    }

    /// What the tests know of the topic.
    pub fn kafka(&self) -> Kafka {
        Kafka::at(&self.address(), self.partitions)
    }

    /// Stops one in good order and starts it again.
    pub fn restart(&self, node: usize) {
        self.nodes[node].restart();
    }

    pub fn stop(&self, node: usize) {
        self.nodes[node].stop();
    }

    pub fn start_again(&self, node: usize) {
        self.nodes[node].start();
    }

    /// The same; false where it does not come up in time.
    #[allow(dead_code, reason = "only tests/soak goes on then")]
    pub fn starts_again(&self, node: usize) -> bool {
        self.nodes[node].starts()
    }

    /// Stops a node, cuts off all but so many hundredths of the topic's batches, and starts it again.
    pub fn cut(&self, node: usize, keep: u64) -> u64 {
        self.stop(node);
        let gone = cut(&self.disk(node), TOPIC, keep);
        self.start_again(node);
        gone
    }

    /// Copies all that a node has on its disk, while it is stopped; it runs again then.
    pub fn copy(&self, node: usize) -> tempfile::TempDir {
        let to = tempfile::tempdir().unwrap();
        self.stop(node);
        copy_all(&self.disk(node), to.path());
        self.start_again(node);
        to
    }

    /// Stops a node, puts such a copy in the place of what it has, and starts it again.
    pub fn put_back(&self, node: usize, copy: &Path) {
        self.stop(node);
        std::fs::remove_dir_all(self.disk(node)).unwrap();
        copy_all(copy, &self.disk(node));
        self.start_again(node);
    }

    fn disk(&self, node: usize) -> PathBuf {
        self.nodes[node].dir().join("data/kafka")
    }

    pub fn signal(&self, node: usize, signal: Signal) {
        self.nodes[node].signal("kafka", signal);
    }

    /// The node that leads a partition of the topic.
    pub fn leader(&self, partition: i32) -> Option<usize> {
        self.leader_of(TOPIC, partition)
    }

    /// The node that coordinates the group: it leads the partition that has the group's offsets.
    pub fn coordinator(&self) -> Option<usize> {
        // As Java hashes a text.
        let hash = GROUP
            .bytes()
            .fold(0i32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        self.leader_of(OFFSETS_TOPIC, (hash & i32::MAX) % OFFSETS_PARTITIONS)
    }

    fn leader_of(&self, topic: &str, partition: i32) -> Option<usize> {
        let client: BaseConsumer = self.config().create().unwrap();
        let metadata = client.fetch_metadata(Some(topic), PATIENCE).ok()?;
        let topic = metadata.topics().first()?;
        let partition = topic.partitions().iter().find(|p| p.id() == partition)?;
        usize::try_from(partition.leader() - 1).ok()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    /// Waits until the group has no member: a stopped static member stays until its session ends.
    pub fn wait_group_empty(&self) {
        let client: BaseConsumer = self.config().create().unwrap();
        until("the group is empty", || {
            let groups = client.fetch_group_list(Some(GROUP), PATIENCE).ok()?;
            let members = groups.groups().iter().map(|g| g.members().len());
            (members.sum::<usize>() == 0).then_some(())
        });
    }

    /// Sets the group's offsets, as Kafka's own tool does.
    pub fn set_offsets(&self, offset: i64) {
        let client: BaseConsumer = self.config().set("group.id", GROUP).create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(TOPIC, partition, Offset::Offset(offset))
                .unwrap();
        }
        client.commit(&list, CommitMode::Sync).unwrap();
    }

    /// Deletes the group with its offsets, as their expiry does.
    pub fn delete_group(&self) {
        self.wait_group_empty();
        let deleted = wait(self.admin().delete_groups(&[GROUP], &options())).unwrap();
        deleted[0].as_ref().unwrap();
    }

    /// Deletes the records of each partition below an offset, as retention does.
    pub fn delete_records(&self, below: i64) {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(TOPIC, partition, Offset::Offset(below))
                .unwrap();
        }
        let deleted = wait(self.admin().delete_records(&list, &options())).unwrap();
        for element in deleted.elements() {
            element.error().unwrap();
        }
    }

    pub fn add_partitions(&mut self, partitions: i32) {
        let wanted = NewPartitions::new(TOPIC, partitions as usize);
        let created = wait(self.admin().create_partitions([&wanted], &options())).unwrap();
        created[0].as_ref().unwrap();
        self.partitions = partitions;
    }

    pub fn create_topic(&self, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(
            TOPIC,
            self.partitions,
            TopicReplication::Fixed(self.nodes.len() as i32),
        );
        for (name, value) in settings {
            topic = topic.set(name, value);
        }
        let admin = self.admin();
        // After a deletion the name is free only some moments later; after a start not all nodes
        // are known at once.
        until("the topic can be created", || {
            let created = wait(admin.create_topics([&topic], &options())).ok()?;
            created[0].is_ok().then_some(())
        });
    }

    /// Deletes the topic and creates it again.
    pub fn recreate_topic(&self) {
        let deleted = wait(self.admin().delete_topics(&[TOPIC], &options())).unwrap();
        deleted[0].as_ref().unwrap();
        self.create_topic(&[]);
    }

    /// First offset and end of a partition.
    pub fn ends(&self, partition: i32) -> (i64, i64) {
        let client: BaseConsumer = self.config().create().unwrap();
        until("the ends are told", || {
            client.fetch_watermarks(TOPIC, partition, PATIENCE).ok()
        })
    }

    /// All messages that a reader gets now, by partition and offset.
    pub fn readable(&self) -> Vec<(i32, i64, Vec<u8>)> {
        let client: BaseConsumer = self
            .config()
            .set("group.id", "looks only")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(TOPIC, partition, Offset::Beginning)
                .unwrap();
        }
        client.assign(&list).unwrap();
        let (mut messages, mut ended) = (Vec::new(), 0);
        let deadline = Instant::now() + PATIENCE;
        while ended < self.partitions {
            assert!(Instant::now() < deadline, "the topic cannot be read");
            match client.poll(Duration::from_secs(1)) {
                Some(Ok(m)) => {
                    let payload = m.payload().unwrap_or_default().to_vec();
                    messages.push((m.partition(), m.offset(), payload));
                }
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
                _ => {}
            }
        }
        messages
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy_all(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE))
}

/// Asks until there is an answer.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(200));
    }
}
