//! The driver's steps with batches, and with what became none.

use std::collections::{BTreeMap, BTreeSet};

use super::Answer;
use super::driver::World;
use super::plain::{Place, Plain, PlainBatch, PlainLane, read_rows, write_row};
use crate::queue::*;

impl World {
    pub(super) fn seal(&mut self, most: u64) {
        if self.q().sealed_batch().is_some() {
            return;
        }
        let bounds = SealBounds {
            rows: most,
            bytes: u64::MAX,
        };
        let Some(batch) = self.q().seal(bounds, 1, |_| Vec::new()).unwrap() else {
            let left = self.now.lanes.values().any(|l| {
                l.blocks
                    .range(l.sealed..)
                    .any(|(_, (next, _))| *next <= l.eligible)
            });
            assert!(!left, "something is eligible");
            return;
        };
        let blocks: u32 = batch.ranges.iter().map(|r| r.blocks).sum();
        assert!(batch.rows <= most || blocks == 1, "beyond its bound");
        for range in &batch.ranges {
            let lane = self.now.lanes.get_mut(&range.lane.0).unwrap();
            assert_eq!(range.from, lane.sealed, "where the last batch ended");
            assert!(range.to <= lane.eligible, "only what is eligible");
            lane.sealed = range.to;
        }
        let range = |r: &Range| (r.lane.0, r.from, r.to);
        let plain = PlainBatch {
            ranges: batch.ranges.iter().map(range).collect(),
            state: "sealed",
            may_be_stored: false,
            counted: false,
        };
        assert!(self.now.batches.insert(batch.seq, plain).is_none());
        self.stepped();
    }

    pub(super) fn attempt(&mut self, answer: Answer) {
        let Some(mut batch) = self.q().sealed_batch() else {
            return;
        };
        let before = batch.may_be_stored;
        batch.may_be_stored = true;
        batch.attempts += 1;
        self.q().update_batch(&batch).unwrap();
        self.q().sync().unwrap();
        self.now.batches.get_mut(&batch.seq).unwrap().may_be_stored = true;
        self.synced();
        let stores = matches!(
            answer,
            Answer::Stored | Answer::Delivered | Answer::StoredThenCrash | Answer::StoredAnswerLost
        );
        if stores {
            let mut body = self.q().body(&batch);
            let frames = std::iter::from_fn(|| body.next_frame().unwrap());
            let rows: Vec<Place> = frames.flat_map(|frame| read_rows(&frame)).collect();
            let set: BTreeSet<Place> = rows.iter().copied().collect();
            assert_eq!(set.len(), rows.len(), "a row twice in a batch");
            drop(body);
            let known = self.clickhouse.insert(batch.token.clone(), set.clone());
            assert!(known.is_none_or(|k| k == set), "a token for other rows");
        }
        match answer {
            Answer::Stored | Answer::StoredThenCrash => {
                if matches!(answer, Answer::Stored) {
                    self.q().ack(&batch).unwrap();
                } else {
                    let mut acked = batch.clone();
                    acked.state = BatchState::Acked;
                    self.q().take_off(&acked).unwrap();
                    self.q().sync().unwrap();
                }
                self.now_stored(batch.seq);
                let gone = self.now.batches.remove(&batch.seq).unwrap();
                for (lane, from, to) in gone.ranges {
                    // Of one that was sent once more the lane may be gone.
                    if let Some(lane) = self.now.lanes.get_mut(&lane) {
                        lane.blocks.retain(|first, _| !(from..to).contains(first));
                    }
                }
                if matches!(answer, Answer::Stored) {
                    self.synced();
                } else {
                    self.now.forget_spent();
                    self.since_sync = vec![self.now.clone()];
                    self.crash();
                }
            }
            Answer::Delivered => {
                self.q().deliver(&batch, 1).unwrap();
                self.now_stored(batch.seq);
                self.now.batches.get_mut(&batch.seq).unwrap().state = "delivered";
                self.synced();
            }
            Answer::StoredAnswerLost => {}
            Answer::Refused | Answer::TooLarge => {
                batch.may_be_stored = before;
                self.q().update_batch(&batch).unwrap();
                self.now.batches.get_mut(&batch.seq).unwrap().may_be_stored = before;
                self.stepped();
                if matches!(answer, Answer::TooLarge) {
                    // Of a lane the rows sealed last are given back first: one that was rejected and put
                    // back may have been overtaken.
                    let plain = &self.now.batches[&batch.seq];
                    let last = |(lane, _, to): &(u32, i64, i64)| {
                        let lane = self.now.lanes.get(lane);
                        lane.is_some_and(|l| l.sealed == *to)
                    };
                    let newest = plain.ranges.iter().all(last);
                    let unsealed = self.q().unseal(&batch).unwrap();
                    assert!(!unsealed || !before, "regrouped what may be stored");
                    assert!(unsealed || before || !newest, "not given back");
                    if unsealed {
                        let back = self.now.batches.remove(&batch.seq).unwrap();
                        for (lane, from, _) in back.ranges {
                            self.now.lanes.get_mut(&lane).unwrap().sealed = from;
                        }
                        self.stepped();
                    }
                }
            }
            Answer::Rejected => {
                batch.state = BatchState::Rejected {
                    code: 117,
                    words: "no".into(),
                };
                batch.may_be_stored = before;
                self.q().update_batch(&batch).unwrap();
                self.q().sync().unwrap();
                let plain = self.now.batches.get_mut(&batch.seq).unwrap();
                (plain.state, plain.may_be_stored) = ("rejected", before);
                self.synced();
            }
        }
    }

