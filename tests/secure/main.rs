//! Secure connections on real parts: one Kafka broker with a listener of each kind, an nginx that asks for
//! certificates.
//!
//! - Every way in reads every record once: TLS, client certificates, PLAIN, SCRAM-SHA-256 and -512.
//! - Tokens of an endpoint and of a file get in, are renewed while records are read, and each way in which
//!   there is none, or the broker refuses it, has its own words and ends without a restart.
//! - Every refusal has its own words in `check`, the status and the metric, and loses nothing.
//! - What is renewed in a file is used; what does not get in is not.
//! - Rights that are taken away are named, and reading goes on once they are back.
//! - Records are read whatever they were compressed with.
//! - ClickHouse by https with an authority of its own and client certificates.

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod clickhouse;
mod issuer;
mod kafka;
mod oauth;
