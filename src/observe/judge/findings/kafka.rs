//! What is wrong with Kafka, or with reading it.

use super::{SLOW, STILL, find, short};
use crate::kafka::fault::Reason;
use crate::observe::human::{count, of, since, time};
use crate::observe::status::{Partition, Status};
use crate::observe::verdict::{Code, Finding};
use crate::observe::word::Word;

pub(super) fn kafka(s: &Status, now: u64, found: &mut Vec<Finding>) {
    let kafka = &s.kafka;
    let mut delayed = |what: Word, reason: String, since_ms: Option<u64>, act: Option<&str>| {
        found.push(find(Code::Delayed, what, reason, since_ms, act));
    };
    // Of a stopped instance that is no fault of its own: `stopped` says it.
    if !s.live {
        return;
    }
    let fault = kafka.fault.as_ref();
    let fault = fault.and_then(|t| Some((t, Reason::of(&t.kind)?)));
    if let Some((trouble, reason)) = fault.filter(|(_, reason)| reason.needs_a_person()) {
        let words = format!(
            "Kafka does not let it in {}: {}",
            since(trouble.since_ms, now),
            short(&trouble.words)
        );
        delayed(
            Word::KafkaAccess,
            words,
            Some(trouble.since_ms),
            Some(reason.remedy()),
        );
        return;
    }
    if let Some(down) = &kafka.down {
        let words = fault.map_or(&down.words, |(trouble, _)| &trouble.words);
        let reason = format!(
            "Kafka does not answer {}: {}",
            since(down.since_ms, now),
            short(words)
        );
        let act = fault.map_or(
            "look at the brokers and the network; anonymizer check says more",
            |(_, reason)| reason.remedy(),
        );
        delayed(Word::KafkaDown, reason, Some(down.since_ms), Some(act));
        return;
    }
    let long_outside = kafka
        .outside
        .as_ref()
        .filter(|o| now.saturating_sub(o.since_ms) >= STILL);
    if let Some(outside) = long_outside {
        let reason = format!(
            "nothing is read: it is no member of the group {}: {}",
            since(outside.since_ms, now),
            short(&outside.words)
        );
        let act = "do the topic and the group exist, and may the user read them? anonymizer check says more";
        delayed(Word::KafkaGroup, reason, Some(outside.since_ms), Some(act));
    }
    if let Some(trouble) = &kafka.client {
        delayed(
            Word::KafkaClient,
            short(&trouble.words),
            Some(trouble.since_ms),
            None,
        );
    }
    if let Some(group) = &kafka.group {
        let reason = format!(
            "partitions are assigned, and Kafka does not say where to go on {}: {}",
            since(group.since_ms, now),
            short(&group.words)
        );
        let act = "may the user read the group's offsets? anonymizer check says more";
        delayed(Word::KafkaGroup, reason, Some(group.since_ms), Some(act));
    }
    if let Some(commits) = kafka
        .commits
        .as_ref()
        .filter(|c| now.saturating_sub(c.since_ms) > SLOW)
    {
        let reason = format!(
            "Kafka acknowledges no commit {}: {}",
            since(commits.since_ms, now),
            short(&commits.words)
        );
        delayed(Word::Commits, reason, Some(commits.since_ms), None);
    }
    let named = |which: &[&Partition]| {
        let names: Vec<String> = which
            .iter()
            .take(8)
            .map(|p| p.partition.to_string())
            .collect();
        let more = if which.len() > 8 { ", ..." } else { "" };
        format!(
            "{} {}{more}",
            if which.len() == 1 {
                "partition"
            } else {
                "partitions"
            },
            names.join(", ")
        )
    };
    let unled: Vec<&Partition> = kafka
        .partitions
        .iter()
        .filter(|p| p.without_leader)
        .collect();
    if !unled.is_empty() {
        delayed(
            Word::KafkaLeader,
            format!("no leader answers for {}", named(&unled)),
            None,
            None,
        );
    }
    let is_still = |p: &&Partition| {
        !p.without_leader
            && p.unread.is_some_and(|n| n > 0)
            && p.still_since_ms
                .is_some_and(|at| now.saturating_sub(at) >= STILL)
    };
    let still: Vec<&Partition> = kafka.partitions.iter().filter(is_still).collect();
    if !still.is_empty() && kafka.pause.is_none() {
        let records: u64 = still.iter().filter_map(|p| p.unread).sum();
        let at = still.iter().filter_map(|p| p.still_since_ms).min();
        let reason = format!(
            "{} of {} are not read",
            of(records, "record"),
            named(&still)
        );
        delayed(
            Word::NotRead,
            reason,
            at,
            Some("look at the log; a restart takes the partitions anew, and loses nothing"),
        );
    }
    // What comes in faster than it is read, for longer than a moment.
    if let Some(unread) = kafka.unread.filter(|n| *n > 0)
        && s.rates.rows_in > 0.0
        && unread as f64 / s.rates.rows_in > 60.0
        && still.is_empty()
    {
        let left = time((unread as f64 / s.rates.rows_in * 1000.0) as u64);
        let reason = format!(
            "{} wait in Kafka; at {} records a second they are read in {left}",
            of(unread, "record"),
            count(s.rates.rows_in as u64)
        );
        delayed(Word::Lag, reason, None, None);
    }
}
