//! `anonymizer produce`: synthetic records into Kafka, and what exactly was produced.
//!
//! Record `i` goes to partition `i mod n`, so that a topic's content is known from the seed. Each is
//! produced once and counted when all replicas have it. `--summary` writes the counts and sums that
//! the table in ClickHouse must show in the end; its masked addresses come from a rule written here
//! on its own, so that it can catch the program's.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    net::Ipv6Addr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use rdkafka::{
    ClientContext,
    client::OAuthToken,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use serde::Serialize;

use crate::cli::exit::{Ended, Exit};
use crate::cli::json;
use crate::cli::progress::Progress;
use crate::kafka::oauth::Tokens;
use crate::record::synth::{Synth, SynthRecord};
use crate::settings::Config;

/// The producer's delay in the environment that this program comes from; milliseconds.
const DELAY_VARIABLE: &str = "KAFKA_PRODUCER_DELAY_MS";

/// The longest of them: a day.
const MOST_DELAY_MS: u64 = 86_400_000;

/// The end of the year 9999, in milliseconds since 1970. A row ends in 2106; what is beyond tries the quarantine.
const LAST_MS: u64 = 253_402_300_799_999;

/// How long to wait for a topic that the broker may still be creating.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(15);

/// How long Kafka may take for the last records; longer than `message.timeout.ms`, so that what
/// fails has failed by then.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(75);

/// The flags of `produce`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ProduceArgs {
    /// Records to produce; 0 never ends
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub count: u64,
    /// Records a second; 0 is as fast as possible [default: 0]
    #[arg(long, value_name = "R", conflicts_with = "delay", value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Milliseconds from one record to the next [env: KAFKA_PRODUCER_DELAY_MS, unless --rate is there]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=MOST_DELAY_MS))]
    pub delay: Option<u64>,
    /// Which records: the same seed and first timestamp give the same ones
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Timestamp of the first record, in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=LAST_MS))]
    pub start_ms: Option<u64>,
    /// Write what was produced to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Print what was produced as JSON
    #[arg(long)]
    pub json: bool,
}

/// What was produced: everything in it must be found again in ClickHouse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Records.
    pub count: u64,
    /// Bytes of all messages.
    pub bytes: u64,
    /// Sum of `bytes_sent`, in bytes.
    pub bytes_sent_sum: u64,
    /// Sum of `request_time_milli`, in milliseconds.
    pub request_time_milli_sum: u64,
    /// Timestamps of the first and the last record, in milliseconds since 1970.
    pub timestamp_ms: (u64, u64),
    /// Records by `response_status`.
    pub by_response_status: BTreeMap<u16, u64>,
    /// Records by `resource_id`.
    pub by_resource_id: BTreeMap<u64, u64>,
    /// Records by masked `remote_addr`.
    pub by_masked_addr: BTreeMap<String, u64>,
}

impl Summary {
    fn add(&mut self, record: &SynthRecord, bytes: usize) {
        if self.count == 0 {
            self.timestamp_ms.0 = record.timestamp_epoch_milli;
        }
        self.timestamp_ms.1 = record.timestamp_epoch_milli;
        self.count += 1;
        self.bytes += bytes as u64;
        self.bytes_sent_sum += record.bytes_sent;
        self.request_time_milli_sum += record.request_time_milli;
        *self
            .by_response_status
            .entry(record.response_status)
            .or_default() += 1;
        *self.by_resource_id.entry(record.resource_id).or_default() += 1;
        *self
            .by_masked_addr
            .entry(masked(&record.remote_addr))
            .or_default() += 1;
    }
}

/// The masking rule for addresses as [`Synth`] spells them.
fn masked(address: &str) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}::X")
        }
        Err(_) => {
            let network = address.rsplit_once('.').map_or("", |(network, _)| network);
            format!("{network}.X")
        }
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

