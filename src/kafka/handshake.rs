//! Why a broker's certificate was refused. librdkafka says only that it was, so the handshake is made once
//! more, by the same OpenSSL and with the same authorities, and asked for its finding.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, SslConnector, SslMethod};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509VerifyResult};
use rdkafka::config::ClientConfig;

use super::fault::{Fault, Reason};

/// How long each step may take.
const STEP: Duration = Duration::from_secs(5);

/// OpenSSL's findings (x509_vfy.h): a certificate that is not valid yet, or not any more; one of another
/// host or address; one whose issuer is not known, or has only the same name.
const DATES: [i32; 2] = [9, 10];
const NAMES: [i32; 2] = [62, 64];
const ISSUERS: [i32; 6] = [2, 7, 18, 19, 20, 21];

/// The same fault, with its reason if that can be found.
pub(super) fn explain(fault: Fault, config: &ClientConfig) -> Fault {
    let found = look(&fault.whose, config);
    let Some(result) = found else { return fault };
    let reason = match result.as_raw() {
        n if DATES.contains(&n) => Reason::Expired,
        n if NAMES.contains(&n) => Reason::HostName,
        n if ISSUERS.contains(&n) => Reason::Authority,
        _ => Reason::Certificate,
    };
    Fault {
        reason,
        words: result.error_string().to_owned(),
        ..fault
    }
}

/// What is wrong with the certificate; `None` if nothing is, or nobody answers.
fn look(broker: &str, config: &ClientConfig) -> Option<X509VerifyResult> {
    let host = broker.rsplit_once(':')?.0.trim_matches(['[', ']']);
    let connector = connector(config).ok()?;
    let address = broker.to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&address, STEP).ok()?;
    stream.set_read_timeout(Some(STEP)).ok()?;
    stream.set_write_timeout(Some(STEP)).ok()?;
    let mut handshake = connector.configure().ok()?;
    let named = config.get("ssl.endpoint.identification.algorithm") != Some("none");
    handshake.set_verify_hostname(named);
    let ended = handshake.connect(host, stream);
    let (Err(HandshakeError::Failure(at)) | Err(HandshakeError::WouldBlock(at))) = ended else {
        return None;
    };
    let result = at.ssl().verify_result();
    (result != X509VerifyResult::OK).then_some(result)
}

/// With the authorities that librdkafka was told of, or else the system's.
fn connector(config: &ClientConfig) -> Result<SslConnector, ErrorStack> {
    let mut connector = SslConnector::builder(SslMethod::tls())?;
    let (file, pem) = (config.get("ssl.ca.location"), config.get("ssl.ca.pem"));
    if file.is_some() || pem.is_some() {
        // None of the system's, which the builder has.
        connector.set_cert_store(X509StoreBuilder::new()?.build());
    }
    if let Some(file) = file {
        let path = std::path::Path::new(file);
        let (file, dir) = match path.is_dir() {
            true => (None, Some(path)),
            false => (Some(path), None),
        };
        connector.load_verify_locations(file, dir)?;
    }
    for authority in X509::stack_from_pem(pem.unwrap_or_default().as_bytes())? {
        connector.cert_store_mut().add_cert(authority)?;
    }
    Ok(connector.build())
}
