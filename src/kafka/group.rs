//! The group of an instance that is not running, asked from beside it.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::oauth::{self, Tokens};
use super::{ConsumerOptions, Seen};
use crate::runtime::clock::now_ms;
use crate::runtime::conditions::Trouble;

/// Where the logs of the topic end, and what the group has committed. Joins no group, and takes at most
/// about three times `timeout`. What is not answered is [`Seen::down`].
pub fn ask(options: &ConsumerOptions<'_>, timeout: Duration) -> (Seen, BTreeMap<i32, i64>) {
    let mut seen = Seen {
        told_ms: Some(now_ms()),
        ..Seen::default()
    };
    match try_ask(options, timeout) {
        Ok((ends, committed)) => {
            seen.ends = ends;
            (seen, committed)
        }
        Err(words) => {
            seen.down = Some(Trouble::new("unreachable", &words));
            (seen, BTreeMap::new())
        }
    }
}

/// Says nothing: the answer tells what failed.
struct Silent(Option<Arc<Tokens>>);

impl ClientContext for Silent {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Tokens::answer(self.0.as_ref(), |_| {})
    }

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silent {}

type Offsets = BTreeMap<i32, i64>;

fn try_ask(options: &ConsumerOptions<'_>, timeout: Duration) -> Result<(Offsets, Offsets), String> {
    let words = |e: KafkaError| e.to_string();
    let recipe = options.recipe();
    let mut config = recipe.config().map_err(words)?;
    config.remove("group.instance.id");
    config.set("statistics.interval.ms", "0");
    // What cannot be reached is told once, by us.
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    if let Some(tokens) = recipe.tokens() {
        tokens.get(timeout).map_err(|fault| fault.to_string())?;
    }
    let silent = Silent(recipe.tokens().cloned());
    let client: BaseConsumer<Silent> = oauth::create(&config, silent).map_err(words)?;
    let metadata = client
        .fetch_metadata(Some(options.topic), timeout)
        .map_err(words)?;
    let topic = metadata
        .topics()
        .first()
        .ok_or("it does not know the topic")?;
    if let Some(e) = topic.error() {
        return Err(format!("topic {}: {e:?}", options.topic));
    }
    let mut list = TopicPartitionList::new();
    let mut ends = Offsets::new();
    for partition in topic.partitions() {
        list.add_partition(options.topic, partition.id());
        let marks = client.fetch_watermarks(options.topic, partition.id(), timeout);
        ends.insert(partition.id(), marks.map_err(words)?.1);
    }
    let list = client.committed_offsets(list, timeout).map_err(words)?;
    let committed = list
        .elements()
        .into_iter()
        .filter_map(|e| match e.offset() {
            Offset::Offset(offset) => Some((e.partition(), offset)),
            _ => None,
        });
    Ok((ends, committed.collect()))
}
