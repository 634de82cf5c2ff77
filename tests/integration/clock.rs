//! Does a wall clock that is set forward or back, under the program or while it is down, break a slot
//! of the proxy, lose a row or store one twice?

use std::time::Duration;

use anonymizer::runtime::clock::now_ms;

use crate::support::fake_clickhouse::Fault;
use crate::support::program::Program;
use crate::support::wait::PATIENCE;
use crate::support::wall_clock::{DAY_MS, WallClock};
use crate::support::world::World;

const SLOT: Duration = Duration::from_secs(3);

/// The clock that is set, and how often records were produced.
type Clocked = World<(WallClock, u64)>;

fn clocked() -> Clocked {
    let w = World::new().with("--flush-interval", "3s");
    w.and(|w| (WallClock::of(&mut w.setup), 0))
}

impl Clocked {
    fn set(&self, add_ms: i64) {
        self.own.0.set(add_ms);
    }

    fn produce(&mut self) {
        self.own.1 += 1;
        self.kafka.produce(self.own.1, 300);
    }

    fn finish_in_slots(&self, program: Program) {
        self.finish(program);
        for pair in self.clickhouse.requests().windows(2) {
            let distance = pair[1].at - pair[0].at;
            // A wrong clock would send at once; a busy machine only looks late.
            assert!(distance >= SLOT.mul_f64(0.6), "{distance:?}");
        }
    }
}

#[test]
fn setting_the_clock_of_a_running_program_breaks_no_slot_and_loses_nothing() {
    let mut w = clocked();
    let program = w.setup.run();
    for add_ms in [0, DAY_MS, -DAY_MS, 400 * DAY_MS, 0] {
        w.set(add_ms);
        w.produce();
        w.wait_all_stored();
    }
    w.finish_in_slots(program);
}

/// What began before the clock was set is as old as it is, and nobody is called for a request that hangs
/// since yesterday.
#[test]
fn setting_the_clock_makes_nothing_look_older_or_younger_than_it_is() {
    const HOUR: u64 = 3_600_000;
    let mut w = clocked();
    let program = w.run_with([Fault::Hang(PATIENCE)]);
    w.produce();
    w.wait_insert();
    w.setup.wait_status(|s| s["flush"]["in_flight"].is_object());
    for add_ms in [DAY_MS, -DAY_MS] {
        w.set(add_ms);
        let now = now_ms().saturating_add_signed(add_ms);
        let s = w.setup.wait_status(|s| {
            let told = s["told_ms"].as_u64();
            told.is_some_and(|told| told.abs_diff(now) < HOUR)
        });
        let told = s["told_ms"].as_u64().unwrap();
        for since in [
            &s["queue"]["oldest_ms"],
            &s["flush"]["in_flight"]["since_ms"],
        ] {
            let since = since.as_u64().unwrap();
            assert!((told - HOUR..=told).contains(&since), "{s}");
        }
        let sentence = s["verdict"]["sentence"].as_str().unwrap();
        assert!(!sentence.contains("h "), "{sentence}");
    }
    w.set(0);
    w.clickhouse.release();
    w.finish_in_slots(program);
}

#[test]
fn a_restart_after_the_clock_was_set_breaks_no_slot_and_loses_nothing() {
    let mut w = clocked();
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
        w.set(add_ms);
        w.produce();
        program = w.setup.run();
    }
    w.finish_in_slots(program);
}

#[test]
fn a_batch_that_looks_too_old_to_be_sent_again_is_asked_for_and_stored_once() {
    let mut w = clocked();
    let program = w.run_with([]);
    w.clickhouse.fail(Fault::ApplyThenDrop);
    w.clickhouse.fail(Fault::Status(502));
    w.produce();
    w.wait_insert();
    w.set(DAY_MS);
    program.wait_log("it is not sent again");
    w.finish_in_slots(program);
}
