//! What librdkafka's statistics say of the brokers: whether one is connected, and where each partition's
//! log ends. Kept over a new client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::Statistics;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Reason};
use crate::runtime::clock::now_ms;
use crate::runtime::conditions::Trouble;

/// How often librdkafka tells, ms. With hundreds of partitions it is a megabyte of JSON.
pub(super) const EVERY_MS: &str = "5000";

/// A fault that was not met again for so long is over, if there are brokers and a group: librdkafka tells of
/// the same one every 30 s.
const OVER_MS: u64 = 40_000;
/// The same of a member of the group, which needs nothing more.
const OVER_AS_MEMBER_MS: u64 = 15_000;

/// How often it is asked why a certificate is refused.
const EXPLAIN_EVERY_MS: u64 = 60_000;

/// Kafka as the client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// When the client told this, Unix ms; `None` before the first time.
    pub told_ms: Option<u64>,
    /// That no broker is connected, and what was tried.
    pub down: Option<Trouble>,
    /// Whether it is a member of the group, with partitions or without.
    pub joined: bool,
    /// Why it is not, since the client was told that a broker is connected.
    pub outside: Option<Trouble>,
    /// Why Kafka does not let us in; its kind is the word of a [`Reason`].
    pub fault: Option<Trouble>,
    /// The offset after the last record of each partition held, where it is known.
    pub ends: BTreeMap<i32, i64>,
    /// Partitions held whose leader is not connected, or which have none.
    pub without_leader: BTreeSet<i32>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    seen: Seen,
    /// What went wrong last that says more than "all brokers are down".
    last_error: Option<String>,
    /// When a broker was connected last.
    up_ms: Option<u64>,
    fault: Option<Noted>,
    /// When it was asked last why a certificate is refused.
    explained_ms: Option<u64>,
    /// A client is being tried out, and what it met.
    trying: Option<Option<Fault>>,
    /// Partitions that are paused, whose ends were asked for: what the client knows of them is old.
    asked: BTreeSet<i32>,
}

/// A fault, as it was met last.
#[derive(Debug)]
struct Noted {
    fault: Fault,
    trouble: Trouble,
    last_ms: u64,
    /// It was met by a member of the group that reads; it is over with the next message.
    reading: bool,
}

impl Watch {
    /// The state now.
    pub fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    /// librdkafka could not do something.
    pub(super) fn failed(&self, is_all_down: bool, words: &str) {
        let mut inner = self.lock();
        if !is_all_down || inner.last_error.is_none() {
            inner.last_error = Some(words.to_owned());
        }
        if let Some(down) = &mut inner.seen.down {
            down.times += 1;
        }
    }

    /// A fault was met. Returns whether to ask why, see [`Watch::explained`].
    pub(super) fn met(&self, fault: &Fault) -> bool {
        let now = now_ms();
        let mut inner = self.lock();
        if let Some(tried) = &mut inner.trying {
            *tried = Some(fault.clone());
            return false;
        }
        // By these settings a broker let us in before: it has other reasons.
        if fault.reason.is_a_guess() && inner.up_ms.is_some() {
            return false;
        }
        let asks = fault.reason == Reason::Certificate
            && inner
                .explained_ms
                .is_none_or(|at| now >= at + EXPLAIN_EVERY_MS);
        if asks {
            inner.explained_ms = Some(now);
        }
        inner.note(fault, false, now, !asks);
        inner.show();
        asks
    }

    /// What is met from now on is another client's.
    pub(super) fn try_out(&self) {
        self.lock().trying = Some(None);
    }

    /// What that one met. It is over.
    pub(super) fn tried(&self) -> Option<Fault> {
        self.lock().trying.take().flatten()
    }

    /// Why a certificate was refused.
    pub(super) fn explained(&self, fault: &Fault) {
        let mut inner = self.lock();
        inner.note(fault, false, now_ms(), true);
        inner.show();
    }

    /// A partition that is held may not be read any more. librdkafka says so once, after the messages that
    /// it had of that partition.
    pub(super) fn denied(&self, fault: &Fault) {
        let mut inner = self.lock();
        inner.note(fault, true, now_ms(), true);
        inner.show();
    }

    /// A message came after all that [`Watch::denied`] was told.
    pub(super) fn read(&self) {
        let mut inner = self.lock();
        if inner.fault.take_if(|noted| noted.reading).is_some() {
            inner.show();
        }
    }

