//! librdkafka's callbacks, which only note down what they are told.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, TopicPartitionList};

use super::fault::Fault;
use super::oauth::{Tokens, without_tokens};
use super::recipe::Recipe;
use super::{Watch, handshake};

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
    /// Where the group's member tells what it sees.
    watched: Option<Watched>,
    pub(super) tokens: Option<Arc<Tokens>>,
}

struct Watched {
    watch: Arc<Watch>,
    topic: String,
    config: ClientConfig,
}

impl Context {
    /// Of a client that is beside the group's member.
    pub(super) fn beside(recipe: &Recipe) -> Context {
        Context {
            tokens: recipe.tokens().cloned(),
            ..Context::default()
        }
    }

    /// Of the group's member, of the recipe and what it gave.
    pub(super) fn watched(
        watch: &Arc<Watch>,
        topic: &str,
        recipe: &Recipe,
        config: &ClientConfig,
    ) -> Context {
        Context {
            watched: Some(Watched {
                watch: Arc::clone(watch),
                topic: topic.to_owned(),
                config: config.clone(),
            }),
            ..Context::beside(recipe)
        }
    }
}

impl Watched {
    /// A connection failed, as librdkafka says.
    fn failed(&self, line: &str, tokens: Option<&Arc<Tokens>>) {
        let Some(fault) = Fault::of_line(line) else {
            return;
        };
        let fault = Tokens::explain(tokens, fault);
        if self.watch.met(&fault) {
            let (watch, config) = (Arc::clone(&self.watch), self.config.clone());
            let ask = move || watch.explained(&handshake::explain(fault, &config));
            // Without a thread to ask, it is asked again later.
            drop(thread::Builder::new().name("handshake".into()).spawn(ask));
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Tokens::answer(self.tokens.as_ref(), |fault| {
            if let Some(watched) = &self.watched {
                watched.watch.met(fault);
            }
        })
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let (Some(watched), "FAIL") = (&self.watched, facility) {
            watched.failed(message, self.tokens.as_ref());
        }
        let message = without_tokens(message);
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
        if let Some(Watched { watch, topic, .. }) = &self.watched {
            watch.told(&statistics, topic);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = without_tokens(reason);
        if let Some(Watched {
            watch,
            topic,
            config,
        }) = &self.watched
        {
            let code = error.rdkafka_error_code();
            let is_all_down = code == Some(RDKafkaErrorCode::AllBrokersDown);
            watch.failed(is_all_down, &format!("{error}: {reason}"));
            let group = config.get("group.id").unwrap_or_default();
            if let Some(fault) = code.and_then(|code| Fault::of_code(code, topic, group)) {
                watch.met(&fault);
            }
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
