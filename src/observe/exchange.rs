//! Bytes to and from the other side of the control socket, which may be slow but must not keep a stop
//! waiting: the socket's own timeouts are short, and between them it is looked whether one is requested.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::runtime::shutdown::Shutdown;

/// How long the other side may take to send or read a line.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a line, at most so many bytes, for at most [`PATIENCE`].
///
/// # Errors
/// If it does not come, is longer, or a stop is requested meanwhile.
pub(super) fn read_line(
    mut stream: &UnixStream,
    most: usize,
    shutdown: &Shutdown,
) -> anyhow::Result<Vec<u8>> {
    let (mut line, mut some) = (Vec::new(), [0; 4096]);
    let until = Instant::now() + PATIENCE;
    while line.last() != Some(&b'\n') {
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(n) => line.extend_from_slice(&some[..n]),
            Err(e) => wait_on(e, Some(until), shutdown)?,
        }
        ensure!(line.len() <= most, "the request is too long");
    }
    Ok(line)
}

/// Writes as fast as the other side reads, which may rest for so long.
///
/// # Errors
/// If it goes, rests for longer, or a stop is requested meanwhile.
pub(super) fn write_all(
    mut stream: &UnixStream,
    mut rest: &[u8],
    patience: Option<Duration>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let mut since = Instant::now();
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(n) => {
                rest = &rest[n..];
                since = Instant::now();
            }
            Err(e) => wait_on(e, patience.map(|p| since + p), shutdown)?,
        }
    }
    Ok(())
}

/// Fails unless the other side only takes long, and may.
fn wait_on(e: io::Error, until: Option<Instant>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let is_slow = matches!(
        e.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    );
    ensure!(is_slow && until.is_none_or(|at| Instant::now() < at), e);
    ensure!(!shutdown.requested(), "it stops");
    Ok(())
}
