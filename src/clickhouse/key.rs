//! The password of the user, and where a new one is found when it was changed.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::SinkError;
use super::http::{HeaderValue, header};
use super::options::SinkOptionsError;

/// Reads the password where it is kept; the error is fit for a log.
pub type Reread = Box<dyn Fn() -> Result<Option<String>, String> + Send + Sync>;

/// What is sent as `X-ClickHouse-Key`. After ClickHouse has refused it the password is read again
/// before the next request: it was changed there and in its file, and nobody has to restart us.
pub(in crate::clickhouse) struct Key {
    header: Mutex<Option<HeaderValue>>,
    reread: Option<Reread>,
    refused: AtomicBool,
}

impl fmt::Debug for Key {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(...)")
    }
}

impl Key {
    pub(in crate::clickhouse) fn new(password: Option<&str>) -> Result<Self, SinkOptionsError> {
        Ok(Self {
            header: Mutex::new(header("clickhouse_password_file", password)?),
            reread: None,
            refused: AtomicBool::new(false),
        })
    }

    pub(in crate::clickhouse) fn read_again_with(&mut self, reread: Reread) {
        self.reread = Some(reread);
    }

    /// The header for the next request.
    pub(in crate::clickhouse) fn get(&self) -> Option<HeaderValue> {
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reread) = &self.reread
            && self.refused.swap(false, Ordering::SeqCst)
        {
            match reread().and_then(|password| {
                Key::new(password.as_deref())
                    .map(|key| {
                        key.header
                            .into_inner()
                            .unwrap_or_else(PoisonError::into_inner)
                    })
                    .map_err(|e| e.to_string())
            }) {
                Ok(new) if new != *header => {
                    log::info!("ClickHouse refused the password; its file has another one now");
                    *header = new;
                }
                Ok(_) => {}
                Err(e) => log::warn!("cannot read the password again: {e}"),
            }
        }
        header.clone()
    }

    /// Notes whether the password was refused.
    pub(in crate::clickhouse) fn heard(&self, e: &SinkError) {
        // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED.
        if let SinkError::Hold {
            code: Some(192 | 193 | 194 | 516),
            ..
        } = e
        {
            self.refused.store(true, Ordering::SeqCst);
        }
    }
}
