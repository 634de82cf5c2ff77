//! `anonymizer adopt`: make a copied or restored data dir an installation of its own.

use crate::cli::json;
use crate::cli::{Reached, reach};
use crate::observe::control::Request;
use crate::settings::Config;

/// The flags of `adopt`.
#[derive(Debug, Clone, clap::Args)]
pub struct AdoptArgs {
    /// The copy was made after the original last ran, and the original will never run again: rows
    /// that Kafka has acknowledged are sent from here. Wrong, and they are stored twice
    #[arg(long)]
    pub original_is_gone: bool,
    /// It is a copy though it is not recognised as one: of a whole disk, or restored into the file itself
    #[arg(long)]
    pub unrecognised: bool,
    /// Of two data dirs with one installation id this is the one that goes on, under that id: adopt or
    /// delete the other first. --original-is-gone then says that the other never sent a row
    #[arg(long)]
    pub keep_id: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
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
    let is_copy = match queue.refuse_copy() {
        Err(e) if e.is_copy() => true,
        looked => looked.map(|()| false)?,
    };
    // An original would hold its own rows.
    anyhow::ensure!(
        is_copy || args.unrecognised,
        "{} is no copy, as far as can be told: it lies in the file that it was made in. Nothing was \
         changed. If it was copied with its whole disk or restored into that file, add --unrecognised",
        config.data_dir.display()
    );
    let done = match args.keep_id {
        true => queue.declare_the_one(args.original_is_gone)?,
        false => queue.adopt(args.original_is_gone)?,
    };
    if args.json {
        return json::print(&done);
    }
    if args.keep_id {
        say!("installation {} is this data dir's", done.old);
    } else {
        say!("installation {} is now {}", done.old, done.new);
    }
    say!("sealed batches keep their tokens: ClickHouse drops what it has of them");
    if done.held_rows > 0 {
        say!(
            "{} rows are HELD: the original may have sent them, or may do so. `held list` shows them, `held \
             send` sends them from here, `held export` writes them",
            done.held_rows
        );
    }
    Ok(())
}
