use super::*;
use crate::clickhouse::http::codes::CODES;

const SENT: Sent = Sent {
    body_len: 1000,
    any: true,
    whole: true,
};
const UNSENT: Sent = Sent {
    any: false,
    whole: false,
    ..SENT
};

fn answer(status: u16, code: Option<u32>, from_clickhouse: bool, body: &str) -> Answer {
    Answer {
        status,
        code,
        from_clickhouse,
        query_id: None,
        display_name: None,
        server: None,
        retry_after: None,
        read_rows: None,
        written_rows: None,
        body: body.into(),
    }
}

/// label, used a slot, may be stored
fn said(status: u16, code: Option<u32>, body: &str, sent: Sent) -> (&'static str, bool, bool) {
    let error = answer(status, code, code.is_some(), body).into_error(sent, "default.http_log");
    (error.label(), error.used_slot(), error.may_be_stored())
}

#[test]
fn a_code_decides_whatever_the_status() {
    for status in [200, 400, 408, 413, 500, 503] {
        let f = |code| said(status, Some(code), "", SENT);
        assert_eq!(f(209), ("retry", true, true));
        assert_eq!(f(202), ("retry", true, true));
        assert_eq!(f(216), ("retry", true, true));
        assert_eq!(f(252), ("retry", true, true));
        assert_eq!(f(33), ("retry", true, true));
        assert_eq!(f(27), ("reject", true, true));
        assert_eq!(f(321), ("reject", true, true));
        assert_eq!(f(117), ("hold", true, true));
        assert_eq!(f(516), ("hold", true, true));
        assert_eq!(f(60), ("missing", true, true));
        assert_eq!(f(81), ("missing", true, true));
        assert_eq!(f(229), ("too_large", true, true));
        assert_eq!(f(4242), ("hold", true, true), "an unknown code holds");
    }
}

#[test]
fn only_a_refusal_on_sight_proves_that_nothing_was_stored() {
    let f = |code, text: &str| said(500, Some(code), text, SENT).2;
    let said = "default: Authentication failed: password is incorrect";
    assert!(!f(516, &format!("Code: 516. DB::Exception: {said}")));
    assert!(f(516, ""), "a proxy took the words away");
    for text in [
        format!("Code: 516. DB::Exception: {said}: while pushing to view d.v."),
        format!("Code: 516. DB::Exception: Received from other:9000. DB::Exception: {said}"),
    ] {
        assert!(f(516, &text), "{text}");
    }
    // Values that a view reads are wrong after the raw rows were stored; and nothing proves the others.
    let proven = [16, 60, 81, 115, 192, 193, 194, 516];
    for (code, ..) in CODES {
        let late = f(*code, &format!("Code: {code}. DB::Exception: no."));
        assert_eq!(late, !proven.contains(code), "{code}");
    }
}

#[test]
fn a_missing_table_is_ours_or_somebody_elses() {
    let f = |code, said: &str| {
        let text = format!("Code: {code}. DB::Exception: {said}. (UNKNOWN_TABLE)");
        let error = answer(404, Some(code), true, &text).into_error(SENT, "d.raw");
        (error.label(), error.may_be_stored())
    };
    let ours = ("missing", false);
    assert_eq!(
        f(60, "Table d.raw does not exist. Maybe you meant x?"),
        ours
    );
    assert_eq!(
        f(60, "Target table 'd.raw_1m' of view 'd.raw' doesn't exists"),
        ours
    );
    assert_eq!(f(81, "Database d does not exist"), ours);
    let theirs = ("hold", false);
    assert_eq!(
        f(60, "Target table 'd.other' of view 'd.raw' doesn't exists"),
        theirs
    );
    assert_eq!(f(60, "Table d.rawhide does not exist"), theirs);
    let late = ("hold", true);
    assert_eq!(
        f(
            60,
            "Unknown table expression identifier 'd.gone'. In scope (SELECT): while pushing to view d.v"
        ),
        late
    );
    assert_eq!(
        f(
            60,
            "Unknown table expression identifier 'd.gone' in scope (SELECT): while pushing to view d.v"
        ),
        late
    );
}

