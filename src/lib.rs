//! `anonymizer`: a write-ahead-logged durable forwarder.
//!
//! Synchronous threads take HTTP log records from a Kafka topic, mask the client address, append
//! the rows to an on-disk queue, and only then commit the Kafka offsets. A flusher drains the
//! queue about once a minute as RowBinary over HTTP, through a proxy that lets one request a minute
//! pass, into ClickHouse. Crash anywhere, and every record still arrives; a resend carries the same
//! token and is not stored twice.
//!
//! ```text
//!            ingest thread                        store thread                   flusher thread
//! Kafka --poll--> decode > anonymize > encode --block--> compress, append, sync --> commit to Kafka
//!                                                       |  (sled, data dir)
//!                                                       +--> seal batch > insert over HTTP > ack
//! ```
//!
//! Threads are joined by a bounded channel; a full one slows the thread before it, nothing is
//! dropped.
//!
//! # One word per act
//! *poll* (Kafka), *append*, *sync* (to the disk), *commit* (a Kafka offset), *seal* (fix a batch
//! before its first send), *insert* (into ClickHouse), *ack* (the batch is stored; release it).
//!
//! # Two orders carry the promise
//! 1. append -> sync -> commit: [`store`]. The other way round loses records.
//! 2. seal -> sync -> insert -> ack: [`flush`]. The other way round loses or doubles a batch.
//!
//! # What is absent
//! - No plaintext address reaches the disk: only [`privacy`] makes what [`row`] takes, and only rows
//!   reach [`queue`]. Nor does one reach a log line, an answer or a metric. Of a message that cannot
//!   become a row only [`privacy::Masked`] bytes are kept, or none.
//! - Nothing but [`record`] sees generated Cap'n Proto types, nothing but [`queue`] knows sled,
//!   nothing but [`clickhouse`] speaks with ClickHouse and judges its answers (`capacity` words one
//!   question itself), nothing but [`kafka`] polls.
//! - No import runs back up: `ops/lib/imports.py` has the order of these folders, and checks it.
//! - No row is sent that another instance may send: [`ownership`].
//! - No request is made but through the one limiter of the data dir: [`flush::limiter`].
//! - No async runtime.
//!
//! The modules, in the order data flows:

pub mod kafka;

pub mod record;

pub mod privacy;

pub mod row;

pub mod ingest;

pub mod ownership;

pub mod store;

pub mod queue;

pub mod flush;

pub mod clickhouse;

pub mod observe;

pub mod settings;

pub mod pipeline;

pub mod cli;

pub mod runtime;

/// Generated from `schema/http_log.capnp` by `build.rs`; at the root because the generated code
/// names itself so. Only [`record`] reads and writes with it.
#[allow(missing_docs, unsafe_code, unused, clippy::all)]
mod http_log_capnp {
    include!(concat!(env!("OUT_DIR"), "/http_log_capnp.rs"));
}
