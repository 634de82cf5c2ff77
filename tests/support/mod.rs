//! What the tests share.

pub mod fake_clickhouse;
pub mod kafka;
pub mod program;
