//! TLS of the pages: certificate and key from files, which are read again when they were replaced.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, anyhow};
use openssl::ssl::{Ssl, SslAcceptor, SslMethod, SslStream};
use openssl::x509::X509;

use crate::runtime::secret::private_key;

/// How often the files are looked at, while somebody connects.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files, by the settings that name them.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The chain in PEM, ours first: `http_certificate_file`.
    pub(super) certificate: PathBuf,
    /// Its key in PEM, without a passphrase: `http_key_file`.
    pub(super) key: PathBuf,
}

/// What is served with, and what it was read of.
pub(super) struct Tls {
    files: Files,
    acceptor: SslAcceptor,
    read: Stamp,
    looked: Instant,
}

/// By what a file that was replaced, or written again, is known.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// # Errors
    /// If a file cannot be used; names its setting.
    pub(super) fn new(files: Files) -> anyhow::Result<Tls> {
        Ok(Tls {
            read: stamp(&files),
            acceptor: acceptor(&files)?,
            files,
            looked: Instant::now(),
        })
    }

    /// The server's side of a connection, of which nothing was said yet. While a file is being replaced,
    /// what was read before holds.
    pub(super) fn accept(
        &mut self,
        stream: TcpStream,
        now: Instant,
    ) -> anyhow::Result<SslStream<TcpStream>> {
        if now >= self.looked + LOOK_EVERY {
            self.looked = now;
            self.look();
        }
        let mut tls = Ssl::new(self.acceptor.context())?;
        tls.set_accept_state();
        Ok(SslStream::new(tls, stream)?)
    }

    fn look(&mut self) {
        let is = stamp(&self.files);
        if is == self.read {
            return;
        }
        match acceptor(&self.files) {
            Ok(acceptor) => {
                log::info!("the pages are served with the new certificate");
                self.acceptor = acceptor;
                self.read = is;
            }
            Err(e) => log::warn!("{e:#}; going on with what was read before"),
        }
    }
}

fn stamp(files: &Files) -> Stamp {
    [&files.certificate, &files.key].map(|path| {
        let is = fs::metadata(path).ok()?;
        Some((is.modified().ok()?, is.len()))
    })
}

fn acceptor(files: &Files) -> anyhow::Result<SslAcceptor> {
    let (ours, chain) = read("http_certificate_file", &files.certificate, |pem| {
        let mut chain = X509::stack_from_pem(pem).unwrap_or_default().into_iter();
        let ours = chain.next().context("it holds no certificate in PEM")?;
        Ok((ours, chain))
    })?;
    let key = read("http_key_file", &files.key, |pem| {
        private_key(pem).map_err(anyhow::Error::msg)
    })?;
    // TLS 1.2 and 1.3, by <https://wiki.mozilla.org/Security/Server_Side_TLS>.
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate(&ours)?;
    builder
        .set_private_key(&key)
        .and_then(|()| builder.check_private_key())
        .map_err(|_| anyhow!("http_key_file: it is not the key of http_certificate_file"))?;
    for above in chain {
        builder.add_extra_chain_cert(above)?;
    }
    Ok(builder.build())
}

fn read<T>(
    setting: &str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    fs::read(path)
        .map_err(anyhow::Error::from)
        .and_then(|pem| parse(&pem))
        .with_context(|| format!("{setting}: cannot use {}", path.display()))
}
