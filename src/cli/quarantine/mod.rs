//! `anonymizer quarantine`: the messages that could not become rows.

mod export;
mod list;
mod show;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;

pub use list::ListArgs;
use log::Level;

use crate::cli::exit::Ended;
use crate::cli::json::{self, Stream};
use crate::cli::{Reached, reach};
use crate::observe::control::Request;
use crate::observe::quarantine::{Ask, Entry};
use crate::queue::{Page, Queue, Retried, Which};
use crate::runtime::logging;
use crate::settings::Config;

/// What to do with them.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum QuarantineCommand {
    /// List all: place, reason, length, and whether the bytes are kept; then sums by reason
    List(ListArgs),
    /// Show one: its facts, what can be read of it, and its bytes
    Show {
        /// Kafka partition
        partition: i32,
        /// Kafka offset
        offset: i64,
        /// Print JSON, the bytes as hex
        #[arg(long)]
        json: bool,
    },
    /// Write the kept bytes of all into a new directory, a file each, and a manifest
    Export {
        /// The directory; must not exist
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Decode the kept bytes again; what becomes a row now is queued
    Retry {
        /// Kafka partition; without one, all are retried
        #[arg(requires = "offset")]
        partition: Option<i32>,
        /// Kafka offset
        offset: Option<i64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove for good
    Drop {
        /// Kafka partition
        #[arg(requires = "offset", required_unless_present = "all")]
        partition: Option<i32>,
        /// Kafka offset
        #[arg(conflicts_with = "all")]
        offset: Option<i64>,
        /// Every message in quarantine
        #[arg(long)]
        all: bool,
        /// Do it; without, say what would be lost
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Entries that could not be read, in words.
type Damaged = Vec<String>;

/// Runs the command, through the live instance if there is one.
///
/// # Errors
/// If there is no data dir, a message named does not exist or is damaged, or the queue fails.
pub fn run(command: &QuarantineCommand, config: &Config) -> anyhow::Result<()> {
    let dir = &config.data_dir;
    let damaged = match command {
        QuarantineCommand::List(args) => list::list(dir, args),
        QuarantineCommand::Show {
            partition,
            offset,
            json,
        } => show::show(dir, *partition, *offset, *json),
        QuarantineCommand::Export { dir: to, json } => export(dir, to, *json),
        QuarantineCommand::Retry {
            partition,
            offset,
            json,
        } => retry(dir, only(*partition, *offset), *json),
        QuarantineCommand::Drop {
            partition,
            offset,
            yes,
            json,
            ..
        } => remove(dir, only(*partition, *offset), *yes, *json),
    }?;
    for what in &damaged {
        logging::say(Level::Error, &format!("DAMAGED and left as it is: {what}"));
    }
    match damaged.len() {
        0 => Ok(()),
        n => bail!(Ended::found_bad(format!(
            "{n} damaged; `anonymizer repair` leaves them out, after a copy"
        ))),
    }
}

fn only(partition: Option<i32>, offset: Option<i64>) -> Which {
    Which {
        only: partition.zip(offset),
        after: None,
    }
}

fn export(data_dir: &Path, to: &Path, json: bool) -> anyhow::Result<Damaged> {
    let (done, damaged) = export::export(data_dir, to)?;
    if json {
        json::print(&done)?;
        return Ok(damaged);
    }
    say!(
        "{} messages in {}/manifest.json, the bytes of {} beside it",
        done.messages,
        done.directory.display(),
        done.files
    );
    if done.left_out > 0 {
        say!(
            "{} messages left out: their commit was not acknowledged yet",
            done.left_out
        );
    }
    Ok(damaged)
}

fn line(entry: &Entry) -> String {
    let m = &entry.facts.message;
    let kept = match (&entry.kept_bytes, &m.not_kept) {
        (Some(_), _) => "kept".to_owned(),
        (None, Some(why)) => format!("hash only ({why})"),
        (None, None) => "hash only".to_owned(),
    };
    let tail = if entry.facts.eligible {
        ""
    } else {
        ", its commit was not acknowledged yet"
    };
    format!(
        "{}: {} bytes, {kept}{tail}: {}",
        entry.facts.place(),
        m.len,
        m.reason
    )
}

fn retry(data_dir: &Path, which: Which, json: bool) -> anyhow::Result<Damaged> {
    let (mut rows, mut others) = (0, 0);
    let mut out = Stream::default();
    let asked = pages(data_dir, Ask::Retry(which), |entry| {
        let words = match &entry.retried {
            Some(Retried::Row) => {
                rows += 1;
                "is a row now".to_owned()
            }
            Some(Retried::Not(why)) => {
                others += 1;
                format!("stays: {why}")
            }
            None => bail!("the live instance is of another version"),
        };
        if json {
            return out.item(&entry);
        }
        say!("{}: {words}", entry.facts.place());
        Ok(())
    });
    // What came before a failure is a row all the same.
    if json && (out.is_begun() || asked.is_ok()) {
        out.end(&json!({"count": rows + others, "rows": rows, "stay": others}))?;
    }
    let damaged = asked?;
    require(which, rows + others, &damaged)?;
    if !json {
        say!("{rows} messages are rows now and will be inserted, {others} stay in quarantine");
    }
    Ok(damaged)
}

fn remove(data_dir: &Path, which: Which, yes: bool, json: bool) -> anyhow::Result<Damaged> {
    let ask = if yes {
        Ask::Drop(which)
    } else {
        Ask::List(which)
    };
    let (mut count, mut tail) = (0, 0);
    let mut out = Stream::default();
    let asked = pages(data_dir, ask, |entry| {
        count += 1;
        tail += usize::from(!entry.facts.eligible);
        if json {
            return out.item(&entry);
        }
        say!("{}", line(&entry));
        Ok(())
    });
    // What came before a failure is gone, too.
    let lost = count - tail;
    if json && (out.is_begun() || asked.is_ok()) {
        out.end(&json!({"count": count, "for_good": lost, "may_come_back": tail, "dropped": yes}))?;
    }
    let dropped = || {
        if !json {
            say!("{count} messages dropped, {lost} of them for good");
        }
    };
    let damaged = match asked {
        Ok(damaged) => damaged,
        Err(e) => {
            if yes {
                dropped();
            }
            return Err(e);
        }
    };
    require(which, count, &damaged)?;
    if count == 0 {
        if !json {
            say!("no message is in quarantine");
        }
        return Ok(damaged);
    }
    if tail > 0 && !json {
        say!("{tail} of them may come back: Kafka gives again what was not committed");
    }
    if !yes {
        bail!("{lost} messages would be lost for good; add --yes to drop them");
    }
    dropped();
    Ok(damaged)
}

fn require(which: Which, found: usize, damaged: &Damaged) -> anyhow::Result<()> {
    if let (Some((partition, offset)), 0, true) = (which.only, found, damaged.is_empty()) {
        bail!("no message of partition {partition} and offset {offset} is in quarantine");
    }
    Ok(())
}

/// Asks for one page after the other, and returns what is damaged of them. Each is asked of whoever has
/// the queue then, but an instance that starts in between finds it taken and says so.
fn pages(
    data_dir: &Path,
    ask: Ask,
    mut each: impl FnMut(Entry) -> anyhow::Result<()>,
) -> anyhow::Result<Damaged> {
    let mut ask = ask;
    let mut queue: Option<Box<Queue>> = None;
    let mut damaged = Damaged::new();
    loop {
        let answer = match &queue {
            Some(queue) => ask.answer(queue)?,
            None => match reach(data_dir, &Request::Quarantine(ask))? {
                Reached::Live(answer) => answer,
                Reached::Offline(opened) => ask.answer(queue.insert(opened))?,
            },
        };
        let page: Page<Entry> =
            serde_json::from_value(answer).context("cannot read the live instance's answer")?;
        page.entries.into_iter().try_for_each(&mut each)?;
        damaged.extend(page.damaged);
        let Some(after) = page.next else {
            return Ok(damaged);
        };
        ask = ask.of(Which {
            after: Some(after),
            ..ask.which()
        });
    }
}
