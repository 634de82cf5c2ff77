//! `anonymizer batches`: what was sealed, and what ClickHouse refused, with its words.

use anyhow::Context as _;

use crate::cli::export::{self, Target};
use crate::cli::{Reached, reach};
use crate::queue::{Batch, BatchState, What};
use crate::runtime::clock::{now_ms, rfc3339};
use crate::runtime::config::Config;
use crate::runtime::control::Request;
use crate::runtime::report::Status;

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
    },
    /// Send a rejected batch again at the next slot, under the same token
    Retry {
        /// Its number
        seq: u64,
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
        BatchesCommand::List { json: true } => {
            println!("{}", serde_json::to_string_pretty(&all(config)?)?);
        }
        BatchesCommand::List { json: false } => all(config)?.iter().for_each(print),
        BatchesCommand::Show { seq } => {
            let all = all(config)?;
            let batch = all.iter().find(|b| b.seq == *seq);
            let batch = batch.with_context(|| format!("there is no batch {seq}"))?;
            println!("{}", serde_json::to_string_pretty(batch)?);
        }
        BatchesCommand::Retry { seq } => {
            let batch = match reach(&config.data_dir, &Request::RetryBatch { seq: *seq })? {
                Reached::Live(answer) => serde_json::from_value(answer)?,
                Reached::Offline(queue) => queue.retry_batch(*seq, now_ms())?,
            };
            println!(
                "batch {seq} of {} rows is sealed again under token {}; it goes out at the next slot \
                 of `run` or `replay`",
                batch.rows, batch.token
            );
        }
        BatchesCommand::Export { seq, target } => {
            export::write(What::All, Some(*seq), target, config)?;
        }
    }
    Ok(())
}

fn all(config: &Config) -> anyhow::Result<Vec<Batch>> {
    Ok(match reach(&config.data_dir, &Request::Status)? {
        Reached::Live(answer) => serde_json::from_value::<Status>(answer)?.queue.batches,
        Reached::Offline(queue) => queue.summary()?.batches,
    })
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
    println!(
        "{}  {} rows, {} bytes, sealed {}, {} attempts{note}: {state}",
        batch.seq,
        batch.rows,
        batch.bytes,
        rfc3339(batch.sealed_ms),
        batch.attempts
    );
}
