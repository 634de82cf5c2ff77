//! The numbers that the verdict rests on.

use maud::{Markup, html};

use super::words;
use crate::observe::human::{bytes, clock, count, of, time, until};
use crate::observe::status::Status;

/// What it is, its value, and a word to it.
struct Fact(&'static str, String, String);

pub(super) fn section(s: &Status) -> Markup {
    let now = s.told_ms;
    let facts = [
        unread(s),
        queued(s),
        oldest(s),
        stored(s),
        next(s),
        drained(s),
        room(s),
        disk(s),
    ];
    html! {
        section #facts data-part aria-labelledby="facts-h" {
            h2.away #facts-h { "In numbers" }
            dl.facts {
                @for Fact(name, value, more) in facts {
                    div { dt { (name) } dd { (value) } dd { (more) } }
                }
            }
            @if let Some(f) = s.flush.failing.as_ref().filter(|f| !s.verdict.sentence.contains(&f.words)) {
                p.bad {
                    "Requests fail since " (words::time(f.since_ms)) " UTC (" (time(now.saturating_sub(f.since_ms)))
                    "), " (of(f.times, "time")) " in a row: " (f.words)
                }
            }
        }
    }
}

fn unread(s: &Status) -> Fact {
    let n = s.kafka.unread.map_or("unknown".to_owned(), count);
    let held = of(s.partitions.len() as u64, "partition");
    let rate = words::number(s.rates.rows_in);
    Fact(
        "Unread in Kafka",
        n,
        format!("{held} assigned; {rate} rows/s read"),
    )
}

fn queued(s: &Status) -> Fact {
    Fact(
        "In the queue",
        of(s.queue.rows, "row"),
        bytes(s.queue.bytes),
    )
}

fn oldest(s: &Status) -> Fact {
    match s.queue.oldest_ms {
        Some(ms) => Fact(
            "Oldest row",
            time(s.told_ms.saturating_sub(ms)),
            format!("read {} UTC", words::time(ms)),
        ),
        None => Fact("Oldest row", "-".to_owned(), "nothing waits".to_owned()),
    }
}

fn stored(s: &Status) -> Fact {
    match &s.flush.stored {
        Some(stored) => Fact(
            "Last insert",
            words::ago(s.told_ms, stored.at_ms),
            format!(
                "{} in {}, took {}",
                of(stored.rows, "row"),
                bytes(stored.bytes),
                words::seconds(stored.took_ms as f64 / 1000.0)
            ),
        ),
        None => Fact("Last insert", "none yet".to_owned(), String::new()),
    }
}

fn next(s: &Status) -> Fact {
    let value = match &s.flush.in_flight {
        Some(f) => format!("for {}", time(s.told_ms.saturating_sub(f.since_ms))),
        None => until(s.flush.next_slot_ms, s.told_ms),
    };
    let name = match s.flush.in_flight {
        Some(_) => "Request under way",
        None => "Next request",
    };
    Fact(
        name,
        value,
        format!("one each {}", time(s.flush.interval_ms)),
    )
}

fn drained(s: &Status) -> Fact {
    let (value, more) = match (s.forecast.inserts, s.forecast.drained_ms) {
        _ if s.queue.rows == 0 => ("now".to_owned(), "nothing waits".to_owned()),
        (Some(n), Some(ms)) => (
            until(ms, s.told_ms),
            format!(
                "{}, {}, if they work",
                of(n, "insert"),
                clock(ms, s.told_ms)
            ),
        ),
        _ => (
            "never".to_owned(),
            "more comes in than inserts carry".to_owned(),
        ),
    };
    Fact("Drained", value, more)
}

fn room(s: &Status) -> Fact {
    let most = bytes(s.limits.max_queue_bytes);
    let full = match s.forecast.full_ms {
        Some(ms) => until(ms, s.told_ms),
        None => "not in sight".to_owned(),
    };
    Fact(
        "Queue full",
        full,
        format!("{} of {most}", bytes(s.queue.bytes)),
    )
}

fn disk(s: &Status) -> Fact {
    let free = s.limits.free_bytes.map_or("unknown".to_owned(), bytes);
    let least = bytes(s.limits.min_free_disk);
    Fact(
        "Free on the disk",
        free,
        format!("reading pauses below {least}"),
    )
}
