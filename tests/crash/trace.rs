//! What strace saw of a process, as events in order.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::Line;

/// Calls that change what is on the disk, and those that tell of it.
pub const CALLS: &str = "pwrite64,write,writev,fsync,fdatasync,sync_file_range,ftruncate,rename,renameat,renameat2,openat,unlink,unlinkat,mkdir";

#[derive(Debug, Clone)]
pub enum What {
    Write {
        at: u64,
        data: Vec<u8>,
    },
    /// A write at the end of the file.
    Append {
        data: Vec<u8>,
    },
    Truncate(u64),
    Sync,
    Create,
    Rename(PathBuf),
    /// The two change names.
    Exchange(PathBuf),
    Unlink,
    Mkdir,
    Said(Line),
    /// A request to Kafka, by its api key.
    Request(u16),
}

#[derive(Debug, Clone)]
pub struct Event {
    /// Lines of the trace where it began and where it had ended.
    pub from: usize,
    pub to: usize,
    pub path: PathBuf,
    pub what: What,
    /// It failed because strace said so.
    pub injected: bool,
}

/// `strace` before a command.
pub fn strace(trace: &Path, calls: &str, inject: Option<&str>) -> Vec<String> {
    let mut line: Vec<String> = ["strace", "-f", "-qq", "-y", "-xx", "-s", "40000000", "-o"]
        .map(String::from)
        .to_vec();
    line.extend([
        trace.display().to_string(),
        "-e".into(),
        format!("trace={calls}"),
    ]);
    if let Some(inject) = inject {
        line.extend(["-e".into(), format!("inject={inject}")]);
    }
    line
}

pub fn available() -> bool {
    let mut strace = Command::new("strace");
    strace
        .args(["-qq", "-e", "trace=none", "true"])
        .status()
        .is_ok_and(|s| s.success())
}

/// Reads a trace made by [`strace`]. `start` is the number of its first line.
pub fn read(trace: &Path, start: usize) -> Vec<Event> {
    let text = std::fs::read(trace).unwrap_or_default();
    let mut events: Vec<Event> = Vec::new();
    let mut unfinished: std::collections::HashMap<String, (usize, String)> = Default::default();
    for (n, line) in text.split(|b| *b == b'\n').enumerate() {
        let n = start + n;
        let line = String::from_utf8_lossy(line);
        let Some((pid, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if let Some(begin) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid.to_owned(), (n, begin.to_owned()));
            continue;
        }
        let (from, whole) = match call.strip_prefix("<... ") {
            Some(rest) => {
                let Some((from, begin)) = unfinished.remove(pid) else {
                    continue;
                };
                let end = rest.split_once("resumed>").map_or("", |(_, e)| e);
                (from, format!("{begin}{end}"))
            }
            None => (n, call.to_owned()),
        };
        parse(&whole, from, n, &mut events);
    }
    // A call that was under way when the process ended may have been done.
    for (_, (from, begin)) in unfinished {
        if begin.starts_with("pwrite64") {
            parse(&format!("{begin}) = 0"), from, usize::MAX, &mut events);
        }
    }
    events.sort_by_key(|e| e.from);
    events
}

fn parse(call: &str, from: usize, to: usize, events: &mut Vec<Event>) {
    let Some((name, rest)) = call.split_once('(') else {
        return;
    };
    let Some((args, result)) = rest.rsplit_once(") = ").or_else(|| {
        // strace pads short calls.
        let at = rest.rfind(") ")?;
        let eq = rest[at..].find("= ")? + at;
        Some((&rest[..at], &rest[eq + 2..]))
    }) else {
        return;
    };
    let injected = result.contains("(INJECTED)");
    let failed = result.trim_start().starts_with('-');
    let mut add = |path: PathBuf, what: What| {
        events.push(Event {
            from,
            to,
            path,
            what,
            injected,
        });
    };
    let of_fd = || path_of(args.split(',').next().unwrap_or_default());
    if failed && !injected {
        return;
    }
    match name {
        "pwrite64" => {
            let Some((head, at)) = args.rsplit_once(", ") else {
                return;
            };
            let at = at.trim().parse().unwrap_or(0);
            add(
                of_fd(),
                What::Write {
                    at,
                    data: string(head),
                },
            );
        }
        "write" => add(of_fd(), What::Append { data: string(args) }),
        "writev" => {
            if let Ok(line) = serde_json::from_slice(&string(args)) {
                add(PathBuf::new(), What::Said(line));
            }
        }
        "fsync" | "fdatasync" => add(of_fd(), What::Sync),
        // Not a sync: it neither flushes the disk's cache nor the file's length. Kept for faults.
        "sync_file_range" if injected => add(of_fd(), What::Sync),
        "ftruncate" => {
            let len = args.rsplit(", ").next().and_then(|n| n.parse().ok());
            add(of_fd(), What::Truncate(len.unwrap_or(0)));
        }
        "openat" if args.contains("O_CREAT") || injected => {
            add(named(args, 0), What::Create);
        }
        "renameat2" if args.contains("RENAME_EXCHANGE") => {
            add(named(args, 0), What::Exchange(named(args, 1)));
        }
        "rename" | "renameat" | "renameat2" => add(named(args, 0), What::Rename(named(args, 1))),
        "unlink" => add(named(args, 0), What::Unlink),
        // The name is one in the directory that the descriptor is of.
        "unlinkat" => add(of_fd().join(named(args, 0)), What::Unlink),
        "mkdir" => add(named(args, 0), What::Mkdir),
        "sendmsg" | "sendto" => {
            let bytes = string(args);
            if let [_, _, _, _, hi, lo, ..] = bytes[..] {
                add(
                    PathBuf::new(),
                    What::Request(u16::from(hi) << 8 | u16::from(lo)),
                );
            }
        }
        _ => {}
    }
}

/// `5<\x2f...>`
fn path_of(fd: &str) -> PathBuf {
    let inner = fd.split_once('<').map_or("", |(_, p)| p);
    PathBuf::from(String::from_utf8_lossy(&unhex(inner.trim_end_matches('>'))).into_owned())
}

/// The first quoted string.
fn string(args: &str) -> Vec<u8> {
    let inner = args.split('"').nth(1).unwrap_or_default();
    unhex(inner)
}

fn named(args: &str, nth: usize) -> PathBuf {
    let inner = args.split('"').nth(1 + 2 * nth).unwrap_or_default();
    PathBuf::from(String::from_utf8_lossy(&unhex(inner)).into_owned())
}

fn unhex(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
    let mut out = Vec::with_capacity(bytes.len() / 4);
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"\\x") && at + 3 < bytes.len() {
            out.push(digit(bytes[at + 2]) << 4 | digit(bytes[at + 3]));
            at += 4;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}
