//! Large blocks, which are stored in parts: whole wherever they are read, and gone with all their parts.

use super::*;

const LARGE: [usize; 5] = [50, 98_000, 200_000, 1_100_000, 9_000_000];

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = len as u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// One row whose url is `len` bytes, as RowBinary.
fn row(len: usize) -> Vec<u8> {
    let mut out = 60u32.to_le_bytes().to_vec();
    out.extend([0; 26]);
    out.extend([0; 3]);
    crate::row::varint::string(&noise(len), &mut out);
    out
}

impl Fixture {
    /// A lane with a block of one row for each length.
    fn large(&self, lengths: &[usize], eligible: i64) -> LaneId {
        let lane = self.open(0);
        for (first, len) in (0..).zip(lengths) {
            let raw = row(*len);
            let block = block_of(first, 1, &raw);
            assert!(self.q().append(lane, &block).unwrap());
        }
        self.q().sync().unwrap();
        self.q().acknowledge(lane, eligible).unwrap();
        lane
    }

    fn parts(&self) -> usize {
        self.q().trees().unwrap().parts.len()
    }

    fn assert_whole(&self, lengths: &[usize]) {
        let blocks: Vec<_> = self.q().blocks().map(Result::unwrap).collect();
        assert_eq!(blocks.len(), lengths.len());
        for ((header, frame), len) in blocks.iter().zip(lengths) {
            assert!(unpack(header, frame).unwrap() == row(*len), "{len}");
        }
    }
}

#[test]
fn large_blocks_are_whole_after_a_reopen_a_compaction_and_a_repair() {
    let mut f = Fixture::new();
    f.large(&LARGE, 5);
    f.assert_whole(&LARGE);
    assert!(f.parts() > 90);
    f.reopen();
    f.assert_whole(&LARGE);
    assert!(f.q().compact().unwrap());
    f.assert_whole(&LARGE);
    let batch = f.seal_all().unwrap();
    let raw: Vec<Vec<u8>> = f
        .frames(&batch)
        .iter()
        .map(|frame| zstd::decode_all(&frame[..]).unwrap())
        .collect();
    assert!(raw == LARGE.map(row));
    let found = f.verified();
    assert_eq!((found.blocks, found.rows, found.damage), (5, 5, vec![]));
    let done = rescue::repaired(&mut f);
    assert_eq!((done.blocks, done.rows), (5, 5));
    f.assert_whole(&LARGE);
}

#[test]
fn the_parts_of_a_block_go_with_it() {
    let f = Fixture::new();
    f.large(&LARGE, 5);
    let batch = f.seal_all().unwrap();
    f.q().ack(&batch).unwrap();
    assert_eq!((f.q().blocks().count(), f.parts()), (0, 0));
    let tail = f.large(&LARGE, 0);
    f.q().end_lane(tail).unwrap();
    f.q().settle(tail, 0, 0..5).unwrap();
    assert_eq!((f.q().blocks().count(), f.parts()), (0, 0));
}

/// One of those that was not whole when power was lost would keep the queue shut.
#[test]
fn no_large_block_makes_a_side_file() {
    let f = Fixture::new();
    f.large(&[1_100_000; 40], 40);
    let blobs = f.dir.path().join(QUEUE_DIR).join("blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
}

#[test]
fn a_part_that_is_missing_is_named() {
    let f = Fixture::new();
    let lane = f.large(&LARGE, 5);
    let trees = f.q().trees().unwrap();
    let first = trees.parts.first().unwrap().unwrap().0;
    trees.parts.remove(first).unwrap();
    drop(trees);
    let error = f.q().blocks().find_map(Result::err).unwrap().to_string();
    assert!(error.contains(&lane.to_string()), "{error}");
}
