//! Each class of answer end to end: what the sink decides, and what went over the wire.

use std::io::{self, Read};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anonymizer::clickhouse::{
    BodyLimit, InsertDone, InsertRequest, Schema, Sink, SinkError, SinkOptions, insert_settings,
};

use crate::support::fake_clickhouse::{FakeClickHouse, Fault, Outcome, State, row};
use crate::support::nginx::Nginx;

const COLUMNS: &str = "timestamp, resource_id, bytes_sent, request_time_milli, response_status, \
     cache_status, method, remote_addr, url";

pub fn sink_to(url: &str, timeout: Duration) -> Sink {
    let options = SinkOptions {
        url: url.to_string(),
        database: "default".into(),
        table: "http_log".into(),
        user: Some("writer".into()),
        password: Some("k\u{e9}y".into()),
        tls: Default::default(),
        request_timeout: timeout,
    };
    Sink::new(&options).unwrap()
}

pub fn sink(server: &FakeClickHouse) -> Sink {
    sink_to(&server.url(), Duration::from_secs(20))
}

/// Rows as the queue keeps them: zstd frames, one behind the other.
fn frames(rows: std::ops::Range<u64>) -> Vec<u8> {
    let rows: Vec<u64> = rows.collect();
    let mut body = Vec::new();
    for block in rows.chunks(100) {
        let plain: Vec<u8> = block.iter().flat_map(|n| row(*n)).collect();
        body.extend(zstd::encode_all(&plain[..], 1).unwrap());
    }
    body
}

fn request(token: &str, rows: u64, body: &[u8]) -> InsertRequest {
    InsertRequest {
        format: "RowBinary",
        token: token.into(),
        rows,
        body_len: body.len() as u64,
        settings: insert_settings(token, rows),
        columns: COLUMNS.to_owned(),
    }
}

pub fn insert(
    sink: &Sink,
    token: &str,
    rows: std::ops::Range<u64>,
) -> Result<InsertDone, SinkError> {
    let body = frames(rows.clone());
    sink.insert(
        &request(token, rows.end - rows.start, &body),
        &mut &body[..],
    )
}

/// label, used a slot, may be stored
pub fn told(error: &SinkError) -> (&'static str, bool, bool) {
    (error.label(), error.used_slot(), error.may_be_stored())
}

#[test]
fn rows_are_stored_once_however_often_they_are_sent() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    let done = insert(&sink, "a", 0..250).unwrap();
    assert_eq!(done.written_rows, Some(250));
    let again = insert(&sink, "a", 0..250).unwrap();
    assert_eq!(again.written_rows, Some(0));
    insert(&sink, "b", 0..10).unwrap();
    assert_eq!(server.rows(), 260);
    assert_eq!(server.state().rows[&row(5)], 2);
    server.assert_no_violation();

    insert(&sink, "a", 0..251).unwrap();
    assert_eq!(
        server.state().violations,
        ["token a was used for other rows"]
    );
}

#[test]
fn the_request_on_the_wire() {
    let server = FakeClickHouse::start();
    let body = frames(0..300);
    insert(&sink(&server), "tok", 0..300).unwrap();
    let seen = &server.requests()[0];
    let head = seen.head.to_ascii_lowercase();
    for want in [
        format!("content-length: {}\r\n", body.len()),
        "content-encoding: zstd\r\n".into(),
        "expect: 100-continue\r\n".into(),
        "x-clickhouse-user: writer\r\n".into(),
        "x-clickhouse-key: ".into(),
    ] {
        assert!(head.contains(&want), "no {want:?} in {head}");
    }
    assert!(head.starts_with("post /?query=insert%20into"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(head.matches("content-length").count(), 1);
    assert_eq!(
        seen.sql,
        format!("INSERT INTO `default`.`http_log` ({COLUMNS}) FORMAT RowBinary")
    );
    assert_eq!(
        (seen.body_read, seen.token.as_deref()),
        (body.len() as u64, Some("tok"))
    );
}

#[test]
fn a_path_in_the_url_is_kept() {
    let server = FakeClickHouse::start();
    let sink = sink_to(&format!("{}/ch/in", server.url()), Duration::from_secs(20));
    insert(&sink, "a", 0..1).unwrap();
    assert_eq!(server.requests()[0].path, "/ch/in");
}

#[test]
fn refusals_before_the_body_cost_no_slot_and_send_no_byte_of_it() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);

    let started = Instant::now();
    server.fail(Fault::Limited503(Some("7")));
    let error = insert(&sink, "a", 0..1000).unwrap_err();
    assert_eq!(told(&error), ("limited", false, false));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));

    server.limit_body(Some(100));
    let error = insert(&sink, "a", 0..1000).unwrap_err();
    assert_eq!(told(&error), ("too_large", false, false));
    let length = frames(0..1000).len() as u64;
    assert!(matches!(error, SinkError::TooLarge { body_len, .. } if body_len == length));

    // The server keeps the connection open: a refusal is read when it comes, not when that ends.
    assert!(started.elapsed() < Duration::from_secs(2));

    server.limit_body(None);
    insert(&sink, "a", 0..1000).unwrap();
    let closed = |state: &State| state.requests.iter().all(|seen| seen.closed);
    server.wait_until(closed, Duration::from_secs(10));
    let seen = server.requests();
    assert_eq!((seen[0].status, seen[0].body_read), (503, 0));
    assert_eq!((seen[1].status, seen[1].body_read), (413, 0));
    assert_eq!(seen[2].outcome, Outcome::Stored);
}

