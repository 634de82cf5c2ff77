//! One connection: its request, what a fault makes of it, and its end.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::{Fault, Outcome, Seen, Shared, State, finish, lock};

/// One connection, one request.
pub(super) struct Request<'a> {
    pub(super) stream: BufReader<TcpStream>,
    pub(super) shared: &'a Shared,
    pub(super) index: usize,
    pub(super) parameters: HashMap<String, String>,
    pub(super) headers: HashMap<String, String>,
    pub(super) length: Option<u64>,
}

pub(super) fn serve_and_close(stream: TcpStream, shared: &Shared) {
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
            token: parameters
                .get("query")
                .and(parameters.get("insert_deduplication_token"))
                .cloned(),
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
        if matches!(fault, Some(Fault::EmptyPage)) {
            return self.empty_page(Outcome::Refused);
        }
        if let Some(problem) = self.problem() {
            lock(self.shared).violations.push(problem.clone());
            return self.exception(400, 36, &problem);
        }
        if self.headers.contains_key("expect") && lock(self.shared).knows_no_expect {
            return self.proxy(417, None, Outcome::Refused);
        }
        if self.headers.contains_key("expect") && !lock(self.shared).silent_on_expect {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let length = self.length.unwrap_or(0);
        let cut = lock(self.shared).cut_bodies.filter(|most| length > *most);
        let half = matches!(fault, Some(Fault::ResetMidBody)).then_some(length / 2);
        if let Some(read) = half.or(cut) {
            self.read_body(read)?;
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
        let wanted = lock(self.shared).password.clone();
        if wanted.is_some() && self.headers.get("x-clickhouse-key") != wanted.as_ref() {
            return self.exception(403, 516, "writer: Authentication failed");
        }
        match fault {
            Some(Fault::Status(status)) => return self.proxy(status, None, Outcome::Failed),
            Some(Fault::EmptyPageAfterBody) => return self.empty_page(Outcome::Failed),
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
        if matches!(fault, Some(Fault::OtherQuery)) {
            self.parameters.insert("query_id".into(), "17F3A".into());
        }
        let result = if matches!(fault, Some(Fault::BodyDropped)) {
            let summary = "X-ClickHouse-Summary: {\"read_rows\":\"0\",\"written_rows\":\"0\"}\r\n";
            Ok((Outcome::Failed, summary.into(), String::new()))
        } else if matches!(fault, Some(Fault::FirstFrameOnly)) {
            let end = zstd::zstd_safe::find_frame_compressed_size(&body).unwrap_or(body.len());
            self.insert(&body[..end])
        } else if self.parameters.contains_key("query") {
            self.insert(&body)
        } else {
            Ok(self.query(&String::from_utf8_lossy(&body)))
        };
        let (outcome, header, text) = match result {
            Ok(done) => done,
            Err((code, text)) => return self.exception(400, code, &text),
        };
        match fault {
            Some(Fault::ApplyThenDrop) => {
                finish(self.shared, self.index, 0, outcome);
                return Ok(());
            }
            Some(Fault::ApplyThenStatus(status)) => return self.proxy(status, None, outcome),
            _ => {}
        }
        let pause = match fault {
            Some(Fault::SlowDrip(pause)) => Some(pause),
            _ => None,
        };
        // Recorded first: a test that has the answer may look at once.
        finish(self.shared, self.index, 200, outcome);
        self.answer(200, &header, &text, pause)
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
        thread::sleep(Duration::from_millis(1));
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
