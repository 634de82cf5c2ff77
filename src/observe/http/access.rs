//! Who may see the pages: HTTP's basic authentication (RFC 7617), one user.

use std::fmt;
use std::path::PathBuf;

use anyhow::anyhow;
use openssl::base64;
use openssl::memcmp;
use openssl::sha::sha256;

use super::answer::Answer;
use crate::runtime::secret;

/// By the settings that name them.
#[derive(Clone, Debug)]
pub(super) struct Login {
    /// `http_user`.
    pub(super) user: String,
    /// `http_password_file`: the password is its first line, read for each request.
    pub(super) password_file: PathBuf,
}

/// What a request says of who asks. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Credentials(Vec<u8>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Credentials {
    /// Of an `Authorization` header; none of any other scheme or form.
    pub(super) fn of_header(value: &[u8]) -> Credentials {
        let basic = || {
            let text = std::str::from_utf8(value).ok()?.trim();
            let (scheme, rest) = text.split_once(' ')?;
            let rest = scheme.eq_ignore_ascii_case("basic").then_some(rest)?;
            base64::decode_block(rest.trim()).ok()
        };
        Credentials(basic().unwrap_or_default())
    }
}

impl Login {
    /// # Errors
    /// If there is no password in the file; names the setting.
    pub(super) fn password(&self) -> anyhow::Result<String> {
        secret::read(&self.password_file).map_err(|reason| {
            let path = self.password_file.display();
            anyhow!("http_password_file: cannot use {path}: {reason}")
        })
    }

    /// The answer to somebody who may not see a page.
    pub(super) fn refusal(&self, given: &Credentials) -> Option<Answer> {
        let password = match self.password() {
            Ok(password) => password,
            Err(e) => {
                log::warn!("nobody sees the pages: {e}");
                return Some(Answer::text(500, "no password can be read; see the log\n"));
            }
        };
        let wanted = format!("{}:{password}", self.user);
        // Neither where they differ nor in what length is told by the time that it takes.
        if memcmp::eq(&sha256(&given.0), &sha256(wanted.as_bytes())) {
            return None;
        }
        let ask = r#"Basic realm="anonymizer", charset="UTF-8""#;
        let words = "a user and a password are wanted: http_user, and the first line of http_password_file\n";
        Some(Answer::text(401, words).with("WWW-Authenticate", ask))
    }
}
