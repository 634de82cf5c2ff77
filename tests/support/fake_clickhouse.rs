//! A ClickHouse behind an nginx, as far as a forwarder can tell: HTTP on 127.0.0.1, no dependency.
//!
//! It is strict where the real one is silent: a body without Content-Length, a missing setting or a
//! token used for other rows is a *violation*. It deduplicates by token, keeps the rows as a multiset,
//! records every request, and fails on demand ([`Fault`]). Nothing here sleeps: tests wait on states.

#![allow(dead_code, reason = "each test module uses its own part")]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Rows with how often each is stored.
pub type Multiset = HashMap<Vec<u8>, u64>;

/// What happens to one of the next requests. Each is used once, in the order given.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status from the proxy after it took the body; nothing is stored.
    Status(u16),
    /// The same, with this `Retry-After`.
    StatusRetryAfter(u16, &'static str),
    /// The limiter's answer before the body, with this `Retry-After`.
    Limited503(Option<&'static str>),
    /// A proxy's refusal before the body, whatever its status.
    Refused {
        /// The status.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<&'static str>,
    },
    /// The status and code of ClickHouse after the body; nothing is stored.
    ExceptionHeader {
        /// The HTTP status, which may be 200.
        http: u16,
        /// `X-ClickHouse-Exception-Code`.
        code: u32,
    },
    /// 200, the beginning of a result, and an exception behind it.
    LateException(u32),
    /// A reset when the head has come.
    ResetBeforeBody,
    /// A reset in the middle of the body.
    ResetMidBody,
    /// A reset when the whole body has come; nothing is stored.
    ResetAfterBody,
    /// The rows are stored and the connection closes without an answer.
    ApplyThenDrop,
    /// Takes the body, waits for [`FakeClickHouse::release`] or this long, then stores and answers,
    /// whether the client is still there or not: so does a real server.
    Hang(Duration),
    /// Stores, then answers one byte at a time with this pause.
    SlowDrip(Duration),
}

/// One request as it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When its head had come.
    pub at: Instant,
    /// `insert_deduplication_token`.
    pub token: Option<String>,
    /// The path without parameters.
    pub path: String,
    /// The whole head, as sent.
    pub head: String,
    /// The SQL: of the parameter `query`, or the body.
    pub sql: String,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// How many body bytes were read.
    pub body_read: u64,
    /// Rows in the body.
    pub rows: u64,
    /// The status answered; 0 for none.
    pub status: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the connection is over, so that `body_read` is final.
    pub closed: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not finished.
    Running,
    /// New rows were stored.
    Stored,
    /// The token was known; nothing was added.
    Deduplicated,
    /// A query was answered.
    Answered,
    /// Refused before the body.
    Refused,
    /// Refused after the body, or by a strict check.
    Failed,
    /// No answer was sent.
    Dropped,
}

/// Everything the server knows. Tests read it through [`FakeClickHouse::state`].
#[derive(Debug, Default)]
pub struct State {
    /// The stored rows.
    pub rows: Multiset,
    /// Rows by token.
    pub tokens: HashMap<String, Multiset>,
    /// Every request, in the order of arrival.
    pub requests: Vec<Seen>,
    /// What a correct client never does.
    pub violations: Vec<String>,
    /// Faults to come.
    pub faults: VecDeque<Fault>,
    /// nginx's `client_max_body_size`.
    pub body_limit: Option<u64>,
    /// Whether `Expect: 100-continue` is answered at once.
    pub silent_on_expect: bool,
    /// Tables the schema check does not find.
    pub missing: BTreeSet<String>,
    /// Tables the schema check finds without a window.
    pub without_window: BTreeSet<String>,
    /// The window of the tables that have one; 10,000 if not set.
    pub window: Option<u64>,
    /// UUID that the schema check tells, if another than the first.
    pub uuid: Option<String>,
    /// Statements other than SELECT and INSERT.
    pub ddl: Vec<String>,
    /// Answers to queries that contain the key; the first in key order wins.
    pub answers: BTreeMap<String, String>,
    released: u64,
    stopping: bool,
}

impl State {
    /// How many rows are stored, each as often as it is there.
    pub fn row_count(&self) -> u64 {
        self.rows.values().sum()
    }
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// The server. Stops when dropped.
pub struct FakeClickHouse {
    address: SocketAddr,
    shared: Shared,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeClickHouse {
    /// Listens on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let shared = Shared::default();
        let ours = shared.clone();
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&ours).stopping {
                    return;
                }
                let shared = ours.clone();
                thread::spawn(move || serve_and_close(stream, &shared));
            }
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The state, locked.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    /// Adds a fault for a coming request.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// From now on a longer Content-Length gets nginx's 413; `None` lifts the limit.
    pub fn limit_body(&self, limit: Option<u64>) {
        self.state().body_limit = limit;
    }

