//! Where and how to reach ClickHouse.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where and how to reach ClickHouse, as `settings` checked it.
#[derive(Clone)]
pub struct SinkOptions {
    /// `http://` or `https://`, host, perhaps a port and a path.
    pub url: String,
    /// The database of the table.
    pub database: String,
    /// The table the rows go to.
    pub table: String,
    /// Sent as `X-ClickHouse-User`.
    pub user: Option<String>,
    /// Sent as `X-ClickHouse-Key`.
    pub password: Option<String>,
    /// How TLS is made.
    pub tls: TlsFiles,
    /// How long one request may take in all, from the name look-up to the last byte of the answer.
    pub request_timeout: Duration,
}

/// Files with PEM that are read for each request by TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Authorities to trust, in place of the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate, and those between it and its authority.
    pub certificate: Option<PathBuf>,
    /// Its key, without a passphrase.
    pub key: Option<PathBuf>,
}

impl fmt::Debug for SinkOptions {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkOptions")
            .field("url", &self.url)
            .field("database", &self.database)
            .field("table", &self.table)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "..."))
            .field("tls", &self.tls)
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

/// A setting that cannot be used, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}; {remedy}")]
pub struct SinkOptionsError {
    /// The setting's name.
    pub setting: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub remedy: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_printed() {
        assert!(
            !format!(
                "{:?}",
                SinkOptions {
                    url: "http://127.0.0.1:8124".into(),
                    database: "default".into(),
                    table: "http_log".into(),
                    user: None,
                    password: Some("secret".into()),
                    tls: TlsFiles::default(),
                    request_timeout: Duration::from_secs(60),
                }
            )
            .contains("secret")
        );
    }
}
