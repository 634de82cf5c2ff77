//! `anonymizer capacity`: how much disk a rate of rows needs, before it is bought.

pub mod model;

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use log::Level;

use crate::cli::capacity::model::{
    Estimate, Factors, Item, MERGE_SHARE, Measured, Plan, RAW, measure_query,
};
use crate::cli::json;
use crate::cli::run::watch_signals;
use crate::clickhouse::{Retention, Schema};
use crate::flush::{FlushStatus, Flusher};
use crate::queue::{DataDir, QUEUE_DIR, Queue};
use crate::runtime::logging;
use crate::runtime::room::total_bytes;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::span;
use crate::runtime::stats::Stats;
use crate::settings::Config;

/// The flags of `capacity`.
#[derive(Debug, Clone, clap::Args)]
pub struct CapacityArgs {
    /// Rows a second, on average over days
    #[arg(long, value_name = "ROWS", value_parser = rate, required_unless_present = "print_question")]
    pub rate: Option<f64>,
    /// How long raw rows stay, such as 30d; as of `schema print`
    #[arg(long, value_name = "TIME", value_parser = Retention::parse, required_unless_present = "print_question")]
    pub retention: Option<Retention>,
    /// How long the totals stay, such as 2y [default: as the raw rows]
    #[arg(long, value_name = "TIME", value_parser = Retention::parse)]
    pub totals_retention: Option<Retention>,
    /// Hours without ClickHouse that the queue is to bridge
    #[arg(long, value_name = "HOURS", default_value_t = 6.0, value_parser = hours)]
    pub queue_hours: f64,
    /// How long Kafka keeps messages
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = span::parse)]
    pub kafka_retention: Duration,
    /// Copies of each message in Kafka
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub kafka_replicas: u32,
    /// Bytes that a message takes in your Kafka, if you know [default: as `produce` writes them, lz4]
    #[arg(long, value_name = "BYTES", value_parser = message_bytes)]
    pub kafka_message_bytes: Option<f64>,
    /// Take sizes from your ClickHouse, by one request, which uses a slot of the proxy; instance stopped
    #[arg(long, conflicts_with_all = ["measured", "print_question"])]
    pub measure: bool,
    /// Take them from a file (- is stdin) with the answer to --print-question: needs no slot
    #[arg(long, value_name = "FILE", conflicts_with = "print_question")]
    pub measured: Option<PathBuf>,
    /// Print the SELECT whose answer --measured takes
    #[arg(long)]
    pub print_question: bool,
    /// Print JSON, in bytes and seconds
    #[arg(long)]
    pub json: bool,
}

/// Prints the disk that a rate needs.
///
/// # Errors
/// If sizes were to be measured and could not be.
pub fn run(args: &CapacityArgs, config: &Config) -> anyhow::Result<()> {
    let built_in = Factors::built_in();
    if args.print_question {
        say!("{}", question(&built_in, config));
        return Ok(());
    }
    let answer = match &args.measured {
        _ if args.measure => Some(ask(&question(&built_in, config), config)?),
        Some(path) => Some(read(path)?),
        None => None,
    };
    let mut factors = match &answer {
        Some(text) => built_in.measured(&Measured::parse(text, &config.clickhouse_table)?)?,
        None => built_in,
    };
    if let Some(bytes) = args.kafka_message_bytes {
        factors.kafka_bytes_per_message = bytes;
    }
    let retention = args
        .retention
        .context("BUG: clap lets no plan pass without")?;
    let plan = Plan {
        rate: args.rate.context("BUG: clap lets no plan pass without")?,
        retention: kept_at_most(retention),
        totals_retention: kept_at_most(args.totals_retention.unwrap_or(retention)),
        queue: Duration::from_secs_f64(args.queue_hours * 3600.0),
        kafka_retention: args.kafka_retention,
        kafka_replicas: args.kafka_replicas,
    };
    let estimate = factors.estimate(&plan);
    if args.json {
        json::print(&estimate)?;
    } else {
        say_as_it_is!("{}", show(&estimate, answer.is_some(), config));
    }
    Ok(())
}

fn question(factors: &Factors, config: &Config) -> String {
    measure_query(
        factors,
        &config.clickhouse_database,
        &config.clickhouse_table,
    )
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(text)
}

