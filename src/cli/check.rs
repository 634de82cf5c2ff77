//! `anonymizer check`: would `run` work? Changes no record, and asks ClickHouse only if told to.

mod beside;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::fs::Access;
use serde::Serialize;
use serde_json::json;

use crate::cli::exit::Ended;
use crate::cli::json;
use crate::cli::live::Live;
use crate::cli::progress::Progress;
use crate::cli::reach_or_lock_within;
use crate::cli::run::watch_signals;
use crate::clickhouse::Schema;
use crate::flush::{Fit, FlushStatus, Flusher, TablesFound};
use crate::kafka::trial;
use crate::observe::control::Request;
use crate::observe::http;
use crate::observe::status::Status;
use crate::queue::{DataDir, Owned, Queue, QueueError, Trees, is_made, refuse_copy};
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
use crate::settings::Config;

/// How long each part may take, but for a slot of the proxy.
const PATIENCE: Duration = Duration::from_secs(10);

/// The flags of `check`.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// Ask ClickHouse, too, whether all tables fit; takes a slot of the proxy
    #[arg(long)]
    pub clickhouse: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What one part came to.
#[derive(Debug, Serialize)]
struct Checked {
    name: &'static str,
    result: Outcome,
    words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ok,
    Failed,
    /// The data dir is a copy, which `run` refuses.
    Copy,
}

/// Checks settings, Kafka, topic, queue and perhaps ClickHouse; prints a line for each.
///
/// # Errors
/// If any of them fails; every one is tried.
pub fn run(args: &CheckArgs, config: &Config) -> anyhow::Result<()> {
    let settings = config.describe();
    if !args.json {
        for (name, value, source) in &settings {
            say!("{name} = {value} ({source})");
        }
    }
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    let mut all = Vec::new();
    let mut tell = |name, found: anyhow::Result<String>| {
        let (result, words) = match found {
            Ok(words) => (Outcome::Ok, words),
            Err(e) => match e.downcast_ref::<QueueError>() {
                Some(copy) if copy.is_copy() => (Outcome::Copy, format!("{e:#}")),
                _ => (Outcome::Failed, format!("{e:#}")),
            },
        };
        if !args.json {
            let title = match result {
                Outcome::Ok => "ok",
                Outcome::Failed => "FAILED",
                Outcome::Copy => "COPY",
            };
            say!("{title:<6}  {name}: {words}");
        }
        all.push(Checked {
            name,
            result,
            words,
        });
    };
    tell("clickhouse settings", clickhouse(config, args.clickhouse));
    tell("kafka", kafka(config));
    tell("queue", queue(config));
    let pages = http::Options::from(config);
    if pages.are_secured() {
        tell(
            "pages",
            pages.check().map(|()| "the files can be used".to_owned()),
        );
    }
    let (mut tables, mut differ) = (None, None);
    if args.clickhouse {
        let looked = look(config);
        let found = looked.and_then(|(found, live)| {
            differ = live.as_ref().map(|live| live.differ(&settings));
            let waits = live.map_or(config.no_create_tables, |live| live.waits_for_tables());
            verdict(tables.insert(found), waits, differ.is_some())
        });
        tell("clickhouse", found);
        if let Some(differ) = &differ {
            tell("given settings", beside::verdict(differ, config));
        }
    }
    if let (Some(found), false) = (&tables, args.json) {
        print(found);
    }
    let failed = all.iter().filter(|c| c.result != Outcome::Ok).count();
    let count = all.len();
    if args.json {
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value, source)| json!({"name": name, "value": value, "source": source.to_string()}))
            .collect();
        json::print(&json!({
            "items": all, "count": count, "failed": failed, "settings": settings, "tables": tables,
            "live_instance_differs": differ,
        }))?;
    }
    if failed > 0 {
        bail!(Ended::found_bad(format!(
            "{failed} of {count} checks failed"
        )));
    }
    Ok(())
}

fn clickhouse(config: &Config, asked: bool) -> anyhow::Result<String> {
    config.sink()?;
    let schema = Schema::new(&config.clickhouse_database, &config.clickhouse_table)?;
    let note = match asked {
        true => "",
        false => "; not asked, that takes a slot of the proxy: --clickhouse",
    };
    Ok(format!("{} tables and views{note}", schema.objects().len()))
}

fn kafka(config: &Config) -> anyhow::Result<String> {
    let _progress = Progress::waiting("asking Kafka");
    let partitions = trial::partitions(&config.consumer_options("check"), PATIENCE)?;
    let topic = &config.kafka_topic;
    Ok(format!("topic {topic} with {partitions} partitions"))
}