/// Produces until the count is reached or SIGINT or SIGTERM asks for the end; a second signal ends
/// the process at once. Prints what was produced.
///
/// # Errors
/// Kafka or the topic cannot be reached, a record was not taken, or the summary cannot be written.
/// What was produced before stays in Kafka.
pub fn run(args: &ProduceArgs, config: &Config) -> anyhow::Result<()> {
    let interval = interval(args, std::env::var(DELAY_VARIABLE).ok().as_deref())?;
    let stop = Arc::new(AtomicBool::new(false));
    let second = i32::from(Exit::Interrupted.code());
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the first signal finds the flag still false, the second finds it set.
        signal_hook::flag::register_conditional_shutdown(signal, second, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let start = Instant::now();
    let summary = produce(args, config, interval, &stop)?;
    if let Some(path) = &args.summary {
        let text = serde_json::to_string_pretty(&summary)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        return json::print(&summary);
    }
    let (count, bytes, seconds) = (summary.count, summary.bytes, start.elapsed().as_secs_f64());
    say!("produced {count} records ({bytes} B) in {seconds:.1} s");
    Ok(())
}

/// The time from one record to the next; zero is as fast as possible. The environment's delay
/// yields to either flag.
fn interval(args: &ProduceArgs, delay_variable: Option<&str>) -> anyhow::Result<Duration> {
    let delay_ms = match (args.rate, args.delay, delay_variable) {
        (Some(0), ..) => 0,
        (Some(rate), ..) => return Ok(Duration::from_nanos(1_000_000_000 / rate)),
        (None, Some(delay_ms), _) => delay_ms,
        (None, None, Some(text)) if !text.trim().is_empty() => {
            let given = text.trim().parse().ok();
            given.filter(|ms| *ms <= MOST_DELAY_MS).ok_or_else(|| {
                Ended::usage(format!(
                    "{DELAY_VARIABLE}: {text:?} is not a whole number of milliseconds, at most \
                     {MOST_DELAY_MS}; for example 100"
                ))
            })?
        }
        _ => 0,
    };
    Ok(Duration::from_millis(delay_ms))
}

/// Produces and waits until Kafka has all of it. Returns only when every record in the summary was
/// taken, or with an error.
fn produce(
    args: &ProduceArgs,
    config: &Config,
    interval: Duration,
    stop: &AtomicBool,
) -> anyhow::Result<Summary> {
    let (producer, partitions) = connect(config, stop)?;
    let topic = &config.kafka_topic;
    let start_ms = match args.start_ms {
        Some(start_ms) => start_ms,
        None => u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?,
    };
    // As fast as possible is still one record a millisecond by its timestamps.
    let step = if interval.is_zero() {
        Duration::from_millis(1)
    } else {
        interval
    };
    let synth = Synth::new(args.seed, start_ms).with_interval(step);

    let progress = match args.count {
        0 => Progress::counting("records", "producing"),
        n => Progress::of(n, "records", "producing"),
    };
    let (mut summary, mut payload, start) = (Summary::default(), vec![], Instant::now());
    for (i, record) in (0_u64..).zip(synth) {
        if stop.load(Ordering::Relaxed) || (args.count > 0 && i == args.count) {
            break;
        }
        while let Some(ahead) = due(i, interval).checked_sub(start.elapsed()) {
            if interval.is_zero() || ahead.is_zero() || stop.load(Ordering::Relaxed) {
                break;
            }
            // Not asleep in `poll`, which spins through what is left of the last millisecond.
            std::thread::sleep(ahead.min(Duration::from_millis(100)));
            producer.poll(Duration::ZERO);
        }
        payload.clear();
        record.encode_into(&mut payload);
        let partition = i32::try_from(i % partitions)?;
        send(&producer, topic, partition, &payload)?;
        summary.add(&record, payload.len());
        if i % 128 == 0 {
            progress.at(i);
            producer.poll(Duration::ZERO);
            producer.context().check()?;
        }
    }

    flush(&producer, summary.count)?;
    Ok(summary)
}

/// A producer that stores nothing twice, and how many partitions the topic has.
fn connect(config: &Config, stop: &AtomicBool) -> anyhow::Result<(BaseProducer<Deliveries>, u64)> {
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
    let producer: BaseProducer<Deliveries> = client
        .create_with_context(deliveries)
        .context("cannot make a Kafka producer of these kafka_properties")?;
    if needs_token {
        // librdkafka asks for it by an event.
        producer.poll(Duration::from_millis(100));
    }
    let topic = &config.kafka_topic;
    let partitions = partitions(&producer, topic, stop)
        .with_context(|| format!("cannot reach topic {topic} at {}", config.kafka_brokers))?;
    Ok((producer, partitions))
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
    let (producer, _) = connect(config, &AtomicBool::new(false))?;
    let topic = &config.kafka_topic;
    let mut count = 0;
    for (message, partition) in messages.zip(partitions.iter().cycle()) {
        send(&producer, topic, *partition, &message)?;
        count += 1;
        producer.poll(Duration::ZERO);
        producer.context().check()?;
    }
    flush(&producer, count)?;
    let used = partitions.iter().take(usize::try_from(count)?);
    used.map(|partition| {
        let (_, end) = producer
            .client()
            .fetch_watermarks(topic, *partition, TOPIC_TIMEOUT)?;
        Ok((*partition, end))
    })
    .collect()
}

/// Waits until Kafka has all of `sent`.
fn flush(producer: &BaseProducer<Deliveries>, sent: u64) -> anyhow::Result<()> {
    producer
        .flush(FLUSH_TIMEOUT)
        .context("Kafka did not answer for the last records")?;
    producer.context().check()?;
    let delivered = producer.context().delivered.load(Ordering::Relaxed);
    ensure!(
        delivered == sent,
        "BUG: sent {sent} records, but Kafka answered for {delivered}"
    );
    Ok(())
}

/// When record `i` is due, counted from the start.
fn due(i: u64, interval: Duration) -> Duration {
    let nanos = u128::from(i) * interval.as_nanos();
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
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

/// Sends one record; waits for room while the producer's queue is full.
fn send(
    producer: &BaseProducer<Deliveries>,
    topic: &str,
    partition: i32,
    payload: &[u8],
) -> anyhow::Result<()> {
    loop {
        let record = BaseRecord::<(), [u8]>::to(topic)
            .partition(partition)
            .payload(payload);
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                // A record that cannot be delivered leaves the queue by its timeout, so this ends.
                producer.poll(Duration::from_millis(20));
                producer.context().check()?;
            }
            Err((error, _)) => bail!("cannot produce to partition {partition} of {topic}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
