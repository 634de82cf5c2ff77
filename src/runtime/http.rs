//! `/metrics` for Prometheus, `/healthz` (the process works) and `/readyz` (partitions are assigned
//! and the queue takes rows). Neither fails because Kafka or ClickHouse is away... except that
//! `/readyz` waits for the first assignment.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use prometheus_client::encoding::text::encode;
use tiny_http::{Header, Request, Response};

use super::report::Report;
use super::shutdown::Shutdown;

/// How long a stop request may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Content type of the OpenMetrics text format, version 1.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A listening server.
pub struct Server {
    inner: tiny_http::Server,
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// If the address is taken or not ours; names the setting.
    pub fn bind(address: SocketAddr) -> anyhow::Result<Server> {
        let inner = tiny_http::Server::http(address).map_err(|e| {
            anyhow!("cannot listen on {address}: {e}; set http_listen to a free address")
        })?;
        Ok(Server { inner })
    }

    /// Answers until a stop is requested.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn run(&self, report: &Report<'_>, shutdown: &Shutdown) -> anyhow::Result<()> {
        let registry = report.stats.registry();
        while !shutdown.requested() {
            let Some(request) = self.inner.recv_timeout(LOOK_EVERY)? else {
                continue;
            };
            let (status, body, content_type) = match request.url() {
                "/metrics" => match report.measure() {
                    Ok(_) => {
                        let mut text = String::new();
                        encode(&mut text, &registry)?;
                        (200, text, OPEN_METRICS)
                    }
                    Err(e) => (500, format!("{e}\n"), "text/plain"),
                },
                "/healthz" => (200, "ok\n".to_owned(), "text/plain"),
                "/readyz" => {
                    let assigned = !report.stats.partitions().is_empty();
                    let writable = report.stats.paused.get() == 0;
                    match (assigned, writable) {
                        (true, true) => (200, "ready\n".to_owned(), "text/plain"),
                        (false, _) => (503, "no partitions assigned\n".to_owned(), "text/plain"),
                        (_, false) => (
                            503,
                            "reading is paused, see the log\n".to_owned(),
                            "text/plain",
                        ),
                    }
                }
                _ => (
                    404,
                    "try /metrics, /healthz or /readyz\n".to_owned(),
                    "text/plain",
                ),
            };
            answer(request, status, body, content_type);
        }
        Ok(())
    }
}

fn answer(request: Request, status: u16, body: String, content_type: &str) {
    let header =
        Header::from_bytes("Content-Type", content_type).expect("BUG: a fixed header is not valid");
    let response = Response::from_string(body)
        .with_status_code(status)
        .with_header(header);
    // Whoever asked has gone; there is nobody to tell.
    let _ = request.respond(response);
}
