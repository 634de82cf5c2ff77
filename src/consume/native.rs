//! What the safe API lacks: who we are to the group coordinator at this moment, and commit
//! metadata that is no UTF-8 (the safe accessor panics on it, and any program may have written it).
#![allow(unsafe_code)]

use std::ffi::CStr;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

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
