//! Messages, many at a time: a call for each costs librdkafka a third of its own work again.
//!
//! Assigned partitions are forwarded to one queue that holds messages and nothing else; rebalances
//! and errors of the client stay where [`super::Consumer::poll`] finds them.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

use super::Context;
use crate::kafka::ffi as native;
use crate::record::Mark;

/// Most messages taken at a time.
const AT_ONCE: usize = 1000;

/// The queue that fetched messages come by.
pub struct Fetched {
    queue: NonNull<sys::rd_kafka_queue_t>,
    taken: Vec<*mut sys::rd_kafka_message_t>,
    /// Outlives the queue.
    consumer: Arc<BaseConsumer<Context>>,
}

/// A message, or what came in its place.
pub enum Fetch<'a> {
    /// A message.
    Message {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// What it is known again by.
        mark: Mark,
        /// Its time as Kafka tells it, Unix ms; -1 if it has none.
        kafka_ms: i64,
        /// Its bytes; empty if it has none.
        payload: &'a [u8],
    },
    /// librdkafka says this about a partition.
    Trouble(RDKafkaErrorCode),
}

impl Fetched {
    pub(super) fn new(consumer: Arc<BaseConsumer<Context>>) -> Fetched {
        // SAFETY: the client is alive, and `consumer` keeps it so until after the queue's end.
        let queue = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Fetched {
            queue: NonNull::new(queue).expect("librdkafka allocates a queue"),
            taken: Vec::with_capacity(AT_ONCE),
            consumer,
        }
    }

    /// Has the messages of a partition come here. To be called before the partition is assigned.
    pub(super) fn forward(&self, topic: &str, partition: i32) {
        let topic = CString::new(topic).expect("a topic that was subscribed to has no NUL");
        // SAFETY: client and both queues are alive; the reference to the partition's queue that
        // `get_partition` gives is given back, and forwarding holds one of its own.
        unsafe {
            let client = self.consumer.client().native_ptr();
            let from = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            if !from.is_null() {
                sys::rd_kafka_queue_forward(from, self.queue.as_ptr());
                sys::rd_kafka_queue_destroy(from);
            }
        }
    }

    /// What has been fetched, at most [`AT_ONCE`] messages. Waits for the first one, at most
    /// `timeout`.
    pub fn take(&mut self, timeout: Duration) -> Taken<'_> {
        self.fill(AT_ONCE, Duration::ZERO);
        if self.taken.is_empty() {
            // librdkafka waits until all that it was asked for is there.
            self.fill(1, timeout);
        }
        Taken {
            at: 0,
            taken: &mut self.taken,
        }
    }

    fn fill(&mut self, most: usize, timeout: Duration) {
        debug_assert!(self.taken.is_empty() && most <= AT_ONCE);
        // Rounded up: with the last part of a millisecond as none, the caller came back until it was
        // over, which was two thirds of what an idle instance took.
        let timeout_ms = timeout.as_micros().div_ceil(1000) as i32;
        // SAFETY: the vector has room for `most` pointers, and librdkafka writes as many valid ones
        // as it returns (-1 for an error, which this queue cannot have).
        unsafe {
            let n = sys::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                timeout_ms,
                self.taken.as_mut_ptr(),
                most,
            );
            self.taken.set_len(usize::try_from(n).unwrap_or(0));
        }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used by nobody else, and the client is still alive.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Messages taken; gives them back to librdkafka when dropped.
pub struct Taken<'a> {
    taken: &'a mut Vec<*mut sys::rd_kafka_message_t>,
    at: usize,
}

impl Taken<'_> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Whether the last one is a message.
    pub fn ends_in_message(&self) -> bool {
        let good = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        // SAFETY: as in `next`.
        self.taken
            .last()
            .is_some_and(|m| unsafe { (**m).err } == good)
    }

    /// The next one.
    #[allow(clippy::should_implement_trait, reason = "it lends from itself")]
    pub fn next(&mut self) -> Option<Fetch<'_>> {
        let message = *self.taken.get(self.at)?;
        self.at += 1;
        // SAFETY: librdkafka's message is valid until it is destroyed, which `drop` does; its
        // payload is null or as long as it says.
        let message = unsafe { &*message };
        if message.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Some(Fetch::Trouble(message.err.into()));
        }
        let payload = if message.payload.is_null() {
            &[]
        } else {
            // SAFETY: as above.
            unsafe { std::slice::from_raw_parts(message.payload.cast::<u8>(), message.len) }
        };
        let kafka_ms = native::time_of(message);
        Some(Fetch::Message {
            partition: message.partition,
            offset: message.offset,
            mark: native::mark_of(message, kafka_ms, payload),
            kafka_ms,
            payload,
        })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for message in self.taken.drain(..) {
            // SAFETY: each came from librdkafka and is destroyed once: `drain` empties the vector.
            unsafe { sys::rd_kafka_message_destroy(message) }
        }
    }
}
