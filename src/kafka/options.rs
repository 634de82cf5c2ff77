//! How the consumer is configured: what the promise rests on is set here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use super::authorities::with_the_systems;
use super::oauth::{self, Source, Tokens};
use super::recipe::Recipe;
use super::watch;

/// Settings of the consumer.
pub struct ConsumerOptions<'a> {
    /// Bootstrap brokers, `host:port,...`.
    pub brokers: &'a str,
    /// The one topic.
    pub topic: &'a str,
    /// Consumer group.
    pub group: &'a str,
    /// Installation id, for static membership: a restart takes its partitions back at once.
    pub installation: &'a str,
    /// librdkafka properties of the user, over ours.
    pub properties: &'a BTreeMap<String, String>,
    /// A file whose first line is the password.
    pub password_file: Option<&'a Path>,
    /// Where tokens come from, for OAUTHBEARER.
    pub tokens: Option<Source>,
}

impl ConsumerOptions<'_> {
    /// What clients are made of; `check` makes one of the same.
    pub fn recipe(&self) -> Recipe {
        let tokens = self.tokens.clone().map(Tokens::new);
        let password_file = self.password_file.map(PathBuf::from);
        Recipe::new(self.client_config(), password_file, tokens)
    }

    fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "anonymizer")
            .set("group.id", self.group)
            .set(
                "group.instance.id",
                format!("anonymizer-{}", self.installation),
            )
            // Offsets live in the queue; a commit follows its sync and nothing else.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // An offset that Kafka no longer has must be seen, not skipped.
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            // A backlog must not pile up in memory before it reaches the disk. 16 MiB were no faster on one
            // machine, and the process took 70 MiB more.
            .set("queued.max.messages.kbytes", "4096")
            // Members hear of a rebalance at a heartbeat, and a partition that moves stands still for it.
            .set("heartbeat.interval.ms", "1000")
            .set("fetch.queue.backoff.ms", "20")
            .set("statistics.interval.ms", watch::EVERY_MS);
        config.set("bootstrap.servers", self.brokers);
        for (name, value) in self.properties {
            if !oauth::PROPERTIES.contains(&name.as_str()) {
                config.set(name, value);
            }
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        with_the_systems(config)
    }
}
