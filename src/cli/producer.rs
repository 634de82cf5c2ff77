//! A producer that stores nothing twice, for the commands that produce: `produce` and `privacy audit`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use crate::kafka::oauth::Tokens;
use crate::settings::Config;

/// How long to wait for a topic that the broker may still be creating.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(15);

/// How long Kafka may take for the last records; longer than `message.timeout.ms`, so that what
/// fails has failed by then.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(75);

/// A producer to the topic of these settings.
pub(super) struct Producer {
    client: BaseProducer<Deliveries>,
    topic: String,
    partitions: u64,
}

impl Producer {
    /// Waits a little for the topic, since the question may create it.
    ///
    /// # Errors
    /// Kafka or the topic cannot be reached.
    pub(super) fn connect(config: &Config, stop: &AtomicBool) -> anyhow::Result<Producer> {
        let mut client = rdkafka::ClientConfig::new();
        // Ours first, so that kafka_properties can change them, by the names that those have; what the counts
        // rest on comes last.
        client
            .set("queue.buffering.max.ms", "20")
            .set("compression.codec", "lz4")
            .set("message.timeout.ms", "60000");
        let given = config.kafka_client()?;
        for (name, value) in given.config_map() {
            client.set(name, value);
        }
        // Without idempotence a retried request could store its records twice.
        client
            .set("enable.idempotence", "true")
            .set("request.required.acks", "all");
        let tokens = config.tokens().map(Tokens::new);
        if let Some(tokens) = &tokens {
            let asked = tokens.get(TOPIC_TIMEOUT);
            asked.map_err(|fault| anyhow!("{fault}; {}", fault.reason.remedy()))?;
        }
        let needs_token = tokens.is_some();
        let deliveries = Deliveries {
            tokens,
            ..Deliveries::default()
        };
        let client: BaseProducer<Deliveries> = client
            .create_with_context(deliveries)
            .context("cannot make a Kafka producer of these kafka_properties")?;
        if needs_token {
            // librdkafka asks for it by an event.
            client.poll(Duration::from_millis(100));
        }
        let topic = &config.kafka_topic;
        let partitions = partitions(&client, topic, stop)
            .with_context(|| format!("cannot reach topic {topic} at {}", config.kafka_brokers))?;
        Ok(Producer {
            client,
            topic: topic.clone(),
            partitions,
        })
    }

    /// How many the topic has.
    pub(super) fn partitions(&self) -> u64 {
        self.partitions
    }

    /// Sends one record; waits for room while the client's queue is full.
    ///
    /// # Errors
    /// It cannot be sent, or one sent before was not taken.
    pub(super) fn send(&self, partition: i32, payload: &[u8]) -> anyhow::Result<()> {
        let topic = &self.topic;
        loop {
            let record = BaseRecord::<(), [u8]>::to(topic)
                .partition(partition)
                .payload(payload);
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    // A record that cannot be delivered leaves the queue by its timeout, so this ends.
                    self.client.poll(Duration::from_millis(20));
                    self.client.context().check()?;
                }
                Err((error, _)) => {
                    bail!("cannot produce to partition {partition} of {topic}: {error}")
                }
            }
        }
    }

    /// Hears which of the records sent were taken. Does not wait: the client's `poll` spins through what is left
    /// of its last millisecond.
    ///
    /// # Errors
    /// One was not.
    pub(super) fn hear(&self) -> anyhow::Result<()> {
        self.client.poll(Duration::ZERO);
        self.client.context().check()
    }

    /// Waits until Kafka has all of `sent`.
    ///
    /// # Errors
    /// Kafka does not answer, or did not take one.
    pub(super) fn flush(&self, sent: u64) -> anyhow::Result<()> {
        self.client
            .flush(FLUSH_TIMEOUT)
            .context("Kafka did not answer for the last records")?;
        self.client.context().check()?;
        let delivered = self.client.context().delivered.load(Ordering::Relaxed);
        ensure!(
            delivered == sent,
            "BUG: sent {sent} records, but Kafka answered for {delivered}"
        );
        Ok(())
    }
}

/// Produces these messages to these partitions in turn; the offsets after what each had then.
///
/// # Errors
/// Kafka or the topic cannot be reached, or a message was not taken.
pub(super) fn messages(
    config: &Config,
    partitions: Vec<i32>,
    messages: impl Iterator<Item = Vec<u8>>,
) -> anyhow::Result<BTreeMap<i32, i64>> {
    ensure!(
        !partitions.is_empty(),
        "there is no partition to produce to: `status` says why"
    );
    let producer = Producer::connect(config, &AtomicBool::new(false))?;
    let mut count = 0;
    for (message, partition) in messages.zip(partitions.iter().cycle()) {
        producer.send(*partition, &message)?;
        count += 1;
        producer.hear()?;
    }
    producer.flush(count)?;
    let used = partitions.iter().take(usize::try_from(count)?);
    used.map(|partition| {
        let client = producer.client.client();
        let (_, end) = client.fetch_watermarks(&producer.topic, *partition, TOPIC_TIMEOUT)?;
        Ok((*partition, end))
    })
    .collect()
}

/// How many partitions the topic has; waits a little, since the question may create the topic.
fn partitions(
    producer: &BaseProducer<Deliveries>,
    topic: &str,
    stop: &AtomicBool,
) -> anyhow::Result<u64> {
    let deadline = Instant::now() + TOPIC_TIMEOUT;
    loop {
        let metadata = producer
            .client()
            .fetch_metadata(Some(topic), TOPIC_TIMEOUT)?;
        let error = match metadata.topics().iter().find(|t| t.name() == topic) {
            Some(t) if t.error().is_none() && !t.partitions().is_empty() => {
                return Ok(t.partitions().len() as u64);
            }
            Some(t) => t.error().map(RDKafkaErrorCode::from),
            None => None,
        };
        let words = error.map_or("it has no partitions".into(), |e| e.to_string());
        ensure!(
            !stop.load(Ordering::Relaxed),
            "stopped while waiting for it ({words})"
        );
        ensure!(Instant::now() < deadline, "{words}");
        producer.poll(Duration::from_millis(250));
    }
}

/// Counts the answers to what was sent; called from the producer's `poll`.
#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    first_error: Mutex<Option<KafkaError>>,
    tokens: Option<Arc<Tokens>>,
}

impl Deliveries {
    fn check(&self) -> anyhow::Result<()> {
        let first_error = self.first_error.lock().unwrap_or_else(|e| e.into_inner());
        match &*first_error {
            None => Ok(()),
            Some(e) => Err(anyhow!("Kafka did not take a record: {e}")),
        }
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Tokens::answer(self.tokens.as_ref(), |_| {})
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => _ = self.delivered.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => {
                let mut first = self.first_error.lock().unwrap_or_else(|e| e.into_inner());
                first.get_or_insert_with(|| error.clone());
            }
        }
    }
}
