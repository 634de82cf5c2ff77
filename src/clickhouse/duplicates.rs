//! Tables of which the user said that a resend may be stored again.

/// Which tables may store a resend again, or merge rows away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedDuplicates {
    /// None: inserts are held.
    None,
    /// All of them, and releases of ClickHouse of which it is not known.
    All,
    /// These.
    Tables(Vec<String>),
}

impl AllowedDuplicates {
    /// Whether it was said of this table.
    pub fn covers(&self, table: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Tables(names) => names.iter().any(|name| name == table),
        }
    }
}
