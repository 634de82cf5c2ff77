use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::*;
use crate::flush::{InFlight, Stored};
use crate::observe::forecast::{Counted, Limits, Rates};
use crate::observe::offline::{self, Told};
use crate::observe::status::Partition;
use crate::observe::verdict::{Code, Finding, Verdict};
use crate::observe::word::Word;
use crate::queue::LostRange;
use crate::queue::fixture::Fixture;
use crate::runtime::conditions::Trouble;
use crate::settings::Settings;

/// 12:05:29 of some day.
const NOW: u64 = 20_000 * 86_400_000 + 43_529_000;
const MINUTE: u64 = 60_000;

/// An instance that runs, stored rows a while ago, and has two partitions.
fn calm() -> Status {
    let told = Told {
        topic: "t",
        interval: Duration::from_secs(63),
        an_insert: (64 << 20, 1_000_000),
        bounds: Settings::default().load_from([]).unwrap().bounds(),
    };
    let mut s = offline::look(Fixture::new().q(), &told).unwrap();
    (s.live, s.told_ms, s.installation, s.disk_bytes) = (true, NOW, "abc".into(), 4 << 20);
    s.limits = Limits {
        max_queue_bytes: 100 << 30,
        free_bytes: Some(12 << 30),
        ..Limits::default()
    };
    s.flush.next_slot_ms = NOW + 41_000;
    s.flush.stored = Some(Stored {
        at_ms: NOW - MINUTE,
        rows: 20_000,
        bytes: 3 << 20,
        queued_bytes: 1,
        took_ms: 840,
    });
    s.partitions = vec![0, 1];
    s.kafka.unread = Some(12);
    s.kafka.partitions = (0..2).map(partition).collect();
    s.verdict = Verdict {
        sentence: "OK: all that was read is in ClickHouse; last 20,000 rows stored 12:04 UTC"
            .into(),
        ..Verdict::default()
    };
    s.rates = Rates {
        rows_in: 1234.0,
        bytes_in: 1.0,
        rows_out: 1100.0,
    };
    s
}

fn partition(n: i32) -> Partition {
    Partition {
        partition: n,
        read: Some(1_000_000),
        committed: Some(999_000),
        in_clickhouse: Some(998_000),
        unread: Some(1234),
        ..Partition::default()
    }
}

/// Nearly all that can be wrong.
fn bad() -> Status {
    let mut s = calm();
    (s.queue.rows, s.queue.bytes) = (20_000, 3 << 20);
    s.queue.oldest_ms = Some(NOW - 269_000);
    s.forecast.inserts = Some(1);
    s.forecast.drained_ms = Some(NOW + 41_000);
    s.forecast.full_ms = Some(NOW + 200 * MINUTE);
    s.flush.failing = Some(Trouble {
        kind: "unreachable".into(),
        words: "cannot connect:\nConnection refused".into(),
        since_ms: NOW - 4 * MINUTE,
        times: 5,
    });
    s.flush.in_flight = Some(InFlight {
        what: "insert".into(),
        rows: 20_000,
        bytes: 3 << 20,
        since_ms: NOW - 12_000,
    });
    s.lost = vec![LostRange {
        topic: "t".into(),
        partition: 1,
        from: 100,
        to: 1100,
        noticed_ms: NOW - 60 * MINUTE,
        unsure: false,
    }];
    s.kafka.partitions[1].without_leader = true;
    let finding = |code, reason: &str, act: Option<&str>| Finding {
        code,
        what: Word::Lost,
        reason: reason.into(),
        since_ms: None,
        act: act.map(str::to_owned),
    };
    s.verdict = Verdict {
        code: Code::Lost,
        sentence:
            "LOST: 20,000 rows wait since 12:01 UTC (4m 29s); 1,000 records of t p1 100..1100: \
                   Kafka no longer had them when they were due; and 2 findings more"
                .into(),
        act: Some(
            "raise the topic's retention, and find out what kept them from being read".into(),
        ),
        findings: vec![
            finding(Code::Lost, "1,000 records", None),
            finding(Code::Delayed, "no leader answers for partition 1", None),
            finding(
                Code::Delayed,
                "ClickHouse, or the proxy before it, cannot be reached since 12:01 UTC (4m) (5 times): \
                 cannot connect: Connection refused",
                Some("look at the proxy and at the network"),
            ),
        ],
        ..Verdict::default()
    };
    s
}

fn shown(status: Status) -> Shown {
    Shown::new(status)
}

