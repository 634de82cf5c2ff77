use super::*;

const DEAD: &str = "FAIL: [thrd:b1:9092/1]: b1:9092/1: Connect to ipv4#192.0.2.1:9092 failed: Connection refused \
     (after 3ms in state CONNECT, 29 identical error(s) suppressed)";

/// Tells lines, and keeps what is written of them.
struct Log {
    repeats: Repeats,
    start: Instant,
    written: Vec<String>,
}

impl Log {
    fn new() -> Log {
        Log {
            repeats: Repeats::new(),
            start: Instant::now(),
            written: Vec::new(),
        }
    }

    /// At so many seconds.
    fn tell(&mut self, s: f64, level: Level, target: &str, words: &str) {
        // As the writer does.
        while let Some(due) = self.repeats.due().filter(|due| *due <= self.at(s)) {
            self.pass((due - self.start).as_secs_f64(), false);
        }
        self.pass(s, false);
        let kind = Kind::of(level, target, 1, words);
        let now = self.at(s);
        if self.repeats.meet(kind, words, now, (s * 1000.0) as u64) {
            self.written.push(words.to_owned());
        }
    }

    fn warn(&mut self, s: f64, words: &str) {
        self.tell(s, Level::Warn, "anonymizer::store", words);
    }

    /// Takes what is owed; what was written since.
    fn pass(&mut self, s: f64, all: bool) {
        for owed in self.repeats.owed(self.at(s), all) {
            let again = owed.again.map(|a| {
                assert!(a.last_ms <= (s * 1000.0) as u64);
                format!(" +{} in {} s", a.times, a.within_s)
            });
            let again = again.unwrap_or_default();
            self.written.push(format!("{}{again}", owed.message));
        }
    }

    fn at(&self, s: f64) -> Instant {
        self.start + Duration::from_secs_f64(s)
    }

    #[track_caller]
    fn wrote(&mut self, lines: &[&str]) {
        assert_eq!(std::mem::take(&mut self.written), lines);
    }
}

#[test]
fn the_first_is_told_at_once_and_the_rest_once_a_minute_with_its_count() {
    let mut log = Log::new();
    for i in 0..39 * 90 {
        log.warn(f64::from(i) / 39.0, "no answer");
    }
    log.wrote(&["no answer", "no answer +2339 in 60 s"]);
    assert_eq!(log.repeats.counted(), 39 * 90 - 1);
    log.pass(119.9, false);
    log.wrote(&[]);
    log.pass(120.0, false);
    log.wrote(&["no answer +1170 in 60 s"]);
    // A minute without it: the next one is news.
    log.pass(300.0, false);
    log.warn(301.0, "no answer");
    log.wrote(&["no answer"]);
}

#[test]
fn what_is_counted_when_the_process_ends_is_told() {
    let mut log = Log::new();
    for s in [0.0, 10.0, 20.0] {
        log.warn(s, "no answer");
    }
    log.pass(34.0, true);
    log.pass(35.0, true);
    log.wrote(&["no answer", "no answer +2 in 34 s"]);
}

#[test]
fn the_writer_knows_when_to_look() {
    let mut log = Log::new();
    log.warn(0.0, "a");
    assert_eq!(log.repeats.due(), None);
    log.warn(5.0, "b");
    log.warn(6.0, "b");
    assert_eq!(log.repeats.due(), Some(log.at(65.0)));
    log.warn(7.0, "a");
    assert_eq!(log.repeats.due(), Some(log.at(60.0)));
    log.pass(60.0, false);
    assert_eq!(log.repeats.due(), Some(log.at(65.0)));
    log.pass(65.0, false);
    assert_eq!(log.repeats.due(), None);
}

#[test]
fn lines_that_name_different_things_are_all_told() {
    let mut log = Log::new();
    let mut told = Vec::new();
    for partition in 0..50 {
        for level in [Level::Error, Level::Warn] {
            let words = format!("partition {partition}: offsets 5..9 are lost");
            log.tell(0.0, level, "anonymizer::ownership::holder", &words);
            told.push(words);
        }
    }
    // What ERROR tells is never taken for another's for a number's sake.
    for s in [1, 2] {
        let words = format!("lost: what was read in {s} s");
        log.tell(0.0, Level::Error, "anonymizer::store", &words);
        told.push(words);
    }
    log.wrote(&told.iter().map(String::as_str).collect::<Vec<_>>());
    // The same words from another place, or another line.
    for target in ["anonymizer::queue", "sled"] {
        log.tell(1.0, Level::Warn, target, "again");
    }
    let kinds = [1, 2].map(|line| Kind::of(Level::Warn, "anonymizer::queue", line, "again"));
    assert_ne!(kinds[0], kinds[1]);
    log.wrote(&["again", "again"]);
}

