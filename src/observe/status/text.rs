//! [`Status`] as `status` prints it: the verdict, then what it rests on.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::super::human::{bytes, clock, count, of, since, time, until};
use super::{Partition, Status};
use crate::queue::{Batch, BatchState, DroppedBatch, LaneState, LostRange};
use crate::runtime::clock::rfc3339;

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{}", self.verdict.sentence)?;
        if let Some(act) = &self.verdict.act {
            writeln!(f, "To do: {act}")?;
        }
        for finding in self.verdict.findings.iter().skip(1) {
            writeln!(f, "Also {}: {}", finding.code.title(), finding.reason)?;
            if let Some(act) = &finding.act {
                writeln!(f, "  To do: {act}")?;
            }
        }
        writeln!(f)?;
        let state = if self.live { "live" } else { "not running" };
        line(
            f,
            "instance",
            &format!("{state}, installation {}", self.installation),
        )?;
        if let Some(words) = &self.copy {
            line(f, "COPY", words)?;
        }
        self.masked(f)?;
        self.queued(f)?;
        self.kafka(f)?;
        self.clickhouse(f)?;
        self.queue.batches.iter().try_for_each(|b| batch(f, b))?;
        for lane in &self.queue.lanes {
            if let LaneState::Held(why) = &lane.state {
                let which = format!("{} p{}, {}", lane.topic, lane.partition, lane.id);
                line(
                    f,
                    "HELD",
                    &format!("{} of {which}: {why}", of(lane.rows, "row")),
                )?;
            }
        }
        self.lost.iter().try_for_each(|l| lost(f, l))?;
        self.dropped.iter().try_for_each(|b| dropped(f, b))
    }
}

impl Status {
    /// The policy that holds; and the one before, of which there are rows.
    fn masked(&self, f: &mut Formatter<'_>) -> Result {
        let Some((newest, before)) = self.privacy.split_last() else {
            return Ok(());
        };
        let since = rfc3339(newest.since_ms);
        match before.last() {
            Some(before) => {
                let before = &before.policy;
                line(
                    f,
                    "masked",
                    &format!("{}, since {since}; before: {before}", newest.policy),
                )
            }
            None => line(f, "masked", &newest.policy.to_string()),
        }
    }

    fn queued(&self, f: &mut Formatter<'_>) -> Result {
        let (q, now) = (&self.queue, self.told_ms);
        let oldest = q.oldest_ms.map_or(String::new(), |ms| {
            format!(", the oldest {}", since(ms, now))
        });
        let files = bytes(self.disk_bytes);
        let what = format!(
            "{}, {} ({files} on disk){oldest}",
            of(q.rows, "row"),
            bytes(q.bytes)
        );
        line(f, "queued", &what)?;
        if q.delivered_rows > 0 {
            let kept = format!(
                "{}, {}",
                of(q.delivered_rows, "row"),
                bytes(q.delivered_bytes)
            );
            line(f, "delivered, kept", &kept)?;
        }
        if self.live {
            let rates = format!(
                "{} rows/s in, {} rows/s out",
                count(self.rates.rows_in as u64),
                count(self.rates.rows_out as u64)
            );
            line(f, "rates", &rates)?;
        }
        if let Some(free) = self.limits.free_bytes {
            let full = match self.forecast.full_ms {
                Some(ms) => format!("; full {}", until(ms, now)),
                None => String::new(),
            };
            let most = bytes(self.limits.max_queue_bytes);
            line(
                f,
                "room",
                &format!(
                    "{} free on the disk, the queue may hold {most}{full}",
                    bytes(free)
                ),
            )?;
        }
        if q.quarantined > 0 {
            let what = format!(
                "{}, {}",
                of(q.quarantined, "message"),
                bytes(q.quarantine.bytes)
            );
            line(f, "quarantined", &what)?;
        }
        if q.quarantine.dropped > 0 {
            let what = format!(
                "{} dropped from a full quarantine",
                of(q.quarantine.dropped, "message")
            );
            line(f, "LOST", &what)?;
        }
        Ok(())
    }

