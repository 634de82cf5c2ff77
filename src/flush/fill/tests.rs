//! Filling bodies from a real queue of real rows.

use std::cell::Cell;
use std::io::Read as _;

use super::*;
use crate::privacy::Policy;
use crate::queue::PackedBlock;
use crate::queue::fixture::{Fixture, block_of};
use crate::record::synth::Synth;
use crate::row::read::rows;

const BLOCK_ROWS: usize = 500;
/// Enough for the strongest level, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(3600);

struct Backlog {
    queue: Fixture,
    /// The rows of each block, in order.
    blocks: Vec<Vec<Vec<u8>>>,
}

impl Backlog {
    /// A queue of so many eligible blocks of realistic rows.
    fn new(blocks: usize) -> Backlog {
        let queue = Fixture::new();
        let lane = queue.open(0);
        let mut synth = Synth::new(1, 1_700_000_000_000);
        let mut all = Vec::new();
        for block in 0..blocks {
            let rows: Vec<Vec<u8>> = synth.by_ref().take(BLOCK_ROWS).map(row).collect();
            let raw = rows.concat();
            let first = (block * BLOCK_ROWS) as i64;
            let packed = PackedBlock {
                minutes: crate::row::read::rows(&raw)
                    .map(|r| r.unwrap().timestamp)
                    .collect(),
                appended_ms: block as u64,
                ..block_of(first, BLOCK_ROWS as u32, &raw)
            };
            assert!(queue.q().append(lane, &packed).unwrap());
            all.push(rows);
        }
        queue.q().sync().unwrap();
        let next = (blocks * BLOCK_ROWS) as i64;
        queue.q().acknowledge(lane, next).unwrap();
        Backlog { queue, blocks: all }
    }

    fn fill(&self, bytes: u64, patience: Duration, only_full: bool) -> Option<Filling> {
        self.fill_with(&mut Filler::default(), bytes, patience, only_full)
    }

    fn fill_with(
        &self,
        filler: &mut Filler,
        bytes: u64,
        patience: Duration,
        only_full: bool,
    ) -> Option<Filling> {
        let wanted = Wanted {
            bounds: SealBounds {
                rows: 1_000_000,
                bytes,
            },
            patience,
            format: PackedFormat::RowBinary,
            only_full,
            stop: &|| false,
        };
        filler.fill(self.queue.q(), wanted).unwrap()
    }

    /// The rows that a filling must hold: those of the oldest blocks.
    fn expected(&self, filling: &Filling) -> Vec<Vec<u8>> {
        let blocks = filling.plan.rows as usize / BLOCK_ROWS;
        let mut all = self.blocks[..blocks].concat();
        all.sort();
        all
    }
}

fn row(record: crate::record::synth::SynthRecord) -> Vec<u8> {
    let (mut message, mut row) = (Vec::new(), Vec::new());
    record.encode_into(&mut message);
    crate::row::row(&message, &Policy::default(), &mut row).unwrap();
    row
}

fn unpacked(spool: &mut Spool) -> Vec<Vec<u8>> {
    let mut raw = Vec::new();
    let body = spool.rewound().unwrap();
    zstd::Decoder::new(body)
        .unwrap()
        .read_to_end(&mut raw)
        .unwrap();
    let mut all: Vec<Vec<u8>> = rows(&raw).map(|r| r.unwrap().raw.to_vec()).collect();
    all.sort();
    all
}

#[test]
fn a_backlog_is_packed_into_a_full_body_of_the_oldest_rows() {
    let f = Backlog::new(60);
    let mut filler = Filler::default();
    // The first body teaches how much fits.
    for _ in 0..2 {
        let limit = 256 << 10;
        let plain = f.fill(limit, Duration::ZERO, false).unwrap();
        let mut filling = f.fill_with(&mut filler, limit, PATIENCE, false).unwrap();
        let expected = f.expected(&filling);
        let (packed, spool) = filling.packed.as_mut().expect("packed");
        assert!(spool.body_len() <= limit && packed.bytes == spool.body_len());
        // A block of 500 rows is 3 % of this body; one of a real queue is 1 % of 1 MiB.
        assert!(spool.body_len() >= limit * 94 / 100, "{}", spool.body_len());
        assert!(filling.plan.rows > plain.plan.rows * 5 / 4);
        assert_eq!(unpacked(spool), expected);
    }
}

