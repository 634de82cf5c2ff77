//! `anonymizer reconcile`: has ClickHouse every row that was stored, and no other?

mod compare;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail, ensure};
use log::Level;

use crate::cli::exit::Ended;
use crate::cli::json;
use crate::cli::progress::Progress;
use crate::cli::reconcile::compare::{Comparison, Instance, compare, query};
use crate::cli::run::watch_signals;
use crate::cli::{Reached, reach};
use crate::clickhouse::{MinutesQuery, Schema};
use crate::flush::{FlushStatus, Flusher};
use crate::observe::control::{self, Request};
use crate::queue::{COUNTS_FORMAT, Counts, PartitionCounts, Queue};
use crate::row::minutes::Span;
use crate::runtime::clock::{now_ms, rfc3339};
use crate::runtime::logging;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::span;
use crate::runtime::stats::Stats;
use crate::settings::Config;

/// All times that a record can have: whole days.
const ALL: Range<u64> = 0..49_711 * 86_400;

/// The flags of `reconcile`.
#[derive(Debug, Clone, clap::Args)]
pub struct ReconcileArgs {
    /// The other instances of the group: their data dirs on this machine, or files that `reconcile
    /// --counts-only --json` wrote on another one. Without them their rows count as too many
    #[arg(value_name = "DATA_DIR_OR_FILE")]
    pub others: Vec<PathBuf>,
    /// Records from this time on: 2026-11-23T10:00:00Z, or a span such as 6h for so long ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<u64>,
    /// Records before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<u64>,
    /// Only show the counts of this data dir's instance; asks ClickHouse nothing
    #[arg(long, conflicts_with = "others")]
    pub counts_only: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Seconds of Unix time. None is beyond those that a record can have.
fn time(text: &str) -> Result<u64, String> {
    if let Ok(ago) = span::parse(text) {
        return Ok((now_ms() / 1000).saturating_sub(ago.as_secs()));
    }
    let at = humantime::parse_rfc3339_weak(text.trim()).ok();
    let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since
        .map(|d| d.as_secs())
        .filter(|s| *s <= ALL.end)
        .ok_or_else(|| {
            "neither a time from 1970-01-01T00:00:00Z to 2106-02-08T00:00:00Z, which records can have, \
             nor a span of at most 100 years such as 6h"
                .into()
        })
}

/// Compares the counts of all instances given with ClickHouse's, in one slot of this data dir.
///
/// # Errors
/// If any minute differs, or an instance or ClickHouse does not answer.
pub fn run(args: &ReconcileArgs, config: &Config) -> anyhow::Result<()> {
    let from = args.from.unwrap_or(ALL.start).next_multiple_of(60);
    let to = args.to.unwrap_or(ALL.end).min(ALL.end) / 60 * 60;
    ensure!(
        from < to,
        Ended::usage("--from must be a minute or more before --to")
    );
    let range = from..to;
    let (main, counts) = Main::open(config, &range)?;
    if args.counts_only {
        if args.json {
            say!("{}", serde_json::to_string(&counts)?);
        } else {
            say!("installation {}", counts.installation);
            say!("counted since {}", rfc3339(counts.since_ms));
            counts.partitions.iter().for_each(print_partition);
        }
        return Ok(());
    }
    let others: Vec<Source> = args
        .others
        .iter()
        .map(|p| Source::of(p, &range))
        .collect::<Result<_, _>>()?;
    let mut instances = vec![counts];
    for other in &others {
        instances.push(other.counts(&range)?);
    }
    let mut seen = BTreeSet::new();
    for counts in &instances {
        let id = &counts.installation;
        ensure!(
            seen.insert(id.clone()),
            "the counts of installation {id} are given twice"
        );
    }
    let mut instances: Vec<Instance> = instances
        .into_iter()
        .map(|before| Instance {
            before,
            after: None,
        })
        .collect();
    let query = query(range.clone(), &instances);
    let found = main.ask(config, &query)?;
    instances[0].after = Some(main.counts(config, &range)?);
    for (other, instance) in others.iter().zip(&mut instances[1..]) {
        if matches!(other, Source::Dir(_)) {
            instance.after = Some(other.counts(&range)?);
        }
    }
    let done = compare(&instances, &query, &found);
    if args.json {
        json::print(&done)?;
    } else {
        print(&done, &range);
    }
    match done.differences.len() {
        0 => Ok(()),
        n => bail!(Ended::found_bad(format!("{n} minutes or days differ"))),
    }
}

/// The instance whose slot the question takes.
enum Main {
    Live,
    Offline(Box<Queue>),
}

impl Main {
    fn open(config: &Config, range: &Range<u64>) -> anyhow::Result<(Main, Counts)> {
        Ok(match reach(&config.data_dir, &request(range))? {
            Reached::Live(answer) => (Main::Live, serde_json::from_value(answer)?),
            Reached::Offline(queue) => {
                queue.keep_counts(config.keep_counts);
                let counts = queue.counts(range.clone(), now_ms())?;
                (Main::Offline(queue), counts)
            }
        })
    }

    fn counts(&self, config: &Config, range: &Range<u64>) -> anyhow::Result<Counts> {
        match self {
            Main::Live => live(&config.data_dir, &request(range)),
            Main::Offline(queue) => Ok(queue.counts(range.clone(), now_ms())?),
        }
    }

