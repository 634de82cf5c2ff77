//! The name of a data dir.

/// Random, 16 hex digits.
pub(in crate::queue) fn new_installation_id() -> String {
    format!(
        "{:016x}",
        getrandom::u64().expect("the kernel's random source works")
    )
}
