//! Any bytes are a record or an error, the same at every alignment, and never a panic.
#![no_main]

use anonymizer::privacy::Policy;
use anonymizer::privacy::anonymize::anonymize;
use anonymizer::record::decode::{decode, outline};
use anonymizer::row::encode::encode;

fn row(message: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    match decode(message, |r| {
        encode(&anonymize(r, &Policy::default()), &mut out)
    }) {
        Ok(Ok(_)) => Ok(out),
        Ok(Err(e)) => Err(e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    let first = row(message);
    let mut shifted = vec![0];
    shifted.extend_from_slice(message);
    assert_eq!(row(&shifted[1..]), first);
    // What decodes as a whole is found field by field as well.
    let found = outline(message).is_some_and(|o| o.texts.iter().all(Option::is_some));
    assert!(found || decode(message, |_| ()).is_err());
    // And is the same there, where only the library reads.
    let _ = decode(message, |r| {
        let outline = outline(message).expect("found above");
        let status = u64::from(r.response_status);
        assert_eq!(
            outline.numbers,
            [
                r.timestamp_ms,
                r.resource_id,
                r.bytes_sent,
                r.request_time_ms,
                status
            ]
        );
        for (text, range) in [r.cache_status, r.method, r.remote_addr, r.url]
            .into_iter()
            .zip(outline.texts)
        {
            assert!(range.and_then(|range| message.get(range)) == Some(text));
        }
    });
});
