//! The Unix socket in the data dir through which commands reach a live instance.
//!
//! One JSON object a line: a [`Request`], answered by `{"ok": ...}` or `{"error": "..."}`.

use std::fs;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossbeam_channel::{RecvTimeoutError, bounded};
use serde::{Deserialize, Serialize};

use super::clock::now_ms;
use super::report::Report;
use super::shutdown::Shutdown;
use crate::flush::Question;
use crate::minutes::Span;
use crate::quarantine::ask::Ask;
use crate::queue::{self, DataDir, SOCKET_FILE, Selection};
use crate::sink::MinutesQuery;

/// How long a stop request may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long the other side may take to send or read a line.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests carried out at a time.
const MOST_AT_ONCE: usize = 8;

/// What can be asked of a live instance.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What `status` shows.
    Status,
    /// What `verify` finds.
    Verify,
    /// Write rows to a new file; the instance writes it, as its user.
    Export {
        /// Which rows, and how.
        selection: Selection,
        /// An absolute path.
        path: PathBuf,
    },
    /// Put a rejected batch back.
    RetryBatch {
        /// Its number.
        seq: u64,
    },
    /// What was counted of these seconds of record time.
    Counts {
        /// The first.
        from: u64,
        /// After the last.
        to: u64,
    },
    /// What ClickHouse has, asked in a slot.
    Minutes(MinutesQuery),
    /// A step of `quarantine`.
    Quarantine(Ask),
}

impl Request {
    /// How long an answer may take. A look at the whole queue, or a slot's wait, has no bound of its
    /// own: it ends with the instance, whose end closes the socket.
    fn patience(&self) -> Option<Duration> {
        match self {
            Request::Verify
            | Request::Export { .. }
            | Request::Counts { .. }
            | Request::Minutes(_) => None,
            _ => Some(PATIENCE),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(serde_json::Value),
    Error(String),
}

/// A listening socket; removed when dropped.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens in `dir`, which this process has locked: a socket left there is a dead one's.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn bind(dir: &DataDir) -> anyhow::Result<Server> {
        let path = dir.path().join(SOCKET_FILE);
        let _ = fs::remove_file(&path);
        let doing = || format!("cannot listen on {}", path.display());
        let listener = UnixListener::bind(short(&path)?).with_context(doing)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).with_context(doing)?;
        listener.set_nonblocking(true).with_context(doing)?;
        Ok(Server { listener, path })
    }

    /// Answers until a stop is requested.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn run(&self, report: &Report<'_>, shutdown: &Shutdown) -> anyhow::Result<()> {
        let busy = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            while !shutdown.requested() {
                // The others wait in the socket's own queue.
                if busy.load(Ordering::SeqCst) >= MOST_AT_ONCE {
                    shutdown.wait(LOOK_EVERY);
                    continue;
                }
                match self.listener.accept() {
                    Ok((stream, _)) => {
                        busy.fetch_add(1, Ordering::SeqCst);
                        // A long look must not keep `status` waiting.
                        let busy = &busy;
                        scope.spawn(move || {
                            if let Err(e) = serve(&stream, report, shutdown) {
                                log::debug!("control socket: {e:#}");
                            }
                            busy.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        shutdown.wait(LOOK_EVERY);
                    }
                    Err(e) => return Err(e).context("control socket"),
                }
            }
            Ok(())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn serve(stream: &UnixStream, report: &Report<'_>, shutdown: &Shutdown) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => match carry_out(request, report, shutdown) {
            Ok(value) => Answer::Ok(value),
            Err(e) => Answer::Error(format!("{e:#}")),
        },
        Err(e) => Answer::Error(format!("not a request this version knows: {e}")),
    };
    let mut out = serde_json::to_vec(&answer)?;
    out.push(b'\n');
    let mut stream = stream;
    stream.write_all(&out)?;
    Ok(())
}

fn carry_out(
    request: Request,
    report: &Report<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<serde_json::Value> {
    let stop = || shutdown.requested();
    // While it reads, sled is not opened anew.
    let trees = || report.queue.trees();
    Ok(match request {
        Request::Status => serde_json::to_value(report.status()?)?,
        Request::Verify => serde_json::to_value(queue::verify(&*trees()?, true, &stop)?)?,
        Request::Export { selection, path } => {
            let done = queue::export_to_file(&*trees()?, selection, true, &path, &stop)?;
            serde_json::to_value(done)?
        }
        Request::RetryBatch { seq } => {
            serde_json::to_value(report.queue.retry_batch(seq, now_ms())?)?
        }
        Request::Counts { from, to } => {
            serde_json::to_value(report.queue.counts(from..to, now_ms())?)?
        }
        Request::Minutes(query) => serde_json::to_value(ask_clickhouse(query, report, &stop)?)?,
        Request::Quarantine(ask) => ask.answer(report.queue)?,
    })
}

/// Hands a question to the flusher and waits for its slot.
fn ask_clickhouse(
    query: MinutesQuery,
    report: &Report<'_>,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<Vec<(Span, u64)>> {
    let (reply, answer) = bounded(1);
    let sent = report.questions.try_send(Question { query, reply });
    sent.context("too many commands wait for a slot")?;
    loop {
        match answer.recv_timeout(LOOK_EVERY) {
            Ok(found) => return found.map_err(anyhow::Error::msg),
            Err(RecvTimeoutError::Timeout) if !stop() => {}
            Err(_) => bail!("it stops"),
        }
    }
}

/// Asks the live instance of a data dir. `None` if there is none.
///
/// # Errors
/// If there is one, but it does not answer or refuses.
pub fn ask(data_dir: &Path, request: &Request) -> anyhow::Result<Option<serde_json::Value>> {
    let path = data_dir.join(SOCKET_FILE);
    let mut stream = match UnixStream::connect(short(&path)?) {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(e) => return Err(e).with_context(|| format!("cannot reach {}", path.display())),
    };
    stream.set_read_timeout(request.patience())?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut text = String::new();
    BufReader::new(stream)
        .read_line(&mut text)
        .with_context(|| format!("no answer through {}", path.display()))?;
    match serde_json::from_str(&text).context("cannot read the live instance's answer")? {
        Answer::Ok(value) => Ok(Some(value)),
        Answer::Error(words) => bail!("the live instance refuses: {words}"),
    }
}

/// A path that fits a socket address (108 bytes): a long one is reached through the descriptor of
/// its directory.
fn short(path: &Path) -> io::Result<PathBuf> {
    const MAX: usize = 100;
    if path.as_os_str().len() <= MAX {
        return Ok(path.to_owned());
    }
    use std::os::fd::IntoRawFd as _;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(path.to_owned());
    };
    // Left open: the address must stay valid, and a process makes one or two.
    let dir = match fs::File::open(dir) {
        Ok(dir) => dir.into_raw_fd(),
        Err(e) => return Err(e),
    };
    Ok(Path::new("/proc/self/fd").join(dir.to_string()).join(name))
}
