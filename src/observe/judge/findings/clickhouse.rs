//! What is wrong with inserts: held, refused, late, or nobody there to make them.

use super::{PART, SLOW, find, short};
use crate::observe::human::{bytes, of, since, time};
use crate::observe::status::Status;
use crate::observe::verdict::{Code, Finding};
use crate::observe::word::Word;
use crate::queue::{BatchState, Lane, LaneState};

pub(super) fn held(s: &Status, now: u64, found: &mut Vec<Finding>) {
    if let Some(why) = &s.flush.hold {
        let at = s.flush.hold_since_ms;
        let since_words = at.map_or(String::new(), |at| format!(" {}", since(at, now)));
        let reason = format!("inserts are held{since_words}: {}", short(why));
        let act = "mend what it names; ClickHouse is asked again each slot, and rows go on once it is mended";
        found.push(find(Code::Held, Word::Hold, reason, at, Some(act)));
    }
    for batch in &s.queue.batches {
        let BatchState::Rejected { words, .. } = &batch.state else {
            continue;
        };
        let reason = format!(
            "batch {} of {} is set aside, ClickHouse refuses its data: {}",
            batch.seq,
            of(batch.rows, "row"),
            short(words)
        );
        let act = format!(
            "mend the table or the rows, then: anonymizer batches retry {0}; to give them up: anonymizer \
             batches drop {0}",
            batch.seq
        );
        found.push(find(
            Code::Held,
            Word::Rejected,
            reason,
            Some(batch.sealed_ms),
            Some(&act),
        ));
    }
    for lane in &s.queue.lanes {
        let Lane {
            id,
            state: LaneState::Held(why),
            topic,
            partition,
            rows,
            ..
        } = lane
        else {
            continue;
        };
        let reason = format!(
            "{} of {topic} p{partition} are held: {}",
            of(*rows, "row"),
            short(why)
        );
        let act = format!(
            "look whether ClickHouse has them (anonymizer held export {0}), then: anonymizer held send {0}; \
             if it has each of them: anonymizer held drop {0} --yes",
            id.0
        );
        found.push(find(Code::Held, Word::HeldRows, reason, None, Some(&act)));
    }
}

pub(super) fn clickhouse(s: &Status, now: u64, found: &mut Vec<Finding>) {
    let flush = &s.flush;
    if flush.hold.is_some() {
        return;
    }
    // Who shares the slot is refused until its turn comes, about half of the way to it.
    let sharers = u64::from(flush.sharers.max(1));
    let refused = (sharers / 2).max(1);
    let mut delayed = |what: Word, reason: String, since_ms: Option<u64>, act: Option<&str>| {
        found.push(find(Code::Delayed, what, reason, since_ms, act));
    };
    if let Some(request) = &flush.in_flight
        && now.saturating_sub(request.since_ms) >= (flush.request_timeout_ms / PART).min(SLOW)
    {
        let reason = format!(
            "a request ({}, {}) has had no answer for {}",
            request.what,
            bytes(request.bytes),
            time(now.saturating_sub(request.since_ms))
        );
        let act = "look at the proxy and at ClickHouse";
        delayed(Word::Hangs, reason, Some(request.since_ms), Some(act));
        return;
    }
    if let Some(failing) = &flush.failing {
        let age = now.saturating_sub(failing.since_ms);
        let times = of(failing.times, "time");
        // The proxy's slot may be another instance's now and then.
        let is_ordinary =
            failing.kind == "limited" && age < (refused + 1) * flush.interval_ms + SLOW / 3;
        let (what, reason, act) = match failing.kind.as_str() {
            "limited" => (
                Word::Refused,
                format!(
                    "the proxy refuses every request {} ({times})",
                    since(failing.since_ms, now)
                ),
                "who else uses the one request a minute of the proxy? Instances take turns if all have the same version and flush_interval",
            ),
            "unreachable" => (
                Word::Unreachable,
                format!(
                    "ClickHouse, or the proxy before it, cannot be reached {} ({times}): {}",
                    since(failing.since_ms, now),
                    short(&failing.words)
                ),
                "look at the proxy and at the network",
            ),
            _ => (
                Word::Failing,
                format!(
                    "inserts fail {} ({times}): {}",
                    since(failing.since_ms, now),
                    short(&failing.words)
                ),
                "look at the proxy and at ClickHouse",
            ),
        };
        if !is_ordinary && s.queue.rows > 0 {
            delayed(what, reason, Some(failing.since_ms), Some(act));
            return;
        }
        if !is_ordinary && failing.kind != "limited" {
            delayed(what, reason, Some(failing.since_ms), Some(act));
            return;
        }
    }
    if flush.to_create > 0 {
        let left = flush.interval_ms.saturating_mul(flush.to_create as u64 + 1);
        let reason = format!(
            "{} of tables and views to go before the first row, about {}",
            of(flush.to_create as u64, "statement"),
            time(left)
        );
        delayed(Word::Creating, reason, None, None);
        return;
    }
    // Two slots are ordinary: a row may just have missed one.
    let age = s.queue.oldest_ms.map_or(0, |ms| now.saturating_sub(ms));
    if s.live && s.queue.to_send().0 > 0 && age > (sharers + 2) * flush.interval_ms.max(SLOW) {
        let why = match s.forecast.inserts {
            Some(0 | 1) => "it waits for longer than three slots, as after a stop",
            _ => "more waits than one insert carries",
        };
        delayed(Word::Backlog, why.to_owned(), s.queue.oldest_ms, None);
    }
}

pub(super) fn stopped(s: &Status, now: u64, found: &mut Vec<Finding>) {
    if s.live || s.copy.is_some() {
        return;
    }
    let mut what = Vec::new();
    if s.queue.rows > 0 {
        what.push("the rows stay on this disk".to_owned());
    }
    match (s.kafka.unread, &s.kafka.down) {
        (Some(0), _) => {}
        (Some(n), _) => what.push(format!("{} unread in Kafka", of(n, "record"))),
        (None, Some(down)) => what.push(format!(
            "what waits in Kafka is unknown ({})",
            short(&down.words)
        )),
        (None, None) => what.push("what waits in Kafka is unknown".to_owned()),
    }
    if what.is_empty() {
        return;
    }
    let reason = format!("the instance is not running: {}", what.join(", "));
    let since_ms = s.queue.oldest_ms.filter(|ms| *ms <= now);
    found.push(find(
        Code::Delayed,
        Word::Stopped,
        reason,
        since_ms,
        Some("start it (anonymizer run), or send what is queued (anonymizer replay)"),
    ));
}
