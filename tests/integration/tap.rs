//! Does a tap show what passes, masked, and does the stream never wait for it?

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use anonymizer::record::decode::decode;
use anonymizer::record::synth::{Synth, SynthRecord};
use rustix::process::{Pid, Signal};

use crate::support::fake_clickhouse::{Multiset, parse_rows};
use crate::support::kafka::messages;
use crate::support::program::Program;
use crate::support::wait::{MOMENT, PATIENCE, until};
use crate::support::world::World;

impl World {
    /// A tap that is attached, the `n`th since the instance started.
    fn tap(&self, program: &Program, n: usize, args: &[&str]) -> Child {
        let mut command = self.setup.command("tap");
        let command = command.args(args).stdin(Stdio::null());
        let tap = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let tap = tap.spawn().unwrap();
        program.wait_log(&format!("tap {n} is attached"));
        tap
    }
}

fn ends(tap: Child) -> Output {
    let out = tap.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    out
}

/// How it ends.
fn code(tap: &mut Child) -> Option<i32> {
    let status = until(
        MOMENT,
        || tap.try_wait().unwrap(),
        || "it goes on".to_owned(),
    );
    status.code()
}

fn words(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn multiset(rows: &[u8]) -> Multiset {
    let mut all: Multiset = HashMap::new();
    for row in parse_rows(rows).unwrap() {
        *all.entry(row).or_default() += 1;
    }
    all
}

#[test]
fn every_row_that_passes_can_be_seen_once_as_it_is_stored() {
    let mut w = World::new();
    let program = w.run_with([]);
    let all = ["--rate", "0", "--limit", "3000", "--format", "rowbinary"];
    let tap = w.tap(&program, 1, &all);
    w.kafka.produce(1, 3000);
    let out = ends(tap);
    assert_eq!(multiset(&out.stdout), w.kafka.expected);
    assert!(
        words(&out).contains("3,000 rows shown of 3,000 that passed\n"),
        "{out:?}"
    );
    w.finish(program);
}

/// Whatever the format: what is shown has no address that a message had, but all of them masked.
#[test]
fn no_tap_shows_an_unmasked_address() {
    let mut w = World::new();
    let program = w.run_with([]);
    let formats = ["tsv", "csv", "json-each-row", "rowbinary"];
    let taps: Vec<Child> = (1..)
        .zip(formats)
        .map(|(n, format)| {
            let args = ["--rate", "0", "--limit", "600", "--format", format];
            w.tap(&program, n, &args)
        })
        .collect();
    let mut sent = messages(3, 600);
    // One whose address is no plain one.
    sent[7] = message(&SynthRecord {
        remote_addr: "::ffff:203.0.113.77".into(),
        ..Synth::new(3, 0).next().unwrap()
    });
    w.kafka.send(&sent);
    let plain: Vec<String> = sent
        .iter()
        .map(|m| decode(m, |r| String::from_utf8(r.remote_addr.to_vec()).unwrap()).unwrap())
        .collect();
    for tap in taps {
        let out = ends(tap);
        let shown = [out.stdout.as_slice(), &out.stderr].concat();
        let shown = String::from_utf8_lossy(&shown);
        for address in &plain {
            assert!(!shown.contains(address), "{address}");
        }
        assert!(!shown.contains("203.0.113.77"));
        let masked = shown.matches(".X").count();
        assert!(masked > 500, "{masked}");
    }
    w.finish(program);
}

fn message(record: &SynthRecord) -> Vec<u8> {
    let mut message = Vec::new();
    record.encode_into(&mut message);
    message
}

#[test]
fn filters_let_pass_what_they_say_and_a_stop_ends_taps() {
    let mut w = World::new();
    let program = w.run_with([]);
    type Wanted = fn(usize, &SynthRecord) -> bool;
    let filters: [(&[&str], Wanted); 4] = [
        (&["--status", "404,5xx", "--cache", "miss"], |_, r| {
            (r.response_status == 404 || r.response_status >= 500) && r.cache_status == "MISS"
        }),
        (&["--method", "post,HEAD", "--partition", "1,2"], |i, r| {
            ["POST", "HEAD"].contains(&r.method) && i % 3 > 0
        }),
        (&["--url", "/img/"], |_, r| r.url.contains("/img/")),
        (&["--resource", "1001,1003"], |_, r| {
            [1001, 1003].contains(&r.resource_id)
        }),
    ];
    let taps: Vec<Child> = (1..)
        .zip(&filters)
        .map(|(n, (args, _))| {
            let all = [*args, &["--rate", "0", "--format", "rowbinary"]].concat();
            w.tap(&program, n, &all)
        })
        .collect();
    w.stores(5, 6000);
    program.stop();
    let records: Vec<SynthRecord> = Synth::new(5, 1_700_000_000_000).take(6000).collect();
    for (tap, (args, wanted)) in taps.into_iter().zip(filters) {
        let out = ends(tap);
        assert!(words(&out).contains("the instance stops; "), "{out:?}");
        let mut expected = crate::support::kafka::Kafka::at("", 3);
        let matching = records.iter().enumerate().filter(|(i, r)| wanted(*i, r));
        let matching: Vec<Vec<u8>> = matching.map(|(_, r)| message(r)).collect();
        assert!(!matching.is_empty(), "{args:?}");
        expected.expect(&matching);
        assert!(multiset(&out.stdout) == expected.expected, "{args:?}");
    }
    w.assert_exactly_once();
}

/// Its terminal may be stopped, or its reader be `less`: rows go on to ClickHouse, and it is told how many
/// it did not see.
#[test]
fn a_tap_that_is_too_slow_misses_rows_and_the_stream_does_not_wait() {
    let mut w = World::new();
    let program = w.run_with([]);
    let tap = w.tap(&program, 1, &["--rate", "0"]);
    // More than pipe, socket and the blocks that wait for it hold.
    for seed in 1..=6 {
        w.stores(seed, 15_000);
    }
    rustix::process::kill_process(Pid::from_child(&tap), Signal::INT).unwrap();
    let out = ends(tap);
    let said = words(&out);
    assert!(
        said.contains(" passed unseen, as this was too slow"),
        "{said}"
    );
    assert!(!out.stdout.is_empty() && out.stdout.ends_with(b"}\n"));
    w.finish(program);
}

/// That is the row's doing, not the reader's.
#[test]
fn rows_that_are_too_large_to_be_shown_are_counted_apart() {
    let mut w = World::new();
    let program = w.run_with([]);
    let tap = w.tap(&program, 1, &["--rate", "0"]);
    let mut sent = messages(3, 100);
    sent[50] = message(&SynthRecord {
        url: "/large".repeat(50_000),
        ..Synth::new(3, 0).next().unwrap()
    });
    w.kafka.send(&sent);
    w.wait_all_stored();
    program.stop();
    let out = ends(tap);
    assert_eq!(out.stdout.split(|b| *b == b'\n').count(), 99 + 1);
    let said = words(&out);
    assert!(
        said.contains("; 1 row passed unseen, as only rows below 128 KiB are shown"),
        "{said}"
    );
    assert!(!said.contains("too slow"), "{said}");
}

/// The first signal waits for the counts; where they do not come, as from an instance that is stopped, the
/// second one ends it.
#[test]
fn a_second_signal_ends_a_tap_at_once() {
    let w = World::new();
    let program = w.run_with([]);
    let mut tap = w.tap(&program, 1, &[]);
    program.signal(Signal::STOP);
    let pid = Pid::from_child(&tap);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while tap.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it goes on");
        rustix::process::kill_process(pid, Signal::INT).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(tap.wait().unwrap().code(), Some(130));
    program.signal(Signal::CONT);
    program.stop();
}

#[test]
fn a_fifth_tap_is_refused_until_one_goes() {
    let w = World::new();
    let program = w.run_with([]);
    let mut taps: Vec<Child> = (1..=4).map(|n| w.tap(&program, n, &[])).collect();
    let refused = w.refused(&["tap", "--limit", "1"]);
    assert!(refused.contains("4 taps look already"), "{refused}");
    // All other commands have their turn.
    w.json(&["verify", "--json"]);
    let mut gone = taps.pop().unwrap();
    gone.kill().unwrap();
    gone.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut fifth = loop {
        let mut command = w.setup.command("tap");
        let tap = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut tap = tap.spawn().unwrap();
        let attached = || program.log().contains("tap 5 is attached");
        while tap.try_wait().unwrap().is_none() && !attached() {
            std::thread::sleep(MOMENT);
        }
        if attached() {
            break tap;
        }
        assert!(Instant::now() < deadline, "no room for a fifth");
    };
    program.stop();
    fifth.wait().unwrap();
    for tap in taps {
        ends(tap);
    }
}

#[test]
fn without_an_instance_or_a_reader_it_ends() {
    let mut w = World::new();
    let said = w.refused(&["tap"]);
    assert!(said.contains("no instance runs on"), "{said}");
    let program = w.run_with([]);
    let mut tap = w.tap(&program, 1, &["--rate", "0"]);
    w.kafka.produce(1, 300);
    let mut reader = BufReader::new(tap.stdout.take().unwrap());
    let mut row = String::new();
    for _ in 0..300 {
        row.clear();
        reader.read_line(&mut row).unwrap();
        assert!(row.starts_with("{\"timestamp\":"), "{row}");
    }
    // Nothing passes any more.
    drop(reader);
    assert_eq!(code(&mut tap), Some(141));
    let mut said = String::new();
    tap.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "");

    let tap = w.tap(&program, 2, &[]);
    program.kill();
    let out = tap.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(words(&out).contains("the instance ended"), "{out:?}");
}