#[test]
fn what_fits_as_it_is_stored_is_not_packed() {
    let f = Backlog::new(4);
    let filling = f.fill(1 << 20, PATIENCE, false).unwrap();
    assert!(filling.packed.is_none() && !filling.plan.full);
    assert_eq!(filling.plan.rows, 2000);
    assert!(f.fill(1 << 20, PATIENCE, true).is_none(), "not full");
}

#[test]
fn what_fits_only_packed_is_packed_whole_but_does_not_count_as_full() {
    let f = Backlog::new(12);
    let stored = f.fill(u64::MAX, PATIENCE, false).unwrap().plan.bytes;
    let limit = stored * 9 / 10;
    let mut filling = f.fill(limit, PATIENCE, false).unwrap();
    let expected = f.expected(&filling);
    assert_eq!(expected.len(), 12 * BLOCK_ROWS);
    assert_eq!(unpacked(&mut filling.packed.as_mut().unwrap().1), expected);
    assert!(f.fill(limit, PATIENCE, true).is_none());
}

#[test]
fn without_patience_frames_go_out_as_they_are_stored() {
    let f = Backlog::new(20);
    let filling = f.fill(64 << 10, Duration::ZERO, true).unwrap();
    assert!(filling.packed.is_none() && filling.plan.full);
    assert!(filling.plan.bytes <= 64 << 10);
}

#[test]
fn a_body_that_cannot_be_written_goes_out_as_it_is_stored() {
    let f = Backlog::new(20);
    // The spool's name for a moment is taken by a directory.
    std::fs::create_dir(f.queue.q().dir().path().join("body.new")).unwrap();
    let filling = f.fill(64 << 10, PATIENCE, false).unwrap();
    assert!(filling.packed.is_none() && filling.plan.full);
}

#[test]
fn a_stop_ends_the_packing() {
    let f = Backlog::new(20);
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 5
    };
    let wanted = Wanted {
        bounds: SealBounds {
            rows: 1_000_000,
            bytes: 64 << 10,
        },
        patience: PATIENCE,
        format: PackedFormat::RowBinary,
        only_full: false,
        stop: &stop,
    };
    let ended = Filler::default().fill(f.queue.q(), wanted);
    assert!(matches!(ended, Err(PackError::Stopped)));
}

#[test]
fn rows_beyond_a_sorted_run_are_packed_too() {
    let f = Backlog::new(6);
    let all = f.fill(u64::MAX, PATIENCE, false).unwrap();
    let packing = Packing {
        format: PackedFormat::RowBinary,
        level: 1,
    };
    let (mut spool, rows) = Spool::fill(f.queue.q().dir().path(), |out| {
        let blocks = f.queue.q().range_blocks(&all.plan.ranges);
        // Runs of about two blocks.
        crate::flush::pack::pack_in_runs(blocks, packing, 150 << 10, out, &|| false)
    })
    .unwrap();
    assert_eq!(rows, all.plan.rows);
    assert_eq!(unpacked(&mut spool), f.expected(&all));
}

#[test]
fn a_body_that_takes_longer_to_pack_than_the_slot_is_away_goes_out_as_stored() {
    let f = Backlog::new(60);
    let limit = 256 << 10;
    let plain = f.fill(limit, Duration::ZERO, false).unwrap();
    // A microsecond for some 4 MB of rows.
    let hasty = f.fill(limit, Duration::from_micros(1), false).unwrap();
    assert!(hasty.packed.is_none());
    assert_eq!(hasty.plan.rows, plain.plan.rows);
    assert!(hasty.plan.full);
}
