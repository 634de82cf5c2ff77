//! The log: lines to stderr, by a thread of its own. A reader that stops reading (`| less`, a full pipe
//! of a supervisor) blocks that thread alone: no line is waited for, what does not fit is dropped, and
//! how many were is said once there is room.
//!
//! Nor does the log say what others must not see: of other crates only what they tell at [`FOREIGN`]
//! is passed on. At `trace` the HTTP client shows whole requests, with the password in them.

mod line;
mod repeats;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use env_filter::Filter;
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::clock::now_ms;
use line::Line;
pub use line::{Format, grouped};
use repeats::{Kind, Repeats};

/// Bytes of lines that wait to be written: a few thousand lines.
const MOST_BYTES: usize = 256 << 10;

/// How long the end of the process waits for lines to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often stderr is tried again that somebody made non-blocking.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The most that other crates may tell.
const FOREIGN: LevelFilter = LevelFilter::Info;

/// Kafka's client tells more if its `debug` property is set; it leaves passwords out itself.
const KAFKA: LevelFilter = LevelFilter::Debug;

/// The target of our own lines begins with it.
const OURS: &str = "anonymizer";

/// What is told unless `RUST_LOG` says otherwise.
const DEFAULT: LevelFilter = LevelFilter::Info;

static LINES: Lines = Lines::new();

/// What a line is written within, if anything.
static ASIDE: OnceLock<fn(&mut dyn FnMut())> = OnceLock::new();

/// Begins to log, as `RUST_LOG` says, or `info`. Also what a thread says when it panics.
///
/// # Errors
/// If the thread that writes cannot be made.
pub fn start(format: Format) -> io::Result<()> {
    LINES.lock().format = format;
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    thread::Builder::new()
        .name("log".into())
        .spawn(move || match stderr {
            Ok(stderr) => LINES.write_to(Aside(stderr)),
            // It is closed: nobody wants to know.
            Err(_) => LINES.write_to(io::sink()),
        })?;
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, wrong) = filter(&wanted);
    log::set_max_level(filter.filter());
    log::set_boxed_logger(Box::new(Logger(filter))).expect("BUG: logging was begun twice");
    if let Some(e) = wrong {
        log::warn!("RUST_LOG is not understood, so it is taken for {DEFAULT}: {e}");
    }
    // The standard hook writes to stderr itself, and would wait for its reader.
    std::panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        let trace = Backtrace::capture();
        let trace = match trace.status() {
            BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        say(Level::Error, &format!("thread '{name}' {info}{trace}"));
    }));
    Ok(())
}

/// From now on each line is written within `aside`, which may draw on the terminal.
pub fn write_aside(aside: fn(&mut dyn FnMut())) {
    let _ = ASIDE.set(aside);
}

/// Says to a person, behind the lines of the log, what is not of the log: without time and level, unless
/// lines are for a program.
pub fn say(level: Level, words: &str) {
    let mut waiting = LINES.lock();
    let line = spoken(level, words).plain(waiting.format);
    waiting.push(line);
    drop(waiting);
    LINES.changed.notify_all();
}

/// The same before [`start`], where that failed, or before a question on the terminal; waits for the
/// reader.
pub fn say_at_once(format: Format, level: Level, words: &str) {
    let line = spoken(level, words).plain(format);
    // Where nobody listens nothing can be said.
    drop(io::stderr().write_all(&line));
}

fn spoken(level: Level, message: &str) -> Line<'_> {
    Line {
        time_ms: now_ms(),
        level,
        target: OURS,
        message,
        again: None,
    }
}

/// Lines that were dropped since the start.
pub fn dropped() -> u64 {
    LINES.lock().dropped
}

/// Lines that were like one of the minute before, and were counted in place of being written.
pub fn repeated() -> u64 {
    LINES.lock().repeats.counted()
}

/// Waits until all lines are written, but not for a reader that does not read. To be called last.
pub fn finish() {
    LINES.lock().tell_counted(Instant::now(), true);
    LINES.changed.notify_all();
    LINES.drain(LAST_WORDS);
}

/// What `RUST_LOG` asks for; or the default, and why.
fn filter(wanted: &str) -> (Filter, Option<env_filter::ParseError>) {
    let default = || env_filter::Builder::new().filter_level(DEFAULT).build();
    if wanted.trim().is_empty() {
        return (default(), None);
    }
    match env_filter::Builder::new().try_parse(wanted) {
        Ok(builder) => (builder.build(), None),
        Err(e) => (default(), Some(e)),
    }
}

