//! What is asked of the coordinator and of leaders: commits, offsets, the topic's id, single records.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::ffi::{self, Membership};
use super::probe::Probe;
use super::{ASK_TIMEOUT, Consumer};
use crate::ownership::{CommitError, Committed, Group, GroupError, Note, OffsetCommit};
use crate::record::Mark;

/// How long each of the two questions for all commits may take, for which inserts wait.
const NOTES_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the controller may take to tell the topic's id, without which work goes on.
const TOPIC_ID_TIMEOUT: Duration = Duration::from_secs(2);

impl Consumer {
    fn new_probe(&self) -> Result<Probe, String> {
        Probe::new(&self.recipe, &self.topic)
    }

    fn committed_within(
        &self,
        partitions: &[i32],
        within: Duration,
    ) -> Result<BTreeMap<i32, Committed>, GroupError> {
        let list = self
            .client()
            .committed_offsets(self.list(partitions), within)
            .map_err(|e| GroupError(format!("committed offsets: {e}")))?;
        let metadata: BTreeMap<i32, Option<String>> =
            ffi::commit_metadata(&list).into_iter().collect();
        let epochs: BTreeMap<i32, i32> = ffi::epochs(&list).into_iter().collect();
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
                        epoch: epochs.get(&element.partition()).copied(),
                        note: metadata
                            .get(&element.partition())
                            .and_then(|text| Note::parse(text.as_deref()?)),
                    },
                );
            }
        }
        Ok(committed)
    }
}

impl Group for Consumer {
    fn commit(&self, offsets: &[OffsetCommit]) -> Result<(), CommitError> {
        let unanswered = |e: KafkaError| CommitError::Unanswered(e.to_string());
        let client = self.client();
        let before = Membership::of(&client).ok_or(CommitError::NotMember)?;
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for o in offsets {
            let mut element = list.add_partition(&self.topic, o.partition);
            element
                .set_offset(Offset::Offset(o.offset))
                .map_err(unanswered)?;
            element.set_metadata(&o.metadata);
        }
        ffi::set_epochs(&mut list, offsets.iter().map(|o| o.epoch));
        client.commit(&list, CommitMode::Sync).map_err(unanswered)?;
        for element in list.elements() {
            element.error().map_err(unanswered)?;
        }
        if Membership::of(&client).as_ref() != Some(&before) {
            return Err(CommitError::Unanswered(
                "the membership changed while the commit was under way".into(),
            ));
        }
        Ok(())
    }

    fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, Committed>, GroupError> {
        self.committed_within(partitions, ASK_TIMEOUT)
    }

    fn notes(&self) -> Result<BTreeMap<i32, Committed>, GroupError> {
        let words = |e: String| GroupError(format!("topic {}: {e}", self.topic));
        let client = self.client();
        let metadata = client
            .fetch_metadata(Some(&self.topic), NOTES_TIMEOUT)
            .map_err(|e| words(e.to_string()))?;
        drop(client);
        let topic = metadata.topics().first();
        let topic = topic.ok_or_else(|| words("unknown".to_owned()))?;
        if let Some(e) = topic.error() {
            return Err(words(format!("{e:?}")));
        }
        let partitions: Vec<i32> = topic.partitions().iter().map(|p| p.id()).collect();
        self.committed_within(&partitions, NOTES_TIMEOUT)
    }

    fn is_away(&self) -> bool {
        self.watch.seen().down.is_some()
    }

    fn topic_id(&self) -> Result<Option<String>, GroupError> {
        ffi::topic_id(&self.client(), &self.topic, TOPIC_ID_TIMEOUT)
            .map_err(|e| GroupError(format!("topic {}: {e}", self.topic)))
    }

    fn watermarks(&self, partition: i32) -> Result<(i64, i64), GroupError> {
        self.client()
            .fetch_watermarks(&self.topic, partition, ASK_TIMEOUT)
            .map_err(|e| GroupError(format!("offsets of partition {partition}: {e}")))
    }

    fn first_from(&self, partition: i32, offset: i64) -> Result<Option<Mark>, GroupError> {
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match &mut *probe {
            Some(probe) => probe.first_from(partition, offset),
            None => self
                .new_probe()
                .and_then(|new| probe.insert(new).first_from(partition, offset)),
        };
        found.map_err(|words| {
            // The next one asks all brokers anew.
            *probe = None;
            GroupError(format!("record {offset} of partition {partition}: {words}"))
        })
    }

    fn fresh_topic_id(&self) -> Result<Option<String>, GroupError> {
        self.new_probe()
            .and_then(|new| ffi::topic_id(new.client(), &self.topic, TOPIC_ID_TIMEOUT))
            .map_err(|e| GroupError(format!("topic {}: {e}", self.topic)))
    }

    fn fresh_watermarks(&self, partition: i32) -> Result<(i64, i64), GroupError> {
        let words = |e: String| GroupError(format!("offsets of partition {partition}: {e}"));
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        let probe = match &mut *probe {
            Some(probe) => probe,
            None => probe.insert(self.new_probe().map_err(words)?),
        };
        probe
            .client()
            .fetch_watermarks(&self.topic, partition, ASK_TIMEOUT)
            .map_err(|e| words(e.to_string()))
    }

    fn all_asked(&self) {
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
