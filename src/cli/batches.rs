//! `anonymizer batches`: what was sealed, and what ClickHouse refused, with its words.

use std::io::IsTerminal as _;

use anyhow::{Context as _, bail, ensure};
use log::Level;

use crate::cli::export::{self, Target};
use crate::cli::json::{self, List};
use crate::cli::{Reached, reach};
use crate::observe::control::Request;
use crate::observe::status::Status;
use crate::queue::{Batch, BatchState, CommandError, DroppedBatch, Lane, Selection, What};
use crate::runtime::clock::{now_ms, rfc3339};
use crate::runtime::logging;
use crate::settings::Config;

/// What to do with batches.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum BatchesCommand {
    /// List sealed, rejected and kept batches
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one batch as JSON
    Show {
        /// Its number
        seq: u64,
        /// Print JSON, as without it
        #[arg(long)]
        json: bool,
    },
    /// Send a rejected batch again at the next slot, under the same token
    Retry {
        /// Its number
        seq: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// ClickHouse has a batch of which it cannot tell: take it off the queue without sending it again
    Stored {
        /// Its number
        seq: u64,
        /// Do it; without, say what would be taken off
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a rejected batch and its rows for good
    Drop {
        /// Its number
        seq: u64,
        /// Do it; without, ask on a terminal, or say what would be lost
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a batch's rows
    Export {
        /// Its number
        seq: u64,
        #[command(flatten)]
        #[allow(missing_docs)]
        target: Target,
    },
}

/// Carries the command out, beside a live instance or on the data dir.
///
/// # Errors
/// If there is no such batch, or it is not in the state that the command is for.
pub fn run(command: &BatchesCommand, config: &Config) -> anyhow::Result<()> {
    match command {
        BatchesCommand::List { json: true } => json::print(&List::from(all(config)?.0)),
        BatchesCommand::List { json: false } => {
            all(config)?.0.iter().for_each(print);
            Ok(())
        }
        BatchesCommand::Show { seq, .. } => json::print(&find(*seq, &all(config)?.0)?),
        BatchesCommand::Retry { seq, json } => retry(*seq, *json, config),
        BatchesCommand::Stored { seq, yes, json } => stored(*seq, *yes, *json, config),
        BatchesCommand::Drop { seq, yes, json } => remove(*seq, *yes, *json, config),
        BatchesCommand::Export { seq, target } => {
            let selection = Selection {
                batch: Some(*seq),
                ..Selection::of(What::All, target.format)
            };
            export::write(selection, target, config)
        }
    }
}

/// All batches, and the lanes that they are of.
fn all(config: &Config) -> anyhow::Result<(Vec<Batch>, Vec<Lane>)> {
    let queue = match reach(&config.data_dir, &Request::Status)? {
        Reached::Live(answer) => serde_json::from_value::<Status>(answer)?.queue,
        Reached::Offline(queue) => queue.summary()?,
    };
    Ok((queue.batches, queue.lanes))
}

fn find(seq: u64, all: &[Batch]) -> anyhow::Result<&Batch> {
    let batch = all.iter().find(|b| b.seq == seq);
    batch.with_context(|| format!("there is no batch {seq}; `batches list` shows them"))
}

fn retry(seq: u64, json: bool, config: &Config) -> anyhow::Result<()> {
    let batch: Batch = match reach(&config.data_dir, &Request::RetryBatch { seq })? {
        Reached::Live(answer) => serde_json::from_value(answer)?,
        Reached::Offline(queue) => queue.retry_batch(seq)?,
    };
    if json {
        return json::print(&batch);
    }
    say!(
        "batch {seq} of {} rows is sealed again under token {}; it goes out at the next slot \
         of `run` or `replay`",
        batch.rows,
        batch.token
    );
    Ok(())
}

fn stored(seq: u64, yes: bool, json: bool, config: &Config) -> anyhow::Result<()> {
    if !yes {
        let batches = all(config)?.0;
        let batch = find(seq, &batches)?;
        ensure!(batch.is_in_doubt(), CommandError::NotInDoubt { seq });
        bail!(
            "if ClickHouse has each of the {} rows of batch {seq}, --yes takes them off the queue; \
             `batches export {seq}` writes them",
            batch.rows
        );
    }
    let batch: Batch = match reach(&config.data_dir, &Request::CallStored { seq })? {
        Reached::Live(answer) => serde_json::from_value(answer)?,
        Reached::Offline(queue) => queue.call_stored(seq)?,
    };
    if json {
        return json::print(&batch);
    }
    say!(
        "batch {seq} of {} rows counts as stored; `run` or `replay` takes it off at the next slot",
        batch.rows
    );
    Ok(())
}

fn remove(seq: u64, yes: bool, json: bool, config: &Config) -> anyhow::Result<()> {
    if !yes {
        let (batches, lanes) = all(config)?;
        let batch = find(seq, &batches)?;
        let lost = DroppedBatch::of(batch, &lanes);
        let lost = lost.with_context(|| format!("batch {seq} is not rejected, so it stays"))?;
        for line in described(&lost) {
            logging::say_at_once(config.log_format, Level::Warn, &line);
        }
        let asked = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if !asked || !confirmed(&lost)? {
            bail!(
                "{} rows would be lost for good; `batches export {seq}` saves them, --yes drops them",
                lost.rows
            );
        }
    }
    let done: DroppedBatch = match reach(&config.data_dir, &Request::DropBatch { seq })? {
        Reached::Live(answer) => serde_json::from_value(answer)?,
        Reached::Offline(queue) => queue.drop_batch(seq, now_ms())?,
    };
    if json {
        return json::print(&done);
    }
    for line in described(&done) {
        say!("{line}");
    }
    say!("dropped; `status` goes on naming it");
    Ok(())
}

/// What is lost with a batch.
fn described(lost: &DroppedBatch) -> Vec<String> {
    let mut lines = vec![format!("batch {}: {} rows", lost.seq, lost.rows)];
    lines.extend(lost.ranges.iter().map(|range| format!("  {range}")));
    let mut why = format!("refused (code {}): {}", lost.code, lost.words);
    if lost.may_be_stored {
        why += "\nan attempt may have stored it: ClickHouse may have its rows";
    }
    lines.push(why);
    lines
}

#[expect(clippy::print_stderr, reason = "a question, on a terminal")]
fn confirmed(lost: &DroppedBatch) -> anyhow::Result<bool> {
    eprint!("lose {} rows for good? [y/N] ", lost.rows);
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn print(batch: &Batch) {
    let note = match (&batch.state, batch.may_be_stored) {
        (BatchState::Sealed | BatchState::Rejected { .. }, true) => ", may be stored",
        _ => "",
    };
    let state = match &batch.state {
        BatchState::Sealed => "sealed".to_owned(),
        BatchState::Acked => "stored".to_owned(),
        BatchState::Rejected { code, words } => format!("REJECTED (code {code}): {words}"),
        BatchState::Delivered { at_ms } => format!("stored {}, kept", rfc3339(*at_ms)),
    };
    say!(
        "{}  {} rows, {} bytes, sealed {}, {} attempts{note}: {state}",
        batch.seq,
        batch.rows,
        batch.bytes,
        rfc3339(batch.sealed_ms),
        batch.attempts
    );
}