/// Asks through the limiter of the data dir, so that no instance finds its slot used.
fn ask(sql: &str, config: &Config) -> anyhow::Result<String> {
    const OR_ASK_YOURSELF: &str = "or ask ClickHouse yourself, past the proxy: --print-question \
                                   prints the question, --measured FILE takes the answer";
    ensure!(
        config.data_dir.join(QUEUE_DIR).is_dir(),
        "there is no queue in {}, whose limiter the request goes through; name the data dir with \
         --data-dir, {OR_ASK_YOURSELF}",
        config.data_dir.display()
    );
    let dir = DataDir::lock(&config.data_dir).with_context(|| {
        format!("the request would use a slot of the running instance: stop it, {OR_ASK_YOURSELF}")
    })?;
    dir.refuse_root()?;
    let queue = Queue::open(dir)?;
    let shutdown = Arc::new(Shutdown::default());
    watch_signals(Arc::clone(&shutdown)).context("cannot watch signals")?;
    let (stats, status) = (Stats::default(), Mutex::new(FlushStatus::default()));
    let schema = Schema::new(&config.clickhouse_database, &config.clickhouse_table)?;
    let sink = config.sink()?;
    let options = config.flush_options();
    let mut flusher = Flusher::new(&queue, sink, schema, options, &shutdown, &stats, &status)?;
    let url = &config.clickhouse_url;
    logging::say(
        Level::Info,
        &format!("asking {url}: this uses a slot of the proxy"),
    );
    let answer = flusher.ask("sizes", sql)?;
    queue.sync()?;
    answer
        .context("ended by a signal")?
        .with_context(|| format!("{} did not answer the question", config.clickhouse_url))
}

fn kept_at_most(retention: Retention) -> Duration {
    Duration::from_secs(retention.most_days() * 86_400)
}

/// A number of rows a second that there can be.
fn rate(text: &str) -> Result<f64, String> {
    number(text, 1e-3, 1e8).ok_or_else(|| "rows a second, from 0.001 to 100000000".into())
}

fn message_bytes(text: &str) -> Result<f64, String> {
    number(text, 1.0, 1e8).ok_or_else(|| "bytes, from 1 to 100000000".into())
}

fn hours(text: &str) -> Result<f64, String> {
    number(text, 0.0, 24.0 * 366.0).ok_or_else(|| "hours, from 0 to 8784".into())
}

fn number(text: &str, min: f64, max: f64) -> Option<f64> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|n| (min..=max).contains(n))
}

fn show(e: &Estimate, measured: bool, config: &Config) -> String {
    let mut text = format!(
        "at {} rows a second ({} a day), {}\n\n",
        e.rate,
        count(e.rate * 86_400.0),
        if measured {
            "sizes as your ClickHouse has them"
        } else {
            "sizes as measured with synthetic traffic"
        }
    );
    text += &format!(
        "{:<28} {:>10} {:>12} {:>12} {:>11}\n",
        "", "rows a row", "bytes a row", "kept", "disk"
    );
    let line = |item: &Item, name: &str| {
        format!(
            "{name:<28} {:>10.4} {:>12.2} {:>12} {:>11}\n",
            item.rows_per_row,
            item.bytes_per_row,
            kept(item.kept_s),
            size(item.bytes)
        )
    };
    let name = |t: &Item| t.name.replacen(RAW, &config.clickhouse_table, 1);
    for table in &e.tables {
        text += &line(table, &name(table));
    }
    let total = |name: &str, bytes: f64| format!("{name:<65} {:>11}\n", size(bytes));
    text += &total(
        &format!("parts not merged yet, {:.0} %", MERGE_SHARE * 100.0),
        e.merging_bytes,
    );
    text += &total("ClickHouse, each replica", e.clickhouse_bytes);
    text += "(kept: as of `schema print`, whose partitions go as a whole, 2 or 32 days later)\n\n";
    text += &line(&e.queue, "queue (data_dir)");
    text += &line(&e.kafka, "Kafka, all copies");
    // Of a data dir that is not here only what is given in bytes is known.
    let total = total_bytes(&config.data_dir).unwrap_or(u64::MAX);
    let most = config.max_queue_bytes.of(total, 0) as f64;
    if e.queue.bytes > most {
        let bridged = e.queue.kept_s as f64 * most / e.queue.bytes;
        text += &format!(
            "\nmax_queue_bytes is {}: reading from Kafka pauses after {:.1} h without ClickHouse\n",
            size(most),
            bridged / 3600.0
        );
    }
    text
}

/// `30 days`, `6 h`.
fn kept(seconds: u64) -> String {
    if seconds >= 2 * 86_400 {
        format!("{:.0} days", seconds as f64 / 86_400.0)
    } else {
        format!("{:.1} h", seconds as f64 / 3600.0)
    }
}

/// `12.3 GB`, in powers of ten, as disks are sold.
fn size(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

/// `86.4 million`.
fn count(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.1} billion", n / 1e9),
        n if n >= 1e6 => format!("{:.1} million", n / 1e6),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        for bad in ["0", "-1", "nan", "inf", "1e9", "", "ten"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(rate("1e3"), Ok(1000.0));
        assert!(hours("-1").is_err() && hours("9000").is_err());
    }

    #[test]
    fn sizes_read_as_disks_are_sold() {
        let f = |bytes: f64, want: &str| assert_eq!(size(bytes), want);
        f(0.0, "0 B");
        f(999.0, "999 B");
        f(38_880_000_000.0, "38.9 GB");
        f(1.5e12, "1.5 TB");
        f(123e9, "123 GB");
    }
}