#[test]
fn answers_of_a_proxy() {
    let f = |status, sent| said(status, None, "<html>", sent);
    assert_eq!(f(503, UNSENT), ("limited", false, false));
    assert_eq!(f(429, UNSENT), ("limited", false, false));
    assert_eq!(f(503, SENT), ("limited", false, true));
    assert_eq!(f(413, UNSENT), ("too_large", false, false));
    assert_eq!(f(413, SENT), ("too_large", true, true));
    assert_eq!(f(502, SENT), ("retry", true, true));
    assert_eq!(f(504, SENT), ("retry", true, true));
    assert_eq!(f(500, UNSENT), ("retry", true, false));
    assert_eq!(f(408, SENT), ("retry", true, true));
    // A filter that does not like ClickHouse's answer says 403 to it; the rows are stored.
    for status in [200, 204, 301, 307, 400, 403, 404, 417] {
        assert_eq!(f(status, SENT), ("hold", true, true));
        assert_eq!(f(status, UNSENT), ("hold", true, false));
    }
}

#[test]
fn only_clickhouse_itself_says_that_rows_are_stored() {
    let done =
        |from_clickhouse, body, sent| answer(200, None, from_clickhouse, body).insert_is_done(sent);
    assert!(done(true, "", SENT));
    assert!(!done(false, "", SENT), "a page without a body");
    assert!(!done(true, "hello", SENT));
    assert!(!done(true, "", UNSENT), "an answer to the head");
    let half = Sent {
        whole: false,
        ..SENT
    };
    assert!(!done(true, "", half), "an answer to half a body");
    assert!(!answer(200, None, false, "1\n").query_is_done());
    let words = answer(200, None, false, "")
        .into_error(SENT, "d.t")
        .to_string();
    assert!(words.contains("not ClickHouse's answer"), "{words}");
}

#[test]
fn fewer_rows_found_than_sent_are_noticed() {
    let f = |read_rows, written_rows| {
        Answer {
            read_rows,
            written_rows,
            ..answer(200, None, true, "")
        }
        .rows_missed(10)
    };
    assert_eq!(f(Some(9), Some(9)), Some(9));
    assert_eq!(f(Some(9), Some(50)), Some(9), "views wrote more");
    assert_eq!(f(Some(0), Some(0)), Some(0), "the body was dropped");
    assert_eq!(f(Some(0), None), Some(0));
    // With what views read, as a resend, and where only what was written is told.
    for (read, written) in [(30, 50), (10, 10), (10, 0), (0, 10)] {
        assert_eq!(f(Some(read), Some(written)), None);
    }
    assert_eq!(f(None, None), None);
}

#[test]
fn the_answer_to_another_query_is_named() {
    let f = |id: Option<&str>, parameters: &[(&str, &str)]| {
        let answer = Answer {
            query_id: id.map(str::to_owned),
            ..answer(200, None, true, "")
        };
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        answer.of_another_query(&parameters)
    };
    assert_eq!(f(Some("t"), &[("query_id", "t")]), None);
    assert_eq!(f(None, &[("query_id", "t")]), None);
    assert_eq!(f(Some("x"), &[]), None);
    let words = f(Some("17F3A"), &[("query_id", "t")]).unwrap();
    assert!(
        words.contains("17F3A") && words.contains("proxy"),
        "{words}"
    );
}

#[test]
fn a_503_of_clickhouse_is_no_limiter() {
    let error = answer(503, None, true, "shutting down").into_error(SENT, "default.http_log");
    assert_eq!((error.label(), error.used_slot()), ("retry", true));
}

#[test]
fn the_code_is_found_in_the_text_when_a_proxy_strips_headers() {
    let text = "Code: 241. DB::Exception: Memory limit exceeded";
    assert_eq!(said(500, None, text, SENT), ("retry", true, true));
    let text = "Code: 27. DB::ParsingException: no";
    assert_eq!(said(200, None, text, SENT), ("reject", true, true));
    assert_eq!(said(500, None, "Code: five", SENT).0, "retry");
}

#[test]
fn exceptions_behind_a_result_are_found() {
    let f = |body: &str| answer(200, None, true, body).query_is_done();
    assert!(f(""));
    assert!(f("1\t2\n"));
    assert!(f("says __exception__ in a value\n"));
    assert!(!f(
        "1\n\r\n__exception__\r\ntag\r\nCode: 395. DB::Exception: x\r\n27 tag\r\n__exception__\r\n"
    ));
    assert!(!f("1\n2\nCode: 395. DB::Exception: x (version 24.3)\n"));
    let body = "1\n\r\n__exception__\r\ntag\r\nCode: 241. DB::Exception: x\r\n";
    assert_eq!(said(200, None, body, SENT), ("retry", true, true));
}