    fn kafka(&self, f: &mut Formatter<'_>) -> Result {
        let unread = match self.kafka.unread {
            Some(n) => format!("{} unread", of(n, "record")),
            None => "unread records unknown".to_owned(),
        };
        let held = match self.live {
            true => format!(
                "{} assigned, ",
                of(self.partitions.len() as u64, "partition")
            ),
            false => String::new(),
        };
        line(f, "kafka", &format!("{held}{unread}"))?;
        if let Some(ms) = self.kafka.visible_through_ms {
            let what = format!(
                "all that Kafka got up to {} ({} ago)",
                clock(ms, self.told_ms),
                time(self.told_ms.saturating_sub(ms))
            );
            line(f, "visible", &what)?;
        }
        if self.kafka.partitions.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "  {:>9} {:>16} {:>16} {:>16} {:>12}",
            "partition", "in ClickHouse", "committed", "read", "unread"
        )?;
        self.kafka
            .partitions
            .iter()
            .try_for_each(|p| partition(f, p))
    }

    fn clickhouse(&self, f: &mut Formatter<'_>) -> Result {
        let (flush, now) = (&self.flush, self.told_ms);
        let stored = match &flush.stored {
            Some(s) => format!(
                "{} in {}, {} ({} ago, took {:.1} s)",
                of(s.rows, "row"),
                bytes(s.bytes),
                clock(s.at_ms, now),
                time(now.saturating_sub(s.at_ms)),
                s.took_ms as f64 / 1000.0
            ),
            None => "-".to_owned(),
        };
        line(f, "last insert", &stored)?;
        if let Some(request) = &flush.in_flight {
            let rows = match request.rows {
                0 => String::new(),
                n => format!(" of {}, {}", of(n, "row"), bytes(request.bytes)),
            };
            let age = time(now.saturating_sub(request.since_ms));
            line(
                f,
                "under way",
                &format!("{}{rows}, for {age}", request.what),
            )?;
        }
        if let Some(failing) = &flush.failing {
            let what = format!(
                "{} {}: {}",
                of(failing.times, "time"),
                since(failing.since_ms, now),
                failing.words
            );
            line(f, "failing", &what)?;
        }
        if let Some(ms) = flush.last_attempt_ms {
            let outcome = flush.last_outcome.as_deref().unwrap_or("no answer yet");
            line(f, "last request", &format!("{}, {outcome}", rfc3339(ms)))?;
        }
        line(
            f,
            "next slot",
            &format!(
                "{} ({})",
                rfc3339(flush.next_slot_ms),
                until(flush.next_slot_ms, now)
            ),
        )?;
        if self.queue.rows > 0 {
            let drained = match (self.forecast.inserts, self.forecast.drained_ms) {
                (Some(n), Some(ms)) => format!("in {}, {}", of(n, "insert"), clock(ms, now)),
                _ => "not as things go: more comes in than inserts carry".to_owned(),
            };
            line(f, "drained", &drained)?;
        }
        if let Some(seconds) = flush.dedup_horizon_s {
            let horizon = humantime::format_duration(Duration::from_secs(seconds));
            line(
                f,
                "resend window",
                &format!("{horizon}, less where others write, too"),
            )?;
        }
        if let Some(why) = &flush.hold {
            line(f, "HELD", why)?;
        }
        Ok(())
    }
}

fn line(f: &mut Formatter<'_>, name: &str, what: &str) -> Result {
    writeln!(f, "{name:<16}{what}")
}

fn partition(f: &mut Formatter<'_>, p: &Partition) -> Result {
    let offset = |n: Option<i64>| n.map_or("-".to_owned(), |n| n.to_string());
    writeln!(
        f,
        "  {:>9} {:>16} {:>16} {:>16} {:>12}{}",
        p.partition,
        offset(p.in_clickhouse),
        offset(p.committed),
        offset(p.read),
        p.unread.map_or("-".to_owned(), count),
        if p.without_leader {
            "  no leader answers"
        } else {
            ""
        }
    )
}

fn batch(f: &mut Formatter<'_>, batch: &Batch) -> Result {
    let note = if batch.may_be_stored {
        ", may be stored"
    } else {
        ""
    };
    let name = format!("batch {}", batch.seq);
    let rows = of(batch.rows, "row");
    match &batch.state {
        BatchState::Sealed => line(
            f,
            &name,
            &format!("{rows}, {} attempts{note}", batch.attempts),
        ),
        BatchState::Acked | BatchState::Delivered { .. } => Ok(()),
        BatchState::Rejected { words, .. } => {
            line(f, &name, &format!("{rows} REJECTED{note}: {words}"))
        }
    }
}

fn lost(f: &mut Formatter<'_>, l: &LostRange) -> Result {
    let unsure = match l.unsure {
        true => "; the log was cut, and they may have been read before",
        false => "",
    };
    let range = format!("{} p{} offsets {}..{}", l.topic, l.partition, l.from, l.to);
    line(
        f,
        "LOST",
        &format!("{range} (noticed {}{unsure})", rfc3339(l.noticed_ms)),
    )
}

fn dropped(f: &mut Formatter<'_>, b: &DroppedBatch) -> Result {
    let note = match b.may_be_stored {
        true => " (ClickHouse may have them)",
        false => "",
    };
    let what = format!(
        "{} of batch {}, which a person dropped {}{note}: {}",
        of(b.rows, "row"),
        b.seq,
        rfc3339(b.dropped_ms),
        b.places()
    );
    line(f, "LOST", &what)
}
