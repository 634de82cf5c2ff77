//! A proxy that may answer anything at any point of the exchange, with a strict ClickHouse behind it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::chance::Chance;

/// Longest time anything waits here.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is passed on, and so is the answer.
    Pass,
    /// An answer to the head; the body is not asked for.
    Refuse(Page),
    /// The body is taken and answered for; ClickHouse sees nothing of it.
    Swallow(Page),
    /// ClickHouse gets it; the answer is the proxy's own.
    Lie(Page),
    /// The connection ends at the head.
    EndAtHead,
    /// It is reset when half of the body has come.
    ResetInBody,
    /// It ends when the whole body has come; ClickHouse sees nothing of it.
    EndAfterBody,
    /// ClickHouse gets it, and the connection ends without an answer.
    LoseAnswer,
    /// Half of ClickHouse's answer comes.
    CutAnswer,
    /// The connection ends; ClickHouse gets the request when another one has come.
    Later,
    /// ClickHouse gets it twice.
    Twice,
    /// `Expect` is not answered; the body comes when the client is tired of waiting.
    NoContinue,
    /// Nothing is answered until the client gives up; then ClickHouse gets it.
    Hang,
}

/// An answer that is not ClickHouse's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    pub retry_after: Option<&'static str>,
    pub empty: bool,
}

