//! Minutes or hours on real parts, under constant load and random faults: Apache Kafka of three brokers, nginx at
//! one request a minute, ClickHouse's engine, and two instances of the program. The first one is never touched
//! itself, so that what it takes can be judged; everything happens to the second one and to the neighbours.
//!
//! In the end each record is in ClickHouse once, or named as lost by the program where it was deleted unread; the
//! totals are those of the rows, `reconcile` agrees, queues are empty and whole; and memory, descriptors, threads
//! and disk of the first instance were flat. `ops/soak` runs it; `SOAK_MINUTES`, `SOAK_SEED` and `SOAK_RATE` are
//! its settings.

#[path = "../support/mod.rs"]
mod support;

#[path = "../cluster/cut.rs"]
mod cut;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../cluster/kafka.rs"]
mod kafka;

#[allow(dead_code, reason = "a part of it is used")]
#[path = "../end_to_end/checks.rs"]
mod checks;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../end_to_end/stack.rs"]
mod stack;

mod brokers;
mod instance;
mod judge;
mod load;
mod neighbour;
mod notes;
mod report;
mod rows;
mod samples;
mod way;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::TryRecvError;
use rustix::process::Signal;

use brokers::{Brokers, NODES};
use instance::{Handle, Instance};
use kafka::Cluster;
use load::Load;
use neighbour::Neighbour;
use notes::Notes;
use rows::{Difference, Lost};
use stack::Stack;
use support::chance::Chance;
use support::kafka::Kafka;
use way::Way;

const PARTITIONS: i32 = 6;
/// Of the second instance's disk.
const DISK_MIB: u64 = 512;
/// For the backlog to be stored: a few slots of each instance, and a question before some of them.
const DRAIN: Duration = Duration::from_secs(1_500);

/// All that runs.
struct World<'a> {
    stack: &'a Stack,
    cluster: &'a Cluster,
    kafka: &'a Kafka,
    way: Way<'a>,
    notes: Notes,
    handles: [Handle; 2],
}

#[test]
fn soak() {
    let minutes = setting("SOAK_MINUTES", 5);
    let seed = setting("SOAK_SEED", 1);
    let rate = setting("SOAK_RATE", 500);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{minutes}-{seed}"));
    // Of the run before; there may have been none.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();

    let cluster = Cluster::without_topic(NODES, PARTITIONS);
    cluster.create_topic(&[("min.insync.replicas", "2")]);
    let kafka = cluster.kafka();
    let stack = Stack::of(&["clickhouse", "nginx"], "soak", "64m");
    let way = Way::to(&stack);
    let mut steady = Instance::new("steady", &kafka, &way.url(), None);
    let mut second = Instance::new("second", &kafka, &way.url(), Some(DISK_MIB));
    let log = File::create(dir.join("log")).unwrap();
    let world = World {
        stack: &stack,
        cluster: &cluster,
        kafka: &kafka,
        notes: Notes::new(log, Duration::from_secs(60 * minutes)),
        handles: [steady.handle.clone(), second.handle.clone()],
        way,
    };
    let notes = &world.notes;
    notes.say(&format!(
        "{minutes} min, seed {seed}, {rate} records a second, in {}",
        dir.display()
    ));
    if second.disk.is_none() {
        notes.say("left out: what needs a disk of its own, which only root may mount");
    }
    steady.start();
    second.start();
    let load = Load::start(
        &kafka.brokers,
        seed,
        rate,
        PARTITIONS,
        &dir.join("summary.json"),
    );
    let file = dir.join("samples.csv");
    let (difference, samples) = thread::scope(|scope| {
        // Closed at the end, also by a panic.
        let (runs, ended) = crossbeam_channel::bounded::<()>(0);
        let sampler = scope.spawn({
            let (handles, file) = (&world.handles, &file);
            move || {
                samples::take(handles, notes, file, || {
                    ended.try_recv() == Err(TryRecvError::Disconnected)
                })
            }
        });
        world.disturb(&mut steady, &mut second, seed);
        let difference = world.drain_and_compare(load, &mut steady, &mut second);
        drop(runs);
        (difference, sampler.join().unwrap())
    });
    world.stop_and_verify(&mut steady, &mut second);
    keep_logs(&dir, &[&steady, &second]);
    let text = report::of(&world, minutes, seed, rate, difference.as_ref(), &samples);
    fs::write(dir.join("report.md"), &text).unwrap();
    println!("{text}");
    let problems = notes.problems();
    assert!(problems.is_empty(), "not right: {problems:#?}");
}