struct Logger(Filter);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        may_be_told(metadata) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if may_be_told(record.metadata()) && self.0.matches(record) {
            let words = record.args().to_string();
            let (level, target) = (record.level(), record.target());
            LINES.tell(level, target, record.line().unwrap_or(0), &words);
        }
    }

    fn flush(&self) {}
}

fn may_be_told(metadata: &Metadata<'_>) -> bool {
    let of = metadata.target().split("::").next().unwrap_or_default();
    let most = match of {
        OURS => LevelFilter::Trace,
        "librdkafka" | "rdkafka" => KAFKA,
        _ => FOREIGN,
    };
    metadata.level() <= most
}

/// Writes with what else is on the terminal set aside. Only the process's own log knows of it.
struct Aside<W>(W);

impl<W: Write> Write for Aside<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut written = Ok(0);
        let mut write = || written = self.0.write(line);
        match ASIDE.get() {
            Some(aside) => aside(&mut write),
            None => write(),
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Lines between those who have something to say and the one who writes.
struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    format: Format,
    repeats: Repeats,
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line is being written.
    writing: bool,
    /// Lines dropped ever, and those of which the log has not told yet.
    dropped: u64,
    untold: u64,
}

impl Lines {
    const fn new() -> Lines {
        Lines {
            waiting: Mutex::new(Waiting {
                format: Format::Text,
                repeats: Repeats::new(),
                lines: VecDeque::new(),
                bytes: 0,
                writing: false,
                dropped: 0,
                untold: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never waits.
    fn tell(&self, level: Level, target: &str, line: u32, message: &str) {
        self.lock()
            .tell(level, target, line, message, Instant::now());
        self.changed.notify_all();
    }

    /// Writes line after line, for ever.
    fn write_to(&self, mut out: impl Write) {
        let mut waiting = self.lock();
        loop {
            let now = Instant::now();
            waiting.tell_counted(now, false);
            waiting.tell_missing();
            let Some(line) = waiting.lines.pop_front() else {
                waiting = match waiting.repeats.due() {
                    None => woken(self.changed.wait(waiting)),
                    Some(due) => woken(self.changed.wait_timeout(waiting, due - now)).0,
                };
                continue;
            };
            waiting.bytes -= line.len();
            waiting.writing = true;
            drop(waiting);
            let written = write_all(&mut out, &line);
            waiting = self.lock();
            waiting.writing = false;
            if written.is_err() {
                // Nobody reads any more: it is of no use to tell.
                waiting.dropped += 1;
            }
            self.changed.notify_all();
        }
    }

    fn drain(&self, patience: Duration) {
        let left = |w: &mut Waiting| w.writing || !w.lines.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), patience, left);
        drop(waited);
    }
}

impl Waiting {
    fn tell(&mut self, level: Level, target: &str, line: u32, message: &str, now: Instant) {
        self.tell_counted(now, false);
        let time_ms = now_ms();
        // Who asks for details wants all of them.
        if level <= Level::Info {
            let kind = Kind::of(level, target, line, message);
            if !self.repeats.meet(kind, message, now, time_ms) {
                return;
            }
        }
        let line = Line {
            time_ms,
            level,
            target,
            message,
            again: None,
        };
        self.push(line.written(self.format));
    }

    /// Tells what was counted and is due, or all of it.
    fn tell_counted(&mut self, now: Instant, all: bool) {
        for owed in self.repeats.owed(now, all) {
            let line = Line {
                time_ms: now_ms(),
                level: owed.level,
                target: &owed.target,
                message: &owed.message,
                again: owed.again,
            };
            self.push(line.written(self.format));
        }
    }

    fn push(&mut self, line: Vec<u8>) {
        let fits = self.lines.is_empty() || self.bytes + line.len() <= MOST_BYTES;
        if !fits {
            self.dropped += 1;
            self.untold += 1;
            return;
        }
        self.tell_missing();
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// Says what is missing, in its place.
    fn tell_missing(&mut self) {
        let missing = std::mem::take(&mut self.untold);
        if missing > 0 {
            let words = format!("{missing} lines of the log are missing here: nobody read it");
            let line = spoken(Level::Warn, &words).written(self.format);
            self.bytes += line.len();
            self.lines.push_back(line);
        }
    }
}

fn woken<T>(woken: Result<T, PoisonError<T>>) -> T {
    woken.unwrap_or_else(PoisonError::into_inner)
}

fn write_all(out: &mut impl Write, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => rest = &rest[n..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(AGAIN_AFTER),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
