//! Any bytes are a block or damaged; a block reads as it was written, and one changed byte is found.
#![no_main]

use anonymizer::queue::BlockHeader;
use anonymizer::queue::LaneId;
use anonymizer::queue::block::{key, parse_key, read_block, read_minutes, write_block};
use anonymizer::row::minutes::Minutes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((at, value)) = data.split_first_chunk::<12>() {
        let _ = parse_key(at);
        let _ = read_block(at, value);
        let _ = Minutes::read(value);
    }
    // Bytes of a chance checksum are rare, so also a block made of them.
    let Some((head, frame)) = data.split_first_chunk::<40>() else {
        return;
    };
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
    let mut header = BlockHeader {
        lane: LaneId(u32_at(0)),
        first: u64_at(4) as i64 & i64::MAX,
        next: u64_at(12) as i64 & i64::MAX,
        rows: u32_at(20),
        raw_len: u32_at(24),
        minutes_len: 0,
        frame_len: frame.len() as u32,
        appended_ms: u64_at(28),
        kafka_ms: u64_at(28).checked_sub(u64::from(u32_at(32) >> 9) * 1000),
        checksum: 0,
    };
    let minutes: Minutes = head
        .as_chunks()
        .0
        .iter()
        .map(|s| u32::from_le_bytes(*s))
        .collect();
    let mut value = write_block(&header, &minutes, frame);
    let at = key(header.lane, header.first);
    let (read, read_frame) = read_block(&at, &value).unwrap();
    header.checksum = read.checksum;
    header.minutes_len = read.minutes_len;
    assert_eq!(read_minutes(&read, &value).unwrap(), minutes);
    assert_eq!((read, read_frame), (header, frame));
    let change = head[39].max(1);
    let place = u32_at(36) as usize % value.len();
    value[place] ^= change;
    assert!(read_block(&at, &value).is_err(), "byte {place}");
});
