//! Real Kafka, several instances, and what accidents and operators do to them.
//!
//! - Three instances share a group; killed, frozen and stopped at random while records keep coming,
//!   they store every record once. A frozen one that wakes after the group threw it out is a zombie:
//!   nothing that it still holds is stored twice.
//! - A broker that restarts loses nothing, nor one that is frozen and then gone for minutes.
//! - Leaders and the group's coordinator move, in good order, by a kill and by a freeze.
//! - Partitions are added.
//! - Rows are as large as Kafka's messages get.
//! - Records are deleted before a running instance has read them.
//! - Records of aborted transactions are not stored; the gaps that they leave are no loss, nor are
//!   those of compaction.
//! - An offset set back by an operator doubles nothing, nor does a group whose offsets expired.
//! - A log that is cut, as by a power failure, is read on where it was cut, also once it has grown again.
//! - A cluster that is put back from a copy under a running instance, and grows beyond what was read, is
//!   noticed, and what is not read of it is named.
//! - A topic that is deleted and created again is read from its start.
//!
//! ClickHouse is the strict fake one of `tests/support`, with a request a second, since the proxy's
//! minute would make an hour of it. `CLUSTER_SECONDS` sets how long the random part runs.

#[path = "../support/mod.rs"]
mod support;

mod cut;
mod kafka;

use std::time::{Duration, Instant};

use anonymizer::record::synth::Synth;
use rdkafka::producer::{BaseRecord, Producer as _};
use rustix::process::Signal;

use kafka::{Cluster, until};
use support::fake_clickhouse::FakeClickHouse;
use support::kafka::{Kafka, TOPIC, messages};
use support::program::{Program, Setup};

const PATIENCE: Duration = Duration::from_secs(180);
const PARTITIONS: i32 = 6;

struct World {
    cluster: Cluster,
    kafka: Kafka,
    clickhouse: FakeClickHouse,
}

impl World {
    fn new() -> World {
        World::on(Cluster::start(1, PARTITIONS))
    }

