//! Real Kafka, several instances, and what operators do to a topic.
//!
//! - Three instances share a group; killed, frozen and stopped at random while records keep coming,
//!   they store every record once. A frozen one that wakes after the group threw it out is a zombie:
//!   nothing that it still holds is stored twice.
//! - A broker that restarts loses nothing.
//! - Records of aborted transactions are not stored; the gaps that they leave are no loss.
//! - An offset set back by an operator doubles nothing.
//! - A topic that is deleted and created again is read from its start.
//!
//! ClickHouse is the strict fake one of `tests/support`, with a request a second, since the proxy's
//! minute would make an hour of it. `CLUSTER_SECONDS` sets how long the random part runs.

#[path = "../support/mod.rs"]
mod support;

mod kafka;

use std::time::{Duration, Instant};

use rdkafka::producer::{BaseRecord, Producer as _};
use rustix::process::Signal;

use kafka::Broker;
use support::fake_clickhouse::FakeClickHouse;
use support::kafka::{Kafka, TOPIC, messages};
use support::program::{Program, Setup};

const PATIENCE: Duration = Duration::from_secs(180);
const PARTITIONS: i32 = 6;

struct World {
    broker: Broker,
    kafka: Kafka,
    clickhouse: FakeClickHouse,
}

impl World {
    fn new() -> World {
        let broker = Broker::start(PARTITIONS);
        let kafka = Kafka::at(&broker.address(), PARTITIONS);
        World {
            broker,
            kafka,
            clickhouse: FakeClickHouse::start(),
        }
    }

    fn setup(&self) -> Setup {
        Setup::new(&self.kafka, &self.clickhouse)
    }

    fn wait_all_stored(&self) {
        let want = self.kafka.expected_rows();
        self.clickhouse
            .wait_until(|s| s.row_count() >= want, PATIENCE);
    }

    fn assert_exactly_once(&self) {
        self.clickhouse.assert_holds_once(&self.kafka.expected);
    }
}

/// SplitMix64: the same seed gives the same schedule.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

#[test]
fn three_instances_killed_frozen_and_stopped_store_every_record_once() {
    let mut w = World::new();
    let setups: Vec<Setup> = (0..3).map(|_| w.setup()).collect();
    let mut running: Vec<Option<Program>> = setups.iter().map(|s| Some(s.run())).collect();
    let mut frozen = [false; 3];
    let mut random = Random(env("CLUSTER_SEED", 1));
    let (mut seed, mut kills, mut freezes, mut stops) = (0, 0, 0, 0);
    let end = Instant::now() + Duration::from_secs(env("CLUSTER_SECONDS", 60));
    while Instant::now() < end {
        seed += 1;
        w.kafka.produce(seed, 600 + random.below(3000) as usize);
        let i = random.below(3) as usize;
        match (&running[i], random.below(4)) {
            (Some(program), 0) => {
                if frozen[i] {
                    program.signal(Signal::CONT);
                } else {
                    program.signal(Signal::STOP);
                    freezes += 1;
                }
                frozen[i] = !frozen[i];
            }
            (Some(_), 1) if !frozen[i] => {
                running[i].take().unwrap().kill();
                kills += 1;
            }
            (Some(_), 2) if !frozen[i] && stops < 5 => {
                running[i].take().unwrap().stop();
                stops += 1;
            }
            (None, _) => running[i] = Some(setups[i].run()),
            _ => {}
        }
    }
    for (i, program) in running.iter_mut().enumerate() {
        match program {
            Some(program) if frozen[i] => program.signal(Signal::CONT),
            Some(_) => {}
            None => *program = Some(setups[i].run()),
        }
    }
    w.wait_all_stored();
    for (i, setup) in setups.iter().enumerate() {
        let status = setup.wait_status(|s| s["queue"]["rows"] == 0);
        assert_eq!(status["lost"].as_array().unwrap().len(), 0, "instance {i}");
    }
    for program in running.into_iter().flatten() {
        program.stop();
    }
    w.assert_exactly_once();
    println!(
        "{} records, {kills} kills, {freezes} freezes, {stops} stops",
        w.kafka.expected_rows()
    );
}

#[test]
fn a_broker_restart_loses_nothing() {
    let mut w = World::new();
    let setup = w.setup();
    let program = setup.run();
    w.kafka.produce(1, 20_000);
    w.clickhouse.wait_until(|s| s.row_count() > 0, PATIENCE);
    w.broker.restart();
    w.kafka.produce(2, 20_000);
    w.wait_all_stored();
    program.stop();
    w.assert_exactly_once();
}

#[test]
fn records_of_aborted_transactions_are_not_stored() {
    let mut w = World::new();
    let producer: rdkafka::producer::BaseProducer = w
        .kafka
        .config()
        .set("transactional.id", "test")
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    for round in 0..6u64 {
        let batch = messages(100 + round, 500);
        producer.begin_transaction().unwrap();
        for (i, message) in batch.iter().enumerate() {
            let record = BaseRecord::<(), Vec<u8>>::to(TOPIC)
                .partition(i as i32 % PARTITIONS)
                .payload(message);
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        // The delivery reports have to be fetched before a transaction can end.
        producer.flush(PATIENCE).unwrap();
        if round % 2 == 0 {
            producer.abort_transaction(PATIENCE).unwrap();
        } else {
            producer.commit_transaction(PATIENCE).unwrap();
            w.kafka.expect(&batch);
        }
    }
    let setup = w.setup();
    let program = setup.run();
    w.wait_all_stored();
    let status = setup.wait_status(|s| s["queue"]["rows"] == 0);
    assert_eq!(status["lost"].as_array().unwrap().len(), 0);
    program.stop();
    w.assert_exactly_once();
}

#[test]
fn an_offset_set_back_by_an_operator_doubles_nothing() {
    let mut w = World::new();
    let setup = w.setup();
    w.kafka.produce(1, 6_000);
    let program = setup.run();
    w.wait_all_stored();
    program.stop();
    w.broker.wait_group_empty();
    w.broker.set_offsets(100);
    w.kafka.produce(2, 6_000);
    let program = setup.run();
    w.wait_all_stored();
    setup.wait_status(|s| s["queue"]["rows"] == 0);
    let log = program.log();
    program.stop();
    assert!(log.contains("was not set by this program"), "{log}");
    w.assert_exactly_once();
}

#[test]
fn a_topic_created_again_is_read_from_its_start() {
    let mut w = World::new();
    let setup = w.setup();
    w.kafka.produce(1, 600);
    let program = setup.run();
    w.wait_all_stored();
    program.stop();
    w.broker.recreate_topic();
    // More than before, so that the old offsets exist in the new topic as well.
    w.kafka.produce(2, 6_000);
    let program = setup.run();
    w.wait_all_stored();
    setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
}