impl Page {
    fn any(chance: &mut Chance) -> Page {
        let statuses = [
            200, 200, 201, 204, 301, 302, 307, 400, 401, 403, 403, 404, 407, 408, 411, 413, 413,
            413, 417, 429, 500, 502, 503, 504, 511,
        ];
        let after = [
            None,
            None,
            Some("0"),
            Some("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some("soon"),
        ];
        Page {
            status: chance.pick(&statuses),
            retry_after: chance.pick(&after),
            empty: chance.one_in(2),
        }
    }

    fn bytes(self) -> Vec<u8> {
        let after = self
            .retry_after
            .map_or(String::new(), |v| format!("Retry-After: {v}\r\n"));
        let page = if self.empty || self.status == 204 {
            ""
        } else {
            "<html>not ClickHouse</html>"
        };
        let status = self.status;
        format!(
            "HTTP/1.1 {status} X\r\nServer: hostile\r\n{after}Content-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        )
        .into_bytes()
    }

    /// Whether a limiter or a bound refused it, which costs no slot before the body.
    pub fn is_free(self) -> bool {
        matches!(self.status, 413 | 429 | 503)
    }
}

impl Act {
    pub fn any(chance: &mut Chance) -> Act {
        match chance.below(20) {
            0..=2 => Act::Pass,
            3..=5 => Act::Refuse(Page::any(chance)),
            6 | 7 => Act::Swallow(Page::any(chance)),
            8..=10 => Act::Lie(Page::any(chance)),
            11 => Act::EndAtHead,
            12 => Act::ResetInBody,
            13 => Act::EndAfterBody,
            14 | 15 => Act::LoseAnswer,
            16 => Act::CutAnswer,
            17 => Act::Later,
            18 => Act::Twice,
            _ if chance.one_in(2) => Act::NoContinue,
            _ => Act::Hang,
        }
    }
}

#[derive(Default)]
struct State {
    acts: VecDeque<Act>,
    /// When each request's head had come, and what became of it.
    log: Vec<(Instant, Act)>,
    /// Requests that are still being served, those that the client gave up included.
    open: usize,
    /// The request that is not served until this is taken away.
    frozen: Option<usize>,
    ending: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared
        .0
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Stops when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Shared,
}

impl Proxy {
    pub fn start(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared::default();
        let ours = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if lock(&ours).ending {
                    return;
                }
                let shared = ours.clone();
                lock(&shared).open += 1;
                thread::spawn(move || {
                    drop(serve(client, server, &shared));
                    lock(&shared).open -= 1;
                    shared.1.notify_all();
                });
            }
        });
        Proxy { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What becomes of the next requests; those after them pass.
    pub fn then(&self, acts: impl IntoIterator<Item = Act>) {
        lock(&self.shared).acts.extend(acts);
    }

    pub fn forgive(&self) {
        lock(&self.shared).acts.clear();
    }

    pub fn log(&self) -> Vec<(Instant, Act)> {
        lock(&self.shared).log.clone()
    }

    /// Does not serve this request, counted from 1, until [`thaw`](Self::thaw): the client waits for it.
    pub fn freeze(&self, request: usize) {
        lock(&self.shared).frozen = Some(request);
    }

    pub fn thaw(&self) {
        lock(&self.shared).frozen = None;
        self.shared.1.notify_all();
    }

    /// Waits until so many requests have come, or for so long. Returns whether they have.
    pub fn wait_requests(&self, count: usize, most: Duration) -> bool {
        let state = lock(&self.shared);
        let waited = self
            .shared
            .1
            .wait_timeout_while(state, most, |s| s.log.len() < count);
        waited.is_ok_and(|(s, _)| s.log.len() >= count)
    }

    /// Waits until nothing is on its way to ClickHouse any more.
    pub fn wait_idle(&self) {
        let mut state = lock(&self.shared);
        // One more for those that wait for another request.
        let now = Instant::now();
        state.log.push((now, Act::Pass));
        self.shared.1.notify_all();
        drop(
            self.shared
                .1
                .wait_timeout_while(state, PATIENCE, |s| s.open > 0),
        );
        lock(&self.shared).log.pop();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        lock(&self.shared).ending = true;
        self.shared.1.notify_all();
        drop(TcpStream::connect(self.address));
    }
}

fn serve(mut client: TcpStream, server: SocketAddr, shared: &Shared) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let head = read_head(&mut client)?;
    let (act, index) = {
        let mut state = lock(shared);
        let act = state.acts.pop_front().unwrap_or(Act::Pass);
        state.log.push((Instant::now(), act));
        (act, state.log.len())
    };
    shared.1.notify_all();
    let frozen = |s: &mut State| s.frozen == Some(index) && !s.ending;
    drop(shared.1.wait_timeout_while(lock(shared), PATIENCE, frozen));
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = text
        .split("content-length: ")
        .nth(1)
        .and_then(|v| v.split("\r\n").next()?.parse().ok());
    let length: usize = length.unwrap_or(0);
    match act {
        Act::EndAtHead => return Ok(()),
        Act::Refuse(page) => return answer(client, &page.bytes()),
        Act::NoContinue => {}
        _ => client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?,
    }
    if act == Act::ResetInBody {
        client.read_exact(&mut vec![0; length / 2])?;
        return Ok(());
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    let forward = || forward(server, &head, &body);
    match act {
        Act::Swallow(page) => answer(client, &page.bytes()),
        Act::Lie(page) => {
            forward()?;
            answer(client, &page.bytes())
        }
        Act::EndAfterBody => Ok(()),
        Act::LoseAnswer => forward().map(drop),
        Act::CutAnswer => {
            let whole = forward()?;
            answer(client, &whole[..whole.len() / 2])
        }
        Act::Later => {
            client.shutdown(Shutdown::Both)?;
            let state = lock(shared);
            let waiting = |s: &mut State| s.log.len() <= index && !s.ending;
            drop(shared.1.wait_timeout_while(state, PATIENCE, waiting));
            forward().map(drop)
        }
        Act::Hang => {
            // The end of its side is all that comes.
            let _ = client.read(&mut [0]);
            forward().map(drop)
        }
        Act::Twice => {
            forward()?;
            answer(client, &forward()?)
        }
        Act::Pass | Act::NoContinue => answer(client, &forward()?),
        Act::Refuse(_) | Act::EndAtHead | Act::ResetInBody => Ok(()),
    }
}

/// Answers, and waits until the client closes, so that nothing that it still sends resets the answer.
fn answer(mut client: TcpStream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes)?;
    client.shutdown(Shutdown::Write)?;
    io::copy(&mut client, &mut io::sink()).map(drop)
}

fn forward(server: SocketAddr, head: &[u8], body: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(server)?;
    let head = String::from_utf8_lossy(head);
    let head: String = head
        .split_inclusive("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("expect:"))
        .collect();
    server.write_all(head.as_bytes())?;
    server.write_all(body)?;
    server.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}

fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}
