//! librdkafka's callbacks, which only note down what they are told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, TopicPartitionList};

use super::Watch;

/// Target of what librdkafka itself says: of its words only the kind is compared, see `runtime::logging`.
const SPEAKER: &str = "librdkafka";

pub(super) struct Rebalance {
    pub(super) assign: bool,
    pub(super) partitions: Vec<i32>,
}

/// Receives librdkafka's callbacks and only notes them down.
#[derive(Default)]
pub struct Context {
    pub(super) rebalances: Mutex<VecDeque<Rebalance>>,
    /// Nobody polls any more: a revocation is answered here, or closing would wait for ever.
    pub(super) closing: AtomicBool,
    /// Where the group's member tells what it sees, and of which topic.
    watch: Option<(Arc<Watch>, String)>,
}

impl Context {
    pub(super) fn watched(watch: &Arc<Watch>, topic: &str) -> Context {
        Context {
            watch: Some((Arc::clone(watch), topic.to_owned())),
            ..Context::default()
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
                if facility == "FAIL" =>
            {
                // `error` is told the same.
                log::debug!(target: SPEAKER, "{facility}: {message}");
            }
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => log::warn!(target: SPEAKER, "{facility}: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                log::info!(target: SPEAKER, "{facility}: {message}");
            }
            RDKafkaLogLevel::Debug => log::debug!(target: SPEAKER, "{facility}: {message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        if let Some((watch, topic)) = &self.watch {
            watch.told(&statistics, topic);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some((watch, _)) = &self.watch {
            let code = error.rdkafka_error_code();
            let is_all_down = code == Some(RDKafkaErrorCode::AllBrokersDown);
            watch.failed(is_all_down, &format!("{error}: {reason}"));
        }
        log::warn!(target: SPEAKER, "{error}: {reason}");
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::SeqCst) {
            let answered = match consumer.rebalance_protocol() {
                RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
                _ => consumer.unassign(),
            };
            if let Err(e) = answered {
                log::warn!("kafka: cannot let partitions go while closing: {e}");
            }
            return;
        }
        let partitions = partitions
            .elements()
            .iter()
            .map(|e| e.partition())
            .collect();
        self.rebalances
            .lock()
            .expect("BUG: a callback panicked")
            .push_back(Rebalance {
                assign: err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS,
                partitions,
            });
    }
}
