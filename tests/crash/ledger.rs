//! What a queue was trusted with, as the outside knows it: Kafka's committed offsets, ClickHouse's
//! batches, and what was acknowledged as synced. Every [`Line`] of the child goes in; what a reopened
//! queue holds is compared with it.

use std::collections::{BTreeMap, BTreeSet};

use super::child::{Image, Line, Span};
use super::rows::{PARTITIONS, span};

#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// Kafka: committed offsets.
    pub committed: BTreeMap<i32, i64>,
    /// Everything below was acknowledged as synced.
    pub synced: BTreeMap<i32, i64>,
    /// What was synced when the queue was opened last.
    at_open: BTreeMap<i32, i64>,
    /// ClickHouse: batches by token.
    pub stored: BTreeMap<String, Vec<Span>>,
    /// The same by partition and first offset.
    spans: BTreeMap<(i32, i64), i64>,
    /// Below this everything is stored or in quarantine.
    base: BTreeMap<i32, i64>,
    /// Batches synced and neither inserted nor given back.
    sealed: BTreeMap<String, Vec<Span>>,
    acked: BTreeSet<String>,
    /// Offsets that are neither stored nor there.
    pub lost: Vec<String>,
    /// Offsets that are stored and would be sent again.
    pub doubled: Vec<String>,
    /// Other contradictions.
    pub bad: Vec<String>,
}

impl Ledger {
    /// Takes a line. Those of one process come in order.
    pub fn take(&mut self, line: &Line) {
        match line {
            Line::Opening | Line::Append | Line::Syncing | Line::Done => {}
            Line::Image(image) => {
                self.compare(image);
                // From now on the tails may be dropped, to be read again.
                self.at_open = self.synced.clone();
                for (partition, at) in &mut self.synced {
                    *at = (*at).min(self.committed.get(partition).copied().unwrap_or(0));
                }
            }
            Line::Start(partition, at) => {
                let committed = self.committed.get(partition).copied().unwrap_or(0);
                if *at < committed {
                    self.doubled.push(format!(
                        "partition {partition} is read from {at}, committed {committed}"
                    ));
                }
                let synced = self.at_open.get(partition).copied().unwrap_or(0);
                if *at > synced.max(committed) {
                    self.lost.push(format!(
                        "partition {partition} is read from {at}, only {synced} is synced"
                    ));
                }
                // What lay above is dropped and read again.
                self.synced.insert(*partition, *at);
            }
            Line::Synced(all) => self.synced.extend(all.iter().copied()),
            Line::Commit(all) => {
                for (partition, at) in all {
                    if self.synced.get(partition).copied().unwrap_or(0) < *at {
                        self.lost
                            .push(format!("partition {partition}: {at} committed, not synced"));
                    }
                    self.committed.insert(*partition, *at);
                }
            }
            Line::Sealed(token, spans) => {
                if self.stored.get(token).is_some_and(|s| s != spans) {
                    self.doubled.push(format!("{token} holds other rows"));
                }
                if !self.stored.contains_key(token) {
                    self.sealed.insert(token.clone(), spans.clone());
                }
            }
            Line::Unsealed(token) => drop(self.sealed.remove(token)),
            Line::Insert(token, spans) => self.insert(token, spans),
            Line::Acked(token) => drop(self.acked.insert(token.clone())),
        }
    }

    fn insert(&mut self, token: &str, spans: &[Span]) {
        self.sealed.remove(token);
        if let Some(known) = self.stored.get(token) {
            if known != spans {
                self.doubled.push(format!("{token} sent with other rows"));
            }
            return;
        }
        for (partition, from, to) in spans {
            let before = self.spans.range(..(*partition, *to)).next_back();
            if let Some(((p, _), end)) = before
                && p == partition
                && end > from
            {
                self.doubled
                    .push(format!("partition {partition}: {from}..{to} stored twice"));
            }
            if self.committed.get(partition).copied().unwrap_or(0) < *to {
                self.doubled.push(format!(
                    "partition {partition}: {from}..{to} sent before its commit"
                ));
            }
            self.spans.insert((*partition, *from), *to);
        }
        self.stored.insert(token.to_owned(), spans.to_vec());
    }