    /// Lets every request go on that hangs now.
    pub fn release(&self) {
        self.state().released += 1;
        self.shared.1.notify_all();
    }

    /// How many rows are stored.
    pub fn rows(&self) -> u64 {
        self.state().row_count()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// Waits until `what` holds. Panics with the requests when it does not in time.
    pub fn wait_until(&self, what: impl Fn(&State) -> bool, timeout: Duration) {
        let state = self.state();
        let (state, waited) = self
            .shared
            .1
            .wait_timeout_while(state, timeout, |state| !what(state))
            .expect("lock");
        assert!(
            !waited.timed_out(),
            "not reached in {timeout:?}; requests: {:#?}",
            state.requests
        );
    }

    /// Panics unless these rows, each as often as it is there, are all that is stored, and the client
    /// did nothing that a correct one never does.
    pub fn assert_holds_once(&self, expected: &Multiset) {
        assert!(
            self.state().rows == *expected,
            "stored {} rows, expected {}",
            self.rows(),
            expected.values().sum::<u64>()
        );
        self.assert_no_violation();
    }

    /// Panics if the client did what a correct one never does.
    pub fn assert_no_violation(&self) {
        assert_eq!(self.state().violations, Vec::<String>::new());
    }
}

impl Drop for FakeClickHouse {
    fn drop(&mut self) {
        self.state().stopping = true;
        self.shared.1.notify_all();
        // One more connection wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

/// A row of `http_log` in RowBinary, different for each `n`.
pub fn row(n: u64) -> Vec<u8> {
    let mut row = Vec::new();
    row.extend_from_slice(&(1_700_000_000 + n as u32).to_le_bytes());
    for number in [n, n * 10, n % 1000] {
        row.extend_from_slice(&number.to_le_bytes());
    }
    row.extend_from_slice(&200u16.to_le_bytes());
    for text in ["HIT", "GET", "192.0.2.X", &format!("/object/{n}")] {
        assert!(text.len() < 128, "one-byte length");
        row.push(text.len() as u8);
        row.extend_from_slice(text.as_bytes());
    }
    row
}

/// The rows of a body. `None` if it does not end at the end of a row.
pub fn parse_rows(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rows = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let start = at;
        at += 4 + 8 + 8 + 8 + 2;
        for _ in 0..4 {
            let (mut len, mut shift) = (0u64, 0);
            loop {
                let byte = *body.get(at)?;
                at += 1;
                len |= u64::from(byte & 0x7f).checked_shl(shift)?;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            at = at.checked_add(usize::try_from(len).ok()?)?;
        }
        rows.push(body.get(start..at)?.to_vec());
    }
    Some(rows)
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared
        .0
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One connection, one request.
struct Request<'a> {
    stream: BufReader<TcpStream>,
    shared: &'a Shared,
    index: usize,
    parameters: HashMap<String, String>,
    headers: HashMap<String, String>,
    length: Option<u64>,
}

fn serve_and_close(stream: TcpStream, shared: &Shared) {
    let mut index = None;
    // A client that went away is part of the game; what it did is recorded.
    drop(serve(stream, shared, &mut index));
    if let Some(index) = index {
        lock(shared).requests[index].closed = true;
        shared.1.notify_all();
    }
}

fn serve(stream: TcpStream, shared: &Shared, seen_as: &mut Option<usize>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let Some(head) = peek_head(&stream)? else {
        return Ok(());
    };
    let mut lines = head.lines();
    let target = lines.next().unwrap_or_default().split(' ').nth(1);
    let (path, query) = target.unwrap_or("/").split_once('?').unwrap_or(("/", ""));
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    let parameters: HashMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let length = headers.get("content-length").and_then(|v| v.parse().ok());
    let (index, fault, limit) = {
        let mut state = lock(shared);
        state.requests.push(Seen {
            at: Instant::now(),
            token: parameters.get("insert_deduplication_token").cloned(),
            path: path.to_string(),
            head: head.clone(),
            sql: parameters.get("query").cloned().unwrap_or_default(),
            content_length: length,
            body_read: 0,
            rows: 0,
            status: 0,
            outcome: Outcome::Running,
            closed: false,
        });
        // A limiter in front sees only what is short enough: nginx tests the length first.
        let too_long = |limit: &u64| length.is_some_and(|length| length > *limit);
        let limit = state.body_limit.filter(too_long);
        let fault = if limit.is_some() {
            None
        } else {
            state.faults.pop_front()
        };
        (state.requests.len() - 1, fault, limit)
    };
    *seen_as = Some(index);
    shared.1.notify_all();
    if matches!(fault, Some(Fault::ResetBeforeBody)) {
        // The head is still unread, so closing resets the connection.
        finish(shared, index, 0, Outcome::Dropped);
        return Ok(());
    }
    let mut stream = BufReader::new(stream);
    let mut skip = vec![0; head.len()];
    stream.read_exact(&mut skip)?;
    let mut request = Request {
        stream,
        shared,
        index,
        parameters,
        headers,
        length,
    };
    if limit.is_some() {
        return request.proxy(413, None, Outcome::Refused);
    }
    request.run(fault)
}

impl Request<'_> {
    fn run(&mut self, fault: Option<Fault>) -> io::Result<()> {
        let refused = match fault {
            Some(Fault::Limited503(retry_after)) => Some((503, retry_after)),
            Some(Fault::Refused {
                status,
                retry_after,
            }) => Some((status, retry_after)),
            _ => None,
        };
        if let Some((status, retry_after)) = refused {
            return self.proxy(status, retry_after, Outcome::Refused);
        }
        if let Some(problem) = self.problem() {
            lock(self.shared).violations.push(problem.clone());
            return self.exception(400, 36, &problem);
        }
        if self.headers.contains_key("expect") && !lock(self.shared).silent_on_expect {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let length = self.length.unwrap_or(0);
        if matches!(fault, Some(Fault::ResetMidBody)) {
            self.read_body(length / 2)?;
            // At least one byte stays unread, so closing resets the connection.
            self.stream.fill_buf()?;
            finish(self.shared, self.index, 0, Outcome::Dropped);
            return Ok(());
        }
        let body = match self.read_body(length) {
            Ok(body) => body,
            Err(error) => {
                finish(self.shared, self.index, 0, Outcome::Dropped);
                return Err(error);
            }
        };
        match fault {
            Some(Fault::Status(status)) => return self.proxy(status, None, Outcome::Failed),
            Some(Fault::StatusRetryAfter(status, after)) => {
                return self.proxy(status, Some(after), Outcome::Failed);
            }
            Some(Fault::ResetAfterBody) => {
                finish(self.shared, self.index, 0, Outcome::Dropped);
                // Nothing is unread, so without this the close would be an orderly one.
                let now = Some(Duration::ZERO);
                rustix::net::sockopt::set_socket_linger(self.stream.get_ref(), now)?;
                return Ok(());
            }
            Some(Fault::ExceptionHeader { http, code }) => {
                return self.exception(http, code, "asked for by the test");
            }
            Some(Fault::LateException(code)) => {
                let text = format!(
                    "1\n\r\n__exception__\r\nabcdefghijklmnop\r\nCode: {code}. DB::Exception: late\r\n27 abcdefghijklmnop\r\n__exception__\r\n"
                );
                self.answer(
                    200,
                    "X-ClickHouse-Exception-Tag: abcdefghijklmnop\r\n",
                    &text,
                    None,
                )?;
                finish(self.shared, self.index, 200, Outcome::Failed);
                return Ok(());
            }
            Some(Fault::Hang(at_most)) => self.hang(at_most),
            _ => {}
        }
        let result = if self.parameters.contains_key("query") {
            self.insert(&body)
        } else {
            Ok(self.query(&String::from_utf8_lossy(&body)))
        };
        let (outcome, header, text) = match result {
            Ok(done) => done,
            Err((code, text)) => return self.exception(400, code, &text),
        };
        if matches!(fault, Some(Fault::ApplyThenDrop)) {
            finish(self.shared, self.index, 0, outcome);
            return Ok(());
        }
        let pause = match fault {
            Some(Fault::SlowDrip(pause)) => Some(pause),
            _ => None,
        };
        // Recorded first: a test that has the answer may look at once.
        finish(self.shared, self.index, 200, outcome);
        self.answer(200, &header, &text, pause)
    }

    /// What a correct client never does.
    fn problem(&self) -> Option<String> {
        if self.headers.contains_key("transfer-encoding") {
            return Some("a chunked body".into());
        }
        if self.length.is_none() {
            return Some("no Content-Length".into());
        }
        self.parameters.get("query")?;
        let wanted = [
            ("insert_deduplicate", "1"),
            ("deduplicate_blocks_in_dependent_materialized_views", "1"),
            ("materialized_views_ignore_errors", "0"),
            ("ignore_materialized_views_with_dropped_target_table", "0"),
            ("async_insert", "0"),
            ("max_insert_threads", "1"),
            ("min_insert_block_size_bytes", "0"),
            ("wait_end_of_query", "1"),
            ("send_progress_in_http_headers", "0"),
            ("http_write_exception_in_output_format", "0"),
        ];
        for (name, value) in wanted {
            if self.parameters.get(name).map(String::as_str) != Some(value) {
                return Some(format!("{name} is not {value}"));
            }
        }
        for name in [
            "insert_deduplication_token",
            "query_id",
            "max_insert_block_size",
            "min_insert_block_size_rows",
        ] {
            if self.parameters.get(name).is_none_or(String::is_empty) {
                return Some(format!("no {name}"));
            }
        }
        None
    }

    fn insert(&self, body: &[u8]) -> Result<(Outcome, String, String), (u32, String)> {
        let plain = if self.headers.get("content-encoding").map(String::as_str) == Some("zstd") {
            zstd::decode_all(body).map_err(|e| (562, e.to_string()))?
        } else {
            body.to_vec()
        };
        let rows = parse_rows(&plain).ok_or((33, "Cannot read all data".to_string()))?;
        let token = self.parameters["insert_deduplication_token"].clone();
        let block: usize = self.parameters["max_insert_block_size"]
            .parse()
            .unwrap_or(0);
        let mut state = lock(self.shared);
        if rows.len() > block {
            state
                .violations
                .push(format!("{} rows in blocks of {block}", rows.len()));
        }
        state.requests[self.index].rows = rows.len() as u64;
        let mut sent = Multiset::new();
        for row in rows {
            *sent.entry(row).or_default() += 1;
        }
        let (outcome, written) = match state.tokens.get(&token) {
            Some(stored) => {
                // The real one drops other rows under a known token without a word.
                if *stored != sent {
                    state
                        .violations
                        .push(format!("token {token} was used for other rows"));
                }
                (Outcome::Deduplicated, 0)
            }
            None => {
                for (row, count) in &sent {
                    *state.rows.entry(row.clone()).or_default() += count;
                }
                let written = sent.values().sum::<u64>();
                state.tokens.insert(token, sent);
                (Outcome::Stored, written)
            }
        };
        let summary = format!(
            "X-ClickHouse-Summary: {{\"read_rows\":\"0\",\"written_rows\":\"{written}\"}}\r\n"
        );
        Ok((outcome, summary, String::new()))
    }

    fn query(&self, sql: &str) -> (Outcome, String, String) {
        let mut state = lock(self.shared);
        state.requests[self.index].sql = sql.to_string();
        let scripted = state.answers.iter().find(|(key, _)| sql.contains(*key));
        let text = if let Some((_, text)) = scripted {
            text.clone()
        } else if sql.contains("FROM system.tables") {
            schema_answer(&state, sql)
        } else if sql.contains(" AS start, count()") {
            minutes_answer(&state, sql)
        } else if sql.contains("count()") {
            format!("{}\n", state.row_count())
        } else if sql.trim_start().starts_with("SELECT") {
            "1\n".to_string()
        } else {
            state.ddl.push(sql.to_string());
            let words = sql.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            for word in words {
                state.missing.remove(word);
            }
            String::new()
        };
        (Outcome::Answered, String::new(), text)
    }

    fn hang(&self, at_most: Duration) {
        let state = lock(self.shared);
        let now = state.released;
        let waiting = |state: &mut State| state.released == now && !state.stopping;
        drop(self.shared.1.wait_timeout_while(state, at_most, waiting));
    }

    fn read_body(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        let read = (&mut self.stream).take(length).read_to_end(&mut body);
        lock(self.shared).requests[self.index].body_read = body.len() as u64;
        self.shared.1.notify_all();
        read?;
        if (body.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(body)
    }

    /// An answer as nginx makes it: a page, no header of ClickHouse.
    fn proxy(
        &mut self,
        status: u16,
        retry_after: Option<&str>,
        outcome: Outcome,
    ) -> io::Result<()> {
        let headers = retry_after.map_or(String::new(), |v| format!("Retry-After: {v}\r\n"));
        finish(self.shared, self.index, status, outcome);
        let page = format!("<html><h1>{status}</h1><hr>nginx</html>\r\n");
        let text = format!(
            "HTTP/1.1 {status} X\r\nServer: nginx\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        );
        self.write(text.as_bytes())?;
        self.linger()
    }

    fn exception(&mut self, status: u16, code: u32, text: &str) -> io::Result<()> {
        finish(self.shared, self.index, status, Outcome::Failed);
        let header = format!("X-ClickHouse-Exception-Code: {code}\r\n");
        // CH#65117: a 200 with the code comes without a body.
        let text = match status {
            200 => String::new(),
            _ => format!("Code: {code}. DB::Exception: {text}. (NAME) (version 26.9.1.1)\n"),
        };
        self.answer(status, &header, &text, None)?;
        self.linger()
    }

    /// An answer as ClickHouse makes it: chunked, with its headers.
    fn answer(
        &mut self,
        status: u16,
        headers: &str,
        text: &str,
        pause: Option<Duration>,
    ) -> io::Result<()> {
        let chunk = match text.len() {
            0 => String::new(),
            length => format!("{length:x}\r\n{text}\r\n"),
        };
        let text = format!(
            "HTTP/1.1 {status} X\r\nX-ClickHouse-Server-Display-Name: fake\r\nX-ClickHouse-Query-Id: q\r\n{headers}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunk}0\r\n\r\n"
        );
        let Some(pause) = pause else {
            return self.write(text.as_bytes());
        };
        for byte in text.as_bytes() {
            self.write(&[*byte])?;
            let state = lock(self.shared);
            if state.stopping {
                break;
            }
            let waiting = |state: &mut State| !state.stopping;
            drop(self.shared.1.wait_timeout_while(state, pause, waiting));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Keeps the connection until the client closes, as nginx does for a while. A client must not wait
    /// for the end of the connection to see its answer. What it still sends is counted: one that obeys
    /// a refusal sends nothing.
    fn linger(&mut self) -> io::Result<()> {
        let extra = io::copy(&mut self.stream, &mut io::sink()).unwrap_or(0);
        lock(self.shared).requests[self.index].body_read += extra;
        self.shared.1.notify_all();
        Ok(())
    }
}

/// The answer to `Schema::check_query`: a line for each name asked for, unless it is `missing`.
fn schema_answer(state: &State, sql: &str) -> String {
    let names = sql.split(" IN (").nth(1).unwrap_or_default();
    let names = names.split(')').next().unwrap_or_default();
    let mut answer = String::new();
    for name in names.split(',').map(|name| name.trim().trim_matches('\'')) {
        if state.missing.contains(name) {
            continue;
        }
        let window = if state.without_window.contains(name) {
            0
        } else {
            state.window.unwrap_or(10_000)
        };
        let first = "00000000-0000-0000-0000-000000000001";
        let uuid = state.uuid.as_deref().unwrap_or(first);
        answer.push_str(&format!(
            "{name}\tMergeTree\t{uuid}\t{window}\t10000\t26.9.2.1\n"
        ));
    }
    answer
}

/// The answer to `MinutesQuery::sql`, from the rows that are stored.
fn minutes_answer(state: &State, sql: &str) -> String {
    let number = |before: &str| -> u64 {
        let rest = sql
            .split(before)
            .nth(1)
            .unwrap_or_else(|| panic!("no {before:?} in {sql}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    let fine = number("toUnixTimestamp(timestamp) >= ")..number("toUnixTimestamp(timestamp) < ");
    let range = number("timestamp >= toDateTime(")..=number("timestamp <= toDateTime(");
    let mut all: BTreeMap<u64, u64> = BTreeMap::new();
    for (row, times) in &state.rows {
        let second = u64::from(u32::from_le_bytes(row[..4].try_into().unwrap()));
        let length = if fine.contains(&second) { 60 } else { 86_400 };
        if range.contains(&second) {
            *all.entry(second / length * length).or_default() += times;
        }
    }
    all.iter()
        .map(|(start, rows)| format!("{start}\t{rows}\n"))
        .collect()
}

fn finish(shared: &Shared, index: usize, status: u16, outcome: Outcome) {
    let mut state = lock(shared);
    state.requests[index].status = status;
    state.requests[index].outcome = outcome;
    shared.1.notify_all();
}

/// The head up to its empty line, left in the socket. `None` if it is no HTTP (a TLS greeting) or does
/// not come.
fn peek_head(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut buffer = vec![0; 64 * 1024];
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let n = stream.peek(&mut buffer)?;
        if let Some(end) = buffer[..n].windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end + 4]);
            return Ok(Some(head.into_owned()));
        }
        if !buffer[0].is_ascii_uppercase() || n == 0 || n == buffer.len() {
            return Ok(None);
        }
        // A peek returns at once while bytes wait. A head comes in one piece, so this is rare.
        thread::yield_now();
    }
    Ok(None)
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
