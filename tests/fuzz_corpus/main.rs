//! The fuzz targets in a usual build, over the inputs that are kept of them and the goldens: so they compile,
//! and what was once found is tried again each time. `ops/fuzz` looks for more.

// They are written for libFuzzer's macro, which is ours here.
#![allow(unused_attributes)]
extern crate self as libfuzzer_sys;

use std::fs;
use std::path::Path;

/// Makes a function of a target.
#[macro_export]
macro_rules! fuzz_target {
    (|$data:ident: &[u8]| $body:block) => {
        pub fn run($data: &[u8]) $body
    };
}

#[path = "../corpus/fuzz/fuzz_targets/answer.rs"]
mod answer;
#[path = "../corpus/fuzz/fuzz_targets/block.rs"]
mod block;
#[path = "../corpus/fuzz/fuzz_targets/command.rs"]
mod command;
#[path = "../corpus/fuzz/fuzz_targets/decode.rs"]
mod decode;
#[path = "../corpus/fuzz/fuzz_targets/head.rs"]
mod head;
#[path = "../corpus/fuzz/fuzz_targets/mask.rs"]
mod mask;
#[path = "../corpus/fuzz/fuzz_targets/quarantine.rs"]
mod quarantine;
#[path = "../corpus/fuzz/fuzz_targets/record.rs"]
mod record;
#[path = "../corpus/fuzz/fuzz_targets/rows.rs"]
mod rows;
#[path = "../corpus/fuzz/fuzz_targets/settings.rs"]
mod settings;

/// A failed input is the last that is named.
fn over_inputs(target: &str, run: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = format!("tests/corpus/fuzz/corpus/{target}");
    let mut count = 0;
    for dir in [&kept[..], "data/golden", "data/golden/bad"] {
        for entry in fs::read_dir(root.join(dir)).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                println!("{}", file.display());
                run(&fs::read(file).unwrap());
                count += 1;
            }
        }
    }
    assert!(count > 50, "only {count} inputs");
}

#[test]
fn of_block() {
    over_inputs("block", block::run);
}

#[test]
fn of_decode() {
    over_inputs("decode", decode::run);
}

#[test]
fn of_mask() {
    over_inputs("mask", mask::run);
}

#[test]
fn of_quarantine() {
    over_inputs("quarantine", quarantine::run);
}

#[test]
fn of_answer() {
    over_inputs("answer", answer::run);
}

#[test]
fn of_command() {
    over_inputs("command", command::run);
}

#[test]
fn of_head() {
    over_inputs("head", head::run);
}

#[test]
fn of_record() {
    over_inputs("record", record::run);
}

#[test]
fn of_rows() {
    over_inputs("rows", rows::run);
}

#[test]
fn of_settings() {
    over_inputs("settings", settings::run);
}

#[test]
fn every_target_is_among_them() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/fuzz/fuzz_targets");
    assert_eq!(fs::read_dir(targets).unwrap().count(), 10);
}
