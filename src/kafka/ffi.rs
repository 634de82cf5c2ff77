//! What the safe API lacks: who we are to the group coordinator at this moment, commit metadata that
//! is no UTF-8 (the safe accessor panics on it, and any program may have written it), and a topic's id.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use crate::record::Mark;

/// Member id and generation. Equal before and after a commit, they prove that the commit was sent
/// with them: a generation is never used twice, and one that was lost in between could only come
/// back through a rebalance, which the committing thread takes part in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    member: String,
    generation: i32,
}

impl Membership {
    /// Asks librdkafka. `None` while not a member of a group.
    pub fn of<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Membership> {
        // SAFETY: the pointer comes from a live consumer, which outlives this call. The metadata
        // object is ours until destroyed below, and its member id, a NUL-terminated string owned
        // by it, is copied before that.
        let (member, generation) = unsafe {
            let metadata = sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
            if metadata.is_null() {
                return None;
            }
            let id = sys::rd_kafka_consumer_group_metadata_member_id(metadata);
            let member = if id.is_null() {
                String::new()
            } else {
                CStr::from_ptr(id).to_string_lossy().into_owned()
            };
            let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
            sys::rd_kafka_consumer_group_metadata_destroy(metadata);
            (member, generation)
        };
        (generation >= 0 && !member.is_empty()).then_some(Membership { member, generation })
    }
}

/// Has librdkafka ask for a token in 10 s, as after one that did not come: what it has is refused. It would
/// ask when 80 % of that one's time is over.
pub fn ask_for_token<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    let words = c"the broker refuses the last one";
    // SAFETY: the pointer comes from a live consumer, and the words live for ever.
    unsafe {
        let client = consumer.client().native_ptr();
        sys::rd_kafka_oauthbearer_set_token_failure(client, words.as_ptr());
    }
}

/// Topic partitions of `list` with their commit metadata; `None` where it is no UTF-8.
pub fn commit_metadata(list: &TopicPartitionList) -> Vec<(i32, Option<String>)> {
    // SAFETY: the list lives through this call, `elems` points at `cnt` of its elements, and each
    // one's metadata, if not null, at `metadata_size` bytes; all are copied.
    unsafe {
        let list = &*list.ptr();
        let elements = (0..list.cnt).map(|i| &*list.elems.offset(i as isize));
        elements
            .map(|e| {
                let bytes = if e.metadata.is_null() {
                    &[]
                } else {
                    std::slice::from_raw_parts(e.metadata.cast::<u8>(), e.metadata_size)
                };
                (e.partition, String::from_utf8(bytes.to_vec()).ok())
            })
            .collect()
    }
}

/// Sets the leader epochs of elements of `list`, in their order.
pub fn set_epochs(list: &mut TopicPartitionList, epochs: impl Iterator<Item = Option<i32>>) {
    // SAFETY: the list lives through this call and is not used elsewhere; each pointer is to one of
    // its `cnt` elements.
    unsafe {
        let list = &*list.ptr();
        for (i, epoch) in (0..list.cnt).zip(epochs) {
            let element = list.elems.offset(i as isize);
            sys::rd_kafka_topic_partition_set_leader_epoch(element, epoch.unwrap_or(-1));
        }
    }
}

/// The leader epoch of each element of `list` that has one, by partition.
pub fn epochs(list: &TopicPartitionList) -> Vec<(i32, i32)> {
    // SAFETY: as above.
    unsafe {
        let list = &*list.ptr();
        let elements = (0..list.cnt).map(|i| list.elems.offset(i as isize));
        elements
            .map(|e| {
                let epoch = sys::rd_kafka_topic_partition_get_leader_epoch(e);
                ((*e).partition, epoch)
            })
            .filter(|(_, epoch)| *epoch >= 0)
            .collect()
    }
}

/// The time of a message that librdkafka gave, Unix ms; -1 if it has none.
pub fn time_of(message: &sys::rd_kafka_message_t) -> i64 {
    // SAFETY: the message is alive; the kind of its time need not be asked for.
    unsafe { sys::rd_kafka_message_timestamp(message, ptr::null_mut()) }
}

/// Its mark, by its [time](time_of) and its bytes.
pub fn mark_of(message: &sys::rd_kafka_message_t, time_ms: i64, payload: &[u8]) -> Mark {
    // SAFETY: the message is alive.
    let epoch = unsafe { sys::rd_kafka_message_leader_epoch(message) };
    Mark::of(message.offset, epoch, time_ms, payload)
}

/// Kafka's id of a topic (KIP-516), in base64; `None` if the broker has none for it.
///
/// # Errors
/// In words, if no broker answers within `timeout` or it does not know the topic.
pub fn topic_id<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<String>, String> {
    let name = CString::new(topic).map_err(|e| e.to_string())?;
    let timeout_ms = timeout.as_millis() as i32;
    // SAFETY: the client outlives this call; every object made here is destroyed here, after the
    // last use of what it owns: the event owns the result, its topics and their strings, and the
    // id's string is copied before the event goes.
    unsafe {
        let client = consumer.client().native_ptr();
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let queue = sys::rd_kafka_queue_new(client);
        let options = sys::rd_kafka_AdminOptions_new(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        sys::rd_kafka_DescribeTopics(client, topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms + 1000);
        let found = if event.is_null() {
            Err("no answer in time".to_owned())
        } else {
            id_in(event)
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_TopicCollection_destroy(topics);
        found
    }
}

/// # Safety
/// `event` is a live DescribeTopics event.
unsafe fn id_in(event: *mut sys::rd_kafka_event_t) -> Result<Option<String>, String> {
    // SAFETY: by the contract; pointers are checked before use and point into the event.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let words = CStr::from_ptr(sys::rd_kafka_event_error_string(event));
            return Err(words.to_string_lossy().into_owned());
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err("not an answer to the question".to_owned());
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count != 1 {
            return Err(format!("{count} topics in the answer"));
        }
        let error = sys::rd_kafka_TopicDescription_error(*topics);
        if !error.is_null()
            && sys::rd_kafka_error_code(error)
                != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            let words = CStr::from_ptr(sys::rd_kafka_error_string(error));
            return Err(words.to_string_lossy().into_owned());
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(*topics);
        let zero = |id| {
            sys::rd_kafka_Uuid_most_significant_bits(id) == 0
                && sys::rd_kafka_Uuid_least_significant_bits(id) == 0
        };
        if id.is_null() || zero(id) {
            return Ok(None);
        }
        let text = CStr::from_ptr(sys::rd_kafka_Uuid_base64str(id));
        Ok(Some(text.to_string_lossy().into_owned()))
    }
}
