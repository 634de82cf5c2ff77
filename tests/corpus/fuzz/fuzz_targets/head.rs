//! Any bytes at the metrics port are a request, one that is refused, or the beginning of one.
#![no_main]

use anonymizer::observe::http::asked_for;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let asked = asked_for(data);
    if let Some((path, _)) = &asked {
        assert!(!path.contains('?') && path.len() < data.len());
    }
    // What comes in pieces is read as it is as a whole, and nothing is answered before its end.
    for at in 0..data.len().min(512) {
        let earlier = asked_for(&data[..at]);
        assert!(earlier.is_none() || earlier == asked, "{at}");
    }
});
