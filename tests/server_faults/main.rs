//! Faults of ClickHouse, of its proxy and of the way there, one line each, through the whole program.
//!
//! For each: what the log says, as which outcome it is counted, what is sent next and when; and in
//! the end ClickHouse has every row that was produced, once. Faults that only the real engine can
//! show are in `tests/engine`, what single answers mean to the sink in `tests/sink.rs`.

#[path = "../support/mod.rs"]
mod support;

mod way;

use std::time::Duration;

use support::fake_clickhouse::{FakeClickHouse, Fault, Outcome, Seen};
use support::kafka::Kafka;
use support::program::{PATIENCE, Program, Setup};
use support::stack::free_port;

use Fault::{
    ApplyThenDrop, ExceptionHeader, Hang, LateException, Refused, ResetAfterBody, ResetBeforeBody,
    ResetMidBody, SlowDrip, Status, StatusRetryAfter,
};
use Next::{After, Free, Held, Slot, Smaller};

/// Time between requests in these tests.
const SLOT: Duration = Duration::from_secs(1);

/// What follows a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The same rows under the same token, in the next slot.
    Slot,
    /// The same rows under the same token, when `Retry-After` is over: so many seconds.
    After(u64),
    /// The same rows under the same token, without a slot being lost.
    Free,
    /// Other, smaller batches: it is known that nothing is stored.
    Smaller,
    /// The same rows under the same token, after a hold that somebody was told of.
    Held,
}

macro_rules! faults {
    ($($name:ident: $fault:expr, says $says:literal, counts $outcome:literal, then $next:expr;)*) => {
        $(#[test]
        fn $name() {
            check($fault, $says, $outcome, $next);
        })*
    };
}

faults! {
    reset_before_the_body: ResetBeforeBody, says "no answer", counts "retry", then Slot;
    reset_in_the_body: ResetMidBody, says "no answer", counts "retry", then Slot;
    reset_after_the_body: ResetAfterBody, says "no answer", counts "retry", then Slot;
    answer_lost_after_the_insert: ApplyThenDrop, says "no answer", counts "retry", then Slot;
    exception_header_with_200: code(200, 209), says "code 209 (SOCKET_TIMEOUT)", counts "retry", then Slot;
    exception_text_after_200: LateException(241), says "code 241 (MEMORY_LIMIT_EXCEEDED)", counts "retry", then Slot;
    slow_drip: SlowDrip(Duration::from_millis(900)), says "answer", counts "retry", then Slot;
    hang: Hang(PATIENCE), says "timeout", counts "retry", then Slot;

    http_408: Status(408), says "HTTP 408", counts "retry", then Slot;
    http_408_of_clickhouse: code(408, 159), says "code 159 (TIMEOUT_EXCEEDED)", counts "retry", then Slot;
    http_413_before_the_body: refused(413, None), says "is too large for the proxy", counts "too_large", then Smaller;
    http_413_after_the_body: Status(413), says "is too large for the proxy", counts "too_large", then Smaller;
    http_413_of_clickhouse: code(413, 229), says "is too large for the proxy", counts "too_large", then Smaller;
    http_429: refused(429, None), says "limiter refused", counts "limited", then Free;
    http_429_with_retry_after: refused(429, Some("2")), says "limiter refused", counts "limited", then After(2);
    http_429_after_the_body: Status(429), says "limiter refused", counts "limited", then Free;
    http_503: refused(503, None), says "limiter refused", counts "limited", then Free;
    http_503_with_retry_after: refused(503, Some("2")), says "limiter refused", counts "limited", then After(2);
    http_503_after_the_body: Status(503), says "limiter refused", counts "limited", then Free;
    http_503_after_the_body_with_retry_after: StatusRetryAfter(503, "3"), says "limiter refused", counts "limited", then After(3);
    http_500: Status(500), says "HTTP 500", counts "retry", then Slot;
    http_500_with_retry_after: StatusRetryAfter(500, "3"), says "HTTP 500", counts "retry", then After(3);
    http_502: Status(502), says "HTTP 502", counts "retry", then Slot;
    http_504: Status(504), says "HTTP 504", counts "retry", then Slot;
    http_504_with_retry_after: StatusRetryAfter(504, "3"), says "HTTP 504", counts "retry", then After(3);

    server_disk_full: code(500, 243), says "code 243 (NOT_ENOUGH_SPACE)", counts "retry", then Slot;
    too_many_parts: code(500, 252), says "code 252 (TOO_MANY_PARTS)", counts "retry", then Slot;
    too_many_queries: code(500, 202), says "code 202 (TOO_MANY_SIMULTANEOUS_QUERIES)", counts "retry", then Slot;
    first_attempt_still_running: code(500, 216), says "code 216", counts "retry", then Slot;
    table_read_only: code(500, 242), says "code 242 (TABLE_IS_READ_ONLY)", counts "retry", then Slot;

    wrong_password: code(403, 516), says "code 516 (AUTHENTICATION_FAILED)", counts "hold", then Held;
    no_right_to_insert: code(403, 497), says "code 497 (ACCESS_DENIED)", counts "hold", then Held;
    unknown_setting: code(404, 115), says "code 115 (UNKNOWN_SETTING)", counts "hold", then Held;
    unknown_code: code(500, 4242), says "code 4242 (not known here)", counts "hold", then Held;
    wrong_path: Status(404), says "HTTP 404", counts "hold", then Held;
    redirect: Status(301), says "HTTP 301", counts "hold", then Held;
    a_page_instead_of_clickhouse: Status(200), says "HTTP 200", counts "hold", then Held;
    wrong_database: code(404, 81), says "the tables exist", counts "missing", then Slot;
    dropped_table_that_came_back: code(404, 60), says "the tables exist", counts "missing", then Slot;
}

