//! `anonymizer status`: what is queued and what happens next.

use crate::cli::{Reached, reach};
use crate::runtime::config::Config;
use crate::runtime::control::Request;
use crate::runtime::report::{self, Status};

/// The flags of `status`.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the status of the data dir's instance.
///
/// # Errors
/// If there is no data dir, or it cannot be read.
pub fn run(args: &StatusArgs, config: &Config) -> anyhow::Result<()> {
    let status: Status = match reach(&config.data_dir, &Request::Status)? {
        Reached::Live(answer) => serde_json::from_value(answer)?,
        Reached::Offline(queue) => report::offline(&queue, config.flush_interval)?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        println!("{status}");
    }
    Ok(())
}
