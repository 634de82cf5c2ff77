//! What is lost, or will be: copies, losses, pauses, room.

use super::{HOUR, LONG_PAUSE, LOST_SHOWN, find, short};
use crate::observe::human::{bytes, of, since, time};
use crate::observe::status::Status;
use crate::observe::verdict::{Code, Finding};
use crate::observe::word::Word;

pub(super) fn copied(s: &Status, found: &mut Vec<Finding>) {
    if let Some(words) = &s.copy {
        let act = "if the original is gone or never runs again: anonymizer adopt; otherwise start the original";
        found.push(find(Code::Held, Word::Copy, short(words), None, Some(act)));
    }
}

pub(super) fn lost(s: &Status, now: u64, found: &mut Vec<Finding>) {
    let recent = |ms: u64| now.saturating_sub(ms) < LOST_SHOWN;
    let (unsure, sure): (Vec<_>, Vec<_>) = s
        .lost
        .iter()
        .filter(|l| recent(l.noticed_ms))
        .partition(|l| l.unsure);
    for (ranges, code, words) in [
        (
            sure,
            Code::Lost,
            "Kafka no longer had them when they were due",
        ),
        (
            unsure,
            Code::Lost,
            "Kafka's log was cut, and they may not have been read before",
        ),
    ] {
        let Some(first) = ranges.first() else {
            continue;
        };
        let offsets: i64 = ranges.iter().map(|l| l.to - l.from).sum();
        let more = match ranges.len() {
            1 => String::new(),
            n => format!(" and {} more", of(n as u64 - 1, "range")),
        };
        let reason = format!(
            "{} of {} p{} {}..{}{more}: {words}",
            of(offsets.unsigned_abs(), "record"),
            first.topic,
            first.partition,
            first.from,
            first.to
        );
        let act = "raise the topic's retention, and find out what kept them from being read; they cannot be brought back";
        let at = ranges.iter().map(|l| l.noticed_ms).min();
        found.push(find(code, Word::Lost, reason, at, Some(act)));
    }
    let dropped = s.dropped.iter().filter(|d| recent(d.dropped_ms));
    for batch in dropped {
        let reason = format!(
            "{} of batch {} were given up (batches drop), which ClickHouse refused: {}",
            of(batch.rows, "row"),
            batch.seq,
            short(&batch.words)
        );
        found.push(find(
            Code::Lost,
            Word::Dropped,
            reason,
            Some(batch.dropped_ms),
            None,
        ));
    }
    let quarantine = &s.queue.quarantine;
    if quarantine.dropped > 0 && quarantine.dropped_ms.is_some_and(recent) {
        let reason = format!(
            "{} were dropped from a full quarantine (quarantine_full = drop-oldest)",
            of(quarantine.dropped, "message")
        );
        let act =
            "anonymizer quarantine list: mend what produces them, or raise max_quarantine_bytes";
        found.push(find(
            Code::Lost,
            Word::Quarantine,
            reason,
            quarantine.dropped_ms,
            Some(act),
        ));
    }
}

pub(super) fn paused(s: &Status, now: u64, found: &mut Vec<Finding>) {
    let Some(pause) = &s.kafka.pause else { return };
    let unread = match s.kafka.unread {
        Some(n) if n > 0 => format!("; {} wait in Kafka", of(n, "record")),
        _ => String::new(),
    };
    let act = match pause.kind.as_str() {
        "quarantine" => "anonymizer quarantine list; then retry, export or drop them",
        "queue" => "find out why inserts do not empty the queue (below), or raise max_queue_bytes",
        "disk" => "free the disk of the data dir, or lower min_free_disk",
        _ => "look at the brokers: they acknowledge no commit",
    };
    let since_words = since(pause.since_ms, now);
    let long = now.saturating_sub(pause.since_ms) >= LONG_PAUSE;
    let (code, risk) = match long && s.kafka.unread.is_some_and(|n| n > 0) {
        true => (
            Code::AtRisk,
            "; they are lost when the topic's retention has passed",
        ),
        false => (Code::Paused, ""),
    };
    let reason = format!(
        "reading is paused {since_words}: {}{unread}{risk}",
        short(&pause.words)
    );
    found.push(find(
        code,
        pause_name(&pause.kind),
        reason,
        Some(pause.since_ms),
        Some(act),
    ));
}

pub(super) fn pause_name(kind: &str) -> Word {
    match kind {
        "quarantine" => Word::Quarantine,
        "queue" => Word::QueueFull,
        "disk" => Word::DiskFull,
        _ => Word::Commits,
    }
}

pub(super) fn room(s: &Status, now: u64, found: &mut Vec<Finding>) {
    if let Some(full) = s.forecast.full_ms.filter(|full| *full < now + HOUR)
        && s.kafka.pause.is_none()
    {
        let reason = format!(
            "the queue has no room left in {}, and reading pauses then",
            time(full.saturating_sub(now))
        );
        let act = "see that inserts work; free the disk, or raise max_queue_bytes";
        found.push(find(Code::AtRisk, Word::Filling, reason, None, Some(act)));
    }
    let (held, most) = (s.queue.quarantine.bytes, s.limits.max_quarantine_bytes);
    if s.limits.quarantine_drops && most > 0 && held >= most / 5 * 4 {
        let reason = format!(
            "{} of {} are in quarantine; beyond that its oldest messages are lost",
            bytes(held),
            bytes(most)
        );
        let act = "anonymizer quarantine list; then retry, export or drop them";
        found.push(find(
            Code::AtRisk,
            Word::Quarantine,
            reason,
            None,
            Some(act),
        ));
    }
}
