//! `/metrics` for Prometheus, `/healthz` (the process works, whatever its neighbours do) and `/readyz` (it
//! is a member of the group, a broker answers, and the queue takes rows).
//!
//! This file says what the pages are; `front.rs` serves them. Whatever happens there, by a client or by
//! a fault of ours, rows go on.

mod accept;
mod access;
mod answer;
mod connection;
mod front;
mod head;
mod options;
mod plain;
mod schema;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::anyhow;

use super::page::{self, Span, View};
use super::report::Report;
use crate::runtime::shutdown::Shutdown;
use access::Login;
use answer::Answer;
use front::{Front, Page, Site};
use head::Request;
pub use options::Options;

/// Content type of the OpenMetrics text format, version 1.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Content type of Prometheus' plain text.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The pages that take time.
const METRICS: &str = "/metrics";
const METRICS_PLAIN: &str = "/metrics in plain text";
const STATUS: &str = "/api/v1/status";
const PAGE: &str = "/";
const PAGE_HOUR: &str = "/?span=1h";
const PAGE_HOURS_6: &str = "/?span=6h";
const PAGE_DAY: &str = "/?span=24h";

/// How long nothing is served after a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A listening server.
pub struct Server {
    front: Front,
    login: Option<Login>,
    scheme: &'static str,
}

impl Server {
    /// Listens. `/healthz` and `/readyz` are for everybody: they tell nothing else, and a prober has no
    /// password.
    ///
    /// # Errors
    /// If the address is taken or not ours, or a file cannot be used; names the setting.
    pub fn bind(options: Options) -> anyhow::Result<Server> {
        let address = options.listen;
        let tls = options.read()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let front = Front::bind(address, tls).map_err(|e| {
            anyhow!("cannot listen on {address}: {e}; set http_listen to a free address")
        })?;
        Ok(Server {
            front,
            login: options.login,
            scheme,
        })
    }

    /// Where it listens: the port, too, if it was free to choose.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.front.address())
    }

    /// Answers until a stop is requested. A failure is logged, and it goes on.
    pub fn run(&self, report: &Report<'_>, shutdown: &Shutdown) {
        let pages = Pages {
            report,
            login: self.login.as_ref(),
        };
        keep_serving(shutdown, || {
            self.front.serve(&pages, &|| shutdown.requested())
        });
    }
}

/// Returns only once a stop is requested: the end of this thread would end the pipeline.
fn keep_serving(shutdown: &Shutdown, mut serve: impl FnMut() -> io::Result<()>) {
    while !shutdown.requested() {
        let why = match catch_unwind(AssertUnwindSafe(&mut serve)) {
            Ok(Ok(())) => continue,
            Ok(Err(e)) => e.to_string(),
            Err(_) => "BUG: it panicked".to_owned(),
        };
        log::error!("no metrics for a moment, rows go on: {why}");
        shutdown.wait(AGAIN_AFTER);
    }
}

/// The path that a head asks for, and whether its client would rather have OpenMetrics. For the fuzz target
/// of that name, which has no instance to ask.
#[doc(hidden)]
#[must_use]
pub fn asked_for(head: &[u8]) -> Option<(String, bool)> {
    match head::parse(head) {
        head::Head::Get(request) => Some((request.path, accept::open_metrics(&request.accept))),
        _ => None,
    }
}

struct Pages<'a> {
    report: &'a Report<'a>,
    login: Option<&'a Login>,
}

impl Site for Pages<'_> {
    fn find(&self, request: &Request) -> Page {
        let is_open = matches!(request.path.as_str(), "/healthz" | "/readyz");
        if let Some(login) = self.login.filter(|_| !is_open)
            && let Some(refusal) = login.refusal(&request.credentials)
        {
            return Page::AtOnce(refusal);
        }
        match request.path.as_str() {
            METRICS if accept::open_metrics(&request.accept) => Page::TakesTime(METRICS),
            METRICS => Page::TakesTime(METRICS_PLAIN),
            "/" => Page::TakesTime(match Span::of_query(&request.query) {
                Span::Auto => PAGE,
                Span::Hour => PAGE_HOUR,
                Span::Hours6 => PAGE_HOURS_6,
                Span::Day => PAGE_DAY,
            }),
            STATUS => Page::TakesTime(STATUS),
            "/api/v1/status/schema" => Page::AtOnce(json(schema::SCHEMA.to_owned())),
            "/healthz" => Page::AtOnce(Answer::text(200, "ok\n")),
            "/readyz" => Page::AtOnce(self.ready()),
            _ => Page::AtOnce(Answer::text(
                404,
                "try /, /metrics, /healthz, /readyz or /api/v1/status\n",
            )),
        }
    }

    fn make(&self, page: &'static str) -> Answer {
        // They read the queue, which may be busy.
        let made = match page {
            METRICS => self.metrics(OPEN_METRICS),
            METRICS_PLAIN => self.metrics(PLAIN),
            STATUS => self.status(),
            PAGE_HOUR => self.page(Span::Hour),
            PAGE_HOURS_6 => self.page(Span::Hours6),
            PAGE_DAY => self.page(Span::Day),
            _ => self.page(Span::Auto),
        };
        made.unwrap_or_else(|e| Answer::text(500, format!("{e}\n")))
    }
}

/// What nobody can guess.
fn random() -> anyhow::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("no random bytes: {e}"))?;
    Ok(u128::from_le_bytes(bytes))
}

fn json(text: String) -> Answer {
    Answer::new(200, "application/json", text)
}

impl Pages<'_> {
    fn metrics(&self, format: &'static str) -> anyhow::Result<Answer> {
        self.report.measure()?;
        let mut text = self.report.stats.open_metrics()?;
        if format == PLAIN {
            text = plain::text(&text);
        }
        // One address, two formats.
        Ok(Answer::new(200, format, text).with("Vary", "Accept"))
    }

    fn page(&self, span: Span) -> anyhow::Result<Answer> {
        let report = self.report;
        let status = report.status()?;
        let (first_minute, day) = report
            .history
            .last_day(status.told_ms, &report.look(&status));
        let nonce = format!("{:032x}", random()?);
        let text = page::page(&View {
            status: &status,
            settings: &report.settings,
            day: &day,
            first_minute,
            span,
            reasons: &report.reasons(&status)?,
            nonce: &nonce,
        });
        Ok(Answer::new(200, "text/html; charset=utf-8", text)
            .with("Content-Security-Policy", &page::policy(&nonce)))
    }

    fn status(&self) -> anyhow::Result<Answer> {
        Ok(json(serde_json::to_string(&self.report.status()?)?))
    }

    /// Ready is a member of the group, with partitions or without: an instance more than there are
    /// partitions must not stop a rollout.
    fn ready(&self) -> Answer {
        let stats = self.report.stats;
        let seen = self.report.consumer.seen();
        if let Some(pause) = stats.pause.get() {
            return Answer::text(503, format!("reading is paused: {}\n", pause.words));
        }
        if let Some(down) = seen.down {
            return Answer::text(503, format!("Kafka does not answer: {}\n", down.words));
        }
        match seen.joined || !stats.partitions().is_empty() {
            true => Answer::text(200, "ready\n"),
            false => Answer::text(503, "not a member of the group yet\n"),
        }
    }
}
