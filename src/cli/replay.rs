//! `anonymizer replay`: rows to ClickHouse without Kafka, from a disk that was rescued, or once more
//! from batches that are kept.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use crate::cli::exit::Ended;
use crate::cli::json::{self, List};
use crate::cli::progress::Progress;
use crate::cli::run::watch_signals;
use crate::clickhouse::Schema;
use crate::flush::{FlushStatus, Flusher};
use crate::queue::{Batch, BatchState, DataDir, Lane, LaneState, QUEUE_DIR, Queue};
use crate::runtime::clock::now_ms;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::span;
use crate::runtime::stats::Stats;
use crate::settings::Config;

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
    #[arg(long, requires = "delivered", default_value = "6h", value_parser = span::parse)]
    pub since: Duration,
    /// Send a batch again though ClickHouse has a part of it: that part may be stored twice
    #[arg(long, requires = "delivered")]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What a replay did.
#[derive(Debug, Default, Serialize)]
struct Replayed {
    /// Rows that were sent.
    sent: u64,
    /// Rows that are still queued.
    left: u64,
    /// Rejected batches among them.
    rejected: usize,
    /// A signal ended it before all was sent.
    stopped: bool,
    /// Delivered batches that were looked for, with what became of each.
    delivered: List<Again>,
    /// Rows whose commit was not acknowledged, by lane.
    uncommitted: List<Tail>,
}

/// A delivered batch that was looked for.
#[derive(Debug, Serialize)]
struct Again {
    seq: u64,
    rows: u64,
    asked: u64,
    found: u64,
    sent_again: bool,
}

/// Rows whose commit was not acknowledged.
#[derive(Debug, Serialize)]
struct Tail {
    lane: Lane,
    rows: u64,
    included: bool,
}

/// Runs the flusher alone until nothing is left to send, or SIGTERM.
///
/// # Errors
/// If an instance runs, the data dir is a copy, or a batch is refused or partly in ClickHouse.
pub fn run(args: &ReplayArgs, config: &Config) -> anyhow::Result<()> {
    ensure!(
        config.data_dir.join(QUEUE_DIR).is_dir(),
        "there is no queue in {}; name the data dir with --data-dir",
        config.data_dir.display()
    );
    let dir = DataDir::lock(&config.data_dir)
        .context("replay needs the instance stopped; a live one sends its rows by itself")?;
    dir.refuse_root()?;
    let queue = Queue::open(dir)?;
    queue.refuse_copy()?;
    let shutdown = Arc::new(Shutdown::default());
    watch_signals(Arc::clone(&shutdown)).context("cannot watch signals")?;
    let (stats, status) = (Stats::default(), Mutex::new(FlushStatus::default()));
    let schema = Schema::new(&config.clickhouse_database, &config.clickhouse_table)?;
    let sink = config.sink()?;
    let options = config.flush_options();
    let mut flusher = Flusher::new(&queue, sink, schema, options, &shutdown, &stats, &status)?;
    let mut replayed = Replayed::default();
    let partly = if args.delivered {
        let (batches, partly) = again(args, &queue, &mut flusher)?;
        replayed.delivered = batches.into();
        partly
    } else {
        replayed.uncommitted = tails(args, &queue)?.into();
        0
    };
    let before = queue.summary()?.rows;
    if !args.json {
        say!("{before} rows queued, tails included");
    }
    let progress = Progress::of(before, "rows", "sending");
    let done = progress.follow(|| stats.flush.rows_inserted.get(), || flusher.drain())?;
    drop(progress);
    queue.sync()?;
    let left = queue.summary()?;
    let rejected = left
        .batches
        .iter()
        .filter(|b| matches!(b.state, BatchState::Rejected { .. }))
        .count();
    replayed.sent = stats.flush.rows_inserted.get();
    (replayed.left, replayed.rejected, replayed.stopped) = (left.rows, rejected, !done);
    if args.json {
        json::print(&replayed)?;
    } else {
        say!(
            "{} rows sent, {} left{}{}",
            replayed.sent,
            left.rows,
            if rejected > 0 {
                format!("; {rejected} batches are rejected, see `batches list`")
            } else {
                String::new()
            },
            if done { "" } else { "; ended by a signal" }
        );
    }
    ensure!(
        partly == 0,
        Ended::found_bad(format!(
            "{partly} batches are partly in ClickHouse; --force sends them all the same"
        ))
    );
    ensure!(
        rejected == 0,
        Ended::found_bad(format!(
            "ClickHouse refused {rejected} batches; they are kept, see `batches list`"
        ))
    );
    Ok(())
}

/// Lists the rows that are not eligible, or makes them so.
fn tails(args: &ReplayArgs, queue: &Queue) -> anyhow::Result<Vec<Tail>> {
    let mut tails = Vec::new();
    for lane in queue.tails() {
        let rows = queue.tail_rows(&lane)?;
        if !args.json {
            say!("uncommitted: {}", describe(&lane, rows));
        }
        let included = args.include_uncommitted;
        tails.push(Tail {
            lane,
            rows,
            included,
        });
    }
    if args.include_uncommitted {
        let rows = queue.include_tails()?;
        if !args.json {
            say!(
                "{rows} uncommitted rows are sent, too: they are stored twice if another instance of the \
                 group read them, or will read them from Kafka"
            );
        }
    }
    Ok(tails)
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

/// Seals delivered batches again that ClickHouse does not have. Returns what it looked for, and how many
/// ClickHouse has in part.
fn again(
    args: &ReplayArgs,
    queue: &Queue,
    flusher: &mut Flusher<'_>,
) -> anyhow::Result<(Vec<Again>, usize)> {
    let since = now_ms().saturating_sub(args.since.as_millis() as u64);
    let delivered =
        |b: &Batch| matches!(b.state, BatchState::Delivered { at_ms } if at_ms >= since);
    let mut batches = queue.summary()?.batches;
    batches.retain(delivered);
    if batches.is_empty() && !args.json {
        say!("no delivered batch is kept from that time (setting keep_delivered)");
    }
    let (mut partly, mut all) = (0, Vec::new());
    let progress = Progress::of(batches.len() as u64, "batches", "asking for");
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
        all.push(Again {
            seq: batch.seq,
            rows: batch.rows,
            asked: p.asked,
            found: p.found,
            sent_again: send,
        });
        progress.at(all.len() as u64);
        if !args.json {
            say!(
                "batch {} ({} rows): {} of {} rows asked for were found, so it {words}",
                batch.seq,
                batch.rows,
                p.found,
                p.asked
            );
        }
        if send {
            queue.redeliver(batch)?;
        }
    }
    Ok((all, partly))
}
