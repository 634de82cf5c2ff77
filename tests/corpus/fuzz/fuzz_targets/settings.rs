//! Any text as a variable and any bytes as a file are settings or an error in words; no secret is shown.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use anonymizer::settings::{ENV_PREFIX, Settings, names};

/// What stands for a password in each input that has one.
const SECRET: &str = "hunter2";

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((pick, rest)) = data.split_first() else {
        return;
    };
    let zero = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    let (value, file) = rest.split_at(zero);
    let mut environment: Vec<(OsString, OsString)> = Vec::new();
    if !value.is_empty() {
        let name = names().nth(usize::from(*pick) % names().count()).unwrap();
        let name = format!("{ENV_PREFIX}{}", name.to_uppercase());
        environment.push((name.into(), OsStr::from_bytes(value).to_owned()));
    }
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    if let Some((_, file)) = file.split_first() {
        on_disk.write_all(file).unwrap();
        environment.push((format!("{ENV_PREFIX}CONFIG").into(), on_disk.path().into()));
    }
    let said = match Settings::default().load_from(environment) {
        Ok(config) => {
            for (name, value, _) in config.describe() {
                let secret = name.ends_with("password") && name.starts_with("kafka_properties");
                assert!(!secret || value == "***", "{name} = {value}");
            }
            format!("{config:?}")
        }
        Err(e) => e.to_string(),
    };
    assert!(!said.is_empty());
    let given = String::from_utf8_lossy(data);
    let as_password = given.contains(&format!("sasl.password={SECRET}"));
    assert!(!as_password || !said.contains(SECRET), "{said}");
});
