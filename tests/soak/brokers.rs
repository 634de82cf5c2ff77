//! What happens to the brokers: three of them, and each record is on all three.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;

use crate::instance::{Handle, tell};
use crate::kafka::Cluster;
use crate::notes::Notes;
use crate::support::chance::Chance;
use crate::support::kafka::{Kafka, TOPIC, wait};

pub const NODES: usize = 3;
/// For so much of the run the group's coordinator is spared. Its end can have Kafka take a member for its own
/// double (LIMITATIONS.md), and a program that was started again says nothing about its memory.
const COORDINATOR_FALLS: f64 = 0.3;
/// Fewer unread records are not cut.
const UNREAD: i64 = 60;

#[derive(Clone, Copy)]
enum Fault {
    Killed,
    Restarted,
    Frozen,
    ReadRecordsCut,
    UnreadRecordsCut,
}

const FAULTS: &[Fault] = &[
    Fault::Killed,
    Fault::Killed,
    Fault::Restarted,
    Fault::Frozen,
    Fault::ReadRecordsCut,
    Fault::ReadRecordsCut,
    Fault::UnreadRecordsCut,
];

pub struct Brokers<'a> {
    pub cluster: &'a Cluster,
    pub kafka: &'a Kafka,
    /// Who reads from them.
    pub readers: &'a [Handle],
}

impl Brokers<'_> {
    /// Faults from `chance` until the end.
    pub fn disturb(&self, chance: Chance, notes: &Notes) {
        notes.disturb(FAULTS, chance, 20..100, |fault, chance| {
            self.suffer(fault, chance, notes);
        });
    }

    fn suffer(&self, fault: Fault, chance: &mut Chance, notes: &Notes) {
        match fault {
            Fault::Killed => {
                let (node, who) = self.one(chance, notes);
                self.cluster.signal(node, Signal::KILL);
                notes.fault("Kafka: a broker SIGKILL", who);
                notes.wait(2 + chance.below(40));
                self.start(node, notes);
            }
            Fault::Restarted => {
                let (node, who) = self.one(chance, notes);
                notes.fault("Kafka: a broker restarted", who);
                self.cluster.stop(node);
                notes.wait(chance.below(20));
                self.start(node, notes);
            }
            Fault::Frozen => {
                let (node, who) = self.one(chance, notes);
                self.cluster.signal(node, Signal::STOP);
                notes.fault("Kafka: a broker frozen", who);
                notes.wait(2 + chance.below(40));
                self.cluster.signal(node, Signal::CONT);
            }
            Fault::ReadRecordsCut => {
                let below = self.kafka.committed();
                if self.cut(&below, notes) {
                    notes.fault("Kafka: read records deleted", "");
                }
            }
            Fault::UnreadRecordsCut => self.cut_unread(chance, notes),
        }
    }

    fn start(&self, node: usize, notes: &Notes) {
        notes.insist("a broker starts", || self.cluster.starts_again(node));
    }

    /// As they should be.
    pub fn heal(&self, notes: &Notes) {
        for node in 0..NODES {
            notes.attempt(|| self.cluster.signal(node, Signal::CONT));
            self.start(node, notes);
        }
    }

    fn one(&self, chance: &mut Chance, notes: &Notes) -> (usize, &'static str) {
        let node = chance.below(NODES as u64) as usize;
        if self.cluster.coordinator() != Some(node) {
            (node, "")
        } else if notes.share() < COORDINATOR_FALLS {
            (node, "the coordinator")
        } else {
            ((node + 1) % NODES, "")
        }
    }

    /// As retention that overtakes its readers: they stand still, and half of what they have not read of a
    /// partition goes.
    fn cut_unread(&self, chance: &mut Chance, notes: &Notes) {
        let partition = chance.below(6) as i32;
        let _still = StandStill::of(self.readers);
        notes.wait(2);
        if let Some(committed) = self.kafka.committed().get(&partition).copied() {
            let mut end = 0;
            notes.wait_until(8, || {
                end = self.cluster.ends(partition).1;
                end - committed > UNREAD
            });
            let below = committed + (end - committed) / 2;
            if end - committed > UNREAD && self.cut(&BTreeMap::from([(partition, below)]), notes) {
                let what = format!("partition {partition}, {committed} to {below}");
                notes.fault("Kafka: unread records deleted", &what);
            }
        }
    }

    fn cut(&self, below: &BTreeMap<i32, i64>, notes: &Notes) -> bool {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in below {
            list.add_partition_offset(TOPIC, *partition, Offset::Offset(*offset))
                .unwrap();
        }
        let admin: AdminClient<DefaultClientContext> = self.kafka.config().create().unwrap();
        match wait(admin.delete_records(&list, &AdminOptions::new())) {
            Ok(cut) => cut.elements().iter().all(|e| e.error().is_ok()),
            Err(e) => {
                notes.say(&format!("nothing was deleted: {e}"));
                false
            }
        }
    }
}

/// Processes that go on when it is dropped, though their owner may be ending them.
struct StandStill(Vec<u32>);

impl StandStill {
    fn of(readers: &[Handle]) -> StandStill {
        let pids: Vec<u32> = readers
            .iter()
            .filter_map(|r| r.process().map(|(pid, _)| pid))
            .collect();
        pids.iter().for_each(|pid| tell(*pid, Signal::STOP));
        StandStill(pids)
    }
}

impl Drop for StandStill {
    fn drop(&mut self) {
        self.0.iter().for_each(|pid| tell(*pid, Signal::CONT));
    }
}
