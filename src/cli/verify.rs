//! `anonymizer verify`: is the queue whole?

use anyhow::bail;

use crate::cli::reach_or_lock;
use crate::queue::{Damage, Owned, QueueError, Trees, Verified, verify};
use crate::runtime::config::Config;
use crate::runtime::control::Request;

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
    let found: Verified = match reach_or_lock(&config.data_dir, &Request::Verify)? {
        Owned::Live(answer) => serde_json::from_value(answer)?,
        Owned::Locked(dir) => match Trees::open(&dir) {
            Ok(trees) => {
                let mut found = verify(&trees, false, &|| false)?;
                if let Err(e) = trees.refuse_cut_off(&dir) {
                    found.damage.push(of_store(e));
                }
                found
            }
            Err(e) => Verified {
                damage: vec![of_store(e)],
                ..Verified::default()
            },
        },
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print(&found);
    }
    match found.damage.len() {
        0 => Ok(()),
        n => bail!("{n} damaged; `anonymizer repair` saves what is whole, after a copy"),
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
    println!(
        "whole      {} blocks with {} rows in {} bytes, {} lanes, {} batches, {} quarantined",
        found.blocks, found.rows, found.bytes, found.lanes, found.batches, found.quarantined
    );
    for words in &found.unchecked {
        println!("unchecked  {words}");
    }
    for damage in &found.damage {
        print!("DAMAGED    {}: {}", damage.part, damage.what);
        match &damage.lost {
            Some(l) => println!(
                " ({} p{} offsets {}..{})",
                l.topic, l.partition, l.from, l.to
            ),
            None => println!(),
        }
    }
}
