//! A way to ClickHouse: one request, and the decision on its answer.

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::SinkError;
use super::http::{Answer, Base, Exchange, HeaderValue, Heard, Sent, Tls, header};
use super::insert::{InsertDone, InsertRequest};
use super::key::{Key, Reread};
use super::options::{SinkOptions, SinkOptionsError};
use super::profile::WHOLE_ANSWER;
use super::sql::quote;

/// The longest answer to a query that is read. A schema check is a few KiB.
const MAX_ANSWER: u64 = 16 << 20;

/// A way to ClickHouse. Holds no connection and may be shared by threads.
pub struct Sink {
    base: Base,
    database: String,
    table: String,
    user: Option<HeaderValue>,
    key: Key,
    tls: Tls,
    timeout: Duration,
    /// Whether `Expect: 100-continue` is said: not any more once somebody answered 417 to it.
    expects: AtomicBool,
    /// What the last answer said of the time.
    heard: Mutex<Option<Heard>>,
}

impl Sink {
    /// Nothing is sent. The options are checked settings; only whether a header can carry user and
    /// password, and whether the files of TLS can be used, is seen here.
    pub fn new(options: &SinkOptions) -> Result<Self, SinkOptionsError> {
        // ClickHouse takes a key without a user for the user `default`; so do we, openly.
        let default = options.password.as_ref().map(|_| "default");
        let user = options.user.as_deref().or(default);
        Ok(Self {
            base: Base::new(&options.url),
            database: options.database.clone(),
            table: options.table.clone(),
            user: header("clickhouse_user", user)?,
            key: Key::new(options.password.as_deref())?,
            tls: Tls::new(&options.tls)?,
            timeout: options.request_timeout,
            expects: AtomicBool::new(true),
            heard: Mutex::new(None),
        })
    }

    /// Has the password read again in this way whenever ClickHouse has refused it.
    pub fn rereading(mut self, reread: Reread) -> Self {
        self.key.read_again_with(reread);
        self
    }

    /// What the last answer said of the clock of who made it, once.
    pub fn heard(&self) -> Option<Heard> {
        let mut heard = self.heard.lock();
        heard.as_mut().ok()?.take()
    }

    /// Sends the rows in `body`: zstd frames of rows, `req.body_len` bytes in all.
    ///
    /// `Ok` means that ClickHouse has them: the whole body left, and ClickHouse's own answer is 200, without
    /// an exception code, with an empty body. One request, no retry inside. The caller has synced the
    /// attempt before.
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
        if !answer.insert_is_done(sent) {
            return Err(self.refusal(answer, sent));
        }
        if let Some(words) = answer.of_another_query(&req.settings) {
            return Err(SinkError::Hold {
                code: None,
                words,
                ambiguous: true,
            });
        }
        if let Some(read) = answer.rows_missed(req.rows) {
            return Err(SinkError::Hold {
                code: None,
                words: format!(
                    "ClickHouse found {read} rows in a body of {}: something on the way cuts bodies, as a \
                     proxy that unpacks only the first zstd frame",
                    req.rows
                ),
                ambiguous: true,
            });
        }
        Ok(InsertDone {
            written_rows: answer.written_rows,
            answered_by: answer.display_name,
            elapsed: started.elapsed(),
        })
    }

    /// Runs one SELECT or one DDL statement and returns what it printed, at most 16 MiB.
    ///
    /// Costs a slot like any other request. A result with an exception behind it is an error.
    pub fn query(&self, sql: &str) -> Result<String, SinkError> {
        self.ask(
            sql,
            [
                ("wait_end_of_query", "1"),
                ("send_progress_in_http_headers", "0"),
                ("http_write_exception_in_output_format", "0"),
                ("additional_result_filter", ""),
                // What a CREATE makes must not depend on the user's profile.
                ("data_type_default_nullable", "0"),
            ],
        )
    }

    /// The same with the parameters of an insert, to prove that they arrive.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn query_as_insert(
        &self,
        sql: &str,
        pinned: &[(String, String)],
    ) -> Result<String, SinkError> {
        self.ask(sql, pinned.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }

    fn ask<'a>(
        &'a self,
        sql: &str,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<String, SinkError> {
        // The database of unqualified names. CREATE DATABASE must work before it exists, and names it.
        let database = [("database", self.database.as_str())]
            .into_iter()
            .filter(|_| !sql.trim_start().starts_with("CREATE DATABASE"));
        let select = sql.trim_start().starts_with("SELECT");
        let whole = if select { WHOLE_ANSWER } else { &[] };
        let parameters = parameters.into_iter().chain(whole.iter().copied());
        let url = self.base.with(database.chain(parameters));
        let (answer, sent) =
            self.exchange(&url)
                .run(&mut sql.as_bytes(), sql.len() as u64, None, MAX_ANSWER)?;
        if !answer.query_is_done() {
            return Err(self.refusal(answer, sent));
        }
        String::from_utf8(answer.body).map_err(|_| SinkError::Hold {
            code: None,
            words: "the answer is not UTF-8".into(),
            ambiguous: true,
        })
    }

    /// The decision on an answer that is no success, and what is changed for the next request.
    fn refusal(&self, answer: Answer, sent: Sent) -> SinkError {
        if answer.is_of_expect() && self.expects.swap(false, Ordering::SeqCst) {
            return SinkError::Retry {
                words: "HTTP 417: something on the way does not know Expect: 100-continue, which is left \
                        out from now on. Its refusals come after the body then, and prove nothing"
                    .into(),
                reached: true,
                ambiguous: sent.any,
                retry_after: None,
                code: None,
            };
        }
        let error = answer.into_error(sent, &self.home());
        self.key.heard(&error);
        error
    }

    /// Where the rows go, as ClickHouse names it.
    fn home(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }

    fn exchange<'a>(&'a self, url: &'a str) -> Exchange<'a> {
        Exchange {
            url,
            user: self.user.as_ref(),
            key: self.key.get(),
            tls: self.tls.now(),
            timeout: self.timeout,
            expect: self.expects.load(Ordering::SeqCst),
            heard: &self.heard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::TlsFiles;

    fn options() -> SinkOptions {
        SinkOptions {
            url: "http://127.0.0.1:8124".into(),
            database: "default".into(),
            table: "http_log".into(),
            user: None,
            password: Some("secret".into()),
            tls: TlsFiles::default(),
            request_timeout: Duration::from_secs(60),
        }
    }

    #[test]
    fn bad_options_are_named() {
        let f = |change: fn(&mut SinkOptions), want: &str| {
            let mut options = options();
            change(&mut options);
            let error = Sink::new(&options).err().unwrap();
            assert_eq!(error.setting, want, "{error}");
        };
        f(|o| o.user = Some("a\n".into()), "clickhouse_user");
        f(
            |o| o.password = Some("a\n".into()),
            "clickhouse_password_file",
        );
        f(|o| o.tls.ca = Some("/no/such".into()), "clickhouse_ca_file");
        f(
            |o| o.tls.key = Some("/no/such".into()),
            "clickhouse_key_file",
        );
    }
}
