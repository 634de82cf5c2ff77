//! What may be wrong, one question after the other.

mod clickhouse;
mod kafka;
mod safety;

use crate::observe::human::{clock, of, time};
use crate::observe::status::Status;
use crate::observe::verdict::{Code, Finding};
use crate::observe::word::Word;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// What takes so long is worth a word, ms.
const SLOW: u64 = 30_000;

/// A request is if it takes this part of the time it may.
const PART: u64 = 4;

/// Records that wait in Kafka for so long are.
const STILL: u64 = MINUTE;

/// A pause of so long brings Kafka's retention into play.
const LONG_PAUSE: u64 = 15 * MINUTE;

/// A loss heads the status for so long; it is listed for ever.
const LOST_SHOWN: u64 = 24 * HOUR;

/// The most of a neighbour's own words in a sentence, characters.
const WORDS: usize = 240;

/// All there is to say, in order of the pipeline.
pub(super) fn all(s: &Status, now: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    safety::copied(s, &mut found);
    safety::lost(s, now, &mut found);
    safety::paused(s, now, &mut found);
    safety::room(s, now, &mut found);
    kafka::kafka(s, now, &mut found);
    clickhouse::held(s, now, &mut found);
    clickhouse::clickhouse(s, now, &mut found);
    clickhouse::stopped(s, now, &mut found);
    found
}

/// What waits, in words; nothing if nothing does.
pub(super) fn waiting(s: &Status, now: u64) -> String {
    match (s.queue.rows, s.queue.oldest_ms) {
        (0, _) => String::new(),
        (rows, Some(oldest)) => format!(
            "{} since {} ({})",
            rows_wait(rows),
            clock(oldest, now),
            time(now.saturating_sub(oldest))
        ),
        (rows, None) => rows_wait(rows),
    }
}

fn rows_wait(rows: u64) -> String {
    format!(
        "{} wait{}",
        of(rows, "row"),
        if rows == 1 { "s" } else { "" }
    )
}

/// How it is if nothing is wrong.
pub(super) fn well(s: &Status, now: u64) -> String {
    let last = s.flush.stored.as_ref().map(|stored| {
        format!(
            "{} stored {}",
            of(stored.rows, "row"),
            clock(stored.at_ms, now)
        )
    });
    let quarantined = match s.queue.quarantined {
        0 => String::new(),
        n => format!("; {} in quarantine", of(n, "message")),
    };
    let rows = match (s.queue.rows, last) {
        _ if !s.live => "the instance is not running, and nothing waits".to_owned(),
        (0, Some(last)) => format!("all rows that were read are in ClickHouse; last {last}"),
        (0, None) if s.queue.quarantined > 0 => "no row was read yet".to_owned(),
        (0, None) => "nothing was read yet".to_owned(),
        (rows, _) => format!("{}, none for longer than it should", rows_wait(rows)),
    };
    format!("{rows}{quarantined}")
}

fn find(
    code: Code,
    what: Word,
    reason: String,
    since_ms: Option<u64>,
    act: Option<&str>,
) -> Finding {
    Finding {
        code,
        what,
        reason,
        since_ms,
        act: act.map(str::to_owned),
    }
}

/// The neighbour's own words, not too many of them.
fn short(words: &str) -> String {
    match words.char_indices().nth(WORDS) {
        Some((at, _)) => format!("{}...", &words[..at]),
        None => words.to_owned(),
    }
}
