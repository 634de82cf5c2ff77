//! What kind of hold it is: a stable word for metrics, as in `ops/runbook.md`.

use crate::clickhouse::SinkError;

/// What keeps inserts waiting for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A table or view is missing or not as it must be.
    Tables,
    /// The user is not known, or may not do it.
    Access,
    /// ClickHouse, or what is in its place, answers what sending again cannot change.
    Refused,
    /// Two batches in a row were refused for their data.
    Data,
    /// A batch got no answer several times.
    Unanswered,
    /// A batch may be stored, and nobody can tell.
    Unclear,
    /// A batch that may be stored is too long by now.
    TooLarge,
    /// A batch cannot be packed on the disk.
    Disk,
}

/// Codes by which ClickHouse refuses a user.
const ACCESS: [u32; 6] = [
    192, // UNKNOWN_USER
    193, // WRONG_PASSWORD
    194, // REQUIRED_PASSWORD
    195, // IP_ADDRESS_NOT_ALLOWED
    497, // ACCESS_DENIED
    516, // AUTHENTICATION_FAILED
];

impl Hold {
    /// The words of all.
    pub const WORDS: [&'static str; 8] = [
        "tables",
        "access",
        "refused",
        "data",
        "unanswered",
        "unclear",
        "too_large",
        "disk",
    ];

    /// What an answer that holds is.
    pub(super) fn of(e: &SinkError) -> Hold {
        match e {
            SinkError::Missing { .. } => Hold::Tables,
            SinkError::Reject { .. } => Hold::Data,
            _ if e.code().is_some_and(|code| ACCESS.contains(&code)) => Hold::Access,
            _ => Hold::Refused,
        }
    }

    /// The word.
    pub fn word(self) -> &'static str {
        Hold::WORDS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_password_is_told_from_other_refusals() {
        let hold = |code| SinkError::Hold {
            code,
            words: String::new(),
            ambiguous: false,
        };
        assert_eq!(Hold::of(&hold(Some(516))).word(), "access");
        assert_eq!(Hold::of(&hold(Some(115))).word(), "refused");
        assert_eq!(Hold::of(&hold(None)).word(), "refused");
        assert_eq!(Hold::Disk.word(), "disk");
        assert_eq!(Hold::Tables.word(), "tables");
    }
}
