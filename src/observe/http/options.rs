//! Where the pages are, and for whom.

use std::net::SocketAddr;

use super::access::Login;
use super::tls::{Files, Tls};
use crate::settings::Config;

/// See the module.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where they are; port 0 is any that is free.
    pub(super) listen: SocketAddr,
    /// In the clear without.
    pub(super) tls: Option<Files>,
    /// Everybody who connects sees them without.
    pub(super) login: Option<Login>,
}

impl Options {
    /// Whether they are not for everybody, or not in the clear.
    #[must_use]
    pub fn are_secured(&self) -> bool {
        self.tls.is_some() || self.login.is_some()
    }

    /// Looks whether the files can be used.
    ///
    /// # Errors
    /// If one cannot; names its setting.
    pub fn check(&self) -> anyhow::Result<()> {
        self.read().map(drop)
    }

    /// What TLS is made with.
    pub(super) fn read(&self) -> anyhow::Result<Option<Tls>> {
        if let Some(login) = &self.login {
            login.password()?;
        }
        self.tls.clone().map(Tls::new).transpose()
    }
}

impl From<&Config> for Options {
    fn from(config: &Config) -> Options {
        let certificate = config.http_certificate_file.clone();
        let user = config.http_user.clone();
        Options {
            listen: config.http_listen,
            tls: certificate
                .zip(config.http_key_file.clone())
                .map(|(certificate, key)| Files { certificate, key }),
            login: user
                .zip(config.http_password_file.clone())
                .map(|(user, password_file)| Login {
                    user,
                    password_file,
                }),
        }
    }
}