    /// librdkafka tells.
    pub(super) fn told(&self, statistics: &Statistics, topic: &str) {
        let now = now_ms();
        let up: BTreeSet<i32> = statistics
            .brokers
            .values()
            .filter(|b| b.state == "UP")
            .map(|b| b.nodeid)
            .collect();
        let mut inner = self.lock();
        inner.seen.told_ms = Some(now);
        if !up.is_empty() {
            (inner.seen.down, inner.up_ms) = (None, Some(now));
            // Of a connection that is there again; what keeps it out of the group stays said.
            if inner.seen.joined {
                inner.last_error = None;
            }
        } else {
            let words = inner.last_error.clone();
            let words = words.unwrap_or_else(|| "no broker answers".to_owned());
            let since_ms = inner.up_ms.unwrap_or(now);
            let begun = || Trouble {
                since_ms,
                ..Trouble::new("unreachable", "")
            };
            inner.seen.down.get_or_insert_with(begun).words = words;
        }
        let group = statistics.cgrp.as_ref();
        inner.seen.joined = group.is_some_and(|g| is_member(&g.join_state));
        if inner.seen.joined {
            inner.seen.outside = None;
        } else {
            let words = inner.last_error.clone();
            let words =
                words.unwrap_or_else(|| "the group's coordinator has not let it in yet".to_owned());
            let begun = || Trouble::new("group", "");
            inner.seen.outside.get_or_insert_with(begun).words = words;
        }
        let partitions = statistics.topics.get(topic).map(|t| &t.partitions);
        let held = partitions
            .into_iter()
            .flatten()
            .filter(|(p, of)| **p >= 0 && of.desired);
        inner.forget(!up.is_empty(), now);
        inner.show();
        inner.seen.without_leader.clear();
        for (partition, of) in held {
            if of.hi_offset >= 0 && !inner.asked.contains(partition) {
                inner.seen.ends.insert(*partition, of.hi_offset);
            }
            if !up.contains(&of.leader) {
                inner.seen.without_leader.insert(*partition);
            }
        }
    }

    /// The log of a partition was asked for, which is paused.
    pub(super) fn ends_at(&self, partition: i32, end: i64) {
        let mut inner = self.lock();
        inner.seen.ends.insert(partition, end);
        inner.asked.insert(partition);
    }

    /// Partitions are read on: the client hears of their ends again.
    pub(super) fn resumed(&self, partitions: &[i32]) {
        self.lock().asked.retain(|p| !partitions.contains(p));
    }

    /// Partitions were let go: what is known of them grows old.
    pub(super) fn let_go(&self, partitions: &[i32]) {
        self.resumed(partitions);
        let mut inner = self.lock();
        inner.fault.take_if(|noted| noted.reading);
        inner.show();
        let seen = &mut inner.seen;
        seen.ends.retain(|p, _| !partitions.contains(p));
        seen.without_leader.retain(|p| !partitions.contains(p));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Notes a fault, and tells of it in the log if it is another one than before.
    fn note(&mut self, fault: &Fault, reading: bool, now: u64, tells: bool) {
        let before = self.fault.take();
        // librdkafka goes on saying that a certificate is refused, and we know why.
        let known = before
            .as_ref()
            .filter(|b| fault.reason == Reason::Certificate && b.fault.is_of_a_certificate());
        let fault = known.map_or(fault, |b| &b.fault).clone();
        let word = fault.reason.word();
        let is_another = before
            .as_ref()
            .is_none_or(|b| b.fault.reason != fault.reason);
        let mut trouble = match before {
            Some(b)
                if !is_another || b.fault.is_of_a_certificate() && fault.is_of_a_certificate() =>
            {
                b.trouble
            }
            _ => Trouble {
                times: 0,
                since_ms: now,
                ..Trouble::new(word, "")
            },
        };
        trouble.times += 1;
        (trouble.kind, trouble.words) = (word.to_owned(), fault.to_string());
        if tells && (is_another || trouble.times == 1) && fault.reason.needs_a_person() {
            log::error!("kafka: {fault}; {}", fault.reason.remedy());
        }
        self.fault = Some(Noted {
            fault,
            trouble,
            last_ms: now,
            reading,
        });
    }

    /// Drops a fault that is over.
    fn forget(&mut self, is_up: bool, now: u64) {
        let joined = self.seen.joined;
        self.fault.take_if(|noted| {
            let quiet = now.saturating_sub(noted.last_ms);
            let is_quiet = match joined {
                true => quiet >= OVER_AS_MEMBER_MS,
                false => quiet >= OVER_MS && !noted.fault.reason.is_of_the_topic_or_group(),
            };
            is_up && !noted.reading && is_quiet
        });
    }

    /// Shows the fault, unless it keeps nobody from reading: one broker of several, or a moment ago.
    fn show(&mut self) {
        let is_out = self.seen.down.is_some() || !self.seen.joined;
        let noted = self.fault.as_ref();
        let shown = noted.filter(|noted| is_out || noted.reading);
        self.seen.fault = shown.map(|noted| noted.trouble.clone());
    }
}

/// librdkafka's join states (rdkafka_cgrp.h): before the first assignment `init`, `wait-join` and the like;
/// from then on `steady`, and a rebalance under way.
fn is_member(join_state: &str) -> bool {
    join_state == "steady" || join_state.contains("assign")
}
