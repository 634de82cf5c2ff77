//! What librdkafka's statistics say of the brokers: whether one is connected, and where each partition's
//! log ends. Kept over a new client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::Statistics;
use serde::{Deserialize, Serialize};

use crate::runtime::clock::now_ms;
use crate::runtime::conditions::Trouble;

/// How often librdkafka tells, ms. With hundreds of partitions it is a megabyte of JSON.
pub(super) const EVERY_MS: &str = "5000";

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
    /// Partitions that are paused, whose ends were asked for: what the client knows of them is old.
    asked: BTreeSet<i32>,
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
        let seen = &mut self.lock().seen;
        seen.ends.retain(|p, _| !partitions.contains(p));
        seen.without_leader.retain(|p| !partitions.contains(p));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// librdkafka's join states (rdkafka_cgrp.h): before the first assignment `init`, `wait-join` and the like;
/// from then on `steady`, and a rebalance under way.
fn is_member(join_state: &str) -> bool {
    join_state == "steady" || join_state.contains("assign")
}
