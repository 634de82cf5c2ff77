//! What the queue under test is filled with: every block follows from its partition and first
//! offset, so that any process can tell what belongs there.

use anonymizer::row::minutes::Minutes;

pub use crate::support::chance::Chance;

/// Partitions in use.
pub const PARTITIONS: i32 = 3;

/// The block that starts at an offset.
pub struct Planned {
    pub next: i64,
    /// 0: the span holds one message that could not become a row.
    pub rows: u32,
    pub frame: Vec<u8>,
    pub minutes: Minutes,
}

fn span_at(partition: i32, first: i64) -> (Chance, i64, u32) {
    let mut chance = Chance(((partition as u64) << 48) ^ (first as u64) ^ 0x5eed);
    let span = 1 + chance.below(40) as i64;
    let rows = if chance.one_in(16) { 0 } else { span as u32 };
    (chance, first + span, rows)
}

/// Where the block of `partition` at `first` ends, and its rows.
pub fn span(partition: i32, first: i64) -> (i64, u32) {
    let (_, next, rows) = span_at(partition, first);
    (next, rows)
}

/// The block of `partition` at `first`.
pub fn planned(partition: i32, first: i64) -> Planned {
    let (mut chance, next, rows) = span_at(partition, first);
    let length = match chance.below(8) {
        0 => chance.below(200),
        1 => 24_000 + chance.below(8_000),
        _ => 1_000 + chance.below(10_000),
    };
    let mut frame = Vec::new();
    if rows > 0 {
        while (frame.len() as u64) < length + 8 {
            frame.extend_from_slice(&chance.next().to_le_bytes());
        }
    }
    // Some blocks touch many minutes, most of them one or two.
    let (start, step) = (first as u32 * 7, if chance.one_in(8) { 4000 } else { 1 });
    Planned {
        next,
        rows,
        frame,
        minutes: (0..rows).map(|i| start + i * step).collect(),
    }
}
