//! What comes from Kafka: one HTTP request as the edge server logged it. The only folder that sees
//! code generated from `schema/`, here to read it ([`decode`]) and to write it ([`synth`]).

pub mod decode;
mod plain;
pub mod synth;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One HTTP request as the edge server logged it, borrowed from the Kafka message.
///
/// `remote_addr` is the plaintext client address: this type has no `Debug` on purpose, and only
/// [`crate::privacy::anonymize`] turns it into something that may be stored.
pub struct Record<'a> {
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: u64,
    /// Resource (customer site) that the request was for.
    pub resource_id: u64,
    /// Response size in bytes.
    pub bytes_sent: u64,
    /// Time the request took, in milliseconds.
    pub request_time_ms: u64,
    /// HTTP status.
    pub response_status: u16,
    /// `HIT`, `MISS` and the like; any bytes.
    pub cache_status: &'a [u8],
    /// HTTP method; any bytes.
    pub method: &'a [u8],
    /// The client's address, unmasked.
    pub remote_addr: &'a [u8],
    /// The URL; any bytes.
    pub url: &'a [u8],
}

/// What a Kafka record is known again by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "(i64, i32, u64)", into = "(i64, i32, u64)")]
pub struct Mark {
    /// Its offset.
    pub offset: i64,
    /// Epoch of the leader that took it; -1 if the broker does not tell.
    pub epoch: i32,
    /// Of its bytes and its time.
    pub hash: u64,
}

impl Mark {
    /// The mark of a record as Kafka gave it.
    pub fn of(offset: i64, epoch: i32, timestamp_ms: i64, message: &[u8]) -> Mark {
        Mark {
            offset,
            epoch,
            hash: xxh3_64_with_seed(message, timestamp_ms as u64),
        }
    }
}

impl From<(i64, i32, u64)> for Mark {
    fn from((offset, epoch, hash): (i64, i32, u64)) -> Mark {
        Mark {
            offset,
            epoch,
            hash,
        }
    }
}

impl From<Mark> for (i64, i32, u64) {
    fn from(mark: Mark) -> (i64, i32, u64) {
        (mark.offset, mark.epoch, mark.hash)
    }
}
