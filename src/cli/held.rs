//! `anonymizer held`: rows of which nobody can tell whether another instance sent them.

use anyhow::{Context as _, bail};

use crate::cli::export::{self, Target};
use crate::cli::json::{self, List};
use crate::cli::{Reached, reach};
use crate::observe::control::Request;
use crate::queue::{CommandError, Fate, HeldRows, Lane, LaneId, LaneState, Selection, What};
use crate::settings::Config;

/// What to do with held rows.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum HeldCommand {
    /// List them by lane: topic, partition, offsets, and why they are held
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the held rows of a lane
    Export {
        /// The lane's number
        lane: u32,
        #[command(flatten)]
        #[allow(missing_docs)]
        target: Target,
    },
    /// ClickHouse does not have them: send them as all others
    Send {
        /// The lane's number
        lane: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// ClickHouse has them, from another instance: remove them here
    Drop {
        /// The lane's number
        lane: u32,
        /// Do it; without, say what would be removed
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Carries the command out, beside a live instance or on the data dir.
///
/// # Errors
/// If no rows of that lane are held, or the queue fails.
pub fn run(command: &HeldCommand, config: &Config) -> anyhow::Result<()> {
    match command {
        HeldCommand::List { json: true } => json::print(&List::from(all(config)?)),
        HeldCommand::List { json: false } => {
            all(config)?
                .iter()
                .for_each(|held| say!("{}", described(held)));
            Ok(())
        }
        HeldCommand::Export { lane, target } => {
            let selection = Selection {
                held: Some(LaneId(*lane)),
                ..Selection::of(What::Queue, target.format)
            };
            export::write(selection, target, config)
        }
        HeldCommand::Send { lane, json } => {
            let held = decide(*lane, Fate::Send, config)?;
            if *json {
                return json::print(&held);
            }
            say!(
                "{} rows go out at the next slots of `run` or `replay`",
                held.rows
            );
            Ok(())
        }
        HeldCommand::Drop { lane, yes, json } => remove(*lane, *yes, *json, config),
    }
}

fn all(config: &Config) -> anyhow::Result<Vec<HeldRows>> {
    Ok(match reach(&config.data_dir, &Request::Held)? {
        Reached::Live(answer) => serde_json::from_value(answer)?,
        Reached::Offline(queue) => queue.held()?,
    })
}

fn decide(lane: u32, fate: Fate, config: &Config) -> anyhow::Result<HeldRows> {
    let lane = LaneId(lane);
    Ok(
        match reach(&config.data_dir, &Request::Decide { lane, fate })? {
            Reached::Live(answer) => serde_json::from_value(answer)?,
            Reached::Offline(queue) => queue.decide(lane, fate)?,
        },
    )
}

fn remove(lane: u32, yes: bool, json: bool, config: &Config) -> anyhow::Result<()> {
    if !yes {
        let held = all(config)?.into_iter().find(|h| h.lane.id.0 == lane);
        let held = held.context(CommandError::NotHeld { lane: LaneId(lane) })?;
        bail!(
            "{}; if ClickHouse has each of these rows, --yes removes them here",
            described(&held)
        );
    }
    let held = decide(lane, Fate::Drop, config)?;
    if json {
        return json::print(&held);
    }
    say!("{} rows removed", held.rows);
    Ok(())
}

fn described(held: &HeldRows) -> String {
    let lane = &held.lane;
    let why = match &lane.state {
        LaneState::Held(why) => why,
        _ => "",
    };
    let place = match lane.topic.as_str() {
        Lane::RETRIED => "out of quarantine".to_owned(),
        _ => format!(
            "{} p{} offsets {}..{}",
            lane.topic_name(),
            lane.partition,
            lane.eligible,
            lane.next
        ),
    };
    format!("{}: {} rows, {place}: {why}", lane.id, held.rows)
}
