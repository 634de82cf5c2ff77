//! What does a disk that is full, fails or is read-only do to the program, and to what it has promised?
//!
//! The data dir is on a file system of its own. Where none can be mounted (only root may), these tests
//! are left out, and say so; `tests/crash` makes single calls fail everywhere.

use anonymizer::record::synth::{Synth, SynthRecord};

use crate::support::kafka::Kafka;
use crate::support::program::Program;
use crate::support::small_disk::SmallDisk;
use crate::support::world::World;

/// With the data dir on a disk of 200 MiB.
fn on_a_small_disk() -> Option<World<SmallDisk>> {
    on_a_disk_of(200)
}

fn on_a_disk_of(mebibytes: u64) -> Option<World<SmallDisk>> {
    let w = World::of(6);
    let at = w.setup.data_dir().with_file_name("disk");
    let disk = SmallDisk::mount(&at.with_extension("image"), &at, mebibytes)?;
    let data = at.join("data").display().to_string();
    Some(w.with("--data-dir", &data).and(|_| disk))
}

fn committed(kafka: &Kafka) -> i64 {
    kafka.committed().values().sum()
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
    let Some(mut w) = on_a_small_disk() else {
        return;
    };
    let program = w.setup.run();
    w.stores(1, 3000);
    w.wait_queued(0);
    let before = committed(&w.kafka);
    w.own.fail();
    // More is at hand than fits between the threads: the one that reads must not wait for ever for one
    // that has ended.
    w.kafka.send(&bulky(4000));
    ends_with(program, "Read-only file system");
    assert_eq!(committed(&w.kafka), before, "nothing of it was committed");
    w.own.again(false);
    w.finish(w.setup.run());
}

#[test]
fn a_read_only_disk_is_refused_at_start() {
    let Some(mut w) = on_a_small_disk() else {
        return;
    };
    w.kafka.produce(1, 3000);
    let program = w.setup.run();
    w.wait_all_stored();
    program.stop();
    w.kafka.produce(2, 3000);
    w.own.again(true);
    ends_with(w.setup.run(), "Read-only file system");
    w.own.again(false);
    w.finish(w.setup.run());
}

#[test]
fn a_disk_without_a_byte_left_pauses_reading_and_nothing_is_lost() {
    let Some(mut w) = on_a_small_disk() else {
        return;
    };
    let program = w.setup.run();
    w.stores(1, 3000);
    w.wait_queued(0);
    let filler = w.own.fill();
    // Even with min_free_disk = 0 there is a floor.
    program.wait_log("reading from Kafka pauses");
    w.kafka.produce(2, 3000);
    std::fs::remove_file(filler).unwrap();
    program.wait_log("reading from Kafka goes on");
    w.finish(program);
}

#[test]
fn a_full_disk_is_named_and_not_taken_for_damage() {
    let Some(mut w) = on_a_small_disk() else {
        return;
    };
    w.setup.set("--flush-interval", "1h");
    let program = w.setup.run();
    w.kafka.produce(1, 3000);
    w.wait_queued(3000);
    program.stop();
    let filler = w.own.fill();
    ends_with(w.setup.run(), "is full");
    for command in ["status", "verify", "export", "repair", "check", "adopt"] {
        let out = w.setup.command(command).output().unwrap();
        let mut said = String::from_utf8_lossy(&out.stderr).into_owned();
        said += &String::from_utf8_lossy(&out.stdout);
        // What `check` could not do is what it found.
        let code = if command == "check" { 3 } else { 1 };
        assert_eq!(out.status.code(), Some(code), "{command}: {said}");
        let named = said.contains("is full") || said.contains("bytes of free disk");
        assert!(named, "{command}: {said}");
        let misled = said.contains("DAMAGED") || said.contains("anonymizer repair");
        assert!(!misled, "{command}: {said}");
    }
    std::fs::remove_file(filler).unwrap();
    w.setup.set("--flush-interval", "1s");
    w.finish(w.setup.run());
}

#[test]
fn an_export_beside_a_live_instance_leaves_it_its_room() {
    let Some(mut w) = on_a_small_disk() else {
        return;
    };
    w.setup.set("--flush-interval", "1h");
    let program = w.setup.run();
    w.kafka.produce(1, 3000);
    w.wait_queued(3000);
    w.setup.set("--min-free-disk", "1TiB");
    let program = {
        program.stop();
        w.setup.run()
    };
    program.wait_log("metrics at");
    let there = w.setup.data_dir().with_file_name("disk/rows");
    let export = |to: &std::path::Path| {
        let mut command = w.setup.command("export");
        command.arg("--output").arg(to).output().unwrap()
    };
    let out = export(&there);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("min_free_disk"), "{said}");
    assert!(!there.exists());
    // Another disk is nobody's business.
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(export(&elsewhere.path().join("rows")).status.success());
    program.stop();
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
    let Some(mut w) = on_a_small_disk() else {
        return;
    };
    w.setup.set("--min-free-disk", "64MiB");
    let program = w.setup.run();
    w.stores(1, 3000);
    let filler = w.setup.data_dir().with_file_name("disk/filler");
    std::fs::write(&filler, vec![1; 120 << 20]).unwrap();
    program.wait_log("reading from Kafka pauses");
    w.kafka.produce(2, 3000);
    std::fs::remove_file(filler).unwrap();
    program.wait_log("reading from Kafka goes on");
    w.finish(program);
}

#[test]
fn a_volume_of_1_gib_is_read_into_by_default_down_to_its_last_tenth() {
    let Some(mut w) = on_a_disk_of(1024) else {
        return;
    };
    w.setup.unset("--min-free-disk");
    let program = w.setup.run();
    w.stores(1, 3000);
    let limits = w.setup.status()["limits"].clone();
    let of = |limit: &str| limits[limit].as_u64().unwrap() >> 20;
    assert!(!program.log().contains("reading from Kafka pauses"));
    assert!((85..=103).contains(&of("min_free_disk")), "{limits}");
    assert!((85..=103).contains(&of("max_quarantine_bytes")), "{limits}");
    assert!((800..=922).contains(&of("max_queue_bytes")), "{limits}");
    let taken = w.own.leave(80 << 20);
    program.wait_log("reading from Kafka pauses");
    program.wait_log("(10% of the disk, at most 2.0 GiB)");
    w.kafka.produce(2, 3000);
    std::fs::remove_file(taken).unwrap();
    program.wait_log("reading from Kafka goes on");
    w.finish(program);
}

#[test]
fn a_share_follows_a_volume_that_grows() {
    let w = World::of(6);
    let at = w.setup.data_dir().with_file_name("disk");
    // In memory: not everybody who may mount one may make another kind grow.
    let Some(disk) = SmallDisk::in_memory(&at, 200) else {
        return;
    };
    let data = at.join("data").display().to_string();
    let w = w.with("--data-dir", &data).and(|_| disk);
    let mut w = w.with("--min-free-disk", "60%");
    let program = w.setup.run();
    w.stores(1, 3000);
    w.own.leave(100 << 20);
    program.wait_log("reading from Kafka pauses");
    w.kafka.produce(2, 3000);
    w.own.grow(400);
    program.wait_log("reading from Kafka goes on");
    w.finish(program);
}
