//! What polling brings.

use rdkafka::error::RDKafkaErrorCode;

/// What [`super::Consumer::poll`] brings. Messages come by [`super::Fetched`].
pub enum Event {
    /// Partitions to take; answer with [`super::Consumer::assign`].
    Assign(Vec<i32>),
    /// Partitions to let go; answer with [`super::Consumer::unassign`].
    Revoke {
        /// The partitions.
        partitions: Vec<i32>,
        /// They are no longer ours already, so a commit would come too late.
        lost: bool,
    },
    /// A partition's next offset is not in Kafka (any more); answer with [`super::Consumer::renew`].
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
