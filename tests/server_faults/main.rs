//! Faults of ClickHouse, of its proxy and of the way there, one line each, through the whole program.
//!
//! For each: what the log says, as which outcome it is counted, what is sent next and when; and in
//! the end ClickHouse has every row that was produced, once. Faults that only the real engine can
//! show are in `tests/engine`, what single answers mean to the sink in `tests/integration/sink.rs`.

#[path = "../support/mod.rs"]
mod support;

mod way;

use std::time::Duration;

use support::fake_clickhouse::{Fault, Outcome, Seen};
use support::program::Program;
use support::stack::free_port;
use support::wait::PATIENCE;
use support::world::World;

use Fault::{
    ApplyThenDrop, ApplyThenStatus, EmptyPage, ExceptionHeader, Hang, LateException, Refused,
    ResetAfterBody, ResetBeforeBody, ResetMidBody, SlowDrip, Status, StatusRetryAfter,
};
use Next::{After, Free, Held, HeldThenNothing, HeldThenSmaller, Nothing, Slot, Smaller};

/// Time between requests in these tests.
const SLOT: Duration = Duration::from_secs(1);

/// What follows a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The same rows under the same token, once ClickHouse said in the next slot whether it has them.
    Slot,
    /// No other insert: ClickHouse said in the next slot that it has the rows.
    Nothing,
    /// The same rows under the same token, when `Retry-After` is over: so many seconds.
    After(u64),
    /// The same rows under the same token, without a slot being lost.
    Free,
    /// Other, smaller batches: it is known that nothing is stored.
    Smaller,
    /// The same rows under the same token, after a hold that somebody was told of.
    Held,
    /// As `Nothing`, after a hold.
    HeldThenNothing,
    /// As `Smaller`, after a hold, once ClickHouse said that it has nothing.
    HeldThenSmaller,
}

impl Next {
    fn is_held(self) -> bool {
        matches!(self, Held | HeldThenNothing | HeldThenSmaller)
    }
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
    answer_lost_after_the_insert: ApplyThenDrop, says "no answer", counts "retry", then Nothing;
    exception_header_with_200: code(200, 209), says "code 209 (SOCKET_TIMEOUT)", counts "retry", then Slot;
    exception_text_after_200: LateException(241), says "code 241 (MEMORY_LIMIT_EXCEEDED)", counts "retry", then Slot;
    slow_drip: SlowDrip(Duration::from_millis(900)), says "answer", counts "retry", then Nothing;
    hang: Hang(PATIENCE), says "timeout", counts "retry", then Slot;

    http_408: Status(408), says "HTTP 408", counts "retry", then Slot;
    http_408_of_clickhouse: code(408, 159), says "code 159 (TIMEOUT_EXCEEDED)", counts "retry", then Slot;
    http_413_before_the_body: refused(413, None), says "is too long for the proxy", counts "too_large", then Smaller;
    http_413_after_the_body: Status(413), says "may be stored, and its size is refused", counts "too_large", then HeldThenSmaller;
    http_413_of_clickhouse: code(413, 229), says "is too long for ClickHouse", counts "too_large", then HeldThenSmaller;
    http_429: refused(429, None), says "limiter refused", counts "limited", then Free;
    http_429_with_retry_after: refused(429, Some("2")), says "limiter refused", counts "limited", then After(2);
    http_429_after_the_body: Status(429), says "limiter refused", counts "limited", then Free;
    http_503: refused(503, None), says "limiter refused", counts "limited", then Free;
    http_503_with_retry_after: refused(503, Some("2")), says "limiter refused", counts "limited", then After(2);
    http_503_with_retry_after_of_nothing: refused(503, Some("0")), says "limiter refused", counts "limited", then After(1);
    http_429_with_retry_after_in_the_past: refused(429, Some("Sun, 06 Nov 1994 08:49:37 GMT")), says "limiter refused", counts "limited", then After(1);
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
    an_empty_page_instead_of_clickhouse: EmptyPage, says "nginx made it", counts "hold", then Held;
    a_filter_that_answers_403_to_an_answer: ApplyThenStatus(403), says "HTTP 403", counts "hold", then HeldThenNothing;
    wrong_database: code(404, 81), says "code 81 (UNKNOWN_DATABASE)", counts "missing", then Held;
    dropped_table_that_came_back: code(404, 60), says "code 60 (UNKNOWN_TABLE)", counts "missing", then Held;
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

/// With the address of its metrics.
type Faulty = World<String>;

fn faulty() -> Faulty {
    faulty_by(|url| url)
}

/// With something between the program and ClickHouse, whose URL is given.
fn faulty_by(way: impl FnOnce(String) -> String) -> Faulty {
    let listen = format!("127.0.0.1:{}", free_port());
    World::new()
        .by(way)
        .with("--http-listen", &listen)
        .with("--request-timeout", "4s")
        .and(|_| format!("http://{listen}/metrics"))
}

impl Faulty {
    /// How many attempts ended so.
    fn counted(&self, outcome: &str) -> u64 {
        let mut answer = ureq::get(&self.own).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        // An insert, or the look at the tables before the first one.
        let of = |kind: &str| -> u64 {
            let name = format!("anonymizer_{kind}_total{{outcome=\"{outcome}\"}} ");
            let line = text.lines().find_map(|l| l.strip_prefix(&name));
            line.map_or(0, |n| n.trim().parse().unwrap())
        };
        of("inserts") + of("queries")
    }

