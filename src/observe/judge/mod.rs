//! The verdict on a [`Status`]: nothing is asked here, it is all in there.

mod findings;
#[cfg(test)]
mod tests;

use super::human::{of, until};
use super::status::Status;
use super::verdict::Verdict;

/// The verdict on what is known at `now_ms`.
pub fn judge(status: &Status, now_ms: u64) -> Verdict {
    let mut findings = findings::all(status, now_ms);
    // Stable: of two that are as bad the first one heads it.
    findings.sort_by_key(|f| std::cmp::Reverse(f.code));
    let next = next(status, now_ms);
    let Some(worst) = findings.first() else {
        return Verdict {
            sentence: format!(
                "OK: {}",
                join(&[findings::well(status, now_ms), next.clone()])
            ),
            next,
            ..Verdict::default()
        };
    };
    let others = match findings.len() {
        1 => String::new(),
        n => format!("and {} more", of(n as u64 - 1, "finding")),
    };
    let waiting = findings::waiting(status, now_ms);
    let sentence = join(&[waiting, worst.reason.clone(), next.clone(), others]);
    Verdict {
        code: worst.code,
        sentence: format!("{}: {sentence}", worst.code.title()),
        since_ms: worst.since_ms,
        next,
        act: worst.act.clone(),
        findings,
    }
}

fn join(parts: &[String]) -> String {
    let said: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|p| !p.is_empty())
        .collect();
    said.join("; ")
}

/// What the flusher does next, and when all is sent.
fn next(s: &Status, now_ms: u64) -> String {
    if !s.live {
        return String::new();
    }
    let flush = &s.flush;
    let slot = until(flush.next_slot_ms, now_ms);
    if flush.to_create > 0 {
        return format!("next statement {slot}");
    }
    if flush.hold.is_some() {
        return format!("ClickHouse is asked again {slot}");
    }
    let what = match (&flush.failing, &flush.in_flight) {
        (_, Some(_)) => return String::new(),
        (Some(_), None) => "next try",
        (None, None) if s.queue.to_send().0 == 0 => return String::new(),
        (None, None) => "next insert",
    };
    let drained = match s.forecast.inserts {
        Some(n) if n > 0 => format!(", drained in {}", of(n, "insert")),
        None if s.queue.to_send().0 > 0 => ", more comes in than inserts carry".to_owned(),
        _ => String::new(),
    };
    format!("{what} {slot}{drained}")
}
