//! Two things are made before the crate is compiled.
//!
//! 1. `OUT_DIR/http_log_capnp.rs`, from `schema/http_log.capnp`. The `capnp` compiler does it where
//!    it is installed. Where it is not, `schema/http_log.request.bin` stands in: what the compiler
//!    would have said (its code generator request), followed by the schema's text it was said of, so
//!    that the two can be compared and can never drift apart unseen.
//! 2. `ANONYMIZER_COMMIT`, what `--version` shows.

use std::{env, fs, process::Command};

const SCHEMA: &str = "schema/http_log.capnp";
const REQUEST: &str = "schema/http_log.request.bin";

/// Makes [`REQUEST`] again; shown to whoever changed the schema.
const RENEW: &str = "{ capnp compile -o- --src-prefix=schema schema/http_log.capnp; \
                     cat schema/http_log.capnp; } > schema/http_log.request.bin";

fn main() {
    for path in ["schema", "build.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    generate_schema_code();
    set_commit();
}

/// Generates `http_log_capnp.rs` into `OUT_DIR`, with the compiler or from the stored request.
///
/// `ANONYMIZER_NO_CAPNP=1` acts as if no compiler were there, so that the second way can be tested.
fn generate_schema_code() {
    println!("cargo::rerun-if-env-changed=ANONYMIZER_NO_CAPNP");
    let schema = fs::read(SCHEMA).unwrap_or_else(|e| fail(&format!("cannot read {SCHEMA}: {e}")));
    let stored = fs::read(REQUEST).unwrap_or_default();
    let is_current = split_request(&stored).is_some_and(|(_, text)| text == schema);

    if is_compiler_there() {
        if !is_current {
            println!("cargo::warning={REQUEST} is not of this {SCHEMA}; renew it: {RENEW}");
        }
        capnpc::CompilerCommand::new()
            .src_prefix("schema")
            .file(SCHEMA)
            .run()
            .unwrap_or_else(|e| fail(&format!("cannot compile {SCHEMA}: {e}")));
    } else if let Some((request, _)) = split_request(&stored).filter(|_| is_current) {
        capnpc::codegen::CodeGenerationCommand::new()
            .output_directory(env::var_os("OUT_DIR").expect("BUG: cargo sets OUT_DIR"))
            .run(request)
            .unwrap_or_else(|e| fail(&format!("cannot generate code from {REQUEST}: {e}")));
    } else {
        fail(&format!(
            "{SCHEMA} differs from the one that {REQUEST} was made of, and the Cap'n Proto compiler \
             is not there to compile it. Install it (apt-get install capnproto) and build again."
        ));
    }
}

/// Whether `capnp` can be started, and may be.
fn is_compiler_there() -> bool {
    let is_forbidden = env::var("ANONYMIZER_NO_CAPNP").is_ok_and(|v| !v.is_empty() && v != "0");
    !is_forbidden
        && Command::new("capnp")
            .arg("--version")
            .output()
            .is_ok_and(|out| out.status.success())
}

/// Splits the stored file into the request (one framed Cap'n Proto message) and the schema's text.
///
/// `None` when the file is cut short. The frame: segment count - 1, then the length of each
/// segment in words, all u32 little-endian, padded to a word; then the segments.
fn split_request(stored: &[u8]) -> Option<(&[u8], &[u8])> {
    let word_at = |i: usize| -> Option<usize> {
        let bytes = stored.get(4 * i..4 * i + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let segments = word_at(0)?.checked_add(1).filter(|n| *n <= 512)?;
    let mut words = (segments + 2) / 2; // The header itself: 4 * (1 + segments) bytes, rounded up.
    for i in 1..=segments {
        words = words.checked_add(word_at(i)?)?;
    }
    stored.split_at_checked(words.checked_mul(8)?)
}

/// Hands `ANONYMIZER_COMMIT` to the crate, which a build for others sets. Not asked of git: each commit
/// would compile everything anew.
fn set_commit() {
    println!("cargo::rerun-if-env-changed=ANONYMIZER_COMMIT");
    let commit = env::var("ANONYMIZER_COMMIT").unwrap_or_default();
    let commit = Some(commit.trim()).filter(|commit| !commit.is_empty());
    println!(
        "cargo::rustc-env=ANONYMIZER_COMMIT={}",
        commit.unwrap_or("unknown")
    );
}

/// Ends the build with these words, without a panic's noise around them.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1);
}
