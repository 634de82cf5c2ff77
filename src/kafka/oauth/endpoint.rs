//! A token endpoint, asked by client credentials (RFC 6749, 4.4).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::token::Token;
use crate::kafka::fault::{Fault, Reason};
use crate::runtime::{http_client, secret};

/// How long an answer may take. Meanwhile records are read.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer, in bytes.
const LONGEST: u64 = 64 * 1024;

/// The most of the endpoint's words that are told, in characters.
const WORDS: usize = 200;

/// What a form leaves as it is (RFC 3986's unreserved characters), in a user's name and secret, too.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// See the module.
#[derive(Clone)]
pub struct Endpoint {
    /// `https://host/path`.
    pub url: String,
    /// Who we are.
    pub client: String,
    /// What proves it.
    pub secret: Secret,
    /// What we ask for.
    pub scope: Option<String>,
    /// Authorities to trust in place of the system's.
    pub ca: Option<PathBuf>,
}

/// A secret, or where it stands.
#[derive(Clone)]
pub enum Secret {
    /// The first line of a file, which is read each time.
    File(PathBuf),
    /// Itself.
    Text(String),
}

impl Endpoint {
    /// Its address, without what may be a key to it.
    pub(super) fn shown(&self) -> &str {
        let end = self.url.find('?').unwrap_or(self.url.len());
        &self.url[..end]
    }

    /// Asks for a token.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn ask(&self) -> Result<Token, Fault> {
        let fault = |reason, words: String| Fault {
            reason,
            whose: self.shown().to_owned(),
            words,
        };
        let away = |words: String| fault(Reason::TokenEndpoint, words);
        let secret = self.secret.read().map_err(away)?;
        let agent = agent(self.ca.as_deref()).map_err(away)?;
        let form = |text: &str| utf8_percent_encode(text, FORM).to_string();
        let who = format!("{}:{}", form(&self.client), form(&secret));
        let who = openssl::base64::encode_block(who.as_bytes());
        let mut body = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.scope {
            body += &format!("&scope={}", form(scope));
        }
        let answer = agent
            .post(&self.url)
            .header("authorization", format!("Basic {who}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .send(body);
        let mut answer = answer.map_err(|e| away(e.to_string()))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(LONGEST);
        let body = body.read_to_vec().map_err(|e| away(e.to_string()))?;
        match status {
            200 => {
                Token::of_answer(&body).map_err(|words| fault(Reason::TokenAnswer, words.into()))
            }
            400 | 401 | 403 => {
                let hidden = [secret.as_str(), &form(&secret), &who];
                let words = covered(&said(&body), &hidden);
                Err(fault(Reason::TokenClient, format!("{status}{words}")))
            }
            429 | 500.. => Err(away(format!("it answers {status}"))),
            _ => Err(fault(Reason::TokenAnswer, format!("it answers {status}"))),
        }
    }
}

impl Secret {
    fn read(&self) -> Result<String, String> {
        let path = match self {
            Secret::Text(text) => return Ok(text.clone()),
            Secret::File(path) => path,
        };
        secret::read(path).map_err(|reason| {
            format!(
                "kafka_client_secret_file: cannot use {}: {reason}",
                path.display()
            )
        })
    }
}

/// For one request, of which nothing is unbounded.
fn agent(ca: Option<&Path>) -> Result<Agent, String> {
    let roots = match ca {
        None => RootCerts::PlatformVerifier,
        Some(path) => RootCerts::new_with_certs(&authorities(path)?),
    };
    let tls = TlsConfig::builder().provider(TlsProvider::NativeTls);
    let config = http_client::for_one_request()
        .tls_config(tls.root_certs(roots).build())
        .timeout_global(Some(PATIENCE));
    Ok(config.build().into())
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let pem = fs::read(path).map_err(|e| e.to_string());
    pem.and_then(|pem| http_client::certificates(&pem))
        .map_err(|reason| format!("https.ca.location: cannot use {}: {reason}", path.display()))
}

/// An endpoint's words on a refusal (RFC 6749, 5.2), with `: ` before each, if it has any.
fn said(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut words = String::new();
    for name in ["error", "error_description"] {
        if let Some(text) = answer[name].as_str() {
            let text = text.chars().filter(|c| !c.is_control()).take(WORDS);
            words += ": ";
            words.extend(text);
        }
    }
    words
}

/// Covers what an endpoint may have said after us.
fn covered(words: &str, hidden: &[&str]) -> String {
    let cover = |words: String, hidden: &&str| words.replace(hidden, "***");
    hidden.iter().fold(words.to_owned(), cover)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoints_words_are_told_without_our_secret() {
        let body = br#"{"error":"invalid_client","error_description":"no \n hunter2 here"}"#;
        let words = covered(&said(body), &["hunter2"]);
        assert_eq!(words, ": invalid_client: no  *** here");
        assert_eq!(said(b"<html>"), "");
        assert!(said(format!(r#"{{"error":"{}"}}"#, "x".repeat(9999)).as_bytes()).len() < 300);
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut endpoint = Endpoint {
            url: "http://127.0.0.1:1/token".into(),
            client: "me".into(),
            secret: Secret::File(dir.path().join("secret")),
            scope: None,
            ca: None,
        };
        let said = |endpoint: &Endpoint| endpoint.ask().unwrap_err().to_string();
        assert!(said(&endpoint).contains("kafka_client_secret_file: cannot use /"));
        fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
        assert!(said(&endpoint).contains("refused"), "{}", said(&endpoint));
        endpoint.ca = Some(dir.path().join("secret"));
        assert!(said(&endpoint).contains("https.ca.location: cannot use /"));
    }
}
