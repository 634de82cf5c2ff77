//! Answers, as the proxy and as ClickHouse make them.

use std::io::{self, Write as _};
use std::time::Duration;

use super::exchange::Request;
use super::{Outcome, State, finish, lock};

impl Request<'_> {
    /// An answer as nginx makes it: a page, no header of ClickHouse.
    pub(super) fn proxy(
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

    /// `return 200;` of nginx.
    pub(super) fn empty_page(&mut self, outcome: Outcome) -> io::Result<()> {
        finish(self.shared, self.index, 200, outcome);
        self.write(
            b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )?;
        self.linger()
    }

    pub(super) fn exception(&mut self, status: u16, code: u32, text: &str) -> io::Result<()> {
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
    pub(super) fn answer(
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
        let query = self.parameters.get("query_id").map_or("q", String::as_str);
        let state = lock(self.shared);
        let name = match state.in_turn && state.tokens.len() % 2 == 1 {
            true => "another",
            false => "fake",
        };
        drop(state);
        let text = format!(
            "HTTP/1.1 {status} X\r\nX-ClickHouse-Server-Display-Name: {name}\r\nX-ClickHouse-Query-Id: {query}\r\n{headers}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunk}0\r\n\r\n"
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

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Keeps the connection until the client closes, as nginx does for a while. A client must not wait
    /// for the end of the connection to see its answer. What it still sends is counted: one that obeys
    /// a refusal sends nothing.
    pub(super) fn linger(&mut self) -> io::Result<()> {
        let extra = io::copy(&mut self.stream, &mut io::sink()).unwrap_or(0);
        lock(self.shared).requests[self.index].body_read += extra;
        self.shared.1.notify_all();
        Ok(())
    }
}
