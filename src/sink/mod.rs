//! ClickHouse over HTTP: the only part that knows either.
//!
//! One request is one new connection: the proxy lets one a minute pass, and a connection kept that
//! long is a connection the other side has closed. Every insert says `Expect: 100-continue`, so a
//! limiter's 503 and a 413 come before a body byte is sent, and then nothing can be stored. Every
//! body has a `Content-Length`: a chunked body that is too long uses the slot, and a cut one cannot
//! be told from a whole one.
//!
//! - [`SinkError`] is the decision on an answer; `answer.rs` holds the table of codes behind it.
//! - [`BodyLimit`] learns how long a body the proxy takes.
//! - [`Schema`] is the DDL this program needs, and the check that it is there.

mod answer;
mod body_limit;
mod connection;
mod ddl;
mod error;
mod exchange;
mod minutes;
mod retention;
mod retry_after;
mod schema;
mod url;
mod words;

use std::fmt;
use std::io::Read;
use std::time::{Duration, Instant};

use ureq::http::HeaderValue;

pub use self::body_limit::BodyLimit;
pub use self::error::SinkError;
pub use self::minutes::MinutesQuery;
pub use self::retention::Retention;
pub use self::schema::{Found, ObjectKind, Schema, SchemaError, SchemaObject, SchemaState};

use self::exchange::Exchange;
use self::url::Base;

/// The longest answer to a query that is read. A schema check is a few KiB.
const MAX_ANSWER: u64 = 16 << 20;

/// Where and how to reach ClickHouse.
#[derive(Clone)]
pub struct SinkOptions {
    /// `http://` or `https://`, host, perhaps a port and a path.
    pub url: String,
    /// The database of the table.
    pub database: String,
    /// The table the rows go to.
    pub table: String,
    /// Sent as `X-ClickHouse-User`.
    pub user: Option<String>,
    /// Sent as `X-ClickHouse-Key`.
    pub password: Option<String>,
    /// How long one request may take in all, from the name look-up to the last byte of the answer.
    pub request_timeout: Duration,
}

impl fmt::Debug for SinkOptions {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkOptions")
            .field("url", &self.url)
            .field("database", &self.database)
            .field("table", &self.table)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "..."))
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

/// A setting that cannot be used, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}; {remedy}")]
pub struct SinkOptionsError {
    /// The setting's name.
    pub setting: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub remedy: &'static str,
}

/// One INSERT: everything about it that is pinned with the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsertRequest {
    /// The batch's token, for the error texts; the settings carry it to ClickHouse.
    pub token: String,
    /// How many rows the body holds.
    pub rows: u64,
    /// The exact length of the body in bytes.
    pub body_len: u64,
    /// The parameters pinned with the batch, from [`insert_settings`].
    pub settings: Vec<(String, String)>,
    /// The columns in the order of the body, as in SQL: `timestamp, resource_id, ...`.
    pub columns: &'static str,
    /// The format of the body, as ClickHouse names it.
    pub format: &'static str,
}

/// ClickHouse has stored the rows, or had them already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsertDone {
    /// What `X-ClickHouse-Summary` says was written, views included. A resend that was recognised
    /// writes 0: a number to show, never one to check.
    pub written_rows: Option<u64>,
    /// From the look-up of the name to the end of the answer.
    pub elapsed: Duration,
}

