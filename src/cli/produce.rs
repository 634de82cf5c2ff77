//! `anonymizer produce`: synthetic records into Kafka, and what exactly was produced.
//!
//! Record `i` goes to partition `i mod n`, so that a topic's content is known from the seed. Each is
//! produced once and counted when all replicas have it. `--summary` writes the counts and sums that
//! the table in ClickHouse must show in the end; its masked addresses come from a rule written here
//! on its own, so that it can catch the program's.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::exit::{Ended, Exit};
use crate::cli::json;
use crate::cli::producer::Producer;
use crate::cli::progress::Progress;
use crate::record::synth::{Synth, SynthRecord};
use crate::settings::Config;

/// The producer's delay in the environment that this program comes from; milliseconds.
const DELAY_VARIABLE: &str = "KAFKA_PRODUCER_DELAY_MS";

/// The longest of them: a day.
const MOST_DELAY_MS: u64 = 86_400_000;

/// The end of the year 9999, in milliseconds since 1970. A row ends in 2106; what is beyond tries the quarantine.
const LAST_MS: u64 = 253_402_300_799_999;

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
    let producer = Producer::connect(config, stop)?;
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
            std::thread::sleep(ahead.min(Duration::from_millis(100)));
            producer.hear()?;
        }
        payload.clear();
        record.encode_into(&mut payload);
        let partition = i32::try_from(i % producer.partitions())?;
        producer.send(partition, &payload)?;
        summary.add(&record, payload.len());
        if i % 128 == 0 {
            progress.at(i);
            producer.hear()?;
        }
    }

    producer.flush(summary.count)?;
    Ok(summary)
}

/// When record `i` is due, counted from the start.
fn due(i: u64, interval: Duration) -> Duration {
    let nanos = u128::from(i) * interval.as_nanos();
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
