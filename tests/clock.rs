//! Does a wall clock that is set forward or back, under the program or while it is down, break a slot
//! of the proxy, lose a row or store one twice?

use std::time::Duration;

use serde_json::Value;

use crate::support::fake_clickhouse::{FakeClickHouse, Fault};
use crate::support::kafka::Kafka;
use crate::support::program::{PATIENCE, Program, Setup};
use crate::support::wall_clock::{DAY_MS, WallClock};

const SLOT: Duration = Duration::from_secs(2);

struct World {
    kafka: Kafka,
    clickhouse: FakeClickHouse,
    setup: Setup,
    clock: WallClock,
    produced: u64,
}

impl World {
    fn new() -> World {
        let kafka = Kafka::start(3);
        let clickhouse = FakeClickHouse::start();
        let mut setup = Setup::new(&kafka, &clickhouse);
        setup.set("--flush-interval", "2s");
        let clock = WallClock::of(&mut setup);
        World {
            kafka,
            clickhouse,
            setup,
            clock,
            produced: 0,
        }
    }

    fn produce(&mut self) {
        self.produced += 1;
        self.kafka.produce(self.produced, 300);
    }

    fn wait_all_stored(&self) {
        let want = self.kafka.expected_rows();
        self.clickhouse
            .wait_until(|s| s.row_count() >= want, PATIENCE);
    }

    fn finish(&self, program: Program) {
        self.wait_all_stored();
        // The last answer takes the rows off first, and the hold a moment later.
        let is_done = |s: &Value| s["queue"]["rows"] == 0 && s["flush"]["hold"].is_null();
        self.setup.wait_status(is_done);
        program.stop();
        self.clickhouse.assert_holds_once(&self.kafka.expected);
        for pair in self.clickhouse.requests().windows(2) {
            let distance = pair[1].at - pair[0].at;
            assert!(distance >= SLOT.mul_f64(0.95), "{distance:?}");
        }
    }
}

#[test]
fn setting_the_clock_of_a_running_program_breaks_no_slot_and_loses_nothing() {
    let mut w = World::new();
    let program = w.setup.run();
    for add_ms in [0, DAY_MS, -DAY_MS, 400 * DAY_MS, 0] {
        w.clock.set(add_ms);
        w.produce();
        w.wait_all_stored();
    }
    w.finish(program);
}

#[test]
fn a_restart_after_the_clock_was_set_breaks_no_slot_and_loses_nothing() {
    let mut w = World::new();
    let mut program = w.setup.run();
    // Less than the five hours for which ClickHouse knows a token here: a kill leaves a batch that may be
    // stored, and the next test shows what a larger step does to it.
    for add_ms in [DAY_MS / 12, -DAY_MS / 12, DAY_MS / 12, 0] {
        w.produce();
        let before = w.clickhouse.requests().len();
        w.clickhouse
            .wait_until(|s| s.requests.len() > before, PATIENCE);
        // Right after a request: a second one in its slot is what a wrong clock would allow.
        program.kill();
        w.clock.set(add_ms);
        w.produce();
        program = w.setup.run();
    }
    w.finish(program);
}

#[test]
fn a_batch_that_looks_too_old_to_be_sent_again_is_held_until_the_clock_is_right() {
    let mut w = World::new();
    let program = w.setup.run();
    program.wait_log("the tables exist");
    w.clickhouse.fail(Fault::ApplyThenDrop);
    w.clickhouse.fail(Fault::Status(502));
    w.produce();
    w.clickhouse
        .wait_until(|s| s.requests.iter().any(|r| r.token.is_some()), PATIENCE);
    w.clock.set(DAY_MS);
    w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
    w.clock.set(0);
    w.finish(program);
}