#[test]
fn a_proxy_that_does_not_know_expect_gets_the_body_after_a_while() {
    let server = FakeClickHouse::start();
    server.state().silent_on_expect = true;
    let started = Instant::now();
    insert(&sink_to(&server.url(), Duration::from_secs(2)), "a", 0..10).unwrap();
    // A quarter of the request timeout here; 2 s at most.
    assert!(started.elapsed() >= Duration::from_millis(500));
    assert_eq!(server.rows(), 10);
}

#[test]
fn answers_after_the_body() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    let f = |fault, want| {
        server.fail(fault);
        let error = insert(&sink, "a", 0..10).unwrap_err();
        assert_eq!(told(&error), want, "{error}");
        error
    };
    let code = |http, code| Fault::ExceptionHeader { http, code };
    f(Fault::Status(502), ("retry", true, true));
    f(Fault::Status(504), ("retry", true, true));
    f(Fault::Status(503), ("limited", false, true));
    f(Fault::Status(404), ("hold", true, true));
    f(Fault::Status(307), ("hold", true, true));
    f(Fault::Status(413), ("too_large", true, true));
    f(Fault::Status(200), ("hold", true, true));
    f(code(500, 241), ("retry", true, true));
    f(code(503, 209), ("retry", true, true));
    f(code(500, 202), ("retry", true, true));
    f(code(404, 60), ("missing", true, false));
    f(code(403, 516), ("hold", true, false));
    f(code(413, 229), ("too_large", true, true));
    f(code(500, 7777), ("hold", true, true));
    let error = f(code(400, 27), ("reject", true, true));
    assert!(
        error
            .to_string()
            .starts_with("HTTP 400, code 27 (CANNOT_PARSE_INPUT_ASSERTION_FAILED): Code: 27."),
        "{error}"
    );
    assert_eq!(server.rows(), 0);
    server.assert_no_violation();
}

#[test]
fn an_empty_200_that_is_not_clickhouses_stores_nothing() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    server.fail(Fault::EmptyPage);
    let error = insert(&sink, "a", 0..1000).unwrap_err();
    assert_eq!(told(&error), ("hold", true, false), "{error}");
    assert!(error.to_string().contains("nginx made it"), "{error}");
    // After the body, it may be the answer of something that hides ClickHouse's.
    for fault in [Fault::EmptyPageAfterBody, Fault::ApplyThenStatus(200)] {
        server.fail(fault);
        let error = insert(&sink, "a", 0..1000).unwrap_err();
        assert_eq!(told(&error), ("hold", true, true), "{error}");
    }
}

#[test]
fn a_body_that_is_cut_between_its_frames_is_noticed() {
    let server = FakeClickHouse::start();
    server.fail(Fault::FirstFrameOnly);
    let error = insert(&sink(&server), "a", 0..1000).unwrap_err();
    assert_eq!(told(&error), ("hold", true, true), "{error}");
    assert!(error.to_string().contains("of 1000"), "{error}");
}

// CH#65117: 200 OK, an empty body, and an INSERT that failed.
#[test]
fn a_200_with_an_exception_code_is_no_success() {
    let server = FakeClickHouse::start();
    server.fail(Fault::ExceptionHeader {
        http: 200,
        code: 209,
    });
    let error = insert(&sink(&server), "a", 0..10).unwrap_err();
    assert_eq!(told(&error), ("retry", true, true));
}

