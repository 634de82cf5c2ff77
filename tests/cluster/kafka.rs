//! A real broker of its own, through `ops/stack`, and what operators do to it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::support::kafka::{GROUP, TOPIC};
use crate::support::stack::{Stack, free_port};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(120);

/// Stopped when dropped.
pub struct Broker {
    stack: Stack,
    port: u16,
    partitions: i32,
}

impl Broker {
    pub fn start(partitions: i32) -> Broker {
        let port = free_port();
        let environment = vec![
            ("KAFKA_PORT", port.to_string()),
            ("KAFKA_CONTROLLER_PORT", free_port().to_string()),
            ("KAFKA_PARTITIONS", partitions.to_string()),
        ];
        Broker {
            stack: Stack::up(&["kafka"], environment),
            port,
            partitions,
        }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn restart(&self) {
        self.stack.restart();
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        config
    }

    /// Waits until the group has no member: a stopped static member stays until its session ends.
    pub fn wait_group_empty(&self) {
        let client: BaseConsumer = self.config().create().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let groups = client.fetch_group_list(Some(GROUP), PATIENCE).unwrap();
            let members = groups.groups().iter().map(|g| g.members().len());
            if members.sum::<usize>() == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "the group keeps its members");
            std::thread::sleep(Duration::from_millis(200));
        }
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

    /// Deletes the topic and creates it again.
    pub fn recreate_topic(&self) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let deleted = wait(admin.delete_topics(&[TOPIC], &options)).unwrap();
        deleted[0].as_ref().unwrap();
        let topic = NewTopic::new(TOPIC, self.partitions, TopicReplication::Fixed(1));
        // The name is free only some moments after the deletion was answered.
        let deadline = Instant::now() + PATIENCE;
        while wait(admin.create_topics([&topic], &options)).unwrap()[0].is_err() {
            assert!(Instant::now() < deadline, "the topic cannot be created");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// rdkafka's admin calls are futures; there is no runtime here, and need be none.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(out) = future.as_mut().poll(&mut context) {
            return out;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