/// The parameters of an INSERT, to be pinned with the batch when it is sealed.
///
/// A resend must be cut into the same blocks as the first send, or it is neither dropped nor stored
/// once but mixed. So the block settings are no smaller than the batch: one batch, one block.
pub fn insert_settings(token: &str, max_rows: u64) -> Vec<(String, String)> {
    let block = max_rows.max(1_048_576).to_string();
    [
        ("insert_deduplication_token", token),
        ("insert_deduplicate", "1"),
        ("deduplicate_blocks_in_dependent_materialized_views", "1"),
        ("async_insert", "0"),
        ("max_insert_threads", "1"),
        ("max_insert_block_size", &block),
        ("min_insert_block_size_rows", &block),
        ("min_insert_block_size_bytes", "0"),
        // Merges add up what the views wrote; measured, twice the insert rate.
        ("optimize_on_insert", "0"),
        // Views that do not wait for one another, where there is more than one core.
        ("parallel_view_processing", "1"),
        // A view that cannot store its part is an error of the insert, whatever the server's profile:
        // totals that are wrong and nobody knows would be the alternative.
        ("materialized_views_ignore_errors", "0"),
        ("ignore_materialized_views_with_dropped_target_table", "0"),
        // No timestamp in a row may make an insert fail.
        ("throw_on_max_partitions_per_insert_block", "0"),
        // The status must be the last word, not the first.
        ("wait_end_of_query", "1"),
        ("send_progress_in_http_headers", "0"),
        ("http_write_exception_in_output_format", "0"),
        // A resend that meets its first attempt still running gets 216, and waits.
        ("query_id", token),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .collect()
}

/// A way to ClickHouse. Holds no connection and may be shared by threads.
pub struct Sink {
    base: Base,
    database: String,
    table: String,
    user: Option<HeaderValue>,
    key: Option<HeaderValue>,
    timeout: Duration,
}

impl Sink {
    /// Checks the options. Nothing is sent.
    pub fn new(options: &SinkOptions) -> Result<Self, SinkOptionsError> {
        for (setting, value) in [
            ("clickhouse_database", &options.database),
            ("clickhouse_table", &options.table),
        ] {
            if value.is_empty() || value.contains('\0') {
                return Err(SinkOptionsError {
                    setting,
                    problem: format!("{value:?} is no name"),
                    remedy: "give the name as in SQL, without quotes",
                });
            }
        }
        if options.request_timeout < Duration::from_millis(100) {
            return Err(SinkOptionsError {
                setting: "clickhouse_request_timeout",
                problem: format!("{:?} is too short for a request", options.request_timeout),
                remedy: "give some seconds; 60s suits nginx's default of waiting 60 s",
            });
        }
        // ClickHouse takes a key without a user for the user `default`; so do we, openly.
        let default = options.password.as_ref().map(|_| "default");
        let user = options.user.as_deref().or(default);
        Ok(Self {
            base: Base::parse(&options.url)?,
            database: options.database.clone(),
            table: options.table.clone(),
            user: header("clickhouse_user", user)?,
            key: header("clickhouse_password", options.password.as_deref())?,
            timeout: options.request_timeout,
        })
    }

    /// Sends the rows in `body`: zstd frames of rows, `req.body_len` bytes in all.
    ///
    /// `Ok` means that ClickHouse has them: 200, no exception code, empty body. One request, no
    /// retry inside. The caller has synced the attempt before.
    pub fn insert(
        &self,
        req: &InsertRequest,
        body: &mut dyn Read,
    ) -> Result<InsertDone, SinkError> {
        let started = Instant::now();
        let sql = format!(
            "INSERT INTO {}.{} ({}) FORMAT {}",
            quote(&self.database),
            quote(&self.table),
            req.columns,
            req.format
        );
        let query = [("query", sql.as_str())].into_iter();
        let pinned = req.settings.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let url = self.base.with(query.chain(pinned));
        let (answer, sent) =
            self.exchange(&url)
                .run(body, req.body_len, Some("zstd"), MAX_ANSWER)?;
        if !answer.insert_is_done() {
            return Err(answer.into_error(sent));
        }
        Ok(InsertDone {
            written_rows: answer.written_rows,
            elapsed: started.elapsed(),
        })
    }

    /// Runs one SELECT or one DDL statement and returns what it printed, at most 16 MiB.
    ///
    /// Costs a slot like any other request. A result with an exception behind it is an error.
    pub fn query(&self, sql: &str) -> Result<String, SinkError> {
        // The database of unqualified names. CREATE DATABASE must work before it exists, and names it.
        let database = [("database", self.database.as_str())]
            .into_iter()
            .filter(|_| !sql.trim_start().starts_with("CREATE DATABASE"));
        let url = self.base.with(database.chain([
            ("wait_end_of_query", "1"),
            ("send_progress_in_http_headers", "0"),
            ("http_write_exception_in_output_format", "0"),
        ]));
        let (answer, sent) =
            self.exchange(&url)
                .run(&mut sql.as_bytes(), sql.len() as u64, None, MAX_ANSWER)?;
        if !answer.query_is_done() {
            return Err(answer.into_error(sent));
        }
        String::from_utf8(answer.body).map_err(|_| SinkError::Hold {
            code: None,
            words: "the answer is not UTF-8".into(),
            ambiguous: true,
        })
    }

    fn exchange<'a>(&'a self, url: &'a str) -> Exchange<'a> {
        Exchange {
            url,
            user: self.user.as_ref(),
            key: self.key.as_ref(),
            timeout: self.timeout,
        }
    }
}

fn header(
    setting: &'static str,
    value: Option<&str>,
) -> Result<Option<HeaderValue>, SinkOptionsError> {
    let Some(value) = value else { return Ok(None) };
    // By bytes: a password may hold letters beyond ASCII.
    let mut header = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| SinkOptionsError {
        setting,
        problem: "holds a character that no HTTP header can carry".into(),
        remedy: "remove line ends and control characters (a file often ends in a line end)",
    })?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// `name` as an identifier of ClickHouse's SQL.
fn quote(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SinkOptions {
        SinkOptions {
            url: "http://127.0.0.1:8124".into(),
            database: "default".into(),
            table: "http_log".into(),
            user: None,
            password: Some("secret".into()),
            request_timeout: Duration::from_secs(60),
        }
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quote("http_log"), "`http_log`");
        assert_eq!(quote("a`b\\c"), "`a\\`b\\\\c`");
    }

    #[test]
    fn a_batch_is_never_longer_than_a_block() {
        let block = |max_rows| {
            let settings = insert_settings("t", max_rows);
            let of = |name: &str| settings.iter().find(|s| s.0 == name).unwrap().1.clone();
            assert_eq!(
                of("max_insert_block_size"),
                of("min_insert_block_size_rows")
            );
            of("max_insert_block_size")
        };
        assert_eq!(block(1000), "1048576");
        assert_eq!(block(2_000_000), "2000000");
    }

    #[test]
    fn bad_options_are_named() {
        let f = |change: fn(&mut SinkOptions), want: &str| {
            let mut options = options();
            change(&mut options);
            let error = Sink::new(&options).err().unwrap();
            assert_eq!(error.setting, want, "{error}");
        };
        f(|o| o.url = "ftp://x".into(), "clickhouse_url");
        f(|o| o.table = String::new(), "clickhouse_table");
        f(|o| o.password = Some("a\n".into()), "clickhouse_password");
        f(
            |o| o.request_timeout = Duration::ZERO,
            "clickhouse_request_timeout",
        );
    }

    #[test]
    fn the_password_is_not_printed() {
        assert!(!format!("{:?}", options()).contains("secret"));
    }
}