fn code(http: u16, code: u32) -> Fault {
    ExceptionHeader { http, code }
}

fn refused(status: u16, retry_after: Option<&'static str>) -> Fault {
    Refused {
        status,
        retry_after,
    }
}

struct World {
    kafka: Kafka,
    clickhouse: FakeClickHouse,
    setup: Setup,
    metrics: String,
}

impl World {
    fn new() -> World {
        World::with(|url| url)
    }

    /// With something between the program and ClickHouse, whose URL is given.
    fn with(way: impl FnOnce(String) -> String) -> World {
        let kafka = Kafka::quick(3);
        let clickhouse = FakeClickHouse::start();
        let mut setup = Setup::at(&kafka, &way(clickhouse.url()));
        let listen = format!("127.0.0.1:{}", free_port());
        setup.set("--http-listen", &listen);
        setup.set("--request-timeout", "4s");
        World {
            kafka,
            clickhouse,
            setup,
            metrics: format!("http://{listen}/metrics"),
        }
    }

    /// How many attempts ended so.
    fn counted(&self, outcome: &str) -> u64 {
        let mut answer = ureq::get(&self.metrics).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let name = format!("anonymizer_inserts_total{{outcome=\"{outcome}\"}} ");
        let line = text.lines().find_map(|l| l.strip_prefix(&name));
        line.map_or(0, |n| n.trim().parse().unwrap())
    }

    /// Waits until all is stored and acknowledged; then ClickHouse has each row once.
    fn finish(&self, program: Program) {
        let want = self.kafka.expected_rows();
        self.clickhouse
            .wait_until(|s| s.row_count() >= want, PATIENCE);
        let status = self.setup.wait_status(|s| s["queue"]["rows"] == 0);
        assert!(status["flush"]["hold"].is_null(), "{status}");
        program.stop();
        self.clickhouse.assert_holds_once(&self.kafka.expected);
        let committed: i64 = self.kafka.committed().values().sum();
        assert_eq!(committed as u64, want);
    }

    fn inserts(&self) -> Vec<Seen> {
        let mut all = self.clickhouse.requests();
        all.retain(|r| r.token.is_some());
        all
    }
}

fn check(fault: Fault, says: &str, outcome: &str, next: Next) {
    let mut w = World::new();
    let program = w.setup.run();
    program.wait_log("the tables exist");
    let before = w.clickhouse.requests().len();
    w.clickhouse.fail(fault.clone());
    w.kafka.produce(1, 1500);
    if next == Held {
        w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
    }
    let want = w.kafka.expected_rows();
    w.clickhouse.wait_until(|s| s.row_count() >= want, PATIENCE);
    w.clickhouse.release();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    assert_eq!(w.counted(outcome), 1, "{}", program.log());
    let log = program.log();
    // The check of the tables says so at the start as well.
    let times = if says == "the tables exist" { 2 } else { 1 };
    assert!(log.matches(says).count() >= times, "no {says:?} in {log}");
    assert_eq!(log.contains("inserts are held"), next == Held, "{log}");
    assert_eq!(log.contains("inserts go on"), next == Held, "{log}");
    w.finish(program);

    let inserts = w.inserts();
    let (first, second) = (&inserts[0], &inserts[1]);
    let gap = second.at - first.at;
    let about = |time: Duration| time.mul_f64(0.9);
    if next == Smaller {
        assert_ne!(first.token, second.token);
        assert!(second.content_length < first.content_length, "{inserts:?}");
        assert_ne!(first.outcome, Outcome::Stored);
    } else {
        assert_eq!(first.token, second.token);
        assert_eq!(first.content_length, second.content_length);
    }
    match next {
        After(seconds) => assert!(gap >= about(Duration::from_secs(seconds)), "{gap:?}"),
        Slot | Held => assert!(gap >= about(SLOT), "{gap:?}"),
        Free | Smaller => {}
    }
    // One slot for each request that was not refused for free.
    let mut taken = w.clickhouse.requests().split_off(before);
    taken.retain(|r| r.outcome != Outcome::Refused);
    for pair in taken.windows(2).filter(|_| next != Free) {
        assert!(pair[1].at - pair[0].at >= about(SLOT), "{taken:?}");
    }
}