impl World<'_> {
    /// All faults at once, until the time is over; then everything is as it should be.
    fn disturb(&self, steady: &mut Instance, second: &mut Instance, seed: u64) {
        let notes = &self.notes;
        let mut seeds = Chance(seed);
        let [of_brokers, of_way, of_second] = [(); 3].map(|()| Chance(seeds.next()));
        let brokers = Brokers {
            cluster: self.cluster,
            kafka: self.kafka,
            readers: &self.handles,
        };
        let mut neighbour = Neighbour {
            instance: second,
            clocks: &self.handles,
            way: &self.way,
        };
        thread::scope(|scope| {
            let lanes = [
                scope.spawn(|| brokers.disturb(of_brokers, notes)),
                scope.spawn(|| self.way.disturb(of_way, notes)),
                scope.spawn(|| neighbour.disturb(of_second, notes)),
            ];
            while lanes.iter().any(|lane| !lane.is_finished()) {
                steady.tend(notes);
                thread::sleep(Duration::from_secs(1));
            }
            for lane in lanes {
                notes.check("a lane of faults", || lane.join().unwrap());
            }
        });
        brokers.heal(notes);
        self.way.heal(notes);
        for handle in &self.handles {
            handle.signal(Signal::CONT);
            handle.clock.set(0);
        }
    }

    /// Ends the load, waits until all is stored, and compares.
    fn drain_and_compare(
        &self,
        load: Load,
        steady: &mut Instance,
        second: &mut Instance,
    ) -> Option<Difference> {
        let notes = &self.notes;
        let produced = match load.end() {
            Ok(produced) => produced,
            Err(words) => {
                notes.problem(words);
                return None;
            }
        };
        notes.say(&format!("faults are over, {} produced", produced.count));
        let end = Instant::now() + DRAIN;
        let mut before = None;
        let lost = loop {
            steady.tend(notes);
            second.tend(notes);
            let lost: Vec<Lost> = [steady.lost(), second.lost()].concat();
            let named: i64 = lost.iter().map(|l| l.to - l.from).sum();
            let stored = self.stack.count();
            let queued = [steady.queued(), second.queued()];
            if before.replace((stored, queued)) != Some((stored, queued)) {
                notes.say(&format!(
                    "{stored} stored, {named} named, queued {queued:?}"
                ));
            }
            let is_all = stored + named as u64 >= produced.count;
            if is_all && queued == [Some(0); 2] {
                break lost;
            }
            if Instant::now() > end || notes.is_stopped() {
                notes.problem("it did not drain");
                break lost;
            }
            thread::sleep(Duration::from_secs(2));
        };
        notes.say("comparing every row");
        let stored = self.stack.query("SELECT * FROM http_log FORMAT RowBinary");
        let difference = rows::compare(&produced, &lost, checks::Row::all(&stored));
        difference
            .problems()
            .into_iter()
            .for_each(|p| notes.problem(p));
        notes.check(
            "count, sums, counts by status, resource and address",
            || {
                difference
                    .totals
                    .compare(&checks::Totals::in_clickhouse(self.stack));
            },
        );
        notes.check("tables of totals", || {
            checks::totals_are_those_of_the_rows(self.stack);
        });
        notes.check("reconcile", || self.reconcile(steady, second));
        Some(difference)
    }

    fn reconcile(&self, steady: &Instance, second: &Instance) {
        let mut command = steady.setup.command("reconcile");
        let out = command.arg("--json").arg(&second.handle.data).output();
        let out = out.unwrap();
        let words = String::from_utf8_lossy(&out.stderr);
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{}: {words} {text}", out.status);
    }

    /// What the queues hold is whole, and a stop ends well.
    fn stop_and_verify(&self, steady: &mut Instance, second: &mut Instance) {
        for instance in [steady, second] {
            instance.stop(&self.notes);
            self.notes.check("verify", || {
                let out = instance.setup.command("verify").output().unwrap();
                assert!(
                    out.status.success(),
                    "{}",
                    String::from_utf8_lossy(&out.stdout)
                );
            });
        }
    }
}

fn keep_logs(dir: &Path, instances: &[&Instance]) {
    for instance in instances {
        let to = dir.join(instance.handle.name);
        fs::create_dir_all(&to).unwrap();
        let files = fs::read_dir(instance.logs()).unwrap().flatten();
        let logs = files
            .map(|f| f.path())
            .filter(|p| p.extension().is_some_and(|e| e == "log"));
        for log in logs.collect::<Vec<PathBuf>>() {
            fs::copy(&log, to.join(log.file_name().unwrap())).unwrap();
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}
