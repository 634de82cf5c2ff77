//! What every HTTP client of ours has in common.

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, PemItem, parse_pem};
use ureq::typestate::AgentScope;

/// An agent for one request: nothing of the user's environment, no redirects, no connection that is kept.
/// How long it may take is for the caller to say.
pub fn for_one_request() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
}

/// The certificates in a text in PEM; whatever else is in it is passed over.
///
/// # Errors
/// In words, if it is none, or none is in it.
pub fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut all = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| e.to_string())? {
            all.push(certificate);
        }
    }
    match all.is_empty() {
        true => Err("it holds no certificate in PEM".to_owned()),
        false => Ok(all),
    }
}