    fn on(cluster: Cluster) -> World {
        World {
            kafka: cluster.kafka(),
            cluster,
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

    /// Waits until all has arrived, stops the program, and compares.
    fn finish(&self, setup: &Setup, program: Program) {
        self.wait_all_stored();
        let status = setup.wait_status(|s| s["queue"]["rows"] == 0);
        assert_eq!(status["lost"].as_array().unwrap().len(), 0, "{status}");
        program.stop();
        self.assert_exactly_once();
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
    let seconds = env("CLUSTER_SECONDS", 60);
    // A longer run has more kills, not more rows to remember.
    let most = (180_000 / seconds).clamp(60, 3000);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        seed += 1;
        w.kafka
            .produce(seed, (most / 5 + random.below(most)) as usize);
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
    w.cluster.restart(0);
    w.kafka.produce(2, 20_000);
    w.finish(&setup, program);
}

#[test]
fn a_broker_away_for_minutes_loses_nothing() {
    let away = Duration::from_secs(env("CLUSTER_AWAY_SECONDS", 70));
    let mut w = World::new();
    let setup = w.setup();
    let mut program = setup.run();
    w.kafka.produce(1, 20_000);
    w.clickhouse.wait_until(|s| s.row_count() > 0, PATIENCE);
    // First it takes connections and says nothing, then nobody is there.
    w.cluster.signal(0, Signal::STOP);
    std::thread::sleep(away);
    w.cluster.signal(0, Signal::KILL);
    w.cluster.stop(0);
    std::thread::sleep(away);
    let ended = program.ended();
    assert!(ended.is_none(), "{ended:?}: {}", program.log());
    w.cluster.start_again(0);
    w.kafka.produce(2, 20_000);
    w.finish(&setup, program);
}

#[test]
fn leaders_and_the_coordinator_move_and_nothing_is_lost_or_doubled() {
    let mut w = World::on(Cluster::start(3, PARTITIONS));
    let setups = [w.setup(), w.setup()];
    let mut programs: Vec<Program> = setups.iter().map(Setup::run).collect();
    w.kafka.produce(1, 6_000);
    w.wait_all_stored();
    let mut fenced = 0;
    for node in 0..3 {
        w.kafka.produce(10 + node, 3_000);
        w.cluster.restart(node as usize);
        w.kafka.produce(20 + node, 3_000);
    }
    let mut moves = 0;
    for (round, signal) in (30..).zip([Signal::KILL, Signal::STOP, Signal::KILL]) {
        let coordinator = until("a coordinator", || w.cluster.coordinator());
        let of_leader = || (0..PARTITIONS).find(|p| w.cluster.leader(*p) == Some(coordinator));
        let leads = of_leader();
        w.kafka.produce(round, 3_000);
        w.cluster.signal(coordinator, signal);
        w.kafka.produce(10 + round, 3_000);
        until("another coordinator", || {
            w.cluster.coordinator().filter(|c| *c != coordinator)
        });
        if let Some(partition) = leads {
            until("another leader", || {
                w.cluster.leader(partition).filter(|l| *l != coordinator)
            });
            moves += 1;
        }
        w.kafka.produce(20 + round, 3_000);
        if signal == Signal::STOP {
            w.cluster.signal(coordinator, Signal::CONT);
        } else {
            w.cluster.start_again(coordinator);
        }
        let want = w.kafka.expected_rows();
        until("all is stored", || {
            for (setup, program) in setups.iter().zip(&mut programs) {
                fenced += u32::from(restart_if_fenced(setup, program));
            }
            (w.clickhouse.rows() >= want).then_some(())
        });
    }
    println!("{moves} leaders moved; instances fenced: {fenced}");
    assert!(moves > 0, "no node that was stopped led a partition");
    for (setup, program) in setups.iter().zip(programs) {
        w.finish(setup, program);
    }
}

/// A static member whose answer to a join was lost with the coordinator is fenced as if it had a
/// double: it ends, and is started again, as a service is.
fn restart_if_fenced(setup: &Setup, program: &mut Program) -> bool {
    let Some(status) = program.ended() else {
        return false;
    };
    let log = program.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("FencedInstanceId"), "{log}");
    *program = setup.run();
    true
}

#[test]
fn records_of_partitions_that_were_added_are_stored() {
    let mut w = World::new();
    let mut setup = w.setup();
    // By default librdkafka looks for new partitions once in five minutes.
    setup.add(
        "--kafka-properties",
        "topic.metadata.refresh.interval.ms=1000",
    );
    let program = setup.run();
    w.kafka.produce(1, 6_000);
    w.wait_all_stored();
    w.cluster.add_partitions(2 * PARTITIONS);
    w.kafka.grow(2 * PARTITIONS);
    w.kafka.produce(2, 6_000);
    let status = setup
        .wait_status(|s| s["partitions"].as_array().map(Vec::len) == Some(2 * PARTITIONS as usize));
    assert!(status["flush"]["hold"].is_null(), "{status}");
    w.finish(&setup, program);
}

#[test]
fn records_deleted_under_a_running_instance_are_lost_ranges_and_the_rest_is_read() {
    let mut w = World::new();
    let setup = w.setup();
    w.kafka.produce(1, 6_000);
    let mut program = setup.run();
    w.wait_all_stored();
    program.signal(Signal::STOP);
    let unread = messages(2, 6_000);
    w.kafka
        .send_keyed(unread.iter().map(|m| (m.as_slice(), None)));
    // Of each partition's 2,000 offsets 1,000 were read, and 300 are gone.
    w.cluster.delete_records(1_300);
    let gone = 300 * PARTITIONS as usize;
    w.kafka.expect(&unread[gone..]);
    program.signal(Signal::CONT);
    let status =
        setup.wait_status(|s| s["lost"].as_array().map(Vec::len) == Some(PARTITIONS as usize));
    for lost in status["lost"].as_array().unwrap() {
        assert_eq!((&lost["from"], &lost["to"]), (&1_000.into(), &1_300.into()));
    }
    w.kafka.produce(3, 6_000);
    w.wait_all_stored();
    setup.wait_status(|s| s["queue"]["rows"] == 0);
    let ended = program.ended();
    assert!(ended.is_none(), "{ended:?}: {}", program.log());
    program.stop();
    w.assert_exactly_once();
}

/// The last commit is another instance's, and Kafka has nothing any more of what that one read.
#[test]
fn retention_that_overtakes_what_another_instance_read_is_named_and_the_rest_is_read() {
    let mut w = World::new();
    let setups = [w.setup(), w.setup()];
    for (seed, setup) in [(1, &setups[0]), (2, &setups[1])] {
        w.kafka.produce(seed, 6_000);
        let program = setup.run();
        w.wait_all_stored();
        setup.wait_status(|s| s["queue"]["rows"] == 0);
        program.stop();
    }
    // Of each partition's 3,000 offsets 2,000 were read, and 2,300 are gone.
    let unread = messages(3, 6_000);
    w.kafka
        .send_keyed(unread.iter().map(|m| (m.as_slice(), None)));
    w.cluster.delete_records(2_300);
    w.kafka.expect(&unread[300 * PARTITIONS as usize..]);
    let program = setups[0].run();
    w.wait_all_stored();
    let status = setups[0].wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
    let lost = status["lost"].as_array().unwrap();
    assert_eq!(lost.len(), PARTITIONS as usize, "{status}");
    for lost in lost {
        assert_eq!((&lost["from"], &lost["to"]), (&2_000.into(), &2_300.into()));
    }
}

#[test]
fn a_group_whose_offsets_expired_goes_on_where_it_was() {
    let mut w = World::new();
    let setup = w.setup();
    w.kafka.produce(1, 6_000);
    let program = setup.run();
    w.wait_all_stored();
    setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.cluster.delete_group();
    assert!(w.kafka.committed().is_empty());
    w.kafka.produce(2, 6_000);
    let program = setup.run();
    w.finish(&setup, program);
    assert_eq!(w.kafka.committed().len(), PARTITIONS as usize);
}

#[test]
fn gaps_of_compaction_are_no_loss() {
    let cluster = Cluster::without_topic(1, PARTITIONS);
    cluster.create_topic(&[
        ("cleanup.policy", "compact"),
        ("segment.ms", "300"),
        ("min.cleanable.dirty.ratio", "0.0"),
        ("min.compaction.lag.ms", "0"),
    ]);
    let mut w = World::on(cluster);
    let setup = w.setup();
    for round in 0..2u64 {
        let from = w.kafka.committed();
        let keyed = messages(200 + round, 3_000);
        // 300 keys, each in one partition.
        let key = |i: usize| Some(format!("key {}", i * 7 % 300));
        for half in keyed.chunks(1_500) {
            let numbered = half.iter().enumerate();
            w.kafka
                .send_keyed(numbered.map(|(i, m)| (m.as_slice(), key(i))));
            // A segment is closed by the first record after its time, and only then compacted.
            std::thread::sleep(Duration::from_millis(400));
        }
        let last = messages(300 + round, PARTITIONS as usize);
        w.kafka.send_keyed(
            last.iter()
                .map(|m| (m.as_slice(), Some(format!("last {round}")))),
        );
        // Of each key the last record is left, and nothing more happens before the next is produced.
        let left = 300 + (round as usize + 1) * last.len();
        let compacted = until("the topic is compacted", || {
            let readable = w.cluster.readable();
            (readable.len() == left).then_some(readable)
        });
        let unread = compacted.into_iter().filter(|(partition, offset, _)| {
            from.get(partition)
                .is_none_or(|committed| offset >= committed)
        });
        let unread: Vec<Vec<u8>> = unread.map(|(_, _, message)| message).collect();
        w.kafka.expect(&unread);
        let program = setup.run();
        w.finish(&setup, program);
    }
    let end: i64 = (0..PARTITIONS).map(|p| w.cluster.ends(p).1).sum();
    assert!(
        w.kafka.expected_rows() < end as u64 / 2,
        "{} rows of {end} offsets",
        w.kafka.expected_rows()
    );
}

/// Whatever Kafka lets through: here messages of 16 MiB that do not compress.
#[test]
fn the_largest_rows_are_stored_within_bounded_memory() {
    const COUNT: usize = 12;
    let cluster = Cluster::without_topic(1, PARTITIONS);
    cluster.create_topic(&[("max.message.bytes", "17000000")]);
    let mut w = World::on(cluster);
    let mut random = Random(1);
    let large: Vec<Vec<u8>> = Synth::new(1, 1_700_000_000_000)
        .take(COUNT)
        .map(|mut record| {
            let len = 16_700_000;
            record.url = "~".repeat(len);
            let mut message = Vec::new();
            record.encode_into(&mut message);
            let at = message.windows(9).position(|w| w == b"~~~~~~~~~").unwrap();
            message[at..at + len].fill_with(|| random.below(256) as u8);
            message
        })
        .collect();
    w.kafka.send(&large);
    assert_eq!(w.kafka.expected_rows(), COUNT as u64);
    let setup = w.setup();
    let program = setup.run();
    w.wait_all_stored();
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{} MiB at most for {COUNT} rows of 16 MiB", kib >> 10);
    assert!(kib < 500 << 10, "{peak}");
    w.finish(&setup, program);
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
    w.cluster.wait_group_empty();
    w.cluster.set_offsets(100);
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
    w.cluster.recreate_topic();
    // More than before, so that the old offsets exist in the new topic as well.
    w.kafka.produce(2, 6_000);
    let program = setup.run();
    w.wait_all_stored();
    setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
}

#[test]
fn records_of_a_log_that_was_cut_and_grew_again_are_stored_once() {
    let mut w = World::new();
    let setup = w.setup();
    let mut program = Some(setup.run());
    let mut random = Random(env("CLUSTER_SEED", 1));
    for round in 0..env("CLUSTER_CUTS", 4) {
        // In several batches, or there is nothing to cut between.
        for part in 0..5 {
            w.kafka.produce(round * 100 + part, 600);
        }
        program.get_or_insert_with(|| setup.run());
        // What is cut off unread is nobody's to store.
        w.wait_all_stored();
        setup.wait_status(|s| s["queue"]["rows"] == 0);
        // While it runs, and between two runs.
        if round % 2 == 0 {
            program.take().unwrap().stop();
        }
        let gone = w.cluster.cut(0, random.below(100));
        assert!(gone > 0, "nothing was cut off");
        // It ends below our offsets, or grows beyond them.
        let more = [60, 9_000][(round / 2 % 2) as usize];
        w.kafka.produce(round * 100 + 50, more);
    }
    let program = program.unwrap_or_else(|| setup.run());
    w.finish(&setup, program);
}

#[test]
fn a_topic_created_again_under_a_running_instance_is_read_whatever_its_leaders_epochs_were() {
    let mut w = World::new();
    let setup = w.setup();
    let program = setup.run();
    for restarts in 0..3u64 {
        w.kafka.produce(restarts * 10, 600);
        w.wait_all_stored();
        setup.wait_status(|s| s["queue"]["rows"] == 0);
        for _ in 0..restarts {
            w.cluster.restart(0);
        }
        w.cluster.recreate_topic();
        w.kafka.produce(restarts * 10 + 1, 6_000);
        w.wait_all_stored();
    }
    w.finish(&setup, program);
}

/// Epochs repeat, and before it is looked at the log grows beyond what was read: reading goes on among the
/// new records, and those below are named.
#[test]
fn a_cluster_put_back_from_a_copy_under_a_running_instance_is_noticed_and_named() {
    const COPIED: i64 = 1_000;
    const READ: i64 = 1_500;
    let mut w = World::new();
    let mut setup = w.setup();
    // Longer than the broker is away: the copy of the group knows the member then.
    setup.add("--kafka-properties", "session.timeout.ms=120000");
    let mut program = setup.run();
    w.kafka.produce(1, COPIED as usize * PARTITIONS as usize);
    w.wait_all_stored();
    setup.wait_status(|s| s["queue"]["rows"] == 0);
    let copy = w.cluster.copy(0);
    w.kafka
        .produce(2, (READ - COPIED) as usize * PARTITIONS as usize);
    w.wait_all_stored();
    setup.wait_status(|s| s["queue"]["rows"] == 0);
    // A look at the log as it is.
    std::thread::sleep(Duration::from_secs(65));
    program.signal(Signal::STOP);
    w.cluster.put_back(0, copy.path());
    let grown = messages(3, 9_000);
    w.kafka
        .send_keyed(grown.iter().map(|m| (m.as_slice(), None)));
    program.signal(Signal::CONT);
    let was_cut = until("all partitions are told of", || {
        restart_if_fenced(&setup, &mut program);
        let log = program.log();
        let told = |words: &str| log.matches(words).count() == PARTITIONS as usize;
        let was_cut = told("Kafka's log was cut");
        (was_cut || told("was put back from a copy, and grew")).then_some(was_cut)
    });
    let lost = setup.wait_status(|s| held(s) == PARTITIONS as usize)["lost"].clone();
    let is_named = |partition: i32, offset: i64| {
        lost.as_array().unwrap().iter().any(|l| {
            assert_eq!(l["unsure"], true, "{l}");
            l["partition"] == partition
                && (l["from"].as_i64().unwrap()..l["to"].as_i64().unwrap()).contains(&offset)
        })
    };
    let is_read = |partition: i32, offset: i64| {
        // Where it was taken anew what is named is not read.
        offset >= COPIED && !is_named(partition, offset) || !was_cut && offset >= READ
    };
    let readable = w.cluster.readable().into_iter();
    let (read, rest): (Vec<_>, Vec<_>) = readable.partition(|(p, o, _)| is_read(*p, *o));
    let unread = rest.iter().filter(|(_, o, _)| *o >= COPIED);
    println!("cut: {was_cut}, {} not read, lost: {lost}", unread.count());
    assert!(read.len() > grown.len() / 2);
    let read: Vec<Vec<u8>> = read.into_iter().map(|(_, _, message)| message).collect();
    w.kafka.expect(&read);
    w.kafka.produce(4, 3_000);
    w.wait_all_stored();
    setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    w.assert_exactly_once();
}

fn held(status: &serde_json::Value) -> usize {
    status["partitions"].as_array().map_or(0, Vec::len)
}