    /// Whether ClickHouse has the offset.
    fn stored_at(&self, partition: i32, at: i64) -> bool {
        let before = self.spans.range(..=(partition, at)).next_back();
        before.is_some_and(|((p, _), end)| *p == partition && *end > at)
    }

    /// What a queue holds that was just opened.
    fn compare(&mut self, image: &Image) {
        self.bad.extend(image.bad.iter().cloned());
        let mut there = BTreeSet::new();
        for ((partition, first, next), token) in &image.blocks {
            if !there.insert((*partition, *first)) {
                self.doubled.push(format!(
                    "partition {partition}: block {first} is there twice"
                ));
            }
            if self.stored_at(*partition, *first) {
                let known = token.as_ref().is_some_and(|t| self.stored.contains_key(t));
                if !known {
                    self.doubled.push(format!(
                        "partition {partition}: {first}..{next} is stored, and would be sent in {token:?}"
                    ));
                }
            }
        }
        let quarantined: BTreeSet<_> = image.quarantined.iter().copied().collect();
        for partition in 0..PARTITIONS {
            let synced = self.synced.get(&partition).copied().unwrap_or(0);
            let mut at = self.base.get(&partition).copied().unwrap_or(0);
            let mut unbroken = true;
            while at < synced {
                let (next, rows) = span(partition, at);
                let stored = self.stored_at(partition, at);
                let place = (partition, at);
                let kept = match rows {
                    0 => quarantined.contains(&place),
                    _ => stored || there.contains(&place),
                };
                if !kept {
                    self.lost.push(format!(
                        "partition {partition}: {at}..{next} of {synced} synced"
                    ));
                }
                unbroken &= stored && rows > 0;
                at = next;
                if unbroken {
                    self.base.insert(partition, at);
                }
            }
        }
        for (token, spans) in &self.sealed {
            match image.batches.iter().find(|(t, _)| t == token) {
                Some((_, there)) if there == spans => {}
                Some(_) => self.bad.push(format!("batch {token} has other rows")),
                None => self.lost.push(format!("batch {token}, sealed and synced")),
            }
        }
        for token in &self.acked {
            if image.batches.iter().any(|(t, _)| t == token) {
                self.doubled
                    .push(format!("batch {token} is back after its ack"));
            }
        }
    }

    /// After a drain: everything committed is stored, once, and nothing else.
    pub fn settle(&mut self, image: &Image) {
        if !image.blocks.is_empty() || !image.batches.is_empty() {
            self.bad.push(format!("{} blocks stay", image.blocks.len()));
        }
        for partition in 0..PARTITIONS {
            let committed = self.committed.get(&partition).copied().unwrap_or(0);
            let (mut at, mut all) = (0, 0);
            while at < committed {
                let (next, rows) = span(partition, at);
                all += i64::from(rows);
                if rows > 0 && !self.stored_at(partition, at) {
                    self.lost
                        .push(format!("partition {partition}: {at}..{next} never arrived"));
                }
                at = next;
            }
            let counted = image.counts.iter().find(|c| c.0 == partition);
            if counted.is_some_and(|c| (c.1, c.2) != (all, all)) || (counted.is_none() && all > 0) {
                self.bad.push(format!(
                    "partition {partition}: {all} rows, counted {counted:?} as consumed and stored"
                ));
            }
        }
    }

    /// Whether nothing was lost or doubled so far.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.bad.is_empty()
    }

    pub fn faults(&self) -> impl Iterator<Item = String> + '_ {
        let named = |kind: &'static str| move |text: &String| format!("{kind}: {text}");
        let lost = self.lost.iter().map(named("lost"));
        let doubled = self.doubled.iter().map(named("doubled"));
        lost.chain(doubled)
            .chain(self.bad.iter().map(named("contradiction")))
    }
}