    fn ask(&self, config: &Config, query: &MinutesQuery) -> anyhow::Result<Vec<(Span, u64)>> {
        const WAITING: &str = "waiting for a slot of the proxy and for ClickHouse's answer";
        logging::say(Level::Info, WAITING);
        let _progress = Progress::waiting(WAITING);
        let queue = match self {
            Main::Live => return live(&config.data_dir, &Request::Minutes(query.clone())),
            Main::Offline(queue) => queue,
        };
        let shutdown = Arc::new(Shutdown::default());
        watch_signals(Arc::clone(&shutdown)).context("cannot watch signals")?;
        let (stats, status) = (Stats::default(), Mutex::new(FlushStatus::default()));
        let schema = Schema::new(&config.clickhouse_database, &config.clickhouse_table)?;
        let sink = config.sink()?;
        let options = config.flush_options();
        let mut flusher = Flusher::new(queue, sink, schema, options, &shutdown, &stats, &status)?;
        let sql = query.sql(&config.clickhouse_database, &config.clickhouse_table);
        let answer = flusher.ask("reconcile", &sql)?;
        queue.sync()?;
        answer
            .context("ended by a signal")?
            .and_then(|text| query.parse(&text))
            .context("ClickHouse")
    }
}

fn request(range: &Range<u64>) -> Request {
    Request::Counts {
        from: range.start,
        to: range.end,
    }
}

fn live<T: serde::de::DeserializeOwned>(data_dir: &Path, request: &Request) -> anyhow::Result<T> {
    let answer = control::ask(data_dir, request)?;
    let answer = answer
        .with_context(|| format!("the instance of {} stopped; try again", data_dir.display()))?;
    Ok(serde_json::from_value(answer)?)
}

/// Where the counts of another instance come from.
enum Source {
    Dir(PathBuf),
    File(Box<Counts>),
}

impl Source {
    fn of(path: &Path, range: &Range<u64>) -> anyhow::Result<Source> {
        if path.is_dir() {
            return Ok(Source::Dir(path.to_owned()));
        }
        let name = path.display();
        let text = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let counts: Counts = serde_json::from_slice(&text)
            .with_context(|| format!("{name} is no output of `reconcile --counts-only --json`"))?;
        ensure!(
            counts.format == COUNTS_FORMAT,
            "{name} has version {}, this program knows {COUNTS_FORMAT}",
            counts.format
        );
        ensure!(
            counts.from <= range.start && range.end <= counts.to,
            "{name} has the counts of {} to {} only; write it with the same --from and --to",
            rfc3339(counts.from * 1000),
            rfc3339(counts.to * 1000)
        );
        Ok(Source::File(Box::new(counts)))
    }

    fn counts(&self, range: &Range<u64>) -> anyhow::Result<Counts> {
        match self {
            Source::File(counts) => Ok((**counts).clone()),
            Source::Dir(dir) => Ok(match reach(dir, &request(range))? {
                Reached::Live(answer) => serde_json::from_value(answer)?,
                Reached::Offline(queue) => queue.counts(range.clone(), now_ms())?,
            }),
        }
    }
}

fn print(done: &Comparison, range: &Range<u64>) {
    let at = |second: u64| rfc3339(second * 1000);
    say!("instances   {}", done.instances.join(", "));
    let end = |n: u64, all: u64| if n == all { "-".to_owned() } else { at(n) };
    say!(
        "record time {} to {}; the counts are complete from {} on",
        end(range.start, ALL.start),
        end(range.end, ALL.end),
        at(done.complete_from)
    );
    done.partitions.iter().for_each(print_partition);
    if done.batches_dropped > 0 {
        say!(
            "LOST        {} rows of rejected batches that a person dropped, see `status`",
            done.batches_dropped
        );
    }
    if done.quarantine_dropped > 0 {
        say!(
            "LOST        {} messages dropped from a full quarantine",
            done.quarantine_dropped
        );
    }
    say!(
        "ClickHouse  {} rows in {} minutes and {} days",
        done.found,
        done.minutes,
        done.days
    );
    if done.in_flight > 0 {
        say!(
            "in flight   {} minutes, in order whether the answer that is awaited says stored or not",
            done.in_flight
        );
    }
    if done.uncounted_before > 0 {
        say!(
            "uncounted   {} rows from before the counts were complete",
            done.uncounted_before
        );
    }
    for d in &done.differences {
        let kind = if d.span.is_day() { "day" } else { "minute" };
        let want = if d.at_least == d.at_most {
            d.at_least.to_string()
        } else {
            format!("{} to {}", d.at_least, d.at_most)
        };
        say!(
            "{}     {kind} {}: {} rows, expected {want}, {} queued: {}",
            if d.found < d.at_least {
                "FEWER "
            } else {
                "MORE  "
            },
            at(d.span.start.into()),
            d.found,
            d.queued,
            d.likely
        );
    }
}

fn print_partition(p: &PartitionCounts) {
    say!(
        "{} p{}: {} consumed = {} stored + {} queued + {} rejected + {} lost; without a \
         time: {} quarantined, {} offsets lost",
        p.topic,
        p.partition,
        p.consumed,
        p.stored,
        p.queued,
        p.rejected,
        p.lost,
        p.quarantined,
        p.lost_offsets
    );
}

#[cfg(test)]
mod tests {
    use super::time;
    use crate::runtime::clock::now_ms;

    #[test]
    fn times_are_points_or_spans_ago() {
        assert_eq!(time("1970-01-02 00:00:01"), Ok(86_401));
        assert_eq!(time("2026-11-23T10:00:00Z"), Ok(1_795_428_000));
        let ago = now_ms() / 1000 - time("6h").unwrap();
        assert!((6 * 3600..6 * 3600 + 10).contains(&ago), "{ago}");
        assert!(time("yesterday").is_err());
    }
}
