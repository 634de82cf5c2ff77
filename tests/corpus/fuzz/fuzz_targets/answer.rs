//! Whatever is answered to an insert or a question, the decision on it is made, in words that a terminal can
//! show; rows are stored only if ClickHouse says so.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use anonymizer::cli::capacity::model::Measured;
use anonymizer::clickhouse::{
    CountQuery, Evidence, InsertRequest, MinutesQuery, Schema, Sink, SinkOptions, insert_settings,
};

/// What is answered next.
static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// A neighbour on this machine that answers with that, and a way to it.
static SINK: LazyLock<Sink> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let (mut head, mut piece) = (Vec::new(), [0; 4096]);
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(1..) => head.extend_from_slice(&piece),
                    _ => break,
                }
            }
            let _ = stream.write_all(&ANSWER.lock().unwrap());
            let _ = stream.shutdown(Shutdown::Write);
            // Else what was not read resets the connection, and the answer with it.
            while let Ok(1..) = stream.read(&mut piece) {}
        }
    });
    Sink::new(&SinkOptions {
        url,
        database: "default".into(),
        table: "http_log".into(),
        user: None,
        password: None,
        tls: Default::default(),
        request_timeout: Duration::from_secs(5),
    })
    .unwrap()
});

fn is_for_people(words: &str) {
    let bad = words.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(bad, None, "{words:?}");
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Not what is said before an answer: the one that asked would wait for it.
    if data.starts_with(b"HTTP/1.1 1") || data.starts_with(b"HTTP/1.0 1") {
        return;
    }
    *ANSWER.lock().unwrap() = data.to_vec();
    let request = InsertRequest {
        token: "t".into(),
        rows: 1,
        body_len: 4,
        settings: insert_settings("t", 1),
        columns: "timestamp".into(),
        format: "RowBinary",
    };
    match SINK.insert(&request, &mut &b"rows"[..]) {
        Ok(_) => {
            let said = String::from_utf8_lossy(data).to_ascii_lowercase();
            let good = said.contains(" 200") && said.contains("x-clickhouse-");
            assert!(
                good && !said.contains("x-clickhouse-exception-code"),
                "{said}"
            );
        }
        Err(e) => is_for_people(&e.to_string()),
    }
    if let Err(e) = SINK.query("SELECT 1") {
        is_for_people(&e.to_string());
    }
    // As what a question was answered with, from a server that answers in order.
    let text = String::from_utf8_lossy(data);
    let _ = CountQuery::parse(&text);
    let _ = Evidence::parse(&text, "http_log");
    let _ = Measured::parse(&text, "http_log");
    let minutes = MinutesQuery {
        range: 0..u64::from(u32::MAX),
        fine: 86_400..172_800,
    };
    let _ = minutes.parse(&text);
    let schema = Schema::new("default", "http_log").unwrap();
    let _ = schema.parse_check(&text, &[]);
});
