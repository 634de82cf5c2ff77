//! Message -> row: decode, anonymize, encode.

use crate::privacy::Policy;
use crate::privacy::anonymize::anonymize;
use crate::record::decode::{DecodeError, decode};
use crate::row::encode::{EncodeError, encode};

/// Why a message has no row. Holds no byte of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It is no record.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is one that cannot be stored.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// zstd failed, which its contract excludes for a buffer of sufficient size.
    #[error("{0}")]
    Compress(String),
}

impl RowError {
    /// All labels that there are.
    pub const LABELS: [&'static str; 5] =
        ["empty", "malformed", "timestamp", "too_large", "compress"];

    /// A stable name for metrics, one of few.
    pub fn label(&self) -> &'static str {
        match self {
            RowError::Decode(DecodeError::Empty) => "empty",
            RowError::Decode(DecodeError::Malformed(_)) => "malformed",
            RowError::Encode(EncodeError::Timestamp(_)) => "timestamp",
            RowError::Encode(EncodeError::TooLarge(_)) => "too_large",
            RowError::Compress(_) => "compress",
        }
    }
}

/// Appends the row of a message to `out` and returns its timestamp in seconds of Unix time, or says why
/// it has none; `out` is then as it was.
///
/// # Errors
/// The reason, without any byte of the message.
pub fn row(message: &[u8], policy: &Policy, out: &mut Vec<u8>) -> Result<u32, RowError> {
    Ok(decode(message, |record| {
        encode(&anonymize(record, policy), out)
    })??)
}

#[cfg(test)]
mod tests {
    use capnp::ErrorKind;

    use super::*;

    #[test]
    fn each_reason_has_a_label_of_the_list() {
        let all = [
            RowError::Decode(DecodeError::Empty),
            RowError::Decode(DecodeError::Malformed(ErrorKind::Failed)),
            RowError::Encode(EncodeError::Timestamp(0)),
            RowError::Encode(EncodeError::TooLarge(0)),
            RowError::Compress(String::new()),
        ];
        assert_eq!(all.map(|e| e.label()), RowError::LABELS);
    }
}