#[test]
fn one_fault_with_other_measures_is_the_same_and_another_brokers_is_not() {
    let mut log = Log::new();
    let lines = [
        DEAD.to_owned(),
        DEAD.replace("3ms", "1003.2ms").replace("29", "30"),
        DEAD.replace(", 29 identical error(s) suppressed", ""),
        DEAD.replace("b1", "b2"),
        DEAD.replace("192.0.2.1", "192.0.2.9"),
    ];
    for line in &lines {
        log.tell(0.0, Level::Warn, "librdkafka", line);
    }
    log.wrote(&[&lines[0], &lines[3], &lines[4]]);
    for s in [3, 17] {
        let words = format!("the proxy's limiter refused; trying again in {s} s");
        log.tell(1.0, Level::Info, "anonymizer::flush::insert", &words);
    }
    log.wrote(&["the proxy's limiter refused; trying again in 3 s"]);
}

#[test]
fn numbers_that_only_measure_are_left_out() {
    for (words, ours, foreign) in [
        (
            "after 12ms, 3 requests",
            "after #ms, 3 requests",
            "after #ms, # requests",
        ),
        ("1.5 s: 7", "# s: 7", "# s: #"),
        (
            "timeout #3 of b:9092/1",
            "timeout #3 of b:9092/1",
            "timeout # of b:9092/1",
        ),
        (
            "10.0.0.1 [3] v2 x-5 1/1",
            "10.0.0.1 [3] v2 x-5 1/1",
            "10.0.0.1 [3] v2 x-5 1/1",
        ),
        ("in 1m 3s.", "in #m #s", "in #m #s"),
        ("", "", ""),
        ("ž 5 µs", "ž # µs", "ž # µs"),
    ] {
        assert_eq!(without_numbers(words, false), ours);
        assert_eq!(without_numbers(words, true), foreign);
    }
}

#[test]
fn a_fault_that_comes_again_after_good_news_is_news() {
    let mut log = Log::new();
    let mut told = Vec::new();
    for i in 0..6u32 {
        let s = f64::from(i);
        log.tell(s, Level::Error, "anonymizer::flush", "inserts are held");
        log.tell(s, Level::Error, "anonymizer::flush", "inserts are held");
        // Another part's good news are none.
        log.tell(s, Level::Info, "anonymizer::store", &format!("{i}"));
        log.tell(s, Level::Error, "anonymizer::flush", "inserts are held");
        log.tell(s, Level::Info, "anonymizer::flush::x", "inserts go on");
        if i < NEWS {
            told.extend([
                "inserts are held".to_owned(),
                i.to_string(),
                "inserts go on".into(),
            ]);
        } else {
            told.push(i.to_string());
        }
    }
    log.wrote(&told.iter().map(String::as_str).collect::<Vec<_>>());
    // In the order of what came last.
    log.pass(61.0, false);
    log.wrote(&["inserts are held +15 in 61 s", "inserts go on +3 in 61 s"]);
}

#[test]
fn a_line_a_minute_is_told_each_minute_though_it_comes_a_moment_early() {
    let mut log = Log::new();
    for s in [0.0, 60.1, 120.05, 180.2] {
        log.tell(s, Level::Info, "anonymizer::observe", "0 rows");
    }
    log.pass(200.0, false);
    log.wrote(&["0 rows", "0 rows", "0 rows", "0 rows"]);
}

#[test]
fn memory_is_bounded_and_what_finds_no_room_is_told() {
    let mut log = Log::new();
    let count = 3 * MOST_KINDS;
    for i in 0..count {
        log.warn(0.0, &format!("kind x{i}"));
    }
    assert_eq!(log.written.len(), count);
    assert_eq!(log.repeats.kinds.len(), MOST_KINDS);
    log.written.clear();
    log.warn(1.0, &format!("kind x{}", count - 1));
    assert_eq!(log.written.len(), 1);
    log.warn(1.0, "kind x0");
    assert_eq!(log.written.len(), 1);
    // Those of the minute before make room, but for those of which lines were counted.
    log.warn(59.0, "kind x0");
    log.warn(61.5, "another");
    log.warn(62.0, "another");
    assert_eq!(log.repeats.kinds.len(), 2);
    let long = "y".repeat(MOST_BYTES);
    log.written.clear();
    log.warn(63.0, &long);
    log.warn(63.0, &long);
    assert_eq!(log.written.len(), 2);
    assert!(log.repeats.bytes < MOST_BYTES);
}
