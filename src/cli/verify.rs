//! `anonymizer verify`: is the queue whole?

use anyhow::bail;
use log::Level;

use crate::cli::exit::Ended;
use crate::cli::json;
use crate::cli::progress::Progress;
use crate::cli::reach_or_lock;
use crate::observe::control::Request;
use crate::queue::{Damage, Owned, QueueError, Trees, Verified, refuse_copy, verify};
use crate::runtime::logging;
use crate::settings::Config;

/// The flags of `verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks at every block, lane, batch and record; changes none.
///
/// # Errors
/// If anything is damaged, or the queue cannot be reached.
pub fn run(args: &VerifyArgs, config: &Config) -> anyhow::Result<()> {
    let mut copied = None;
    let waiting = Progress::waiting("looking");
    let reached = reach_or_lock(&config.data_dir, &Request::Verify)?;
    drop(waiting);
    let found: Verified = match reached {
        Owned::Live(answer) => serde_json::from_value(answer)?,
        Owned::Locked(dir) => match Trees::open(&dir) {
            Ok(trees) => {
                let progress = Progress::of(trees.rows(), "rows", "looking at");
                let seen = |rows| {
                    progress.at(rows);
                    false
                };
                let mut found = verify(&trees, false, &seen)?;
                drop(progress);
                if let Err(e) = refuse_copy(&trees, &dir)
                    && e.is_copy()
                {
                    copied = Some(e.to_string());
                }
                match trees.refuse_cut_off(&dir) {
                    Err(e) if !e.is_damage() => return Err(e.into()),
                    Err(e) => found.damage.push(of_store(e)),
                    Ok(()) => {}
                }
                found
            }
            // A full disk, say, is no damage.
            Err(e) if !e.is_damage() => return Err(e.into()),
            Err(e) => Verified {
                damage: vec![of_store(e)],
                ..Verified::default()
            },
        },
    };
    if args.json {
        json::print(&found)?;
    } else {
        print(&found);
    }
    // Its rows may be whole, and yet nothing will send them.
    if let Some(words) = copied {
        logging::say(Level::Warn, &format!("COPY       {words}"));
    }
    match found.damage.len() {
        0 => Ok(()),
        n => bail!(Ended::found_bad(format!(
            "{n} damaged; `anonymizer repair` saves what is whole, after a copy"
        ))),
    }
}

fn of_store(e: QueueError) -> Damage {
    Damage {
        part: "store".to_owned(),
        what: format!("{:#}", anyhow::Error::from(e)),
        lost: None,
    }
}

fn print(found: &Verified) {
    say!(
        "whole      {} blocks with {} rows in {} bytes, {} lanes, {} batches, {} quarantined",
        found.blocks,
        found.rows,
        found.bytes,
        found.lanes,
        found.batches,
        found.quarantined
    );
    for words in &found.unchecked {
        say!("unchecked  {words}");
    }
    for damage in &found.damage {
        say_as_it_is!("DAMAGED    {}: {}", damage.part, damage.what);
        match &damage.lost {
            Some(l) => say!(
                " ({} p{} offsets {}..{})",
                l.topic,
                l.partition,
                l.from,
                l.to
            ),
            None => say!(),
        }
    }
}
