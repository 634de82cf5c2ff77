//! The program and its neighbours: Kafka's mock cluster, a ClickHouse that fails on demand, and settings.
//!
//! A test says what differs, `World::of(1).with("--keep-delivered", "1h")`, and what must hold in the end,
//! `w.finish(program)`.

use std::process::Output;

use serde_json::Value;

use super::fake_clickhouse::{FakeClickHouse, Fault, Outcome, Seen};
use super::kafka::Kafka;
use super::program::{Program, Setup};
use super::wait::PATIENCE;

/// The program's surroundings, and what a test has of its own besides.
pub struct World<Own = ()> {
    // Before the directory of the settings goes: it may be mounted there.
    pub own: Own,
    pub kafka: Kafka,
    pub clickhouse: FakeClickHouse,
    pub setup: Setup,
}

impl World {
    /// With three partitions.
    pub fn new() -> World {
        World::of(3)
    }

    /// With so many partitions.
    pub fn of(partitions: i32) -> World {
        World::on(Kafka::start(partitions))
    }

    /// On a topic that may have records already.
    pub fn on(kafka: Kafka) -> World {
        let clickhouse = FakeClickHouse::start();
        World {
            own: (),
            setup: Setup::new(&kafka, &clickhouse),
            kafka,
            clickhouse,
        }
    }
}

impl<Own> World<Own> {
    /// With a setting of this value.
    pub fn with(mut self, name: &str, value: &str) -> World<Own> {
        self.setup.set(name, value);
        self
    }

    /// With something between the program and ClickHouse, whose URL is given.
    pub fn by(self, way: impl FnOnce(String) -> String) -> World<Own> {
        let url = way(self.clickhouse.url());
        self.with("--clickhouse-url", &url)
    }

    /// With something of the test's own.
    pub fn and<More>(mut self, own: impl FnOnce(&mut World<Own>) -> More) -> World<More> {
        World {
            own: own(&mut self),
            kafka: self.kafka,
            clickhouse: self.clickhouse,
            setup: self.setup,
        }
    }

    /// Another instance of the same group.
    pub fn another(&self) -> Setup {
        Setup::new(&self.kafka, &self.clickhouse)
    }

    /// A program that has checked the tables, so that the faults meet its inserts.
    pub fn run_with(&self, faults: impl IntoIterator<Item = Fault>) -> Program {
        let program = self.setup.run();
        program.wait_log("the tables exist");
        self.clickhouse.state().faults.extend(faults);
        program
    }

    /// A program that has read all that was produced before its first insert, which has it all and meets the
    /// first of the faults: no batch is cut before the tables were checked.
    pub fn run_when_read(&self, faults: impl IntoIterator<Item = Fault>) -> Program {
        let held = [Fault::Hang(PATIENCE)];
        self.clickhouse
            .state()
            .faults
            .extend(held.into_iter().chain(faults));
        let program = self.setup.run();
        self.wait_queued(self.kafka.expected_rows() as usize);
        self.clickhouse.release();
        program
    }

    /// Produces records, and waits until they are stored.
    pub fn stores(&mut self, seed: u64, count: usize) {
        self.kafka.produce(seed, count);
        self.wait_all_stored();
    }

    /// Waits until ClickHouse has as many rows as were produced.
    pub fn wait_all_stored(&self) {
        let want = self.kafka.expected_rows();
        self.clickhouse
            .wait_until(|s| s.row_count() >= want, PATIENCE);
    }

    /// Waits until the queue has so many rows; the status then.
    pub fn wait_queued(&self, rows: usize) -> Value {
        self.setup.wait_status(|s| s["queue"]["rows"] == rows)
    }

    /// Waits until an insert has begun.
    pub fn wait_insert(&self) {
        let is_begun = |r: &Seen| r.token.is_some();
        self.clickhouse
            .wait_until(|s| s.requests.iter().any(is_begun), PATIENCE);
    }

    /// Waits until all is stored and acknowledged, stops the program, and compares.
    pub fn finish(&self, program: Program) {
        self.finish_as(&self.setup, program);
    }

    /// The same for an instance with other settings.
    pub fn finish_as(&self, setup: &Setup, program: Program) {
        self.wait_all_stored();
        // The last answer takes the rows off first, and the hold a moment later.
        setup.wait_status(|s| s["queue"]["rows"] == 0 && s["flush"]["hold"].is_null());
        program.stop();
        self.assert_exactly_once();
    }

    /// Panics unless ClickHouse has what was produced, each row once.
    pub fn assert_exactly_once(&self) {
        self.clickhouse.assert_holds_once(&self.kafka.expected);
    }

    /// Waits for a hold, and returns its words.
    pub fn hold(&self) -> String {
        let status = self.setup.wait_status(|s| s["flush"]["hold"].is_string());
        status["flush"]["hold"].as_str().unwrap().to_owned()
    }

    /// Waits for a hold of which `words` are part.
    pub fn held_for(&self, words: &str) {
        self.setup.wait_status(|s| {
            let hold = s["flush"]["hold"].as_str();
            hold.is_some_and(|hold| hold.contains(words))
        });
    }

    /// Inserts that reached ClickHouse, not its proxy only.
    pub fn inserts(&self) -> Vec<Seen> {
        let mut all = self.clickhouse.requests();
        all.retain(|r| r.token.is_some() && r.outcome != Outcome::Refused);
        all
    }

    /// A command with the same settings.
    pub fn call(&self, words: &[&str]) -> Output {
        let mut command = self.setup.command(words[0]);
        command.args(&words[1..]).output().unwrap()
    }

    /// Stdout of a command that must succeed.
    pub fn ok(&self, words: &[&str]) -> Vec<u8> {
        let out = self.call(words);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words:?}: {said}");
        out.stdout
    }

    /// The same as text.
    pub fn said(&self, words: &[&str]) -> String {
        String::from_utf8(self.ok(words)).unwrap()
    }

    /// The same as JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        serde_json::from_slice(&self.ok(words)).unwrap()
    }

    /// What a command says on stderr that must fail.
    pub fn refused(&self, words: &[&str]) -> String {
        let out = self.call(words);
        assert!(!out.status.success(), "{words:?} must fail");
        String::from_utf8_lossy(&out.stderr).into_owned()
    }
}
