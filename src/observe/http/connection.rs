//! One connection: a head comes in, an answer goes out, and it is closed. Nothing here waits; every
//! state has its end in time.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::answer::Answer;
use super::head::{self, Head, Request};
use super::stream::Stream;

/// How long a head may take to come, and an answer to go.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long what a client still sends is taken after the answer: closed at once, the kernel would take
/// the answer back.
const PARTING: Duration = Duration::from_secs(1);

/// And how much of it.
const PARTING_BYTES: usize = 64 << 10;

/// In the order in which connections have to go when there are too many.
#[derive(Debug)]
enum State {
    /// The answer was sent, and so many bytes were thrown away.
    Parting(usize),
    /// The head is not whole yet.
    Reading(Vec<u8>),
    /// So many bytes of head and body have gone.
    Writing(Vec<u8>, Arc<[u8]>, usize),
    /// The page takes time.
    Waiting(&'static str, bool),
}

/// What a connection wants of the front.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// Nothing before its socket moves or its time is up.
    Nothing,
    /// The answer to this.
    Page(Request),
    /// To be dropped.
    Close,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    state: State,
    accepted: Instant,
    /// When the state has lasted too long; none bounds the making of a page.
    until: Option<Instant>,
}

impl Connection {
    pub(super) fn new(stream: Stream, now: Instant) -> Connection {
        Connection {
            stream,
            state: State::Reading(Vec::new()),
            accepted: now,
            until: Some(now + PATIENCE),
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// The lowest goes first when there are too many.
    pub(super) fn rank(&self) -> (u8, Instant) {
        let worth = match self.state {
            State::Parting(_) => 0,
            State::Reading(_) => 1,
            State::Writing(..) => 2,
            State::Waiting(..) => 3,
        };
        (worth, self.accepted)
    }

    /// What its socket is asked for.
    pub(super) fn interest(&self) -> PollFlags {
        self.stream.interest(match self.state {
            State::Reading(_) | State::Parting(_) => PollFlags::IN,
            State::Writing(..) => PollFlags::OUT,
            State::Waiting(..) => PollFlags::empty(),
        })
    }

    /// Goes on as far as the socket allows.
    pub(super) fn go_on(&mut self, now: Instant) -> Wants {
        if self.until.is_some_and(|until| now >= until) {
            return Wants::Close;
        }
        let moved = match &mut self.state {
            State::Reading(_) => self.read(now),
            State::Writing(..) => self.write(now),
            State::Parting(_) => self.part(),
            State::Waiting(..) => Ok(Wants::Nothing),
        };
        match moved {
            Ok(wants) => wants,
            Err(e) if is_for_later(&e) => Wants::Nothing,
            // Whoever asked has gone; there is nobody to tell.
            Err(_) => Wants::Close,
        }
    }

    /// The page that it waits for takes time.
    pub(super) fn wait_for(&mut self, page: &'static str, head_only: bool) {
        self.state = State::Waiting(page, head_only);
        self.until = None;
    }

    /// The page that it waits for.
    pub(super) fn waits_for(&self) -> Option<(&'static str, bool)> {
        match self.state {
            State::Waiting(page, head_only) => Some((page, head_only)),
            _ => None,
        }
    }

    pub(super) fn answer(&mut self, answer: &Answer, head_only: bool, now: Instant) -> Wants {
        let body = match head_only {
            true => Arc::from([]),
            false => Arc::clone(&answer.body),
        };
        self.state = State::Writing(answer.head().into_bytes(), body, 0);
        self.until = Some(now + PATIENCE);
        self.go_on(now)
    }

    fn read(&mut self, now: Instant) -> io::Result<Wants> {
        let State::Reading(bytes) = &mut self.state else {
            return Ok(Wants::Nothing);
        };
        loop {
            let mut some = [0; 2048];
            let room = some.len().min(head::MOST - bytes.len());
            let n = self.stream.read(&mut some[..room])?;
            if n == 0 {
                return Ok(Wants::Close);
            }
            bytes.extend_from_slice(&some[..n]);
            match head::parse(bytes) {
                Head::Unfinished => {}
                Head::Get(request) => return Ok(Wants::Page(request)),
                Head::Refused(answer) => return Ok(self.answer(&answer, false, now)),
            }
        }
    }

    fn write(&mut self, now: Instant) -> io::Result<Wants> {
        let State::Writing(head, body, sent) = &mut self.state else {
            return Ok(Wants::Nothing);
        };
        while *sent < head.len() + body.len() {
            let rest = match sent.checked_sub(head.len()) {
                None => &head[*sent..],
                Some(at) => &body[at..],
            };
            *sent += self.stream.write(rest)?;
        }
        self.stream.end()?;
        self.state = State::Parting(0);
        self.until = Some(now + PARTING);
        self.part()
    }

    fn part(&mut self) -> io::Result<Wants> {
        let State::Parting(taken) = &mut self.state else {
            return Ok(Wants::Nothing);
        };
        let mut some = [0; 4096];
        while *taken < PARTING_BYTES {
            match self.stream.read(&mut some)? {
                0 => break,
                n => *taken += n,
            }
        }
        Ok(Wants::Close)
    }
}

fn is_for_later(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
