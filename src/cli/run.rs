//! `anonymizer run`: the service.

use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::exit::Exit;
use crate::pipeline::{self, STOP_WITHIN};
use crate::runtime::logging;
use crate::runtime::shutdown::Shutdown;
use crate::settings::Config;

/// Runs until SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// What made the service end other than by a signal.
pub fn run(config: &Config) -> anyhow::Result<()> {
    for (name, value, source) in config.describe() {
        log::debug!("{name} = {value} ({source})");
    }
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    let shutdown = Arc::new(Shutdown::default());
    watch_signals(Arc::clone(&shutdown)).context("cannot watch signals")?;
    pipeline::run(config, &shutdown)
}

/// Asks for a stop at SIGTERM or SIGINT, and ends the process at the second, or when it takes too
/// long.
///
/// # Errors
/// If signals cannot be watched.
pub fn watch_signals(shutdown: Arc<Shutdown>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut caught = signals.forever();
            caught.next();
            log::info!("stopping; a second signal ends at once");
            shutdown.request();
            thread::spawn(|| {
                thread::sleep(STOP_WITHIN);
                log::warn!(
                    "a request to Kafka or ClickHouse does not end: stopping without its answer. \
                 Nothing is lost: it is taken up at the next start"
                );
                logging::finish();
                std::process::exit(0);
            });
            caught.next();
            log::warn!("second signal: ending at once; what is not committed is read again");
            logging::finish();
            std::process::exit(Exit::Interrupted.code().into());
        })?;
    Ok(())
}
