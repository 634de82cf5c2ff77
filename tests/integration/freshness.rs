//! Up to when all that Kafka got can be seen in ClickHouse: while rows wait, over restarts, and once they are there.

use anonymizer::runtime::clock::now_ms;
use serde_json::Value;

use crate::support::world::World;

fn visible(status: &Value) -> Option<u64> {
    status["kafka"]["visible_through_ms"].as_u64()
}

#[test]
fn up_to_when_all_can_be_seen_is_told_to_the_second_whatever_is_restarted() {
    let mut w = World::of(2);
    let program = w.setup.run();
    w.stores(1, 300);
    let stored = now_ms();
    w.setup
        .wait_status(|s| visible(s).is_some_and(|ms| ms > stored));
    program.stop();
    w.setup.set("--flush-interval", "1h");
    let begun = now_ms();
    w.kafka.produce(2, 300);
    let done = now_ms();
    let told = |s: &Value| {
        let ms = visible(s).unwrap_or_else(|| panic!("{s}"));
        // A second early at most, as it is kept in whole ones.
        assert!((begun - 1000..=done).contains(&ms), "{begun} {ms} {done}");
        ms
    };
    let program = w.setup.run();
    let first = told(&w.wait_queued(300));
    // What is unread is younger than what waits.
    program.kill();
    w.kafka.produce(3, 300);
    assert_eq!(told(&w.setup.status()), first);
    let program = w.setup.run();
    assert_eq!(told(&w.wait_queued(600)), first);
    program.stop();
    w.setup.set("--flush-interval", "1s");
    let program = w.setup.run();
    w.wait_all_stored();
    let stored = now_ms();
    w.setup
        .wait_status(|s| visible(s).is_some_and(|ms| ms > stored));
    w.finish(program);
}
