//! HTTP to ClickHouse: one request over one new connection, and what the answer means.

mod answer;
mod codes;
mod connection;
mod exception;
mod exchange;
mod header;
mod retry_after;
mod tls;
mod url;

pub(in crate::clickhouse) use ureq::http::HeaderValue;

pub(in crate::clickhouse) use self::answer::{Answer, Sent};
pub(in crate::clickhouse) use self::exchange::Exchange;
pub use self::exchange::Heard;
pub(in crate::clickhouse) use self::header::header;
pub(in crate::clickhouse) use self::tls::Tls;
pub(in crate::clickhouse) use self::url::Base;
