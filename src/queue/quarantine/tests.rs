//! Entries are kept whole, counted, bounded, and leave in the same transaction as their rows come.

use super::*;
use crate::privacy::{Policy, Quarantined};
use crate::queue::fixture::{Fixture, block_of_bad};
use crate::queue::{LaneId, PackedBlock};
use crate::row::row;

const PLAIN: &[u8] = include_bytes!("../../../data/golden/plain.capnp");

impl Fixture {
    /// A lane of `partition` that has read these messages, all into quarantine; those below
    /// `eligible` are.
    fn bad_lane(&self, partition: i32, read_ms: u64, messages: &[&[u8]], eligible: i64) -> LaneId {
        let lane = self.open(partition);
        let entry =
            |(i, m): (usize, &&[u8])| Quarantined::of(i as i64, "no".into(), m, &Policy::default());
        let block = PackedBlock {
            appended_ms: read_ms,
            ..block_of_bad(0, messages.iter().enumerate().map(entry).collect())
        };
        assert!(self.q().append(lane, &block).unwrap());
        self.q().acknowledge(lane, eligible).unwrap();
        lane
    }

    fn all(&self) -> Vec<QuarantineEntry> {
        self.q().quarantined().map(Result::unwrap).collect()
    }

    fn retry(&self) -> Vec<Retried> {
        let page = self.q().quarantine_page_of_retry();
        page.entries.into_iter().map(|(_, result)| result).collect()
    }

    /// The totals are those that a count finds.
    fn assert_counted(&self) {
        let mut counted = self.q().count_quarantine().unwrap();
        let kept = self.q().quarantine_totals();
        (counted.dropped, counted.dropped_ms) = (kept.dropped, kept.dropped_ms);
        assert_eq!(self.q().quarantine_totals(), counted);
    }
}

impl Queue {
    fn quarantine_page_of_retry(&self) -> Page<(QuarantineEntry, Retried)> {
        self.retry_quarantined(Which::default(), 9, |message, bytes, out| {
            row(bytes, &message.policy, out)
        })
        .unwrap()
    }
}

#[test]
fn masked_bytes_are_kept_with_their_place_over_a_reopen() {
    let mut f = Fixture::new();
    f.bad_lane(3, 7, &[PLAIN, &[0xff; 20]], 1);
    f.q().sync().unwrap();
    f.reopen();
    f.assert_counted();
    let page = f.q().quarantine_page(Which::default()).unwrap();
    let [record, binary] = &page.entries[..] else {
        panic!("{page:?}")
    };
    let kept = record.message.kept.as_ref().unwrap();
    assert_eq!(
        kept,
        &crate::privacy::message::mask(PLAIN, &Policy::default()).unwrap()
    );
    assert_eq!(
        (record.partition, record.read_ms, record.eligible),
        (3, 7, true)
    );
    assert_eq!((&binary.message.kept, binary.eligible), (&None, false));
    assert!(binary.message.not_kept.is_some());
    assert_eq!(page.next, None);
}

#[test]
fn an_older_queue_without_totals_is_counted() {
    let mut f = Fixture::new();
    f.bad_lane(0, 1, &[b"a", b"b"], 2);
    f.q().trees().unwrap().meta.remove(TOTALS).unwrap();
    f.q().sync().unwrap();
    f.reopen();
    assert_eq!(f.q().quarantine_totals().entries, 2);
    f.assert_counted();
}

#[test]
fn a_retried_message_becomes_an_eligible_row_and_leaves_in_one_step() {
    let mut f = Fixture::new();
    let mut late = PLAIN.to_vec();
    late[16..24].fill(0xff);
    f.bad_lane(0, 1, &[PLAIN, &late, PLAIN, PLAIN], 3);
    let results = f.retry();
    assert_eq!(results[0], Retried::Row);
    assert!(matches!(&results[1], Retried::Not(why) if why.contains("DateTime")));
    assert_eq!(results[2], Retried::Row);
    assert!(
        matches!(&results[3], Retried::Not(why) if why.contains("commit")),
        "an entry of a tail may be another's: {results:?}"
    );
    f.assert_counted();
    f.reopen();
    assert_eq!(f.all().len(), 2);
    let batch = f.seal_all().unwrap();
    assert_eq!(batch.rows, 2);
    let frame = f.q().body(&batch).next_frame().unwrap().unwrap();
    let mut want = Vec::new();
    row(PLAIN, &Policy::default(), &mut want).unwrap();
    assert_eq!(
        zstd::bulk::decompress(&frame, 1 << 20).unwrap(),
        want.repeat(2)
    );
    f.q().ack(&batch).unwrap();
    assert_eq!(f.retry().iter().filter(|r| **r == Retried::Row).count(), 0);
    // Its lane is forgotten, and no offset of the partition has moved.
    assert_eq!(f.q().eligible_next("t", 0).unwrap(), Some(3));
}

#[test]
fn a_retry_does_not_stand_in_the_way_of_a_commit() {
    let f = Fixture::new();
    f.bad_lane(0, 1, &[PLAIN], 1);
    f.q().sync().unwrap();
    assert!(f.q().is_synced());
    f.retry();
    assert!(f.q().is_synced(), "no commit covers a retried row");
}

