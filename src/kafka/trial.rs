//! Can the topic be read? Asked by `check`, with a client that joins no group; each reason why not is a
//! sentence of its own, as far as librdkafka tells.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::ConsumerOptions;

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
    /// The user or password.
    #[error(
        "{brokers} refuses the user or password (SASL): {words}; see sasl.* in kafka_properties"
    )]
    Password {
        /// Who.
        brokers: String,
        /// librdkafka's words.
        words: String,
    },
    /// TLS.
    #[error("no TLS with {brokers}: {words}; see security.protocol and ssl.* in kafka_properties")]
    Tls {
        /// With whom.
        brokers: String,
        /// librdkafka's words.
        words: String,
    },
    /// No name leads anywhere.
    #[error("no broker of {brokers} can be found by its name: {words}; set kafka_brokers")]
    Name {
        /// The names.
        brokers: String,
        /// librdkafka's words.
        words: String,
    },
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
    /// There is none.
    #[error("there is no topic {0}; create it, or set kafka_topic")]
    NoTopic(String),
    /// It is somebody else's.
    #[error("the user may not read the topic {0}: it lacks the right to DESCRIBE and READ it")]
    Forbidden(String),
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
    codes: Mutex<Vec<RDKafkaErrorCode>>,
    /// The last line on a connection that failed.
    words: Mutex<Option<String>>,
}

impl ClientContext for Heard {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if matches!(facility, "FAIL" | "ERROR") {
            // `[thrd:...]: host:port/bootstrap: what happened`
            let words = message
                .rsplit_once("]: ")
                .map_or(message, |(_, words)| words);
            *lock(&self.words) = Some(words.to_owned());
        }
    }

    fn error(&self, error: KafkaError, _: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            let mut codes = lock(&self.codes);
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
    }
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
    // The client that `run` would have.
    let client: BaseConsumer<Heard> = options
        .client_config()
        .set("statistics.interval.ms", "0")
        .create_with_context(Heard::default())
        .map_err(|e| Unusable::Client(e.to_string()))?;
    let began = Instant::now();
    loop {
        let left = within.saturating_sub(began.elapsed());
        let asked = client.fetch_metadata(Some(options.topic), ASK.min(left));
        let mut last = None;
        if let Ok(metadata) = &asked
            && let Some(topic) = metadata.topics().first()
        {
            match topic.error().map(RDKafkaErrorCode::from) {
                None if !topic.partitions().is_empty() => return Ok(topic.partitions().len()),
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
                ) => {
                    return Err(Unusable::NoTopic(options.topic.to_owned()));
                }
                Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                    return Err(Unusable::Forbidden(options.topic.to_owned()));
                }
                code => last = Some(code),
            }
        }
        // A fault is told by an event, which somebody must take.
        while let Some(event) = client.poll(Duration::ZERO) {
            if let Err(e) = event {
                client.context().error(e, "");
            }
        }
        let heard = |code| lock(&client.context().codes).contains(&code);
        let brokers = options.brokers.to_owned();
        let words = lock(&client.context().words).clone();
        let said = words.clone().unwrap_or_default();
        let settled = began.elapsed() >= SETTLED.min(within);
        if settled && heard(RDKafkaErrorCode::Authentication) {
            return Err(Unusable::Password {
                brokers,
                words: said,
            });
        }
        // A broker that has no TLS hangs up.
        if settled && (heard(RDKafkaErrorCode::SSL) || said.contains("SSL_HANDSHAKE")) {
            return Err(Unusable::Tls {
                brokers,
                words: said,
            });
        }
        if began.elapsed() < within {
            continue;
        }
        let topic = options.topic.to_owned();
        return Err(match last {
            Some(Some(code)) => Unusable::Topic {
                topic,
                words: code.to_string(),
            },
            Some(None) => Unusable::Topic {
                topic,
                words: "it has no partitions".to_owned(),
            },
            None if heard(RDKafkaErrorCode::Resolve) => Unusable::Name {
                brokers,
                words: said,
            },
            None => Unusable::Silent {
                brokers,
                seconds: within.as_secs(),
                words: words.map_or(String::new(), |words| format!(": {words}")),
            },
        });
    }
}
