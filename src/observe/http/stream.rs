//! The bytes of a connection, in the clear or by TLS. Nothing here waits.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use openssl::ssl::{ErrorCode, ShutdownResult, SslStream};
use rustix::event::PollFlags;

use super::tls::Tls;

/// See the module.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    /// With what the handshake waits for, if it is not what its user does.
    Tls(SslStream<TcpStream>, Option<PollFlags>),
}

impl Stream {
    pub(super) fn new(
        stream: TcpStream,
        tls: Option<&mut Tls>,
        now: Instant,
    ) -> anyhow::Result<Stream> {
        stream.set_nonblocking(true)?;
        Ok(match tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Tls(tls.accept(stream, now)?, None),
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream, _) => stream.get_ref(),
        }
    }

    /// What the socket has to be asked for by somebody who wants `usually`.
    pub(super) fn interest(&self, usually: PollFlags) -> PollFlags {
        match self {
            Stream::Tls(_, Some(other)) => *other,
            _ => usually,
        }
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(into),
            Stream::Tls(stream, waits_for) => {
                let read = stream.ssl_read(into);
                outcome(read, waits_for)
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream, waits_for) => {
                let written = stream.ssl_write(bytes);
                outcome(written, waits_for)
            }
        }
    }

    /// Tells the client that no more comes.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Stream::Tls(stream, _) = self {
            // Of no more use to us than to tell it: a client that has gone is none.
            let _: Result<ShutdownResult, _> = stream.shutdown();
        }
        self.socket().shutdown(Shutdown::Write)
    }
}

fn outcome(
    done: Result<usize, openssl::ssl::Error>,
    waits_for: &mut Option<PollFlags>,
) -> io::Result<usize> {
    *waits_for = None;
    let e = match done {
        Ok(n) => return Ok(n),
        Err(e) => e,
    };
    match e.code() {
        ErrorCode::WANT_READ => *waits_for = Some(PollFlags::IN),
        ErrorCode::WANT_WRITE => *waits_for = Some(PollFlags::OUT),
        ErrorCode::ZERO_RETURN => return Ok(0),
        _ => return Err(e.into_io_error().unwrap_or_else(io::Error::other)),
    }
    Err(ErrorKind::WouldBlock.into())
}
