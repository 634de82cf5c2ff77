//! The stored code generator request, which builds without the `capnp` compiler rest on, was made of
//! the schema as it is now. When this fails, `build.rs` has printed the command that renews it.

/// The frame as `build.rs` reads it: segment count - 1 and lengths in words, then the segments.
#[test]
fn the_stored_request_ends_in_the_schema_it_was_made_of() {
    let stored = include_bytes!("../../schema/http_log.request.bin");
    let schema = include_bytes!("../../schema/http_log.capnp");
    let (request, text) = stored.split_at(stored.len() - schema.len());
    assert!(
        text == schema,
        "schema/http_log.request.bin is of another schema"
    );
    assert_eq!(request[..4], [0; 4], "one segment");
    let words = u32::from_le_bytes(request[4..8].try_into().unwrap());
    assert_eq!(request.len(), 8 + 8 * words as usize);
    // The numbers of the fields and the struct's name are in there.
    assert!(request.windows(13).any(|w| w == b"HttpLogRecord"));
}
