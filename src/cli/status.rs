//! `anonymizer status`: is all well, what is queued, and what happens next.

use std::io::IsTerminal as _;
use std::thread;
use std::time::Duration;

use log::Level;

use crate::cli::json;
use crate::cli::{Reached, reach};
use crate::kafka::group;
use crate::observe::control::Request;
use crate::observe::offline::{self, Told};
use crate::observe::status::Status;
use crate::runtime::logging;
use crate::settings::Config;

/// How long each question to Kafka may take, for a stopped instance.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(2);

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Clears a terminal and goes to its first line (ECMA-48).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// The flags of `status`.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show it again every 2 seconds
    #[arg(long)]
    pub watch: bool,
    /// Do not ask Kafka what is unread, if the instance is stopped
    #[arg(long)]
    pub no_kafka: bool,
}

/// Prints the status of the data dir's instance.
///
/// # Errors
/// If there is no data dir, or it cannot be read.
pub fn run(args: &StatusArgs, config: &Config) -> anyhow::Result<()> {
    let mut seen = false;
    loop {
        let status = match status(config, !args.no_kafka) {
            Ok(status) => status,
            // An instance that stops or starts has no answer for a moment.
            Err(e) if seen && args.watch => {
                logging::say(Level::Warn, &format!("anonymizer: {e:#}; looking again"));
                thread::sleep(WATCH_EVERY);
                continue;
            }
            Err(e) => return Err(e),
        };
        seen = true;
        if args.watch && !args.json && std::io::stdout().is_terminal() {
            say_as_it_is!("{CLEAR}");
        }
        if args.json && args.watch {
            say!("{}", serde_json::to_string(&status)?);
        } else if args.json {
            json::print(&status)?;
        } else {
            say!("{status}");
        }
        if !args.watch {
            return Ok(());
        }
        thread::sleep(WATCH_EVERY);
    }
}

/// The status of the instance that runs on the data dir, or of the data dir.
///
/// # Errors
/// If there is no data dir, or it cannot be read.
pub fn status(config: &Config, ask_kafka: bool) -> anyhow::Result<Status> {
    Ok(match reach(&config.data_dir, &Request::Status)? {
        Reached::Live(answer) => serde_json::from_value(answer)?,
        Reached::Offline(queue) => {
            let told = Told {
                topic: &config.kafka_topic,
                interval: config.flush_interval,
                an_insert: (config.max_body_bytes, config.max_batch_rows),
                bounds: config.bounds(),
            };
            let mut status = offline::look(&queue, &told)?;
            // Brokers that do not answer take seconds, in which an instance may want to start.
            drop(queue);
            if ask_kafka {
                let options = config.consumer_options(&status.installation);
                let (seen, committed) = group::ask(&options, KAFKA_TIMEOUT);
                offline::add_kafka(&mut status, &config.kafka_topic, &seen, &committed);
            }
            status
        }
    })
}
