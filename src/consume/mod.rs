//! Polls Kafka, and asks its coordinator: the only part that knows rdkafka.
//!
//! Rebalances come out of [`Consumer::poll`] as events, like messages. librdkafka waits until
//! [`Consumer::assign`] or [`Consumer::unassign`] answers, so the whole of a rebalance is plain
//! code in the ingest loop and no work is done inside a callback.

mod fetched;
mod native;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use crate::ownership::{CommitError, Committed, Group, GroupError, Note, OffsetCommit, Start};
pub use fetched::{Fetch, Fetched, Taken};
use native::Membership;

/// How long a question to the coordinator or a leader may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the controller may take to tell the topic's id, without which work goes on.
const TOPIC_ID_TIMEOUT: Duration = Duration::from_secs(2);

/// What [`Consumer::poll`] brings. Messages come by [`Fetched`].
pub enum Event {
    /// Partitions to take; answer with [`Consumer::assign`].
    Assign(Vec<i32>),
    /// Partitions to let go; answer with [`Consumer::unassign`].
    Revoke {
        /// The partitions.
        partitions: Vec<i32>,
        /// They are no longer ours already, so a commit would come too late.
        lost: bool,
    },
    /// A partition's next offset is not in Kafka (any more).
    OutOfRange,
    /// A fault that librdkafka goes on to mend by itself, in words.
    Trouble(String),
    /// The client cannot go on, as when another instance has taken its `group.instance.id`.
    Fatal(String),
    /// Nothing within the time given.
    Nothing,
}

impl Event {
    /// What an error means that is not the end of the client.
    pub fn trouble(code: Option<RDKafkaErrorCode>, words: &dyn std::fmt::Display) -> Event {
        match code {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Event::OutOfRange
            }
            _ => Event::Trouble(words.to_string()),
        }
    }
}

struct Rebalance {
    assign: bool,
    partitions: Vec<i32>,
}

/// Receives librdkafka's callbacks and only notes them down.
#[derive(Default)]
pub struct Context {
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// Nobody polls any more: a revocation is answered here, or closing would wait for ever.
    closing: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => log::warn!("kafka: {facility}: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                log::info!("kafka: {facility}: {message}");
            }
            RDKafkaLogLevel::Debug => log::debug!("kafka: {facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::warn!("kafka: {error}: {reason}");
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

/// Settings of the consumer.
pub struct ConsumerOptions<'a> {
    /// Bootstrap brokers, `host:port,...`.
    pub brokers: &'a str,
    /// The one topic.
    pub topic: &'a str,
    /// Consumer group.
    pub group: &'a str,
    /// Installation id, for static membership: a restart takes its partitions back at once.
    pub installation: &'a str,
    /// librdkafka properties of the user, over ours.
    pub properties: &'a BTreeMap<String, String>,
}

/// A member of the consumer group. Shared by the thread that polls and the one that commits.
#[derive(Clone)]
pub struct Consumer {
    inner: Arc<BaseConsumer<Context>>,
    topic: String,
}

impl Consumer {
    /// Joins the group; partitions come as events.
    ///
    /// # Errors
    /// If librdkafka refuses a property; an unreachable broker is no error here.
    pub fn subscribe(options: &ConsumerOptions<'_>) -> Result<Consumer, KafkaError> {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "anonymizer")
            .set("group.id", options.group)
            .set(
                "group.instance.id",
                format!("anonymizer-{}", options.installation),
            )
            // Offsets live in the queue; a commit follows its sync and nothing else.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // An offset that Kafka no longer has must be seen, not skipped.
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            // A backlog must not pile up in memory before it reaches the disk. 16 MiB were no faster on one
            // machine, and the process took 70 MiB more.
            .set("queued.max.messages.kbytes", "4096")
            // Members hear of a rebalance at a heartbeat, and a partition that moves stands still for it.
            .set("heartbeat.interval.ms", "1000")
            .set("fetch.queue.backoff.ms", "20");
        config.set("bootstrap.servers", options.brokers);
        for (name, value) in options.properties {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        let inner: BaseConsumer<Context> = config.create_with_context(Context::default())?;
        inner.subscribe(&[options.topic])?;
        Ok(Consumer {
            inner: Arc::new(inner),
            topic: options.topic.to_owned(),
        })
    }

    /// Where messages of assigned partitions come.
    pub fn fetched(&self) -> Fetched {
        Fetched::new(Arc::clone(&self.inner))
    }

    /// The next event, if there is one. To be called all the time, or Kafka takes us for dead.
    pub fn poll(&self) -> Event {
        let polled = self.inner.poll(Duration::ZERO);
        let rebalance = {
            let context: &Context = self.inner.context();
            context
                .rebalances
                .lock()
                .expect("BUG: a callback panicked")
                .pop_front()
        };
        if let Some(r) = rebalance {
            return if r.assign {
                Event::Assign(r.partitions)
            } else {
                Event::Revoke {
                    partitions: r.partitions,
                    lost: self.inner.assignment_lost(),
                }
            };
        }
        match polled {
            // Every partition is forwarded before it is assigned, so no message comes here.
            None | Some(Ok(_)) => Event::Nothing,
            Some(Err(e)) => {
                if let Some((code, words)) = self.inner.client().fatal_error() {
                    return Event::Fatal(format!("{code}: {words}"));
                }
                Event::trouble(e.rdkafka_error_code(), &e)
            }
        }
    }

    /// Answers [`Event::Assign`]: reading starts at the given offsets, into `fetched`.
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn assign(&self, starts: &[Start], fetched: &Fetched) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for start in starts {
            fetched.forward(&self.topic, start.partition);
            list.add_partition_offset(&self.topic, start.partition, Offset::Offset(start.offset))?;
        }
        match self.inner.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.inner.incremental_assign(&list),
            _ => self.inner.assign(&list),
        }
    }