#[test]
fn one_place_is_found_in_every_lane_that_read_it() {
    let f = Fixture::new();
    f.bad_lane(0, 1, &[b"a", b"b"], 2);
    f.bad_lane(1, 1, &[b"c", b"d"], 2);
    f.bad_lane(0, 2, &[b"e", b"f"], 2);
    let which = Which {
        only: Some((0, 1)),
        after: None,
    };
    let found = f.q().quarantine_page(which).unwrap().entries;
    let hashes: Vec<_> = found.iter().map(|e| e.message.hash.clone()).collect();
    let want = |m: &[u8]| Quarantined::of(1, String::new(), m, &Policy::default()).hash;
    assert_eq!(hashes, [want(b"b"), want(b"f")]);
    assert_eq!(f.q().drop_quarantined(which).unwrap().entries.len(), 2);
    assert_eq!(f.all().len(), 4);
    f.assert_counted();
}

#[test]
fn pages_end_at_their_bounds_and_go_on() {
    let f = Fixture::new();
    // A frame and zeros, of which all bytes are kept.
    let mut long = vec![0; 60_000];
    long[4..8].copy_from_slice(&7499_u32.to_le_bytes());
    f.bad_lane(0, 1, &[&long[..]; 40], 40);
    let mut which = Which::default();
    let mut sizes = Vec::new();
    loop {
        let page = f.q().quarantine_page(which).unwrap();
        sizes.push(page.entries.len());
        which.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(sizes.iter().sum::<usize>(), 40);
    assert!(sizes.len() >= 3, "{sizes:?}");
}

#[test]
fn the_oldest_go_first_and_are_counted() {
    let mut f = Fixture::new();
    f.bad_lane(0, 30, &[b"young", b"young"], 2);
    f.bad_lane(1, 10, &[b"old", b"old"], 2);
    f.bad_lane(2, 20, &[b"middle", b"middle"], 2);
    let bytes = f.q().quarantine_totals().bytes;
    let gone = f.q().drop_oldest_quarantined(0, bytes).unwrap();
    assert!(gone.is_empty());
    let gone = f.q().drop_oldest_quarantined(1, bytes / 2).unwrap();
    let ages: Vec<u64> = gone.iter().map(|e| e.read_ms).collect();
    assert_eq!(ages[..3], [10, 10, 20]);
    f.q().sync().unwrap();
    f.reopen();
    f.assert_counted();
    assert_eq!(f.q().quarantine_totals().dropped, gone.len() as u64);
    assert_eq!(f.all().len() + gone.len(), 6);
}

#[test]
fn a_tail_dropped_takes_its_entries_and_their_bytes() {
    let mut f = Fixture::new();
    let lane = f.bad_lane(0, 1, &[b"a", b"b", b"c"], 1);
    f.q().sync().unwrap();
    f.reopen();
    assert!(f.q().settle(lane, 1, 1..3).unwrap());
    assert_eq!(f.all().len(), 1);
    f.assert_counted();
}

#[test]
fn entries_with_bytes_and_retried_rows_are_whole_to_verify() {
    let mut f = Fixture::new();
    let mut late = PLAIN.to_vec();
    late[16..24].fill(0xff);
    // A byte that ends lines, as the facts before the bytes do.
    late[24] = b'\n';
    f.bad_lane(0, 1, &[PLAIN, &late, &[0xff; 20]], 3);
    f.retry();
    f.q().sync().unwrap();
    f.reopen();
    let found = f.verified();
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert_eq!((found.quarantined, found.rows), (2, 1));
}

#[test]
fn a_damaged_entry_is_named_and_others_come_all_the_same() {
    let f = Fixture::new();
    let lane = f.bad_lane(0, 1, &[b"one", b"two"], 2);
    let key = block::key(lane, 0);
    let entries = f.q().trees().unwrap().quarantine.clone();
    let mut value = entries.get(key).unwrap().unwrap().to_vec();
    value.pop();
    entries.insert(key, value).unwrap();
    // And one under a key that is none.
    entries.insert(b"k", b"").unwrap();
    let named = |page: &Page<QuarantineEntry>, want: &[&str]| {
        assert_eq!(page.damaged.len(), want.len(), "{page:?}");
        for (found, want) in page.damaged.iter().zip(want) {
            assert!(found.contains(want), "{page:?}");
        }
    };
    let page = f.q().quarantine_page(Which::default()).unwrap();
    named(&page, &["offset 0 of lane", "with key [6b]"]);
    assert_eq!((page.entries.len(), page.next), (1, None));
    let one = |offset| Which {
        only: Some((0, offset)),
        after: None,
    };
    let page = f.q().drop_quarantined(one(0)).unwrap();
    named(&page, &["offset 0 of lane"]);
    let page = f.q().drop_quarantined(one(1)).unwrap();
    named(&page, &[]);
    assert_eq!(page.entries.len(), 1);
    assert_eq!(f.q().quarantine_totals().entries, 1);
}
