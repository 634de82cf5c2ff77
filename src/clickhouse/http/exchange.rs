//! One request over one new connection, and what is known when it fails.
//!
//! ureq sends and reads. Two small parts know what it does not tell: whether a connection was made
//! ([`Reached`]) and whether a body byte was asked for ([`Counted`]). Everything that decides "no
//! slot used" and "cannot be stored" rests on these two facts, not on kinds of errors.

use std::io::{self, Read};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, HeaderValue, Request};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, SendBody};

use super::answer::{Answer, Sent};
use super::connection::Reached;
use super::{retry_after, tls};
use crate::clickhouse::error::SinkError;
use crate::clickhouse::words::clean;
use crate::runtime::clock::{now_ms, unix_ms};
use crate::runtime::http_client;

/// A request about to be made.
pub(in crate::clickhouse) struct Exchange<'a> {
    pub(in crate::clickhouse) url: &'a str,
    pub(in crate::clickhouse) user: Option<&'a HeaderValue>,
    pub(in crate::clickhouse) key: Option<HeaderValue>,
    pub(in crate::clickhouse) tls: TlsConfig,
    pub(in crate::clickhouse) timeout: Duration,
    /// Whether to wait for `100 Continue` before the body.
    pub(in crate::clickhouse) expect: bool,
    /// What the last answer says of the time.
    pub(in crate::clickhouse) heard: &'a Mutex<Option<Heard>>,
}

/// What an answer says of the clock of who made it. All ms of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When the request began, by the local clock.
    pub sent_ms: u64,
    /// When the answer's head had come, by the local clock.
    pub heard_ms: u64,
    /// The answer's `Date`: whole seconds, cut off.
    pub date_ms: u64,
}

impl Exchange<'_> {
    /// Posts `body` and reads the answer, at most `max_answer` bytes of it.
    pub(in crate::clickhouse) fn run(
        &self,
        body: &mut dyn Read,
        body_len: u64,
        encoding: Option<&'static str>,
        max_answer: u64,
    ) -> Result<(Answer, Sent), SinkError> {
        let reached = Reached::default();
        let agent = self.agent(reached.clone());
        let mut body = Counted::new(body, body_len);
        let mut request = Request::post(self.url).header("Content-Length", body_len);
        if self.expect {
            request = request.header("Expect", "100-continue");
        }
        if let Some(encoding) = encoding {
            request = request.header("Content-Encoding", encoding);
        }
        if let Some(user) = self.user {
            request = request.header("X-ClickHouse-User", user);
        }
        if let Some(key) = &self.key {
            request = request.header("X-ClickHouse-Key", key);
        }
        let sent_ms = now_ms();
        let result = request
            .body(SendBody::from_reader(&mut body))
            .map_err(ureq::Error::from)
            .and_then(|request| agent.run(request));
        let sent = body.sent();
        if let Some(words) = body.failed {
            return Err(SinkError::Unreadable {
                words,
                body_sent: sent.any,
            });
        }
        let retry = |what: &str, error: &dyn std::fmt::Display| SinkError::Retry {
            words: format!("{what}: {}", clean(error.to_string().as_bytes())),
            reached: reached.get(),
            ambiguous: sent.any,
            retry_after: None,
            code: None,
        };
        let response = match result {
            Ok(response) => response,
            Err(error) if reached.get() => return Err(retry("no answer", &error)),
            Err(error) => {
                let what = tls::explained(&error.to_string());
                let what = what.map_or("cannot connect".to_owned(), |w| {
                    format!("cannot connect by TLS; {w}")
                });
                return Err(retry(&what, &error));
            }
        };

        let date = response.headers().get("Date");
        let date = date.and_then(|d| httpdate::parse_http_date(d.to_str().ok()?).ok());
        *self
            .heard
            .lock()
            .expect("BUG: nothing panics while it is held") = date.map(|date| Heard {
            sent_ms,
            heard_ms: now_ms(),
            date_ms: unix_ms(date),
        });
        let status = response.status().as_u16();
        let mut answer = Answer {
            status,
            body: Vec::new(),
            ..from_headers(response.headers())
        };
        let read = response
            .into_body()
            .into_reader()
            .take(max_answer + 1)
            .read_to_end(&mut answer.body);
        match read {
            Ok(n) if n as u64 > max_answer => {
                return Err(SinkError::Hold {
                    code: answer.code,
                    words: format!("HTTP {status}: the answer is longer than {max_answer} bytes"),
                    ambiguous: sent.any,
                });
            }
            // Once a failure is told, how the answer ends is of no interest.
            Err(error) if !answer.tells_failure() => {
                return Err(retry("the answer was cut", &error));
            }
            Ok(_) | Err(_) => {}
        }
        Ok((answer, sent))
    }

    /// An agent for one request, of which nothing is unbounded.
    fn agent(&self, reached: Reached) -> Agent {
        let part = self.timeout / 4;
        let config = http_client::for_one_request()
            .user_agent(concat!("anonymizer/", env!("CARGO_PKG_VERSION")))
            .tls_config(self.tls.clone())
            .timeout_global(Some(self.timeout))
            .timeout_resolve(Some(part.min(Duration::from_secs(10))))
            .timeout_connect(Some(part.min(Duration::from_secs(10))))
            .timeout_send_request(Some(part.min(Duration::from_secs(10))))
            // nginx answers at once; who has not answered by then does not know the header.
            .timeout_await_100(Some(part.min(Duration::from_secs(2))))
            .timeout_send_body(Some(self.timeout))
            .timeout_recv_response(Some(self.timeout))
            .timeout_recv_body(Some(self.timeout))
            .build();
        Agent::with_parts(
            config,
            DefaultConnector::new().chain(reached),
            DefaultResolver::default(),
        )
    }
}

