use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::file::SIZE;
use super::sample::RECORD;
use super::{History, Look, MINUTE_MS, MINUTES, Sample};
use crate::queue::DataDir;

/// A minute of 2026.
const NOON: u64 = 29_690_000;

struct World {
    dir: TempDir,
}

impl World {
    fn new() -> World {
        World {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// As a process does that starts.
    fn history(&self) -> History {
        History::open(&DataDir::lock(self.dir.path()).unwrap())
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("history")
    }
}

fn appended(rows: u64) -> Look {
    Look {
        appended: rows,
        ..Look::default()
    }
}

/// Minutes before the one of `now` that have a sample, with the rows that came in.
fn kept(history: &History, now: u64) -> Vec<(u64, u64)> {
    let (first, all) = history.last_day(now * MINUTE_MS, &Look::default());
    assert_eq!((all.len(), first), (MINUTES, now + 1 - MINUTES as u64));
    let before = &all[..MINUTES - 1];
    let some = before.iter().flatten().map(|s| (s.minute, s.rows_in));
    some.collect()
}

#[test]
fn a_restart_keeps_the_day_and_shows_the_minutes_between_as_a_gap() {
    let w = World::new();
    let history = w.history();
    history.keep(NOON * MINUTE_MS, &appended(5));
    history.keep((NOON + 1) * MINUTE_MS, &appended(12));
    drop(history);
    let history = w.history();
    // Counters begin at 0 with the process.
    history.keep((NOON + 4) * MINUTE_MS, &appended(3));
    let want = [(NOON, 5), (NOON + 1, 7), (NOON + 4, 3)];
    assert_eq!(kept(&history, NOON + 5), want);
    let bytes = fs::read(w.file()).unwrap();
    assert_eq!(bytes.len(), SIZE);
    const { assert!(SIZE <= 113 << 10) };
    let mode = fs::metadata(w.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn two_samples_of_a_minute_are_one_and_a_day_later_it_is_gone() {
    let w = World::new();
    let history = w.history();
    history.keep(NOON * MINUTE_MS, &appended(5));
    history.keep(NOON * MINUTE_MS + 59_999, &appended(9));
    assert_eq!(kept(&history, NOON + 1), [(NOON, 9)]);
    // It ends in that minute, too.
    let history = w.history();
    history.keep(NOON * MINUTE_MS + 59_999, &appended(1));
    assert_eq!(kept(&history, NOON + MINUTES as u64 - 1), [(NOON, 10)]);
    assert_eq!(kept(&history, NOON + MINUTES as u64), []);
    history.keep((NOON + MINUTES as u64) * MINUTE_MS, &appended(4));
    let next = NOON + MINUTES as u64;
    assert_eq!(kept(&history, next + 1), [(next, 3)]);
}

#[test]
fn a_clock_that_was_set_loses_no_more_than_the_minutes_it_shows_again() {
    let w = World::new();
    let history = w.history();
    for minute in 0..120 {
        history.keep((NOON + minute) * MINUTE_MS, &appended(minute + 1));
    }
    // An hour back: what lies in the future is not shown, and is there when its time comes.
    history.keep((NOON + 60) * MINUTE_MS, &appended(125));
    let shown = kept(&history, NOON + 61);
    assert_eq!(shown.len(), 61);
    assert_eq!(
        shown[60],
        (NOON + 60, 6),
        "to the row of that minute come 5"
    );
    assert_eq!(kept(&history, NOON + 120).len(), 120);
    // A year ahead, and back again.
    history.keep((NOON + 525_600) * MINUTE_MS, &appended(126));
    assert_eq!(kept(&history, NOON + 525_601).len(), 1);
    assert!(kept(&history, NOON + 120).len() >= 119);
}

#[test]
fn an_insert_is_in_the_minute_that_it_ended_in() {
    let w = World::new();
    let history = w.history();
    let look = |ended_ms| Look {
        insert: Some((ended_ms, 700, 30)),
        ..Look::default()
    };
    // Long ago, by an earlier process.
    history.keep(NOON * MINUTE_MS, &look((NOON - 60) * MINUTE_MS));
    history.keep((NOON + 1) * MINUTE_MS, &look(NOON * MINUTE_MS + 5));
    // The same again.
    history.keep((NOON + 2) * MINUTE_MS, &look(NOON * MINUTE_MS + 5));
    let (_, all) = history.last_day((NOON + 3) * MINUTE_MS, &Look::default());
    let bytes = |at: usize| all[MINUTES - 1 - at].unwrap().insert_bytes;
    assert_eq!([bytes(3), bytes(2), bytes(1), bytes(0)], [0, 700, 0, 0]);
}

#[test]
fn what_is_no_history_begins_anew_and_a_link_is_not_followed() {
    for content in [&b""[..], b"x", &[0; SIZE], &[255; SIZE + 1]] {
        let w = World::new();
        fs::write(w.file(), content).unwrap();
        let history = w.history();
        assert_eq!(kept(&history, NOON), []);
        history.keep((NOON - 1) * MINUTE_MS, &appended(1));
        drop(history);
        assert_eq!(kept(&w.history(), NOON), [(NOON - 1, 1)]);
    }
    let w = World::new();
    let other = w.dir.path().join("other");
    fs::write(&other, "somebody else's").unwrap();
    symlink(&other, w.file()).unwrap();
    let history = w.history();
    history.keep((NOON - 1) * MINUTE_MS, &appended(1));
    assert_eq!(kept(&history, NOON), [(NOON - 1, 1)]);
    assert_eq!(fs::read(&other).unwrap(), b"somebody else's");
}

#[test]
fn a_directory_in_its_place_stops_nothing() {
    let w = World::new();
    fs::create_dir(w.file()).unwrap();
    let history = w.history();
    history.keep((NOON - 1) * MINUTE_MS, &appended(1));
    assert_eq!(kept(&history, NOON), [(NOON - 1, 1)]);
}

fn sample() -> impl Strategy<Value = Sample> {
    let numbers = proptest::array::uniform8(0..u64::MAX);
    (numbers, proptest::option::of(0..u64::MAX)).prop_map(|(n, unread)| Sample {
        minute: n[0],
        rows_in: n[1],
        rows_out: n[2],
        queue_rows: n[3],
        queue_bytes: n[4],
        oldest_s: n[5],
        insert_bytes: n[6],
        insert_ms: n[7],
        unread,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_sample_is_read_as_it_was_written_and_not_if_a_bit_differs(
        sample in sample(),
        bit in 0..RECORD * 8,
    ) {
        let mut record = sample.write();
        prop_assert_eq!(Sample::read(&record), Some(sample));
        record[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Sample::read(&record), None);
    }

    #[test]
    fn any_file_opens_and_takes_samples(content in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let w = World::new();
        fs::write(w.file(), &content).unwrap();
        w.history().keep(NOON * MINUTE_MS, &appended(2));
        prop_assert_eq!(kept(&w.history(), NOON + 1), [(NOON, 2)]);
    }

    /// A crash or a disk may leave anything in it: the other minutes stay.
    #[test]
    fn damage_makes_gaps_and_no_samples(
        at in 16..SIZE,
        damage in proptest::collection::vec(any::<u8>(), 1..400),
        cut in proptest::option::of(0..SIZE),
    ) {
        let w = World::new();
        let history = w.history();
        for minute in 0..MINUTES as u64 {
            history.keep((NOON + minute) * MINUTE_MS, &appended(minute + 1));
        }
        drop(history);
        let mut bytes = fs::read(w.file()).unwrap();
        let end = SIZE.min(at + damage.len());
        bytes[at..end].copy_from_slice(&damage[..end - at]);
        bytes.truncate(cut.unwrap_or(SIZE));
        fs::write(w.file(), &bytes).unwrap();
        let left = kept(&w.history(), NOON + MINUTES as u64);
        prop_assert!(left.iter().all(|(_, rows)| *rows == 1), "made up");
        match cut {
            Some(_) => prop_assert_eq!(left, []),
            None => prop_assert!(left.len() >= MINUTES - 1 - 400 / RECORD - 2),
        }
    }
}
