use super::*;
use crate::record::decode::decode;
use crate::record::synth::Synth;
use crate::row::encode::MAX_ROW_BYTES;
use crate::row::read::rows;

fn open() -> OpenBlock {
    OpenBlock::new(&Start {
        partition: 0,
        lane: LaneId(1),
        offset: 10,
        epoch: None,
    })
}

/// A message with any bytes as its url.
fn with_url(url: Vec<u8>) -> Vec<u8> {
    let mut record = Synth::new(1, 1_790_000_000_000).next().unwrap();
    record.url = "~".repeat(url.len());
    let mut message = Vec::new();
    record.encode_into(&mut message);
    let at = message.windows(9).position(|w| w == b"~~~~~~~~~").unwrap();
    message[at..at + url.len()].copy_from_slice(&url);
    message
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A block with one message, of offset 10.
fn with(message: &[u8]) -> OpenBlock {
    let mut open = open();
    let (stats, sums) = (Stats::default(), &mut Sums::default());
    open.push(10, message, &Policy::default(), &stats, sums);
    open
}

#[test]
fn a_row_as_large_as_any_message_of_kafka_is_stored_if_it_can_be() {
    let text = b"/abcdefgh/ijkl?mno=pqrst&uvw=xyz".repeat(500_000);
    // The largest message by Kafka's default bound; and near the largest row, at best and at worst.
    for url in [noise(1_048_300), text, noise(16_700_000)] {
        let message = with_url(url);
        let mut open = with(&message);
        assert!(open.is_full());
        let block = open.take().unwrap();
        assert_eq!((block.rows, block.first, block.next), (1, 10, 11));
        assert_eq!(block.quarantined, []);
        let packed = block.packed.unwrap();
        assert!(block.bytes.is_empty());
        let raw = zstd::bulk::decompress(&packed.frame, MAX_ROW_BYTES).unwrap();
        assert_eq!(raw.len(), packed.raw_len as usize);
        assert_eq!(rows(&raw).count(), 1);
    }
}

#[test]
fn a_row_that_is_too_large_is_quarantined_with_its_size_and_no_byte() {
    let message = with_url(b"/abcdefg".repeat((16 << 20) / 8));
    let mut open = with(&message);
    let block = open.take().unwrap();
    let [q] = &block.quarantined[..] else {
        panic!("{} rows", block.rows)
    };
    assert!(q.reason.contains("row of"), "{}", q.reason);
    assert!(q.kept.is_none() && block.bytes.is_empty() && block.packed.is_none());
    assert_eq!((block.rows, block.next), (0, 11));
}

#[test]
fn what_lies_behind_the_record_of_a_value_is_counted() {
    let stats = Stats::default();
    let mut open = open();
    assert_eq!(
        open.push(10, PLAIN, &Policy::default(), &stats, &mut Sums::default()),
        0
    );
    assert_eq!(
        open.push(
            11,
            &PLAIN.repeat(5),
            &Policy::default(),
            &stats,
            &mut Sums::default()
        ),
        4 * PLAIN.len()
    );
    assert_eq!(
        open.push(
            12,
            &[PLAIN, b"x"].concat(),
            &Policy::default(),
            &stats,
            &mut Sums::default()
        ),
        1
    );
    for file in std::fs::read_dir("data/golden").unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "capnp") {
            let message = std::fs::read(&path).unwrap();
            let behind = [&message[..], PLAIN].concat();
            if decode(&message, |_| ()).is_ok() {
                assert_eq!(
                    unread(&behind),
                    unread(&message) + PLAIN.len(),
                    "{}",
                    path.display()
                );
            }
        }
    }
    let mut all = Unread::default();
    for offset in 0..3 {
        all.found(0, offset, 1, &stats);
    }
    assert_eq!(stats.ingest.values_with_more.get(), 3);
}

#[test]
fn each_partition_is_paused_and_resumed_by_itself() {
    let mut held: BTreeMap<i32, OpenBlock> = [(0, open())].into();
    assert_eq!(changing(&mut held, true), [0]);
    assert!(changing(&mut held, true).is_empty());
    // One is assigned while the other is paused, and then the pause ends before a look at it.
    held.insert(1, open());
    assert_eq!(changing(&mut held, false), [0]);
    assert_eq!(changing(&mut held, true), [0, 1]);
}

const PLAIN: &[u8] = include_bytes!("../../data/golden/plain.capnp");

#[test]
fn a_block_covers_its_messages_and_the_gaps_between() {
    let stats = Stats::default();
    let mut open = open();
    open.push(12, PLAIN, &Policy::default(), &stats, &mut Sums::default());
    open.push(15, PLAIN, &Policy::default(), &stats, &mut Sums::default());
    let block = open.take().unwrap();
    assert_eq!((block.first, block.next, block.rows), (12, 16, 2));
    assert_eq!(block.minutes.rows(), 2);
    assert_eq!(open.take(), None);
}

#[test]
fn a_message_brought_again_is_dropped() {
    let stats = Stats::default();
    let mut open = open();
    open.push(9, PLAIN, &Policy::default(), &stats, &mut Sums::default());
    open.push(10, PLAIN, &Policy::default(), &stats, &mut Sums::default());
    open.push(10, PLAIN, &Policy::default(), &stats, &mut Sums::default());
    let block = open.take().unwrap();
    assert_eq!((block.first, block.next, block.rows), (10, 11, 1));
}

#[test]
fn an_undecodable_message_is_quarantined_without_its_address() {
    let stats = Stats::default();
    let mut open = open();
    open.push(10, PLAIN, &Policy::default(), &stats, &mut Sums::default());
    open.push(
        11,
        b"192.0.2.77 no capnp",
        &Policy::default(),
        &stats,
        &mut Sums::default(),
    );
    let mut late = PLAIN.to_vec();
    late[16..24].fill(0xff);
    open.push(12, &late, &Policy::default(), &stats, &mut Sums::default());
    open.push(13, PLAIN, &Policy::default(), &stats, &mut Sums::default());
    let block = open.take().unwrap();
    assert_eq!((block.rows, block.next), (2, 14));
    let [text, late] = &block.quarantined[..] else {
        panic!("{:?}", block.quarantined)
    };
    assert_eq!((text.offset, text.len), (11, 19));
    assert_eq!(text.kept, None);
    let kept = late.kept.as_ref().unwrap().as_bytes();
    let has = |address: &[u8]| kept.windows(address.len()).any(|w| w == address);
    assert!(has(b"203.0.113.0") && !has(b"203.0.113.9"));
    assert!(!format!("{text:?}{late:?}").contains("192.0.2.77"));
}
