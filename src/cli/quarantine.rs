//! `anonymizer quarantine`: the messages that could not become rows.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::cli::{Reached, reach};
use crate::decode::outline;
use crate::quarantine::ask::{Ask, Entry};
use crate::queue::{Page, Queue, Retried, Which};
use crate::runtime::clock::rfc3339;
use crate::runtime::config::Config;
use crate::runtime::control::Request;

/// What to do with them.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum QuarantineCommand {
    /// List all: place, reason, length, and whether the bytes are kept
    List {
        /// Print a JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one: its facts, what can be read of it, and its bytes
    Show {
        /// Kafka partition
        partition: i32,
        /// Kafka offset
        offset: i64,
    },
    /// Write the kept bytes of all into a new directory, a file each, and a manifest
    Export {
        /// The directory; must not exist
        dir: PathBuf,
    },
    /// Decode the kept bytes again; what becomes a row now is queued
    Retry {
        /// Kafka partition; without one, all are retried
        #[arg(requires = "offset")]
        partition: Option<i32>,
        /// Kafka offset
        offset: Option<i64>,
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
    },
}

/// Runs the command, through the live instance if there is one.
///
/// # Errors
/// If there is no data dir, a message named does not exist, or the queue fails.
pub fn run(command: &QuarantineCommand, config: &Config) -> anyhow::Result<()> {
    let dir = &config.data_dir;
    match command {
        QuarantineCommand::List { json } => list(dir, *json),
        QuarantineCommand::Show { partition, offset } => show(dir, *partition, *offset),
        QuarantineCommand::Export { dir: to } => export(dir, to),
        QuarantineCommand::Retry { partition, offset } => retry(dir, only(*partition, *offset)),
        QuarantineCommand::Drop {
            partition,
            offset,
            yes,
            ..
        } => remove(dir, only(*partition, *offset), *yes),
    }
}

fn only(partition: Option<i32>, offset: Option<i64>) -> Which {
    Which {
        only: partition.zip(offset),
        after: None,
    }
}

fn list(data_dir: &Path, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut count = 0;
    pages(data_dir, Ask::List(Which::default()), |entry| {
        count += 1;
        if json {
            writeln!(out, "{}", serde_json::to_string(&entry)?)?;
        } else {
            writeln!(out, "{}", line(&entry))?;
        }
        Ok(())
    })?;
    if !json {
        writeln!(out, "{count} messages")?;
    }
    Ok(())
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

fn show(data_dir: &Path, partition: i32, offset: i64) -> anyhow::Result<()> {
    let mut found = false;
    pages(
        data_dir,
        Ask::Read(only(Some(partition), Some(offset))),
        |entry| {
            found = true;
            println!("{}", line(&entry));
            println!("read     {}", rfc3339(entry.facts.read_ms));
            println!("xxh3-128 {}", entry.facts.message.hash);
            if let Some(bytes) = entry.bytes() {
                println!("{}", fields(&bytes));
                print!("{}", dump(&bytes));
            }
            Ok(())
        },
    )?;
    ensure!(
        found,
        "no message of partition {partition} and offset {offset} is in quarantine"
    );
    Ok(())
}

/// What can be read of a message that may be broken.
fn fields(bytes: &[u8]) -> String {
    let Some(found) = outline(bytes) else {
        return "no field can be read".to_owned();
    };
    let numbers = [
        "timestampEpochMilli",
        "resourceId",
        "bytesSent",
        "requestTimeMilli",
        "responseStatus",
    ];
    let texts = ["cacheStatus", "method", "remoteAddr", "url"];
    let mut lines: Vec<String> = numbers
        .iter()
        .zip(found.numbers)
        .map(|(name, n)| format!("{name:20} {n}"))
        .collect();
    for (name, range) in texts.iter().zip(found.texts) {
        let text = range.map_or("cannot be read".to_owned(), |r| {
            format!("\"{}\"", bytes[r].escape_ascii())
        });
        lines.push(format!("{name:20} {text}"));
    }
    lines.join("\n")
}

fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (i, row) in bytes.chunks(16).enumerate() {
        let hex: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
        let shown = |b: &u8| match b {
            b' '..=b'~' => char::from(*b),
            _ => '.',
        };
        let text: String = row.iter().map(shown).collect();
        out += &format!("{:06x}  {:47}  {text}\n", i * 16, hex.join(" "));
    }
    out
}

fn export(data_dir: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to).with_context(|| format!("cannot create {}", to.display()))?;
    let mut manifest = Vec::new();
    let (mut files, mut tail) = (0, 0);
    pages(data_dir, Ask::Read(Which::default()), |mut entry| {
        if !entry.facts.eligible {
            tail += 1;
            return Ok(());
        }
        let bytes = entry.bytes();
        entry.hex = None;
        let mut facts = serde_json::to_value(&entry)?;
        if let Some(bytes) = bytes {
            let f = &entry.facts;
            // Several lanes may have read one offset.
            let name = format!(
                "{}-{}-{}-lane{}.bin",
                f.topic_name(),
                f.partition,
                f.message.offset,
                f.lane.0
            );
            write(&to.join(&name), &bytes)?;
            facts["file"] = name.into();
            files += 1;
        }
        manifest.push(facts);
        Ok(())
    })?;
    let count = manifest.len();
    let manifest = serde_json::to_vec_pretty(&manifest)?;
    write(&to.join("manifest.json"), &manifest)?;
    println!(
        "{count} messages in {}/manifest.json, the bytes of {files} beside it",
        to.display()
    );
    if tail > 0 {
        println!("{tail} messages left out: their commit was not acknowledged yet");
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn retry(data_dir: &Path, which: Which) -> anyhow::Result<()> {
    let (mut rows, mut others) = (0, 0);
    pages(data_dir, Ask::Retry(which), |entry| {
        match &entry.retried {
            Some(Retried::Row) => {
                rows += 1;
                println!("{}: is a row now", entry.facts.place());
            }
            Some(Retried::Not(why)) => {
                others += 1;
                println!("{}: stays: {why}", entry.facts.place());
            }
            None => bail!("the live instance is of another version"),
        }
        Ok(())
    })?;
    require(which, rows + others)?;
    println!("{rows} messages are rows now and will be inserted, {others} stay in quarantine");
    Ok(())
}

fn remove(data_dir: &Path, which: Which, yes: bool) -> anyhow::Result<()> {
    let ask = if yes {
        Ask::Drop(which)
    } else {
        Ask::List(which)
    };
    let mut count = 0;
    pages(data_dir, ask, |entry| {
        count += 1;
        println!("{}", line(&entry));
        Ok(())
    })?;
    require(which, count)?;
    if !yes {
        bail!("{count} messages would be lost for good; add --yes to drop them");
    }
    println!("{count} messages dropped for good");
    Ok(())
}

fn require(which: Which, found: usize) -> anyhow::Result<()> {
    if let (Some((partition, offset)), 0) = (which.only, found) {
        bail!("no message of partition {partition} and offset {offset} is in quarantine");
    }
    Ok(())
}

/// Asks for one page after the other. Each is asked of whoever has the queue then, but an instance
/// that starts in between finds it taken and says so.
fn pages(
    data_dir: &Path,
    ask: Ask,
    mut each: impl FnMut(Entry) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut ask = ask;
    let mut queue: Option<Box<Queue>> = None;
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
        let Some(after) = page.next else {
            return Ok(());
        };
        ask = ask.of(Which {
            after: Some(after),
            ..ask.which()
        });
    }
}