fn drawn_at(shown: &Shown, width: u16, height: u16, now: u64, colours: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let drawn = terminal
        .draw(|frame| screen::draw(frame, shown, now, colours))
        .unwrap();
    drawn.buffer.clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let lines = buffer.content.chunks(width.max(1));
    let line = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(|c| c.symbol()).collect();
        format!("{}\n", text.trim_end())
    };
    lines.map(line).collect()
}

fn screen_of(shown: &Shown) -> String {
    text(&drawn_at(shown, 80, 24, NOW, true))
}

#[test]
fn a_calm_screen() {
    let mut shown = shown(calm());
    for second in 0..=60 {
        let counted = Counted {
            rows_in: second * second * 10,
            bytes_in: 0,
            rows_out: if second < 40 { 0 } else { 12_000 },
        };
        shown.history.add(NOW - 60_000 + second * 1000, &counted);
    }
    let want = "\
OK: all that was read is in ClickHouse; last 20,000 rows stored 12:04 UTC

queue        0 rows, 0 B (4.0 MiB on disk)
rows in          1,234/s                           ▁▂▃▄▆██  5 min, most 1,046
rows out         1,100/s                               █    5 min, most 1,280
last insert  20,000 rows in 3.0 MiB, 1m ago, took 0.8 s
next         request in 41s
room         12.0 GiB free on the disk, the queue may hold 100.0 GiB
kafka        2 partitions assigned, 12 records unread

partition  in ClickHouse      committed           read     unread
        0         998000         999000        1000000      1,234
        1         998000         999000        1000000      1,234










live, installation abc                                    12:05:29 UTC   q quits
";
    assert_eq!(screen_of(&shown), want);
}

#[test]
fn a_bad_screen() {
    let want = "\
LOST: 20,000 rows wait since 12:01 UTC (4m 29s); 1,000 records of t p1
100..1100: Kafka no longer had them when they were due; and 2 findings more
To do: raise the topic's retention, and find out what kept them from being read
Also DELAYED, nothing lost: no leader answers for partition 1
Also DELAYED, nothing lost: ClickHouse, or the proxy before it, cannot be
reached since 12:01 UTC (4m) (5 times): cannot connect: Connection refused
To do: look at the proxy and at the network

queue        20,000 rows, 3.0 MiB (4.0 MiB on disk), the oldest for 4m 29s
rows in          1,234/s                                    5 min, most 0
rows out         1,100/s                                    5 min, most 0
failing      5 times since 12:01 UTC (4m): cannot connect: Connection refused
LOST         1,000 records that Kafka no longer had
under way    insert of 20,000 rows, 3.0 MiB, for 12s
last insert  20,000 rows in 3.0 MiB, 1m ago, took 0.8 s
next         request in 41s; drained in 1 insert, 12:06 UTC
room         12.0 GiB free on the disk, the queue may hold 100.0 GiB; full in 3h
kafka        2 partitions assigned, 12 records unread

partition  in ClickHouse      committed           read     unread
        0         998000         999000        1000000      1,234
        1         998000         999000        1000000      1,234  no leader

live, installation abc                                    12:05:29 UTC   q quits
";
    assert_eq!(screen_of(&shown(bad())), want);
}

/// A small terminal has at least the verdict, and none is too small.
#[test]
fn it_fits_every_size() {
    let shown = shown(bad());
    for height in 0..30 {
        for width in 0..90 {
            let seen = text(&drawn_at(&shown, width, height, NOW, true));
            if width >= 10 && height >= 2 {
                assert!(seen.starts_with("LOST:"), "{width}x{height}:\n{seen}");
                assert!(
                    seen.contains("q quits") || width < 25,
                    "{width}x{height}:\n{seen}"
                );
            }
        }
    }
    let seen = text(&drawn_at(&shown, 200, 60, NOW, true));
    assert!(seen.contains("no leader"), "{seen}");
}

#[test]
fn the_verdict_has_its_colour_unless_no_colour_is_wanted() {
    let first = |s: Status, colours| drawn_at(&shown(s), 80, 24, NOW, colours)[(0, 0)].fg;
    assert_eq!(first(calm(), true), Color::Green);
    assert_eq!(first(bad(), true), Color::LightRed);
    let mut delayed = bad();
    delayed.verdict.code = Code::Delayed;
    assert_eq!(first(delayed, true), Color::Yellow);
    let plain = drawn_at(&shown(bad()), 80, 24, NOW, false);
    let coloured = plain
        .content
        .iter()
        .find(|c| (c.fg, c.bg) != (Color::Reset, Color::Reset));
    assert_eq!(coloured, None);
}

