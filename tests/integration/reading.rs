//! Is every partition read that is held, whatever happened to it before: paused, moved, overtaken by
//! retention?

use std::time::{Duration, Instant};

use anonymizer::kafka::{Consumer, ConsumerOptions, Event, Fetched};
use anonymizer::ownership::Start;
use anonymizer::queue::LaneId;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::alone::alone;
use crate::support::kafka::{GROUP, TOPIC, messages};
use crate::support::program::Setup;
use crate::support::wait::{MOMENT, PATIENCE};
use crate::support::world::World;

fn held(status: &Value) -> usize {
    status["partitions"].as_array().map_or(0, Vec::len)
}

/// A quarantine that is full pauses reading until somebody empties it.
fn fill_quarantine(w: &mut World) {
    w.kafka.send(&vec![vec![0xfe; 100]; 6000]);
}

fn empty_quarantine(setup: &Setup) {
    let out = setup
        .command("quarantine")
        .args(["drop", "--all", "--yes"])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words}");
}

/// librdkafka keeps the pause of a partition that is taken away: what came back was never read.
#[test]
fn a_partition_that_moved_away_while_paused_is_read_after_it_returns() {
    let mut w = World::of(3);
    let mut first = w.another();
    first.set("--max-quarantine-bytes", "1MiB");
    let program = first.run();
    first.wait_status(|s| held(s) == 3);
    fill_quarantine(&mut w);
    program.wait_log("reading from Kafka pauses");

    let second = w.another();
    let other = second.run();
    second.wait_status(|s| held(s) > 0);
    // The pause ends while they are away.
    empty_quarantine(&first);
    program.wait_log("reading from Kafka goes on");
    other.kill();
    first.wait_status(|s| held(s) == 3);

    w.kafka.produce(1, 3000);
    w.finish_as(&first, program);
}

/// The mock cluster keeps 5 MiB a partition, as `retention.bytes` does.
#[test]
fn retention_that_overtakes_a_running_instance_is_recorded_and_reading_goes_on() {
    let mut w = World::of(1);
    let mut setup = w.another();
    setup.set("--kafka-properties", "session.timeout.ms=6000");
    w.kafka.produce(1, 300);
    let mut program = setup.run();
    w.wait_all_stored();
    for round in 1..3 {
        // Frozen, it cannot keep up, and its session lasts for longer than this.
        program.signal(Signal::STOP);
        let sent = messages(1 + round, 50_000);
        w.kafka
            .send_keyed(sent.iter().map(|m| (m.as_slice(), None)));
        program.signal(Signal::CONT);
        let status =
            setup.wait_status(|s| s["lost"].as_array().map(Vec::len) == Some(round as usize));
        let ended = program.ended();
        assert!(ended.is_none(), "{ended:?}: {}", program.log());
        let lost = &status["lost"][round as usize - 1];
        let at = |name: &str| lost[name].as_i64().unwrap() as usize;
        let begin = 300 + (round as usize - 1) * 50_000;
        let (from, to) = (at("from") - begin, at("to") - begin);
        assert!(from < to && to < sent.len(), "{lost}");
        w.kafka.expect(&sent[..from]);
        w.kafka.expect(&sent[to..]);
        w.wait_all_stored();
    }
    w.finish_as(&setup, program);
}

#[test]
fn a_stop_while_the_group_does_not_answer_ends_well() {
    let w = World::of(1);
    w.kafka.refuse(
        RDKafkaApiKey::OffsetFetch,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
    );
    let setup = w.another();
    let program = setup.run();
    program.wait_log("trying again");
    program.stop();
}

/// librdkafka looks at properties together only when a client is made.
#[test]
fn check_fails_where_run_cannot_start() {
    let w = World::of(1);
    let mut setup = w.another();
    setup.add("--kafka-properties", "session.timeout.ms=3600000");
    for (command, code) in [("check", 3), ("run", 1)] {
        let out = setup.command(command).output().unwrap();
        let words = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{command}: {words}");
        assert!(words.contains("max.poll.interval.ms"), "{command}: {words}");
    }
}

/// The client may have to be replaced just when no broker answers.
#[test]
fn a_new_client_does_not_wait_for_brokers_that_are_gone() {
    alone(|| {
        let mut w = World::of(1);
        // The mock cluster does not know a member again by its instance id.
        let properties = [("session.timeout.ms".to_owned(), "6000".to_owned())].into();
        let options = ConsumerOptions {
            brokers: &w.kafka.brokers,
            topic: TOPIC,
            group: GROUP,
            installation: "one",
            properties: &properties,
            password_file: None,
            tokens: None,
        };
        let consumer = Consumer::subscribe(&options).unwrap();
        let mut fetched = consumer.fetched();
        assign_all(&consumer, &fetched);
        w.kafka.brokers_down();
        let began = Instant::now();
        let another = consumer.another().unwrap();
        consumer.renew(another, &mut fetched).unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "{began:?}");
        w.kafka.brokers_up();
        assign_all(&consumer, &fetched);
        consumer.close();
    });
}

/// Polls until the partition is assigned, and takes it.
fn assign_all(consumer: &Consumer, fetched: &Fetched) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Event::Assign(partitions) = consumer.poll() {
            let start = |partition| Start {
                partition,
                lane: LaneId(1),
                offset: 0,
                epoch: None,
            };
            let starts: Vec<Start> = partitions.into_iter().map(start).collect();
            consumer.assign(&starts, fetched).unwrap();
            if !starts.is_empty() {
                return;
            }
        }
        assert!(Instant::now() < deadline, "nothing is assigned");
        std::thread::sleep(MOMENT);
    }
}
