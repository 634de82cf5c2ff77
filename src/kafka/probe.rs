//! Single records, read beside the group by a client of their own: one that knows nothing of before, so
//! that what it says of a log is true now.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::recipe::Recipe;
use super::{ASK_TIMEOUT, Context, oauth};
use crate::kafka::ffi as native;
use crate::record::Mark;

const POLL: Duration = Duration::from_millis(100);

pub struct Probe {
    client: BaseConsumer<Context>,
    topic: String,
}

impl Probe {
    /// # Errors
    /// In words, if librdkafka cannot make a client.
    pub fn new(recipe: &Recipe, topic: &str) -> Result<Probe, String> {
        let mut config = recipe.config().map_err(|e| e.to_string())?;
        // Not a member: it subscribes to nothing, and must not look like a double of the one that does.
        config.remove("group.instance.id");
        config
            .set("enable.partition.eof", "true")
            .set("statistics.interval.ms", "0")
            // A record that was read stays what it was, however far open transactions let others read.
            .set("isolation.level", "read_uncommitted")
            .set("fetch.message.max.bytes", "65536")
            .set("fetch.wait.max.ms", "10");
        let client = oauth::create(&config, Context::beside(recipe));
        Ok(Probe {
            client: client.map_err(|e| e.to_string())?,
            topic: topic.to_owned(),
        })
    }

    /// The client, for other questions.
    pub fn client(&self) -> &BaseConsumer<Context> {
        // By a poll librdkafka asks for a new token.
        drop(self.client.poll(Duration::ZERO));
        &self.client
    }

    /// The first record of a partition at or behind `offset`; `None` at the end.
    ///
    /// # Errors
    /// In words, if it cannot be read now.
    pub fn first_from(&mut self, partition: i32, offset: i64) -> Result<Option<Mark>, String> {
        let mut list = TopicPartitionList::with_capacity(1);
        let at = Offset::Offset(offset);
        let words = |e: KafkaError| e.to_string();
        list.add_partition_offset(&self.topic, partition, at)
            .map_err(words)?;
        self.client.assign(&list).map_err(words)?;
        let deadline = Instant::now() + ASK_TIMEOUT;
        while Instant::now() < deadline {
            match self.client.poll(POLL) {
                Some(Ok(m)) if m.partition() == partition && m.offset() >= offset => {
                    // SAFETY: `m` owns the message, and outlives the reference.
                    let message = unsafe { &*m.ptr() };
                    let payload = m.payload().unwrap_or_default();
                    let time = native::time_of(message);
                    return Ok(Some(native::mark_of(message, time, payload)));
                }
                Some(Err(KafkaError::PartitionEOF(p))) if p == partition => return Ok(None),
                Some(Err(e)) => log::debug!("kafka: {e}, while a single record is read"),
                _ => {}
            }
        }
        Err("no answer in time".to_owned())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let context: &Context = self.client.context();
        context.closing.store(true, Ordering::SeqCst);
    }
}