    /// And all is committed.
    fn finish_committed(&self, program: Program) {
        self.finish(program);
        let committed: i64 = self.kafka.committed().values().sum();
        assert_eq!(committed as u64, self.kafka.expected_rows());
    }

    /// Those that a proxy refused, too.
    fn attempts(&self) -> Vec<Seen> {
        let mut all = self.clickhouse.requests();
        all.retain(|r| r.token.is_some());
        all
    }
}

#[test]
fn a_proxy_that_does_not_know_expect() {
    let mut w = faulty();
    w.clickhouse.state().knows_no_expect = true;
    let program = w.setup.run();
    w.kafka.produce(1, 900);
    program.wait_log("HTTP 417");
    w.finish_committed(program);
    let refused = w.clickhouse.requests();
    let refused = refused.iter().filter(|r| r.status == 417).count();
    assert_eq!(refused, 1);
}

#[test]
fn a_password_that_is_changed_needs_no_restart() {
    let mut w = faulty();
    let file = w.setup.data_dir().with_file_name("password");
    std::fs::write(&file, "old\n").unwrap();
    let path = file.display().to_string();
    w.setup.set("--clickhouse-password-file", &path);
    w.clickhouse.state().password = Some("old".into());
    let program = w.run_with([]);
    w.clickhouse.state().password = Some("new".into());
    w.kafka.produce(1, 900);
    program.wait_log("code 516");
    std::fs::write(&file, "new\n").unwrap();
    w.finish_committed(program);
}

fn check(fault: Fault, says: &str, outcome: &str, next: Next) {
    let mut w = faulty();
    w.kafka.produce(1, 1500);
    let program = w.run_when_read([fault]);
    if next.is_held() {
        w.setup.wait_status(|s| !s["flush"]["hold"].is_null());
    }
    w.wait_all_stored();
    w.clickhouse.release();
    w.wait_queued(0);
    assert_eq!(w.counted(outcome), 1, "{}", program.log());
    let log = program.log();
    // The check of the tables says so at the start as well.
    let times = if says == "the tables exist" { 2 } else { 1 };
    assert!(log.matches(says).count() >= times, "no {says:?} in {log}");
    assert_eq!(log.contains("inserts are held"), next.is_held(), "{log}");
    assert_eq!(log.contains("inserts go on"), next.is_held(), "{log}");
    w.finish_committed(program);

    let inserts = w.attempts();
    if matches!(next, Nothing | HeldThenNothing) {
        assert_eq!(inserts.len(), 1, "{inserts:?}");
        return;
    }
    let (first, second) = (&inserts[0], &inserts[1]);
    let gap = second.at - first.at;
    let about = |time: Duration| time.mul_f64(0.9);
    if matches!(next, Smaller | HeldThenSmaller) {
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
        Free | Smaller | Nothing | HeldThenNothing | HeldThenSmaller => {}
    }
    // One slot for each request that was not refused for free.
    let mut taken = w.clickhouse.requests();
    let first = taken.iter().position(|r| r.token.is_some()).unwrap();
    let mut taken = taken.split_off(first);
    taken.retain(|r| r.outcome != Outcome::Refused);
    for pair in taken.windows(2).filter(|_| next != Free) {
        assert!(pair[1].at - pair[0].at >= about(SLOT), "{taken:?}");
    }
}