/// The body as ureq reads it: exactly the promised length or an error. Without this a body that ends
/// early would spin for ever in ureq 3.5, and one that is too long would be sent without its end.
struct Counted<'a> {
    inner: &'a mut dyn Read,
    len: u64,
    left: u64,
    failed: Option<String>,
}

impl<'a> Counted<'a> {
    fn new(inner: &'a mut dyn Read, len: u64) -> Self {
        Self {
            inner,
            len,
            left: len,
            failed: None,
        }
    }

    fn sent(&self) -> Sent {
        Sent {
            body_len: self.len,
            any: self.left < self.len,
            whole: self.left == 0,
        }
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.failed = Some(clean(error.to_string().as_bytes()));
        error
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        if most == 0 {
            return Ok(0);
        }
        let n = match uninterrupted(self.inner, &mut buf[..most]) {
            Err(error) => return Err(self.fail(error)),
            Ok(0) => {
                let words = format!("it ends {} bytes before its length", self.left);
                return Err(self.fail(io::Error::new(io::ErrorKind::UnexpectedEof, words)));
            }
            Ok(n) => n,
        };
        // Before the last byte leaves: a body with more in it is not the body that was announced.
        if n as u64 == self.left && !matches!(uninterrupted(self.inner, &mut [0]), Ok(0)) {
            let words = format!("it does not end at its length of {} bytes", self.len);
            return Err(self.fail(io::Error::new(io::ErrorKind::InvalidData, words)));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// A signal is no reason to cut a connection.
fn uninterrupted(reader: &mut dyn Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn from_headers(headers: &HeaderMap) -> Answer {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let summary = text("X-ClickHouse-Summary").and_then(|s| serde_json::from_str(s).ok());
    Answer {
        status: 0,
        code: text("X-ClickHouse-Exception-Code").map(|code| {
            // A code that cannot be read is a failure all the same, of a kind not known here.
            code.trim().parse().unwrap_or(u32::MAX)
        }),
        from_clickhouse: OWN.iter().any(|name| headers.contains_key(*name)),
        query_id: text("X-ClickHouse-Query-Id").map(str::to_owned),
        display_name: text("X-ClickHouse-Server-Display-Name").map(|name| clean(name.as_bytes())),
        server: text("Server").map(|name| clean(name.as_bytes())),
        retry_after: text("Retry-After").and_then(|v| retry_after::parse(v, SystemTime::now())),
        read_rows: summary.as_ref().and_then(|s| number(s, "read_rows")),
        written_rows: summary.as_ref().and_then(|s| number(s, "written_rows")),
        body: Vec::new(),
    }
}

/// Headers that every answer of ClickHouse has one of. Not all `X-ClickHouse-*`: a server that returns the
/// headers of a request would return our own.
const OWN: [&str; 3] = [
    "X-ClickHouse-Summary",
    "X-ClickHouse-Query-Id",
    "X-ClickHouse-Exception-Code",
];

/// A field of `{"written_rows":"3", ...}`: ClickHouse writes numbers as text there.
fn number(summary: &serde_json::Value, name: &str) -> Option<u64> {
    let value = summary.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