    /// Counts a batch as stored, unless it is.
    fn now_stored(&mut self, seq: u64) {
        let batch = self.now.batches[&seq].clone();
        if !batch.counted {
            let rows = self.now.rows_of(&batch);
            Plain::count(&mut self.now.stored, &rows, 1);
        }
        self.now.batches.get_mut(&seq).unwrap().counted = true;
    }

    pub(super) fn redeliver(&mut self) {
        let all = self.q().summary().unwrap().batches;
        let kept = |b: &Batch| matches!(b.state, BatchState::Delivered { .. });
        if let Some(batch) = all.into_iter().find(kept) {
            self.q().redeliver(&batch).unwrap();
            let plain = self.now.batches.get_mut(&batch.seq).unwrap();
            plain.state = "sealed";
            self.synced();
        }
    }

    pub(super) fn retry_quarantined(&mut self) {
        let entries: Vec<_> = self.q().quarantined().map(Result::unwrap).collect();
        // The messages' own bytes say nothing, so each is retried by its place.
        for entry in entries {
            let place = (entry.partition, entry.message.offset);
            let only = Which {
                only: Some(place),
                after: None,
            };
            self.clock += 1;
            let retried = self
                .q()
                .retry_quarantined(only, self.clock, |_, _, out| Ok(write_row(place, out)));
            for (entry, result) in retried.unwrap().entries {
                let key = (entry.lane.0, entry.message.offset);
                let eligible = self
                    .now
                    .lanes
                    .get(&key.0)
                    .is_none_or(|l| key.1 < l.eligible);
                assert_eq!(result == Retried::Row, eligible, "{key:?}");
                if eligible {
                    assert!(self.now.quarantine.remove(&key));
                }
            }
            let known: BTreeSet<u32> = self.now.lanes.keys().copied().collect();
            for lane in self.q().summary().unwrap().lanes {
                if !known.contains(&lane.id.0) {
                    assert_eq!((lane.topic.as_str(), lane.rows), (Lane::RETRIED, 1));
                    Plain::count(&mut self.now.consumed, &[place], 1);
                    let blocks = BTreeMap::from([(0, (1, vec![place]))]);
                    let plain = PlainLane {
                        partition: -1,
                        open: false,
                        sealed: 0,
                        eligible: 1,
                        next: 1,
                        blocks,
                    };
                    self.now.lanes.insert(lane.id.0, plain);
                }
            }
            self.stepped();
        }
    }
}
