//! Can the topic be read? Asked by `check`, with a client that joins no group; each reason why not is a
//! sentence of its own, as far as librdkafka tells.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::fault::{Fault, Reason};
use super::oauth::{self, Tokens, without_tokens};
use super::{ConsumerOptions, handshake};

/// How long one question may take; faults are heard of in between.
const ASK: Duration = Duration::from_secs(1);

/// After so long a refused password or certificate is the answer: no other broker has taken it.
const SETTLED: Duration = Duration::from_secs(3);

/// Why the topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// librdkafka makes no client of these settings.
    #[error("no Kafka client can be made of these settings: {0}")]
    Client(String),
    /// One of the faults that have a remedy.
    #[error("{0}; {remedy}", remedy = .0.reason.remedy())]
    Fault(Fault),
    /// Nothing.
    #[error("{brokers} does not answer within {seconds} s{words}; set kafka_brokers")]
    Silent {
        /// Who.
        brokers: String,
        /// How long it was waited.
        seconds: u64,
        /// librdkafka's words behind a colon, if it has any.
        words: String,
    },
    /// Another fault of the topic.
    #[error("topic {topic}: {words}")]
    Topic {
        /// Its name.
        topic: String,
        /// The broker's words.
        words: String,
    },
}

/// Notes down what librdkafka says.
#[derive(Default)]
struct Heard {
    /// What was met last, and the last line on a connection that failed.
    fault: Mutex<Option<Fault>>,
    words: Mutex<Option<String>>,
    tokens: Option<Arc<Tokens>>,
}

impl ClientContext for Heard {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Tokens::answer(self.tokens.as_ref(), |fault| {
            *lock(&self.fault) = Some(fault.clone());
        })
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if matches!(facility, "FAIL" | "ERROR") {
            let message = &*without_tokens(message);
            if let Some(fault) = Fault::of_line(message) {
                *lock(&self.fault) = Some(Tokens::explain(self.tokens.as_ref(), fault));
            }
            // `[thrd:...]: host:port/bootstrap: what happened`
            let words = message
                .rsplit_once("]: ")
                .map_or(message, |(_, words)| words);
            *lock(&self.words) = Some(words.to_owned());
        }
    }

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Heard {}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many partitions the topic has, asked for `within` at most. Joins no group.
///
/// # Errors
/// [`Unusable`].
pub fn partitions(options: &ConsumerOptions<'_>, within: Duration) -> Result<usize, Unusable> {
    let unusable = |e: KafkaError| Unusable::Client(e.to_string());
    // The client that `run` would have.
    let recipe = options.recipe();
    let mut config = recipe.config().map_err(unusable)?;
    config.set("statistics.interval.ms", "0");
    let began = Instant::now();
    if let Some(tokens) = recipe.tokens() {
        tokens.get(within).map_err(Unusable::Fault)?;
    }
    let heard = Heard {
        tokens: recipe.tokens().cloned(),
        ..Heard::default()
    };
    let client: BaseConsumer<Heard> = oauth::create(&config, heard).map_err(unusable)?;
    loop {
        let left = within.saturating_sub(began.elapsed());
        let asked = client.fetch_metadata(Some(options.topic), ASK.min(left));
        let mut last = None;
        if let Ok(metadata) = &asked
            && let Some(topic) = metadata.topics().first()
        {
            let code = topic.error().map(RDKafkaErrorCode::from);
            if code.is_none() && !topic.partitions().is_empty() {
                return Ok(topic.partitions().len());
            }
            if let Some(fault) = code.and_then(|c| Fault::of_code(c, options.topic, options.group))
            {
                return Err(Unusable::Fault(fault));
            }
            last = Some(code);
        }
        // A fault is told by an event, which somebody must take.
        while client.poll(Duration::ZERO).is_some() {}
        let fault = lock(&client.context().fault).clone();
        let settled = began.elapsed() >= SETTLED.min(within);
        if let Some(fault) = fault.filter(|f| settled && f.reason.needs_a_person()) {
            let fault = match fault.reason {
                Reason::Certificate => handshake::explain(fault, &config),
                _ => fault,
            };
            return Err(Unusable::Fault(fault));
        }
        if began.elapsed() < within {
            continue;
        }
        let topic = options.topic.to_owned();
        let fault = lock(&client.context().fault).clone();
        return Err(match (last, fault) {
            (Some(Some(code)), _) => Unusable::Topic {
                topic,
                words: code.to_string(),
            },
            (Some(None), _) => Unusable::Topic {
                topic,
                words: "it has no partitions".to_owned(),
            },
            (None, Some(fault)) => Unusable::Fault(fault),
            (None, None) => Unusable::Silent {
                brokers: options.brokers.to_owned(),
                seconds: within.as_secs(),
                words: lock(&client.context().words)
                    .as_ref()
                    .map_or(String::new(), |words| format!(": {words}")),
            },
        });
    }
}