#[test]
fn a_reset_before_the_body_cannot_have_stored_anything() {
    let server = FakeClickHouse::start();
    server.fail(Fault::ResetBeforeBody);
    let error = insert(&sink(&server), "a", 0..10).unwrap_err();
    assert_eq!(told(&error), ("retry", true, false), "{error}");
}

#[test]
fn a_reset_in_the_body_may_have_stored_it() {
    let server = FakeClickHouse::start();
    server.fail(Fault::ResetMidBody);
    let error = insert(&sink(&server), "a", 0..100_000).unwrap_err();
    assert_eq!(told(&error), ("retry", true, true), "{error}");
}

#[test]
fn a_lost_answer_is_repaired_by_the_token() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    server.fail(Fault::ApplyThenDrop);
    let error = insert(&sink, "a", 0..10).unwrap_err();
    assert_eq!(told(&error), ("retry", true, true), "{error}");
    assert_eq!(insert(&sink, "a", 0..10).unwrap().written_rows, Some(0));
    assert_eq!(server.rows(), 10);
}

#[test]
fn a_server_that_hangs_or_drips_runs_into_the_timeout() {
    let server = FakeClickHouse::start();
    let short = sink_to(&server.url(), Duration::from_secs(1));
    for fault in [
        Fault::Hang(Duration::from_secs(60)),
        Fault::SlowDrip(Duration::from_millis(100)),
    ] {
        server.fail(fault);
        let started = Instant::now();
        let error = insert(&short, "a", 0..10).unwrap_err();
        assert_eq!(told(&error), ("retry", true, true), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
    // The first request is stored after its client has gone, and the resend knows its token.
    server.release();
    let settled = |outcome| matches!(outcome, Outcome::Stored | Outcome::Deduplicated);
    server.wait_until(
        |state| state.requests.iter().all(|seen| settled(seen.outcome)),
        Duration::from_secs(10),
    );
    assert_eq!(server.rows(), 10);
}

#[test]
fn without_a_connection_no_slot_is_used() {
    // A port that nobody listens on: bound, then let go.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let f = |url: &str| {
        let error = insert(&sink_to(url, Duration::from_secs(8)), "a", 0..10).unwrap_err();
        assert_eq!(
            told(&error),
            ("unreachable", false, false),
            "{url}: {error}"
        );
    };
    f(&format!("http://127.0.0.1:{port}"));
    f("http://does-not-exist.invalid");
    // TLS that fails: the other side speaks plain HTTP. No request was sent.
    let server = FakeClickHouse::start();
    f(&server.url().replace("http://", "https://"));
}

#[test]
fn a_body_that_is_not_as_long_as_announced_is_never_completed() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("block 7 is damaged"))
        }
    }
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    let body = frames(0..500);
    let f = |length: usize, reader: &mut dyn Read, want: &str| {
        let mut request = request("a", 500, &body);
        request.body_len = length as u64;
        let error = sink.insert(&request, reader).unwrap_err();
        assert_eq!(error.label(), "unreadable");
        assert!(error.to_string().contains(want), "{error}");
    };
    f(body.len() + 1, &mut &body[..], "ends 1 bytes before");
    f(body.len() - 1, &mut &body[..], "does not end at its length");
    f(body.len(), &mut (&body[..50]).chain(Broken), "block 7");
    server.wait_until(
        |state| state.requests.iter().all(|r| r.outcome == Outcome::Dropped),
        Duration::from_secs(10),
    );
    assert_eq!(server.rows(), 0);
}

#[test]
fn queries_return_text_and_see_late_exceptions() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    insert(&sink, "a", 0..3).unwrap();
    assert_eq!(sink.query("SELECT count() FROM http_log").unwrap(), "3\n");
    assert!(
        server.requests()[1]
            .head
            .starts_with("POST /?database=default&")
    );

    server.fail(Fault::LateException(395));
    let error = sink.query("SELECT 1").unwrap_err();
    assert!(
        matches!(
            error,
            SinkError::Hold {
                code: Some(395),
                ..
            }
        ),
        "{error}"
    );
    server.fail(Fault::ExceptionHeader {
        http: 404,
        code: 81,
    });
    assert!(sink.query("SELECT 1").unwrap_err().is_hold());

    let long = "x".repeat((16 << 20) + 1);
    server.state().answers.insert("long".into(), long);
    let error = sink.query("SELECT long").unwrap_err();
    assert_eq!(error.label(), "hold", "{error}");
}

