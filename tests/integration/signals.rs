//! What does a second signal do, where the first one waits for something that does not come?

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::support::alone::alone;
use crate::support::fake_clickhouse::Fault;
use crate::support::kafka::TOPIC;
use crate::support::wait::PATIENCE;
use crate::support::world::World;

/// Signals until it ends; its exit code.
fn interrupt(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "it goes on");
        kill_process(Pid::from_child(child), Signal::INT).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_second_signal_ends_the_service_at_once_and_loses_nothing() {
    let mut w = World::new();
    let mut program = w.run_with([Fault::Hang(PATIENCE)]);
    w.kafka.produce(1, 300);
    w.wait_insert();
    program.signal(Signal::TERM);
    program.wait_log("a second signal ends at once");
    program.signal(Signal::INT);
    assert_eq!(program.wait().code(), Some(130));
    assert!(
        program.log().contains("second signal: "),
        "{}",
        program.log()
    );
    w.clickhouse.release();
    let program = w.setup.run();
    w.finish(program);
}

#[test]
fn a_second_signal_ends_a_command_that_waits_for_clickhouse() {
    let mut w = World::new();
    let program = w.run_with([Fault::Status(502)]);
    w.kafka.produce(1, 300);
    w.wait_insert();
    program.kill();
    w.clickhouse.state().faults.clear();
    w.clickhouse.fail(Fault::Hang(PATIENCE));
    let before = w.clickhouse.requests().len();
    let mut replay = w
        .setup
        .command("replay")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    w.clickhouse
        .wait_until(|s| s.requests.len() > before, PATIENCE);
    assert_eq!(interrupt(&mut replay), Some(130));
    w.clickhouse.release();
    let program = w.setup.run();
    w.finish(program);
}

#[test]
fn a_second_signal_ends_a_producer_that_waits_for_kafka() {
    alone(|| {
        let mut w = World::of(1);
        let mut produce = w.setup.command("produce");
        let produce = produce.args(["--rate", "1000"]).stdout(Stdio::null());
        let mut produce = produce.stderr(Stdio::null()).spawn().unwrap();
        let consumer: BaseConsumer = w.kafka.config().create().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let has_begun = || {
            let ends = consumer.fetch_watermarks(TOPIC, 0, Duration::from_secs(1));
            ends.is_ok_and(|(_, end)| end > 0)
        };
        while !has_begun() {
            assert!(Instant::now() < deadline, "it produces nothing");
        }
        w.kafka.brokers_down();
        // Records wait now that nobody takes.
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(interrupt(&mut produce), Some(130));
    });
}

/// In memory an address is as it came. The control shows that a core would have been dumped here; the limit is then
/// raised for the programs of other tests as well, as containers have it.
#[test]
fn a_crash_dumps_no_core() {
    let limit = getrlimit(Resource::Core);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Core, most).unwrap();
    let place = tempfile::tempdir().unwrap();
    let mut control = Command::new("sh");
    control.args(["-c", "kill -ABRT $$"]).current_dir(&place);
    let control = control.status().unwrap();
    assert_eq!(control.signal(), Some(Signal::ABORT.as_raw()));
    if !control.core_dumped() {
        println!("left out: no core is dumped on this machine");
        return;
    }
    let mut w = World::new();
    let mut program = w.setup.command("run");
    program.current_dir(&place).stderr(Stdio::null());
    let mut program = program.spawn().unwrap();
    w.kafka.produce(1, 300);
    w.setup.wait_status(|s| {
        let partitions = s["kafka"]["partitions"].as_array();
        let read = partitions
            .into_iter()
            .flatten()
            .filter_map(|p| p["read"].as_u64());
        read.sum::<u64>() == 300
    });
    kill_process(Pid::from_child(&program), Signal::ABORT).unwrap();
    let ended = program.wait().unwrap();
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!ended.core_dumped());
}
