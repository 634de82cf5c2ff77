//! One minute, and how it lies in the file.

use xxhash_rust::xxh3::xxh3_64;

/// What is known of one minute. No row and no address is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Minutes of Unix time. Never 0, but in a clock that was never set.
    pub minute: u64,
    /// Rows appended to the queue since the sample before.
    pub rows_in: u64,
    /// Rows that ClickHouse acknowledged since.
    pub rows_out: u64,
    /// Rows queued at its end.
    pub queue_rows: u64,
    /// Bytes of them.
    pub queue_bytes: u64,
    /// Age of the oldest of them, s.
    pub oldest_s: u64,
    /// Bytes of the last insert's body; 0 if none ended in it.
    pub insert_bytes: u64,
    /// How long that took, ms.
    pub insert_ms: u64,
    /// Records in Kafka that were not read; `None` if that was not known.
    pub unread: Option<u64>,
}

/// Numbers of a record.
const NUMBERS: usize = 9;

/// Bytes of one: the numbers and their XXH3-64, all little-endian.
pub(super) const RECORD: usize = (NUMBERS + 1) * 8;

/// No count of unread records.
const UNKNOWN: u64 = u64::MAX;

impl Sample {
    /// As it lies in the file.
    #[must_use]
    pub fn write(&self) -> [u8; RECORD] {
        let numbers: [u64; NUMBERS] = [
            self.minute,
            self.rows_in,
            self.rows_out,
            self.queue_rows,
            self.queue_bytes,
            self.oldest_s,
            self.insert_bytes,
            self.insert_ms,
            self.unread.unwrap_or(UNKNOWN),
        ];
        let mut record = [0; RECORD];
        for (to, number) in record.chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        let check = xxh3_64(&record[..NUMBERS * 8]);
        record[NUMBERS * 8..].copy_from_slice(&check.to_le_bytes());
        record
    }

    /// `None` if it is not what was written.
    #[must_use]
    pub fn read(record: &[u8]) -> Option<Sample> {
        let mut numbers = [0; NUMBERS + 1];
        for (to, bytes) in numbers.iter_mut().zip(record.chunks_exact(8)) {
            *to = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        let check = xxh3_64(record.get(..NUMBERS * 8)?);
        let [
            minute,
            rows_in,
            rows_out,
            queue_rows,
            queue_bytes,
            oldest_s,
            insert_bytes,
            insert_ms,
            unread,
            found,
        ] = numbers;
        (found == check).then_some(Sample {
            minute,
            rows_in,
            rows_out,
            queue_rows,
            queue_bytes,
            oldest_s,
            insert_bytes,
            insert_ms,
            unread: (unread != UNKNOWN).then_some(unread),
        })
    }
}