fn queue(config: &Config) -> anyhow::Result<String> {
    let _progress = Progress::waiting("looking at the queue");
    if !is_made(&config.data_dir) {
        return creatable(&config.data_dir);
    }
    match reach_or_lock_within(&config.data_dir, PATIENCE, &Request::Status)? {
        Owned::Live(answer) => {
            let status: Status = serde_json::from_value(answer)?;
            Ok(format!(
                "in use by a live instance, {} rows queued",
                status.queue.rows
            ))
        }
        Owned::Locked(dir) => {
            let trees = Trees::open(&dir)?;
            trees.refuse_unknown(&dir)?;
            refuse_copy(&trees, &dir)?;
            trees.refuse_cut_off(&dir)?;
            let rows: u64 = trees.lanes().into_iter().flatten().map(|l| l.rows).sum();
            Ok(format!("opens, {rows} rows queued"))
        }
    }
}

/// Whether `run` can make a queue there.
fn creatable(data_dir: &Path) -> anyhow::Result<String> {
    let absolute = std::path::absolute(data_dir)?;
    let mut there = None;
    for at in absolute.ancestors() {
        match at.metadata() {
            Ok(meta) => {
                there = Some((at, meta));
                break;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("cannot look at {}", at.display())),
        }
    }
    let (at, meta) = there.context("no directory is there at all")?;
    let dir = data_dir.display();
    ensure!(
        meta.is_dir(),
        "the data dir {dir} cannot be created: {} is no directory",
        at.display()
    );
    rustix::fs::access(at, Access::WRITE_OK | Access::EXEC_OK).with_context(|| {
        format!(
            "the data dir {dir} cannot be created: {} cannot be written",
            at.display()
        )
    })?;
    Ok(format!("there is none yet; `run` would create it in {dir}"))
}

/// Asks in a slot: the live instance's, whose settings come with the answer, or that of the data dir's limiter.
fn look(config: &Config) -> anyhow::Result<(TablesFound, Option<Live>)> {
    ensure!(
        is_made(&config.data_dir),
        "there is no queue in {} yet, and its limiter knows when a slot is free; `run` makes the same check \
         before anything else",
        config.data_dir.display()
    );
    let _progress =
        Progress::waiting("waiting for a slot of the proxy and for ClickHouse's answer");
    let within = config.flush_interval * 2 + config.request_timeout;
    let request = Request::Tables {
        within_ms: within.as_millis() as u64,
    };
    match reach_or_lock_within(&config.data_dir, PATIENCE, &request)? {
        Owned::Live(answer) => {
            let live = Live::ask(config)?;
            let live = live.context(
                "the live instance has ended, and with which settings it asked is not known",
            )?;
            Ok((serde_json::from_value(answer)?, Some(live)))
        }
        Owned::Locked(dir) => Ok((look_alone(dir, within, config)?, None)),
    }
}

fn look_alone(dir: DataDir, within: Duration, config: &Config) -> anyhow::Result<TablesFound> {
    let queue = Queue::open(dir)?;
    queue.refuse_copy()?;
    let shutdown = Arc::new(Shutdown::default());
    watch_signals(Arc::clone(&shutdown)).context("cannot watch signals")?;
    let (stats, status) = (Stats::default(), Mutex::new(FlushStatus::default()));
    let schema = Schema::new(&config.clickhouse_database, &config.clickhouse_table)?;
    let (sink, options) = (config.sink()?, config.flush_options());
    let mut flusher = Flusher::new(&queue, sink, schema, options, &shutdown, &stats, &status)?;
    let found = flusher.look(within)?;
    queue.sync()?;
    Ok(found.context("ended by a signal")??)
}

fn verdict(found: &TablesFound, waits: bool, live: bool) -> anyhow::Result<String> {
    let count = |fit: Fit| found.objects.iter().filter(|o| o.fit == fit).count();
    let (fits, missing, differs) = (count(Fit::Fits), count(Fit::Missing), count(Fit::Differs));
    let words = format!(
        "release {}, {fits} tables and views fit, {missing} are missing{}, {differs} differ; asked with the {}",
        found.version,
        match waits {
            false if missing > 0 => " (`run` creates them)",
            _ => "",
        },
        match live {
            true => "live instance's settings",
            false => "given settings",
        }
    );
    ensure!(differs == 0 && (missing == 0 || !waits), "{words}");
    Ok(words)
}

fn print(found: &TablesFound) {
    for object in &found.objects {
        let fit = match object.fit {
            Fit::Fits => "fits",
            Fit::Missing => "MISSING",
            Fit::Differs => "DIFFERS",
        };
        let words = match object.words.is_empty() {
            true => String::new(),
            false => format!(": {}", object.words.join("; ")),
        };
        say!("        {fit:<8} {}{words}", object.name);
    }
    for note in &found.notes {
        say!("        note     {note}");
    }
}
