//! How TLS to ClickHouse is made: whom we trust and who we are, by files that are read for each request, so
//! that a renewed certificate is used with the next one; and what a handshake that failed means.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

use crate::clickhouse::options::{SinkOptionsError, TlsFiles};
use crate::runtime::http_client;
use crate::runtime::secret::{NO_KEY, private_key};

const CA: &str = "clickhouse_ca_file";
const CERTIFICATE: &str = "clickhouse_certificate_file";
const KEY: &str = "clickhouse_key_file";

/// The files, and what was read of them last.
#[derive(Debug)]
pub(in crate::clickhouse) struct Tls {
    files: TlsFiles,
    last: Mutex<TlsConfig>,
}

impl Tls {
    /// # Errors
    /// If a file cannot be used, or only one of certificate and key is there.
    pub(in crate::clickhouse) fn new(files: &TlsFiles) -> Result<Tls, SinkOptionsError> {
        Ok(Tls {
            files: files.clone(),
            last: Mutex::new(read(files)?),
        })
    }

    /// For the next request. While a file is being replaced, what it was before holds.
    pub(in crate::clickhouse) fn now(&self) -> TlsConfig {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read(&self.files) {
            Ok(new) => *last = new,
            Err(e) => log::warn!("{e}; going on with what was read before"),
        }
        last.clone()
    }
}

fn read(files: &TlsFiles) -> Result<TlsConfig, SinkOptionsError> {
    let roots = match &files.ca {
        None => RootCerts::PlatformVerifier,
        Some(path) => RootCerts::new_with_certs(&certificates(CA, path)?),
    };
    let ours = match (&files.certificate, &files.key) {
        (None, None) => None,
        (Some(chain), Some(key)) => Some(client(chain, key)?),
        (one, _) => {
            let (is, missing) = match one {
                Some(_) => (CERTIFICATE, KEY),
                None => (KEY, CERTIFICATE),
            };
            return Err(SinkOptionsError {
                setting: is,
                problem: format!("is given without {missing}"),
                remedy: "give both or none",
            });
        }
    };
    Ok(TlsConfig::builder()
        .provider(TlsProvider::NativeTls)
        .root_certs(roots)
        .client_cert(ours)
        .build())
}

fn client(chain: &Path, key: &Path) -> Result<ClientCert, SinkOptionsError> {
    let certificates = certificates(CERTIFICATE, chain)?;
    let pem = contents(KEY, key)?;
    let private = private_key(&pem).map_err(|reason| unusable(KEY, key, reason))?;
    let first = openssl::x509::X509::from_der(certificates[0].der());
    let is_pair = first
        .and_then(|c| c.public_key())
        .is_ok_and(|k| k.public_eq(&private));
    if !is_pair {
        let words = format!("it is not the key of {CERTIFICATE}");
        return Err(unusable(KEY, key, &words));
    }
    // As PKCS #8, whichever way it is written.
    let pem = private.private_key_to_pem_pkcs8();
    let pem = pem.map_err(|_| unusable(KEY, key, NO_KEY))?;
    let private = PrivateKey::from_pem(&pem);
    let private = private.map_err(|e| unusable(KEY, key, &e.to_string()))?;
    Ok(ClientCert::new_with_certs(&certificates, private))
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<Certificate<'static>>, SinkOptionsError> {
    http_client::certificates(&contents(setting, path)?)
        .map_err(|reason| unusable(setting, path, &reason))
}

fn contents(setting: &'static str, path: &Path) -> Result<Vec<u8>, SinkOptionsError> {
    fs::read(path).map_err(|e| unusable(setting, path, &e.to_string()))
}

fn unusable(setting: &'static str, path: &Path, reason: &str) -> SinkOptionsError {
    SinkOptionsError {
        setting,
        problem: format!("cannot use {}: {reason}", path.display()),
        remedy: "give a file that is there",
    }
}

/// What OpenSSL's words on a failed connection come to: what it is, and what to do. None if they are no
/// matter of TLS.
pub(in crate::clickhouse) fn explained(words: &str) -> Option<&'static str> {
    let has = |part: &str| words.contains(part);
    Some(
        if has("ertificate has expired") || has("ertificate is not yet valid") {
            "the certificate has expired, or is not valid yet: have it renewed, and look at the clocks"
        } else if has("ostname mismatch") || has("IP address mismatch") {
            "the certificate is for another host: name the host in clickhouse_url as the certificate does"
        } else if has("certificate verify failed") {
            "the certificate is of an authority that is not trusted: set clickhouse_ca_file to that authority's"
        } else if has(" alert ") && (has("certificate") || has("unknown ca")) {
            "our certificate is not taken, or one is wanted: set clickhouse_certificate_file and \
         clickhouse_key_file"
        } else if has("wrong version number") || has("packet length too long") {
            "there is no TLS: set clickhouse_url to an http:// address, or to the port with TLS"
        } else {
            return None;
        },
    )
}
