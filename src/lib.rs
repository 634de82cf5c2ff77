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
//! - No plaintext address reaches the disk: only [`anonymize`] makes what [`encode`] takes, and
//!   only encoded rows reach [`queue`]. Nor does one reach a log line, an answer or a metric.
//!   Of a message that cannot become a row only [`quarantine::Masked`] bytes are kept, or none.
//! - Nothing below [`decode`] sees generated Cap'n Proto types, nothing but [`queue`] knows sled,
//!   nothing but [`sink`] knows HTTP or ClickHouse's answers, nothing but [`consume`] polls Kafka.
//! - No row is sent that another instance may send: [`ownership`].
//! - No request is made but through the one limiter of the data dir: [`flush::limiter`].
//! - No async runtime.
//!
//! The modules, in the order data flows:

pub mod record;

pub mod consume;

pub mod decode;

pub mod anonymize;

pub mod encode;

pub mod minutes;

pub mod rows;

pub mod quarantine;

pub mod ingest;

pub mod ownership;

pub mod store;

pub mod queue;

pub mod flush;

pub mod sink;

pub mod reconcile;

pub mod pipeline;

pub mod capacity;

pub mod cli;

pub mod runtime;

pub mod synth;

/// Generated from `schema/http_log.capnp` by `build.rs`; at the root because the generated code
/// names itself so. Only [`decode`] reads with it and only [`synth`] writes.
#[allow(missing_docs, unsafe_code, unused, clippy::all)]
mod http_log_capnp {
    include!(concat!(env!("OUT_DIR"), "/http_log_capnp.rs"));
}
