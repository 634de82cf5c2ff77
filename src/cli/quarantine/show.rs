//! `quarantine show`: all that is known of one message.

use std::path::Path;

use super::{Damaged, line, only, pages, require};
use crate::cli::json::{self, List};
use crate::observe::quarantine::{Ask, Entry};
use crate::record::decode::outline;
use crate::runtime::clock::rfc3339;

/// Shows the messages of that offset: several lanes may have read it.
pub fn show(data_dir: &Path, partition: i32, offset: i64, json: bool) -> anyhow::Result<Damaged> {
    let which = only(Some(partition), Some(offset));
    let mut found: Vec<Entry> = Vec::new();
    let damaged = pages(data_dir, Ask::Read(which), |entry| {
        found.push(entry);
        Ok(())
    })?;
    require(which, found.len(), &damaged)?;
    if json {
        json::print(&List::from(found))?;
        return Ok(damaged);
    }
    for entry in &found {
        say!("{}", line(entry));
        say!("read     {}", rfc3339(entry.facts.read_ms));
        say!("xxh3-128 {}", entry.facts.message.hash);
        if let Some(bytes) = entry.bytes() {
            say!("{}", fields(&bytes));
            say_as_it_is!("{}", dump(&bytes));
        }
    }
    Ok(damaged)
}

/// What can be read of a message that may be broken.
fn fields(bytes: &[u8]) -> String {
    let Some(found) = outline(bytes) else {
        return "no field can be read".to_owned();
    };
    let numbers = [
        "timestampEpochMilli",
        "resourceId",
        "bytesSent",
        "requestTimeMilli",
        "responseStatus",
    ];
    let texts = ["cacheStatus", "method", "remoteAddr", "url"];
    let mut lines: Vec<String> = numbers
        .iter()
        .zip(found.numbers)
        .map(|(name, n)| format!("{name:20} {n}"))
        .collect();
    for (name, range) in texts.iter().zip(found.texts) {
        let text = range.map_or("cannot be read".to_owned(), |r| {
            format!("\"{}\"", bytes[r].escape_ascii())
        });
        lines.push(format!("{name:20} {text}"));
    }
    lines.join("\n")
}

fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (i, row) in bytes.chunks(16).enumerate() {
        let hex: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
        let shown = |b: &u8| match b {
            b' '..=b'~' => char::from(*b),
            _ => '.',
        };
        let text: String = row.iter().map(shown).collect();
        out += &format!("{:06x}  {:47}  {text}\n", i * 16, hex.join(" "));
    }
    out
}
