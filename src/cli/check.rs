//! `anonymizer check`: would `run` work? Spends no proxy slot.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::cli::{Reached, reach};
use crate::pipeline::sink_options;
use crate::queue::{DataDir, QUEUE_DIR, Queue};
use crate::runtime::config::Config;
use crate::runtime::control::Request;
use crate::runtime::report::Status;
use crate::sink::{Schema, Sink};

/// How long Kafka may take to answer.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);

/// One check: what it found, in words.
type Check = fn(&Config) -> anyhow::Result<String>;

/// Checks settings, Kafka, topic and queue; prints a line for each.
///
/// # Errors
/// If any of them fails; every one is tried.
pub fn run(config: &Config) -> anyhow::Result<()> {
    for (name, value, source) in config.describe() {
        println!("{name} = {value} ({source})");
    }
    let checks: [(&str, Check); 3] = [
        ("clickhouse settings", clickhouse),
        ("kafka", kafka),
        ("queue", queue),
    ];
    let mut failed = 0;
    for (name, check) in checks {
        match check(config) {
            Ok(words) => println!("ok      {name}: {words}"),
            Err(e) => {
                failed += 1;
                println!("FAILED  {name}: {e:#}");
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} checks failed", checks.len());
    }
    Ok(())
}

fn clickhouse(config: &Config) -> anyhow::Result<String> {
    Sink::new(&sink_options(config)?)?;
    let schema = Schema::new(&config.clickhouse_database, &config.clickhouse_table)?;
    Ok(format!(
        "{} tables and views; no request was made, it would use a slot of the proxy",
        schema.objects().len()
    ))
}

fn kafka(config: &Config) -> anyhow::Result<String> {
    let client: BaseConsumer = config.kafka_client().create()?;
    let metadata = client
        .fetch_metadata(Some(&config.kafka_topic), KAFKA_TIMEOUT)
        .with_context(|| {
            format!(
                "{} does not answer; set kafka_brokers",
                config.kafka_brokers
            )
        })?;
    let topic = metadata
        .topics()
        .first()
        .context("no answer about the topic")?;
    if let Some(e) = topic.error() {
        bail!(
            "topic {}: {e:?}; create it, or set kafka_topic",
            config.kafka_topic
        );
    }
    ensure!(
        !topic.partitions().is_empty(),
        "topic {} has no partitions",
        config.kafka_topic
    );
    Ok(format!(
        "topic {} with {} partitions",
        config.kafka_topic,
        topic.partitions().len()
    ))
}

fn queue(config: &Config) -> anyhow::Result<String> {
    if !config.data_dir.join(QUEUE_DIR).exists() {
        let queue = Queue::open(DataDir::lock(&config.data_dir)?)?;
        return Ok(format!("created, installation {}", queue.installation()));
    }
    match reach(&config.data_dir, &Request::Status)? {
        Reached::Live(answer) => {
            let status: Status = serde_json::from_value(answer)?;
            Ok(format!(
                "in use by a live instance, {} rows queued",
                status.queue.rows
            ))
        }
        Reached::Offline(queue) => Ok(format!("opens, {} rows queued", queue.summary()?.rows)),
    }
}
