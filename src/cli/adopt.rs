//! `anonymizer adopt`: make a copied or restored data dir an installation of its own.

use crate::cli::{Reached, reach};
use crate::runtime::config::Config;
use crate::runtime::control::Request;

/// The flags of `adopt`.
#[derive(Debug, Clone, clap::Args)]
pub struct AdoptArgs {
    /// The copy was made after the original last ran, and the original will never run again: rows
    /// that Kafka has acknowledged are sent from here. Wrong, and they are stored twice
    #[arg(long)]
    pub original_is_gone: bool,
}

/// Gives the data dir a new installation id.
///
/// # Errors
/// If an instance runs on it (it would not run on a copy), or it cannot be written.
pub fn run(args: &AdoptArgs, config: &Config) -> anyhow::Result<()> {
    let queue = match reach(&config.data_dir, &Request::Status)? {
        Reached::Live(_) => anyhow::bail!(
            "an instance runs on {}, so it is no copy; stop it first if it must get a new id",
            config.data_dir.display()
        ),
        Reached::Offline(queue) => queue,
    };
    let done = queue.adopt(args.original_is_gone)?;
    println!("installation {} is now {}", done.old, done.new);
    println!("sealed batches keep their tokens: ClickHouse drops what it has of them");
    if done.held_rows > 0 {
        println!(
            "{} rows are HELD: the original may have sent them, or may do so. `replay \
             --include-uncommitted` sends them from here, `export` writes them",
            done.held_rows
        );
    }
    Ok(())
}
