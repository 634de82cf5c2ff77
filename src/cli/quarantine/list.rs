//! `quarantine list`: the messages, and sums by the reason why they are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::json;

use super::{Damaged, line, pages};
use crate::cli::json::Stream;
use crate::observe::quarantine::{Ask, Entry};
use crate::queue::Which;
use crate::runtime::clock::rfc3339;

/// The flags of `quarantine list`.
#[derive(Debug, Clone, clap::Args)]
pub struct ListArgs {
    /// Show at most so many; the sums are of all
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Only those of this Kafka partition
    #[arg(long, value_name = "P")]
    pub partition: Option<i32>,
    /// Only those with these words in their reason
    #[arg(long, value_name = "WORDS")]
    pub reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl ListArgs {
    fn takes(&self, entry: &Entry) -> bool {
        let reason = &entry.facts.message.reason;
        self.partition.is_none_or(|p| p == entry.facts.partition)
            && self.reason.as_ref().is_none_or(|r| reason.contains(&r[..]))
    }
}

/// All messages of one reason.
#[derive(Debug, Serialize)]
struct Sum {
    reason: String,
    count: u64,
    /// Of the messages, kept or not.
    bytes: u64,
    /// When the first and the last of them were read, Unix ms.
    first_ms: u64,
    last_ms: u64,
    partitions: BTreeSet<i32>,
}

/// Reasons that are told apart; messages of others are added up together.
const MOST_REASONS: usize = 1000;

#[derive(Default)]
struct Sums(BTreeMap<String, Sum>);

impl Sums {
    fn add(&mut self, entry: &Entry) {
        let m = &entry.facts.message;
        let full = self.0.len() >= MOST_REASONS && !self.0.contains_key(&m.reason);
        let reason = if full { "other reasons" } else { &m.reason };
        let sum = self.0.entry(reason.to_owned()).or_insert_with(|| Sum {
            reason: reason.to_owned(),
            count: 0,
            bytes: 0,
            first_ms: u64::MAX,
            last_ms: 0,
            partitions: BTreeSet::new(),
        });
        sum.count += 1;
        sum.bytes += m.len;
        sum.first_ms = sum.first_ms.min(entry.facts.read_ms);
        sum.last_ms = sum.last_ms.max(entry.facts.read_ms);
        sum.partitions.insert(entry.facts.partition);
    }

    /// The largest first.
    fn sorted(self) -> Vec<Sum> {
        let mut all: Vec<Sum> = self.0.into_values().collect();
        all.sort_by_key(|sum| std::cmp::Reverse(sum.count));
        all
    }
}

/// Lists what is there.
pub fn list(data_dir: &Path, args: &ListArgs) -> anyhow::Result<Damaged> {
    let (mut count, mut shown) = (0, 0);
    let mut sums = Sums::default();
    let mut out = Stream::default();
    let damaged = pages(data_dir, Ask::List(Which::default()), |entry| {
        if !args.takes(&entry) {
            return Ok(());
        }
        count += 1;
        sums.add(&entry);
        if args.limit.is_some_and(|limit| shown >= limit) {
            return Ok(());
        }
        shown += 1;
        if args.json {
            return out.item(&entry);
        }
        say!("{}", line(&entry));
        Ok(())
    })?;
    let sums = sums.sorted();
    if args.json {
        out.end(&json!({"count": count, "reasons": sums}))?;
        return Ok(damaged);
    }
    if shown < count {
        say!("({} more are not shown)", count - shown);
    }
    for sum in &sums {
        let partitions: Vec<String> = sum.partitions.iter().map(i32::to_string).collect();
        say!(
            "{:>8} messages, {} bytes, read {} to {}, partitions {}: {}",
            sum.count,
            sum.bytes,
            rfc3339(sum.first_ms),
            rfc3339(sum.last_ms),
            partitions.join(", "),
            sum.reason
        );
    }
    say!("{count} messages");
    Ok(damaged)
}
