//! What does a disk that is full, fails or is read-only do to the program, and to what it has promised?
//!
//! The data dir is on a file system of its own. Where none can be mounted (only root may), these tests
//! are left out, and say so; `tests/crash` makes single calls fail everywhere.

use std::time::Instant;

use anonymizer::synth::{Synth, SynthRecord};

use crate::support::fake_clickhouse::FakeClickHouse;
use crate::support::kafka::Kafka;
use crate::support::program::{PATIENCE, Program, Setup};
use crate::support::small_disk::SmallDisk;

struct World {
    kafka: Kafka,
    clickhouse: FakeClickHouse,
    // Before the directory that it is mounted in goes.
    disk: SmallDisk,
    setup: Setup,
}

impl World {
    fn new() -> Option<World> {
        let kafka = Kafka::start(6);
        let clickhouse = FakeClickHouse::start();
        let mut setup = Setup::new(&kafka, &clickhouse);
        let at = setup.data_dir().with_file_name("disk");
        let disk = SmallDisk::mount(&at.with_extension("image"), &at, 200)?;
        setup.set("--data-dir", &at.join("data").display().to_string());
        Some(World {
            kafka,
            clickhouse,
            disk,
            setup,
        })
    }

    fn wait_all_stored(&self) {
        let want = self.kafka.expected_rows();
        self.clickhouse
            .wait_until(|s| s.row_count() >= want, PATIENCE);
    }

    fn committed(&self) -> i64 {
        self.kafka.committed().values().sum()
    }

    fn finish(&self, program: Program) {
        self.wait_all_stored();
        self.setup.wait_status(|s| s["queue"]["rows"] == 0);
        program.stop();
        self.clickhouse.assert_holds_once(&self.kafka.expected);
    }
}

/// Waits for the end that a failing disk has to bring, and for words that name it.
fn ends_with(mut program: Program, words: &str) {
    let status = program.wait();
    let log = program.log();
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains(words), "{log}");
}

#[test]
fn a_disk_that_turns_read_only_ends_the_program_and_nothing_is_lost() {
    let Some(mut w) = World::new() else { return };
    let program = w.setup.run();
    w.kafka.produce(1, 3000);
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    let before = w.committed();
    w.disk.fail();
    w.kafka.produce(2, 3000);
    ends_with(program, "Read-only file system");
    assert_eq!(w.committed(), before, "nothing of it was committed");
    w.disk.again(false);
    let program = w.setup.run();
    w.finish(program);
}

#[test]
fn a_read_only_disk_is_refused_at_start() {
    let Some(mut w) = World::new() else { return };
    w.kafka.produce(1, 3000);
    let program = w.setup.run();
    w.wait_all_stored();
    program.stop();
    w.kafka.produce(2, 3000);
    w.disk.again(true);
    ends_with(w.setup.run(), "Read-only file system");
    w.disk.again(false);
    let program = w.setup.run();
    w.finish(program);
}

#[test]
fn a_disk_without_a_byte_left_ends_the_program_and_nothing_is_lost() {
    let Some(mut w) = World::new() else { return };
    let program = w.setup.run();
    w.kafka.produce(1, 3000);
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    let filler = w.disk.fill();
    // sled goes on in the room that its file has already, 16 MiB at a time. More is at hand than fits
    // between the threads: the one that reads must not wait for ever for one that has ended.
    let mut program = program;
    let mut produced = w.kafka.expected_rows();
    while program.ended().is_none() {
        w.kafka.send(&bulky(4000));
        produced += 4000;
        let deadline = Instant::now() + PATIENCE;
        while program.ended().is_none() && w.committed() < produced as i64 {
            assert!(Instant::now() < deadline, "neither read nor ended");
        }
    }
    ends_with(program, "No space left on device");
    std::fs::remove_file(filler).unwrap();
    let program = w.setup.run();
    w.finish(program);
}

/// Messages that do not compress below 3,000 bytes each.
fn bulky(count: usize) -> Vec<Vec<u8>> {
    let message = |mut record: SynthRecord| {
        let mut bytes = [0; 3000];
        getrandom::fill(&mut bytes).unwrap();
        record.url = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let mut message = Vec::new();
        record.encode_into(&mut message);
        message
    };
    Synth::new(1, 1_700_000_000_000)
        .take(count)
        .map(message)
        .collect()
}

#[test]
fn little_free_space_pauses_reading_until_there_is_more() {
    let Some(mut w) = World::new() else { return };
    w.setup.set("--min-free-disk", "64MiB");
    let program = w.setup.run();
    w.kafka.produce(1, 3000);
    w.wait_all_stored();
    let filler = w.setup.data_dir().with_file_name("disk/filler");
    std::fs::write(&filler, vec![1; 120 << 20]).unwrap();
    program.wait_log("reading from Kafka pauses");
    w.kafka.produce(2, 3000);
    std::fs::remove_file(filler).unwrap();
    program.wait_log("reading from Kafka goes on");
    w.finish(program);
}