#[test]
fn a_question_asks_for_the_whole_answer() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    sink.query("SELECT 1").unwrap();
    sink.query("CREATE TABLE x").unwrap();
    let heads: Vec<String> = server.requests().iter().map(|r| r.head.clone()).collect();
    for parameter in [
        "&timeout_overflow_mode=throw",
        "&read_overflow_mode=throw",
        "&result_overflow_mode=throw",
        "&limit=0",
        "&additional_table_filters=%7B%7D",
        "&use_query_cache=0",
    ] {
        assert!(heads[0].contains(parameter), "{parameter}: {}", heads[0]);
        assert!(!heads[1].contains(parameter), "{parameter}: {}", heads[1]);
    }
}

#[test]
fn the_schema_check_and_the_ddl() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    let schema = Schema::new("default", "http_log").unwrap();
    let check = || {
        let pinned = insert_settings("canary", 1);
        let query = schema.check_query(&pinned);
        let answer = sink.query_as_insert(&query, &pinned).unwrap();
        schema.parse_check(&answer, &pinned).unwrap()
    };
    assert!(check().is_complete());

    server.state().without_window.insert("http_log".into());
    let problems = check().problems;
    assert!(
        problems.len() == 1 && problems[0].object == "http_log",
        "{problems:?}"
    );
    server.state().without_window.clear();
    server.state().missing.insert("http_log".into());
    assert_eq!(check().missing, ["http_log"]);
    for object in schema.objects() {
        assert_eq!(sink.query(&object.sql).unwrap(), "");
    }
    assert!(check().is_complete());
    assert_eq!(server.state().ddl.len(), schema.objects().len());
}

#[test]
fn the_body_limit_is_found_by_free_refusals() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    server.limit_body(Some(100_000));
    let mut limit = BodyLimit::new(&server.url(), 1 << 20);
    let mut tries = 0;
    while !limit.known() {
        let mut plain = Vec::new();
        while (plain.len() as u64) < limit.limit() {
            plain.extend(row(plain.len() as u64));
        }
        // Uncompressed frames of a size that can be aimed at.
        plain.truncate(limit.limit() as usize);
        let request = request(&format!("t{tries}"), 1, &plain);
        match sink.insert(&request, &mut &plain[..]) {
            Err(SinkError::TooLarge { body_len, .. }) => {
                assert!(limit.refused(body_len, 1000));
            }
            // What is no zstd is refused by the server, but the proxy let it pass.
            Err(SinkError::Hold { .. }) => limit.taken(plain.len() as u64, true),
            other => panic!("{other:?}"),
        }
        tries += 1;
        assert!(tries <= 12, "{limit:?}");
    }
    assert!((98_000..=100_000).contains(&limit.limit()), "{limit:?}");
}

#[test]
fn no_address_of_the_servers_words_gets_through() {
    let server = FakeClickHouse::start();
    server.state().answers.insert(
        "x".into(),
        "Code: 6. DB::Exception: row 192.0.2.77 2001:db8::1\n".into(),
    );
    let error = sink(&server).query("SELECT x").unwrap_err().to_string();
    assert!(error.contains("row <address> <address>"), "{error}");
}

fn sink_through(nginx: &Nginx) -> Sink {
    sink_to(&nginx.url(), Duration::from_secs(20))
}

/// A maintenance page, as people write it.
#[test]
fn an_empty_200_of_nginx_stores_nothing() {
    let nginx = Nginx::start("return 200;");
    let sink = sink_through(&nginx);
    let error = insert(&sink, "a", 0..1000).unwrap_err();
    assert_eq!(error.label(), "hold", "{error}");
    assert!(error.to_string().contains("nginx"), "{error}");
    assert!(sink.query("SELECT 1").unwrap_err().is_hold());
}

/// As in production: 1r/m and its default body limit.
#[test]
fn nginx_refuses_before_the_body() {
    let server = FakeClickHouse::start();
    let nginx = Nginx::start(&format!("limit_req zone=z; proxy_pass {};", server.url()));
    let sink = sink_through(&nginx);

    let started = Instant::now();
    // 413 costs no slot: the next request passes.
    let long = vec![7; (1 << 20) + 1];
    let error = sink
        .insert(&request("l", 1, &long), &mut &long[..])
        .unwrap_err();
    assert_eq!(told(&error), ("too_large", false, false));
    insert(&sink, "a", 0..1000).unwrap();
    let error = insert(&sink, "b", 0..100_000).unwrap_err();
    assert_eq!(told(&error), ("limited", false, false));
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.rows(), 1000);
    server.assert_no_violation();
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "waits for nginx to close"
    );
    drop(nginx);
}
