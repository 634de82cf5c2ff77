//! Looks at the instance, beside the thread that draws: an answer may take long while one starts or stops.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TrySendError, bounded};

use crate::cli::status::status;
use crate::observe::control::{self, Request};
use crate::observe::status::Status;
use crate::settings::Config;

/// How often a stopped instance's queue is opened: that takes its lock, and a start should find it free.
const OPEN_EVERY: Duration = Duration::from_secs(60);

/// What a look saw.
pub(super) enum Look {
    /// Something new.
    Told(Box<Status>),
    /// There is no instance, as before.
    StillStopped,
    /// It cannot be told, in words.
    Failed(String),
}

/// The one who looks.
pub(super) struct Looker {
    config: Config,
    /// When the queue of a stopped instance was opened.
    opened: Option<Instant>,
}

impl Looker {
    pub(super) fn new(config: Config) -> Looker {
        Looker {
            config,
            opened: None,
        }
    }

    /// # Errors
    /// If there is no data dir, or it cannot be read.
    pub(super) fn first(&mut self) -> anyhow::Result<Status> {
        // Kafka is not asked: the lock is held meanwhile.
        let status = status(&self.config, false)?;
        self.opened = (!status.live).then(Instant::now);
        Ok(status)
    }

    fn look(&mut self) -> anyhow::Result<Look> {
        if let Some(at) = self.opened
            && at.elapsed() < OPEN_EVERY
        {
            match control::ask(&self.config.data_dir, &Request::Status)? {
                None => return Ok(Look::StillStopped),
                Some(answer) => {
                    self.opened = None;
                    return Ok(Look::Told(serde_json::from_value(answer)?));
                }
            }
        }
        Ok(Look::Told(Box::new(self.first()?)))
    }

    /// Goes on looking, until nobody takes what it sees.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub(super) fn go_on(mut self, every: Duration) -> std::io::Result<Receiver<Look>> {
        let (seen, looks) = bounded(1);
        let look = move || {
            loop {
                thread::sleep(every);
                let look = self
                    .look()
                    .unwrap_or_else(|e| Look::Failed(format!("{e:#}")));
                if let Err(TrySendError::Disconnected(_)) = seen.try_send(look) {
                    return;
                }
            }
        };
        thread::Builder::new().name("look".into()).spawn(look)?;
        Ok(looks)
    }
}
