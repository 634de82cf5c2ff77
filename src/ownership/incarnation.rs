//! Which log is read: the topic by its id, and how often a partition's log was cut.

use super::{Committed, Cut, Group, GroupError, Lanes, Ownership};
use crate::queue::{Lane, QueueError, Trail};

/// What is known of the topic once its id was asked for.
pub(super) enum Identified {
    /// It is the one that was known, or none was, or brokers tell no ids.
    AsBefore,
    /// It was deleted and created again.
    Another,
    /// Nobody tells, and it may be another one by now.
    Unknown(GroupError),
}

impl<L: Lanes, G: Group> Ownership<'_, L, G> {
    /// Learns the topic's id. Where brokers tell none, the
    /// last one known stands.
    pub(super) fn identify_topic(&mut self) -> Result<Identified, QueueError> {
        let last = self.queue.incarnation(&self.topic)?;
        let now = match self.confirmed_topic_id(last.as_deref()) {
            Ok(Some(id)) => format!("{}@{id}", self.topic),
            Ok(None) => {
                self.identified = true;
                self.incarnation = last.unwrap_or_else(|| self.topic.clone());
                return Ok(Identified::AsBefore);
            }
            // It may be another topic by now: read as a log that was cut, it would be read once more when
            // the id is learnt.
            Err(e) if last.as_ref().is_some_and(|last| last.contains('@')) => {
                return Ok(Identified::Unknown(e));
            }
            Err(e) => {
                log::warn!("cannot learn the topic's id, and none is known: {e}");
                self.incarnation.clone_from(&self.topic);
                return Ok(Identified::AsBefore);
            }
        };
        let changed = self.incarnation != now && self.incarnation != self.topic;
        if last.as_ref() != Some(&now) {
            self.queue.keep_incarnation(&self.topic, &now)?;
        }
        self.incarnation = now;
        self.identified = true;
        // Also where it is found at an assignment: the client that was assigned it reads nothing of a
        // topic whose leaders' epochs are lower than it knows.
        self.recreated |= changed;
        Ok(match changed {
            true => Identified::Another,
            false => Identified::AsBefore,
        })
    }

    /// The topic's id. Another one than before is believed only if two more clients are told the same.
    fn confirmed_topic_id(&self, last: Option<&str>) -> Result<Option<String>, GroupError> {
        let told = self.group.topic_id()?;
        let known = last.and_then(|last| last.split_once('@'));
        if let (Some(id), Some((_, known))) = (&told, known)
            && id != known
        {
            for _ in 0..2 {
                let fresh = self.group.fresh_topic_id()?;
                // What a stale broker tells changes nothing.
                if fresh.as_deref() == Some(known) {
                    return Ok(fresh);
                }
                if fresh != told {
                    let words = format!("brokers tell different ids of topic {}", self.topic);
                    return Err(GroupError(words));
                }
            }
        }
        Ok(told)
    }

    /// Whether the topic was deleted and created again under the partitions held, so that they must
    /// be read anew. Asked from time to time: with larger offsets Kafka gives no sign of it. To be believed
    /// it has to be told at two calls.
    ///
    /// # Errors
    /// [`QueueError`] if the queue failed.
    pub fn topic_was_recreated(&mut self) -> Result<bool, QueueError> {
        if self.held.is_empty() {
            return Ok(false);
        }
        let told = match self.group.topic_id() {
            Ok(Some(id)) => Some(format!("{}@{id}", self.topic)),
            _ => None,
        };
        let is_other = self.incarnation != self.topic && told.as_ref() != Some(&self.incarnation);
        let told = told.filter(|_| is_other);
        if told.is_some() && told != self.watch.topic {
            log::warn!("a broker tells another id of the topic than before; it is asked again");
            self.watch.topic = told;
        } else {
            self.watch.topic = None;
            if let Identified::Unknown(e) = self.identify_topic()? {
                log::warn!("cannot learn the topic's id, so it is taken for the one known: {e}");
            }
        }
        Ok(std::mem::take(&mut self.recreated))
    }

    pub(super) fn is_of_another_topic(&self, committed: &Committed) -> bool {
        let id = committed.note.as_ref().and_then(|n| n.topic_id.as_deref());
        let id = id.and_then(|id| id.split('#').next()).unwrap_or_default();
        !id.is_empty()
            && self.incarnation.contains('@')
            && self.incarnation != format!("{}@{id}", self.topic)
    }

    /// How often the log was cut, as we know it or, if another instance noticed it, as it says.
    pub(super) fn cuts_of(
        &self,
        partition: i32,
        committed: Option<&Committed>,
    ) -> Result<Cut, QueueError> {
        let ours = self.queue.cut(&self.incarnation, partition)?;
        let ours = ours.unwrap_or_default();
        let told = committed.and_then(|c| Some((cuts_in(c)?, c.offset)));
        match told {
            Some((number, at)) if number > ours.number => {
                let cut = Cut { number, at };
                self.queue.keep_cut(&self.incarnation, partition, cut)?;
                Ok(cut)
            }
            _ => Ok(ours),
        }
    }

    /// The name under which the queue keeps what it knows of a partition's log, see [`Lane::topic`].
    pub(super) fn log_name(&self, cut: Cut) -> String {
        match cut.number {
            0 => self.incarnation.clone(),
            n => format!("{}#{n}", self.incarnation),
        }
    }

    /// Lanes of the log, also those begun while the topic's id was not known.
    pub(super) fn is_of_log(&self, lane: &Lane, log: &str) -> bool {
        lane.topic == log || (lane.topic == self.topic && log == self.incarnation)
    }

    pub(super) fn eligible_next(
        &self,
        partition: i32,
        log: &str,
    ) -> Result<Option<i64>, QueueError> {
        let of_log = self.queue.eligible_next(log, partition)?;
        if log != self.incarnation || log == self.topic {
            return Ok(of_log);
        }
        Ok(of_log.max(self.queue.eligible_next(&self.topic, partition)?))
    }

    pub(super) fn trail_of(&self, partition: i32, log: &str) -> Result<Trail, QueueError> {
        let of_log = self.queue.trail(log, partition)?;
        if log != self.incarnation || !of_log.is_empty() {
            return Ok(of_log);
        }
        self.queue.trail(&self.topic, partition)
    }
}

/// How often the log had been cut when a commit was made; `None` if it is not one of this program.
pub(super) fn cuts_in(committed: &Committed) -> Option<u32> {
    let note = committed.note.as_ref()?;
    let number = note.topic_id.as_deref().and_then(|id| id.split_once('#'));
    Some(number.and_then(|(_, n)| n.parse().ok()).unwrap_or(0))
}
