//! The Unix socket in the data dir through which commands reach a live instance.
//!
//! One JSON object a line: a [`Request`], answered by `{"ok": ...}` or `{"error": "..."}`.

use std::fs;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use crossbeam_channel::{RecvTimeoutError, bounded};
use serde::{Deserialize, Serialize};

use super::exchange::{PATIENCE, read_line, write_all};
use super::report::Report;
use super::tap;
use crate::clickhouse::MinutesQuery;
use crate::flush::{Question, Reply};
use crate::observe::quarantine::Ask;
use crate::queue::{self, DataDir, Fate, KeepFree, LaneId, SOCKET_FILE, Selection};
use crate::runtime::clock::now_ms;
use crate::runtime::shutdown::Shutdown;

/// How long a stop request may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Bytes of a request. A question for minutes names the spans that it is for.
const MOST_BYTES: usize = 64 << 20;

/// How long no command is taken when there is no thread or descriptor for it.
const WITHOUT_MEANS: Duration = Duration::from_secs(1);

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
    /// Give a rejected batch up.
    DropBatch {
        /// Its number.
        seq: u64,
    },
    /// ClickHouse has a batch of which it cannot tell.
    CallStored {
        /// Its number.
        seq: u64,
    },
    /// The rows that are held.
    Held,
    /// Send or remove those of a lane.
    Decide {
        /// The lane.
        lane: LaneId,
        /// Which.
        fate: Fate,
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
    /// The settings that hold; secrets are covered.
    Settings,
    /// Whether the tables fit, asked in a slot.
    Tables {
        /// Milliseconds that the answer may take.
        within_ms: u64,
    },
    /// A step of `quarantine`.
    Quarantine(Ask),
    /// Rows as they pass: what follows the answer is told in [`tap`].
    Tap(tap::Ask),
}

impl Request {
    /// How long an answer may take. A look at the whole queue, or a slot's wait, has no bound of its
    /// own: it ends with the instance, whose end closes the socket.
    fn patience(&self) -> Option<Duration> {
        match self {
            Request::Verify
            | Request::Export { .. }
            | Request::Counts { .. }
            | Request::Minutes(_)
            | Request::Held
            | Request::Decide { .. }
            | Request::Quarantine(_) => None,
            Request::Tables { within_ms } => Some(Duration::from_millis(*within_ms) + PATIENCE),
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
        let (address, _dir) = short(&path).with_context(doing)?;
        let listener = UnixListener::bind(address).with_context(doing)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).with_context(doing)?;
        listener.set_nonblocking(true).with_context(doing)?;
        Ok(Server { listener, path })
    }

    /// Answers until a stop is requested. Rows go on, whatever fails here.
    pub fn run(&self, report: &Report<'_>, shutdown: &Shutdown) {
        let busy = AtomicUsize::new(0);
        thread::scope(|scope| {
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
                        let named = thread::Builder::new().name("command".into());
                        let begun = named.spawn_scoped(scope, move || {
                            if let Err(e) = serve(&stream, report, shutdown) {
                                log::debug!("control socket: {e:#}");
                            }
                            busy.fetch_sub(1, Ordering::SeqCst);
                        });
                        if let Err(e) = begun {
                            busy.fetch_sub(1, Ordering::SeqCst);
                            log::debug!("no thread for a command: {e}");
                            shutdown.wait(WITHOUT_MEANS);
                        }
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        shutdown.wait(LOOK_EVERY);
                    }
                    Err(e) => {
                        log::debug!("no command is taken for a moment: {e}");
                        shutdown.wait(WITHOUT_MEANS);
                    }
                }
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn serve(stream: &UnixStream, report: &Report<'_>, shutdown: &Shutdown) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    // What does not read or write must not keep a stop waiting.
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    stream.set_write_timeout(Some(LOOK_EVERY))?;
    let line = read_line(stream, MOST_BYTES, shutdown)?;
    let answer = match serde_json::from_slice(&line) {
        Ok(Request::Tap(ask)) => return show(stream, &ask, report, shutdown),
        Ok(request) => match carry_out(request, report, shutdown) {
            Ok(value) => Answer::Ok(value),
            Err(e) => Answer::Error(format!("{e:#}")),
        },
        Err(e) => Answer::Error(format!("not a request this version knows: {e}")),
    };
    tell(stream, &answer, shutdown)
}

/// Rows, until there is an end to it.
fn show(
    stream: &UnixStream,
    ask: &tap::Ask,
    report: &Report<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    match tap::attach(ask, report.taps) {
        Ok(taken) => {
            tell(stream, &Answer::Ok(serde_json::Value::Null), shutdown)?;
            tap::serve(stream, ask, &taken, shutdown)
        }
        Err(e) => tell(stream, &Answer::Error(format!("{e:#}")), shutdown),
    }
}

fn tell(stream: &UnixStream, answer: &Answer, shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut out = serde_json::to_vec(answer)?;
    out.push(b'\n');
    write_all(stream, &out, Some(PATIENCE), shutdown)
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
        Request::Verify => serde_json::to_value(queue::verify(&*trees()?, true, &|_| stop())?)?,
        Request::Export { selection, path } => {
            let keep = KeepFree {
                data_dir: report.queue.dir().path(),
                bytes: report.limits().min_free_disk,
            };
            let done =
                queue::export_to_file(&*trees()?, selection, Some(keep), &path, &|_| stop())?;
            serde_json::to_value(done)?
        }
        Request::RetryBatch { seq } => serde_json::to_value(report.queue.retry_batch(seq)?)?,
        Request::DropBatch { seq } => {
            let dropped = report.queue.drop_batch(seq, now_ms())?;
            log::error!(
                "a person dropped batch {seq}, {} rows are lost: {}",
                dropped.rows,
                dropped.places()
            );
            serde_json::to_value(dropped)?
        }
        Request::CallStored { seq } => {
            let batch = report.queue.call_stored(seq)?;
            log::warn!("a person says that ClickHouse has batch {seq}");
            serde_json::to_value(batch)?
        }
        Request::Held => serde_json::to_value(report.queue.held()?)?,
        Request::Decide { lane, fate } => {
            let held = report.queue.decide(lane, fate)?;
            let words = match fate {
                Fate::Send => "sends",
                Fate::Drop => "removes",
            };
            log::warn!("a person {words} the {} held rows of {lane}", held.rows);
            serde_json::to_value(held)?
        }
        Request::Counts { from, to } => {
            serde_json::to_value(report.queue.counts(from..to, now_ms())?)?
        }
        Request::Minutes(query) => {
            let question = |reply| Question::Minutes { query, reply };
            serde_json::to_value(ask_flusher(question, None, report, &stop)?)?
        }
        Request::Settings => serde_json::to_value(&report.settings)?,
        Request::Tables { within_ms } => {
            let within = Some(Duration::from_millis(within_ms));
            let question = |reply| Question::Tables { reply };
            serde_json::to_value(ask_flusher(question, within, report, &stop)?)?
        }
        Request::Quarantine(ask) => ask.answer(report.queue)?,
        Request::Tap(_) => bail!("BUG: a tap has more than one answer"),
    })
}

