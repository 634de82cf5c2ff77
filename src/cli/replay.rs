//! `anonymizer replay`: rows to ClickHouse without Kafka, from a disk that was rescued, or once more
//! from batches that are kept.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::cli::run::watch_signals;
use crate::flush::{FlushStatus, Flusher};
use crate::pipeline::{flush_options, sink_options};
use crate::queue::{Batch, BatchState, DataDir, Lane, LaneState, QUEUE_DIR, Queue};
use crate::runtime::clock::now_ms;
use crate::runtime::config::Config;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
use crate::sink::{Schema, Sink};

/// The flags of `replay`.
#[derive(Debug, Clone, clap::Args)]
pub struct ReplayArgs {
    /// Also send rows whose commit Kafka never acknowledged. They are stored twice if another
    /// instance read them, or if Kafka still has them and the group reads on
    #[arg(long, conflicts_with = "delivered")]
    pub include_uncommitted: bool,
    /// Send batches again that ClickHouse had (see keep_delivered), if it has none of their rows
    #[arg(long)]
    pub delivered: bool,
    /// Only those delivered within this time
    #[arg(long, requires = "delivered", default_value = "6h", value_parser = humantime::parse_duration)]
    pub since: Duration,
    /// Send a batch again though ClickHouse has a part of it: that part may be stored twice
    #[arg(long, requires = "delivered")]
    pub force: bool,
}

/// Runs the flusher alone until nothing is left to send, or SIGTERM.
///
/// # Errors
/// If an instance runs, the data dir is a copy, or a batch is partly in ClickHouse.
pub fn run(args: &ReplayArgs, config: &Config) -> anyhow::Result<()> {
    ensure!(
        config.data_dir.join(QUEUE_DIR).is_dir(),
        "there is no queue in {}; name the data dir with --data-dir",
        config.data_dir.display()
    );
    let dir = DataDir::lock(&config.data_dir)
        .context("replay needs the instance stopped; a live one sends its rows by itself")?;
    let queue = Queue::open(dir)?;
    queue.refuse_copy()?;
    let shutdown = Arc::new(Shutdown::default());
    watch_signals(Arc::clone(&shutdown)).context("cannot watch signals")?;
    let (stats, status) = (Stats::default(), Mutex::new(FlushStatus::default()));
    let schema = Schema::new(&config.clickhouse_database, &config.clickhouse_table)?;
    let sink = Sink::new(&sink_options(config)?)?;
    let options = flush_options(config);
    let mut flusher = Flusher::new(&queue, sink, schema, options, &shutdown, &stats, &status)?;
    let partly = if args.delivered {
        again(args, &queue, &mut flusher)?
    } else {
        tails(args, &queue)?;
        0
    };
    let before = queue.summary()?.rows;
    println!("{before} rows queued, tails included");
    let done = flusher.drain()?;
    queue.sync()?;
    let left = queue.summary()?;
    let rejected = left
        .batches
        .iter()
        .filter(|b| matches!(b.state, BatchState::Rejected { .. }))
        .count();
    println!(
        "{} rows sent, {} left{}{}",
        stats.rows_inserted.get(),
        left.rows,
        if rejected > 0 {
            format!("; {rejected} batches are rejected, see `batches list`")
        } else {
            String::new()
        },
        if done { "" } else { "; ended by a signal" }
    );
    ensure!(
        partly == 0,
        "{partly} batches are partly in ClickHouse; --force sends them all the same"
    );
    Ok(())
}

/// Lists the rows that are not eligible, or makes them so.
fn tails(args: &ReplayArgs, queue: &Queue) -> anyhow::Result<()> {
    for lane in queue.tails() {
        println!("uncommitted: {}", describe(&lane, queue.tail_rows(&lane)?));
    }
    if args.include_uncommitted {
        let rows = queue.include_tails()?;
        println!(
            "{rows} uncommitted rows are sent, too: they are stored twice if another instance of the \
             group read them, or will read them from Kafka"
        );
    }
    Ok(())
}

fn describe(lane: &Lane, rows: u64) -> String {
    let held = match &lane.state {
        LaneState::Held(why) => format!(", held: {why}"),
        _ => String::new(),
    };
    format!(
        "{} p{} offsets {}..{}, {rows} rows{held}",
        lane.topic, lane.partition, lane.eligible, lane.next
    )
}

/// Seals delivered batches again that ClickHouse does not have. Returns how many it has in part.
fn again(args: &ReplayArgs, queue: &Queue, flusher: &mut Flusher<'_>) -> anyhow::Result<usize> {
    let since = now_ms().saturating_sub(args.since.as_millis() as u64);
    let delivered =
        |b: &Batch| matches!(b.state, BatchState::Delivered { at_ms } if at_ms >= since);
    let mut batches = queue.summary()?.batches;
    batches.retain(delivered);
    if batches.is_empty() {
        println!("no delivered batch is kept from that time (setting keep_delivered)");
    }
    let mut partly = 0;
    for batch in &batches {
        let Some(p) = flusher.presence(batch)? else {
            bail!("ended by a signal; batches not asked for are as they were");
        };
        let (words, send) = match p.found {
            0 => ("is gone: sent again", true),
            n if n == p.asked => ("is there", false),
            _ if args.force => ("is there in part: sent again, as you force it", true),
            _ => {
                partly += 1;
                ("is there IN PART: not sent", false)
            }
        };
        println!(
            "batch {} ({} rows): {} of {} rows asked for were found, so it {words}",
            batch.seq, batch.rows, p.found, p.asked
        );
        if send {
            queue.redeliver(batch, now_ms())?;
        }
    }
    Ok(partly)
}
