//! Any line at the control socket is a command or none, and is told as it was read; any text is a filter of
//! statuses or none.
#![no_main]

use std::str::FromStr as _;

use anonymizer::observe::control::Request;
use anonymizer::row::filter::{Filter, Statuses};
use anonymizer::row::read::rows;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut row = vec![7; 30];
    row.extend(b"\x03HIT\x03GET\x071.2.3.X\x02/a");
    let row = rows(&row).next().unwrap().unwrap();
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let text = serde_json::to_string(&request).unwrap();
        let again: Request = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
        match request {
            Request::Minutes(query) => {
                let _ = query.sql("default", "http_log");
                let _ = query.parse("0\t1\n86400\t2\n");
            }
            Request::Tap(ask) => drop(ask.filter.takes(&row)),
            _ => {}
        }
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(status) = Statuses::from_str(&text) {
        let only = Filter {
            status: vec![status],
            ..Filter::default()
        };
        let _ = only.takes(&row);
        assert!(text.len() <= 6, "{text}");
    }
});