    /// Answers [`Event::Revoke`].
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn unassign(&self, partitions: &[i32]) -> Result<(), KafkaError> {
        match self.inner.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                self.inner.incremental_unassign(&self.list(partitions))
            }
            _ => self.inner.unassign(),
        }
    }

    /// Reads `partition` from `offset` on.
    ///
    /// # Errors
    /// If librdkafka refuses, as for a partition that is not assigned.
    pub fn seek(&self, partition: i32, offset: i64) -> Result<(), KafkaError> {
        self.inner
            .seek(&self.topic, partition, Offset::Offset(offset), ASK_TIMEOUT)
    }

    /// Polling has ended for good; the group is left when the last clone is dropped.
    pub fn close(&self) {
        let context: &Context = self.inner.context();
        context.closing.store(true, Ordering::SeqCst);
    }

    /// Stops or resumes fetching of partitions; polling must go on.
    ///
    /// # Errors
    /// If librdkafka refuses.
    pub fn pause(&self, partitions: &[i32], pause: bool) -> Result<(), KafkaError> {
        let list = self.list(partitions);
        if pause {
            self.inner.pause(&list)
        } else {
            self.inner.resume(&list)
        }
    }

    fn list(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        list
    }
}

impl Group for Consumer {
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        let unanswered = |e: KafkaError| CommitError::Unanswered(e.to_string());
        let before = Membership::of(&self.inner).ok_or(CommitError::NotMember)?;
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for o in offsets {
            let mut element = list.add_partition(&self.topic, o.partition);
            element
                .set_offset(Offset::Offset(o.offset))
                .map_err(unanswered)?;
            element.set_metadata(&o.metadata);
        }
        self.inner
            .commit(&list, CommitMode::Sync)
            .map_err(unanswered)?;
        for element in list.elements() {
            element.error().map_err(unanswered)?;
        }
        if Membership::of(&self.inner).as_ref() != Some(&before) {
            return Err(CommitError::Unanswered(
                "the membership changed while the commit was under way".into(),
            ));
        }
        Ok(())
    }

    fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
        let list = self
            .inner
            .committed_offsets(self.list(partitions), ASK_TIMEOUT)
            .map_err(|e| GroupError(format!("committed offsets: {e}")))?;
        let metadata: BTreeMap<i32, Option<String>> =
            native::commit_metadata(&list).into_iter().collect();
        let mut committed = BTreeMap::new();
        for element in list.elements() {
            element.error().map_err(|e| {
                GroupError(format!(
                    "committed offset of partition {}: {e}",
                    element.partition()
                ))
            })?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(
                    element.partition(),
                    Committed {
                        offset,
                        note: metadata
                            .get(&element.partition())
                            .and_then(|text| Note::parse(text.as_deref()?)),
                    },
                );
            }
        }
        Ok(committed)
    }

    fn topic_id(&self) -> Result<Option<String>, GroupError> {
        native::topic_id(&self.inner, &self.topic, TOPIC_ID_TIMEOUT)
            .map_err(|e| GroupError(format!("topic {}: {e}", self.topic)))
    }

    fn watermarks(&self, partition: i32) -> Result<(i64, i64), GroupError> {
        self.inner
            .fetch_watermarks(&self.topic, partition, ASK_TIMEOUT)
            .map_err(|e| GroupError(format!("offsets of partition {partition}: {e}")))
    }
}