/// Hands a question to the flusher and waits for its slot, `within` that time if it is given.
fn ask_flusher<T>(
    question: impl FnOnce(Reply<T>) -> Question,
    within: Option<Duration>,
    report: &Report<'_>,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<T> {
    let (reply, answer) = bounded(1);
    let sent = report.questions.try_send(question(reply));
    sent.ok().context("too many commands wait for a slot")?;
    let began = Instant::now();
    loop {
        match answer.recv_timeout(LOOK_EVERY) {
            Ok(found) => return found.map_err(anyhow::Error::msg),
            Err(RecvTimeoutError::Timeout) if !stop() => {}
            Err(_) => bail!("it stops"),
        }
        if let Some(within) = within
            && began.elapsed() > within
        {
            bail!(
                "no answer of ClickHouse within {}: no slot of the proxy was free, or ClickHouse does not \
                 answer; `status` says which",
                humantime::format_duration(within)
            );
        }
    }
}

/// Asks the live instance of a data dir. `None` if there is none.
///
/// # Errors
/// If there is one, but it does not answer or refuses.
pub fn ask(data_dir: &Path, request: &Request) -> anyhow::Result<Option<serde_json::Value>> {
    let begun = begin(data_dir, request)?;
    Ok(begun.map(|(answer, _)| answer))
}

/// The same for a request that more than an answer follows.
///
/// # Errors
/// As [`ask`].
pub fn begin(
    data_dir: &Path,
    request: &Request,
) -> anyhow::Result<Option<(serde_json::Value, BufReader<UnixStream>)>> {
    let path = data_dir.join(SOCKET_FILE);
    let (address, _dir) = match short(&path) {
        Ok(short) => short,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("cannot reach {}", path.display())),
    };
    let mut stream = match UnixStream::connect(address) {
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
    let (mut text, mut from) = (String::new(), BufReader::new(stream));
    from.read_line(&mut text)
        .map_err(|e| match (e.kind(), request.patience()) {
            (ErrorKind::WouldBlock | ErrorKind::TimedOut, Some(patience)) => anyhow!(
                "the live instance does not answer within {} through {}",
                humantime::format_duration(patience),
                path.display()
            ),
            _ => anyhow::Error::from(e).context(format!("no answer through {}", path.display())),
        })?;
    match serde_json::from_str(&text).context("cannot read the live instance's answer")? {
        Answer::Ok(value) => Ok(Some((value, from))),
        Answer::Error(words) => bail!("the live instance refuses: {words}"),
    }
}

/// A path that fits a socket address (108 bytes): a long one is reached through the descriptor of
/// its directory, which must stay open until it was.
fn short(path: &Path) -> io::Result<(PathBuf, Option<fs::File>)> {
    const MAX: usize = 100;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((path.to_owned(), None));
    };
    if path.as_os_str().len() <= MAX {
        return Ok((path.to_owned(), None));
    }
    let dir = fs::File::open(dir)?;
    let number = dir.as_raw_fd().to_string();
    let short = Path::new("/proc/self/fd").join(number).join(name);
    Ok((short, Some(dir)))
}