#[test]
fn an_instance_that_stops_and_starts_is_told_as_such() {
    let mut shown = shown(calm());
    let mut stopped = calm();
    (stopped.live, stopped.queue.rows) = (false, 7);
    stopped.verdict = judge(&stopped, NOW);
    shown.take(Look::Told(Box::new(stopped)), NOW);
    let seen = screen_of(&shown);
    assert!(
        seen.contains("DELAYED, nothing lost: 7 rows wait; the instance is not running"),
        "{seen}"
    );
    assert!(
        seen.contains("NOT RUNNING (stopped 12:05:29 UTC)"),
        "{seen}"
    );
    assert!(!seen.contains("/s"), "{seen}");
    // Where there is no room for both, the installation goes.
    let seen = text(&drawn_at(&shown, 66, 24, NOW, true));
    assert!(seen.contains("NOT RUNNING (stopped"), "{seen}");

    shown.take(Look::StillStopped, NOW + 60_000);
    assert_eq!(shown.stale(NOW + 61_000), None);
    let words = "no answer through control.sock".to_owned();
    shown.take(Look::Failed(words), NOW + 70_000);
    let seen = text(&drawn_at(&shown, 80, 24, NOW + 70_000, true));
    assert!(
        seen.starts_with("the instance has not answered for 10s (no answer through control.sock)"),
        "{seen}"
    );
    shown.take(Look::Told(Box::new(calm())), NOW + 80_000);
    let seen = text(&drawn_at(&shown, 80, 24, NOW + 80_000, true));
    assert!(seen.contains("live (started 12:06:49 UTC)"), "{seen}");
}

#[test]
fn an_answer_that_does_not_come_is_told() {
    let shown = shown(calm());
    assert!(shown.sentence(NOW + 2_000).starts_with("OK: "));
    let said = shown.sentence(NOW + 5_000);
    assert!(
        said.starts_with("the instance has not answered for 5s"),
        "{said}"
    );
}

#[test]
fn many_partitions_are_scrolled() {
    let mut many = calm();
    many.kafka.partitions = (0..100).map(partition).collect();
    let mut shown = shown(many);
    let key = |code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
    assert!(
        screen_of(&shown).contains("0 above, 89 below"),
        "{}",
        screen_of(&shown)
    );
    assert!(shown.obey(&key(KeyCode::PageDown)));
    assert!(shown.obey(&key(KeyCode::Down)));
    assert!(
        screen_of(&shown).contains("11 above, 78 below"),
        "{}",
        screen_of(&shown)
    );
    for _ in 0..20 {
        shown.obey(&key(KeyCode::PageDown));
    }
    assert!(
        screen_of(&shown).contains("89 above, 0 below"),
        "{}",
        screen_of(&shown)
    );
    for _ in 0..20 {
        shown.obey(&key(KeyCode::PageUp));
    }
    assert!(screen_of(&shown).contains("0 above, 89 below"));
}

#[test]
fn q_escape_and_control_c_quit() {
    let mut shown = shown(calm());
    let mut goes_on = |code, modifiers| shown.obey(&Event::Key(KeyEvent::new(code, modifiers)));
    assert!(!goes_on(KeyCode::Char('q'), KeyModifiers::NONE));
    assert!(!goes_on(KeyCode::Esc, KeyModifiers::NONE));
    assert!(!goes_on(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(goes_on(KeyCode::Char('c'), KeyModifiers::NONE));
    assert!(goes_on(KeyCode::Enter, KeyModifiers::NONE));
    assert!(shown.obey(&Event::Resize(1, 1)));
}

/// Another process counts from zero, and a look that came late says nothing of a second.
#[test]
fn bars_leave_out_what_is_not_known() {
    let counted = |rows_in| Counted {
        rows_in,
        ..Counted::default()
    };
    const T: u64 = 1_000_000_000;
    let mut history = History::default();
    let bars = |history: &History, now| history.bars(history::Way::In, 30, now);
    history.add(T + 100_000, &counted(1_000_000));
    history.add(T + 101_000, &counted(5));
    assert_eq!(bars(&history, T + 120_000), (" ".repeat(30), 0));
    history.add(T + 150_000, &counted(1_000_000));
    history.stops();
    history.add(T + 151_000, &counted(2_000_000));
    assert_eq!(bars(&history, T + 170_000), (" ".repeat(30), 0));
    history.add(T + 152_000, &counted(2_000_100));
    assert_eq!(
        bars(&history, T + 170_000),
        (format!("{}█ ", " ".repeat(28)), 10)
    );
    // Of five minutes ago nothing is left.
    assert_eq!(bars(&history, T + 470_000).1, 0);
}
