//! What strangers between us and ClickHouse say, and what the sink takes it for: only ClickHouse's own word,
//! to this query, of all its rows, counts as stored.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::sink::{insert, sink, sink_to, told};
use crate::support::fake_clickhouse::{FakeClickHouse, Fault, Seen};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_answer_for_another_query_is_held() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    server.fail(Fault::OtherQuery);
    let error = insert(&sink, "a", 0..10).unwrap_err();
    assert_eq!(told(&error), ("hold", true, true));
    assert!(error.to_string().contains("17F3A"), "{error}");
    insert(&sink, "a", 0..10).unwrap();
}

#[test]
fn a_body_that_never_arrives_is_noticed() {
    let server = FakeClickHouse::start();
    let sink = sink(&server);
    for _ in 0..2 {
        server.fail(Fault::BodyDropped);
        let error = insert(&sink, "a", 0..10).unwrap_err();
        assert_eq!(told(&error), ("hold", true, true));
        assert!(error.to_string().contains("found 0 rows"), "{error}");
    }
    insert(&sink, "a", 0..10).unwrap();
    assert_eq!(server.rows(), 10);
}

#[test]
fn expect_is_left_out_once_it_was_answered_with_417() {
    let server = FakeClickHouse::start();
    server.state().knows_no_expect = true;
    let sink = sink(&server);
    let error = insert(&sink, "a", 0..10).unwrap_err();
    assert_eq!(told(&error), ("retry", true, false), "{error}");
    insert(&sink, "a", 0..10).unwrap();
    assert_eq!(sink.query("SELECT count()").unwrap(), "10\n");
    let said = |seen: &Seen| seen.head.to_ascii_lowercase().contains("100-continue");
    let said: Vec<bool> = server.requests().iter().map(said).collect();
    assert_eq!(said, [true, false, false]);
}

#[test]
fn a_password_that_was_refused_is_read_again() {
    let server = FakeClickHouse::start();
    server.state().password = Some("new".into());
    let kept = Arc::new(Mutex::new((0, Ok(Some("newer".to_owned())))));
    let file = Arc::clone(&kept);
    let sink = sink(&server).rereading(Box::new(move || {
        let mut kept = file.lock().unwrap();
        kept.0 += 1;
        kept.1.clone()
    }));
    let refused = || {
        let error = insert(&sink, "a", 0..10).unwrap_err();
        assert_eq!(told(&error), ("hold", true, false), "{error}");
    };
    refused();
    assert_eq!(kept.lock().unwrap().0, 0, "read when it is needed");
    refused();
    kept.lock().unwrap().1 = Err("no such file".into());
    refused();
    kept.lock().unwrap().1 = Ok(Some("new".into()));
    insert(&sink, "a", 0..10).unwrap();
    assert_eq!(kept.lock().unwrap().0, 3);
    sink.query("SELECT 1").unwrap();
    assert_eq!(kept.lock().unwrap().0, 3, "a good one is kept");
}

/// Takes one request to its end, says `answer` and closes.
fn saying(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = io::BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = n.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        stream.get_mut().write_all(go_on).unwrap();
        io::copy(&mut (&mut stream).take(length), &mut io::sink()).unwrap();
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
    });
    url
}

#[test]
fn whatever_is_said_only_clickhouses_own_word_counts() {
    let done = |answer: &str| insert(&sink_to(&saying(answer.into()), PATIENCE), "a", 0..10);
    let own = "X-ClickHouse-Query-Id: a\r\nX-ClickHouse-Summary: \
               {\"read_rows\":\"10\",\"written_rows\":\"10\"}\r\n";
    // A server of HTTP/1.0, one that closes, and one that gave a hint before.
    for head in [
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    ] {
        done(&format!("{head}{own}\r\n")).unwrap_or_else(|e| panic!("{head}: {e}"));
        let error = done(&format!("{head}\r\n")).unwrap_err();
        assert_eq!(told(&error), ("hold", true, true), "{head}: {error}");
    }
    let late = "\r\n__exception__\r\nabc\r\nCode: 241. DB::Exception: late\r\n15 abc\r\n\
                __exception__\r\n";
    let ok = format!("HTTP/1.1 200 OK\r\n{own}");
    for (answer, want) in [
        // Longer than what comes, and shorter.
        (format!("{ok}Content-Length: 5\r\n\r\nab"), "retry"),
        (format!("{ok}Content-Length: 1\r\n\r\n<html>"), "hold"),
        (format!("{ok}Transfer-Encoding: chunked\r\n\r\n"), "retry"),
        (format!("{ok}\r\n{late}"), "retry"),
        (format!("HTTP/1.0 200 OK\r\n{own}\r\nwelcome"), "hold"),
        (format!("HTTP/1.1 204 No Content\r\n{own}\r\n"), "hold"),
        (
            format!("HTTP/1.1 302 Found\r\nLocation: /in\r\n{own}Content-Length: 0\r\n\r\n"),
            "hold",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".into(),
            "retry",
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n".into(), "retry"),
        ("HTTP/1.1 200 OK\r\nX-ClickHouse-Qu".into(), "retry"),
        ("SSH-2.0-OpenSSH_9.2\r\n".into(), "retry"),
        (String::new(), "retry"),
    ] {
        let error = done(&answer).unwrap_err();
        assert_eq!(told(&error), (want, true, true), "{answer:?}: {error}");
    }
}
