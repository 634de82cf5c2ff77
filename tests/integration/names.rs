//! A message that names a setting must name one that exists: the operator types it in next.
//!
//! Looked at is every literal in the sources of the program, its tests excepted, and the comments from which
//! clap makes the help of a command. What exists is asked of the program itself, by its `--help`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Words that begin as a setting does and are something else.
const OTHERS: &[&str] = &[
    // Speak to build.rs.
    "ANONYMIZER_COMMIT",
    "ANONYMIZER_NO_CAPNP",
    // Names a file of other defaults; no setting.
    "ANONYMIZER_DEFAULTS",
    // What all variables begin with.
    "ANONYMIZER_",
    // Of clickhouse-client, in the head of the printed schema and in an example.
    "--database",
    "--host",
    "--multiquery",
    // Of setpriv and runuser.
    "--clear-groups",
    "--regid",
    "--reuid",
    "--user",
    // The default table, the generated decoder, a column, a variable of a format.
    "http_log",
    "http_log_capnp",
    "request_time_milli",
    "max_answer",
    // Metrics.
    "flush_interval_seconds",
    "freshness_target_seconds",
    "kafka_clients_failed",
    "kafka_fault",
    "kafka_lag",
    "kafka_to_queue_seconds",
    "min_free_disk_bytes",
    "quarantine_bytes",
    "quarantine_dropped_messages",
    "quarantine_messages",
    "request_in_flight_seconds",
    "request_timeout_seconds",
    "sync_interval_seconds",
    "log_lines_dropped",
    "log_lines_repeated",
    // Two of librdkafka's properties.
    "log_cb",
    "log_level",
    // ClickHouse's own settings and columns.
    "data_type_default_nullable",
    "http_write_exception_in_output_format",
    "max_block_number",
    "max_insert_block_size",
    "max_insert_block_size_bytes",
    "max_insert_threads",
    "max_query_size",
    "min_block_number",
    "min_insert_block_size_bytes",
    "min_insert_block_size_rows",
];

const PREFIX: &str = "ANONYMIZER_";

/// What the program takes.
#[derive(Default)]
struct Taken {
    flags: BTreeSet<String>,
    variables: BTreeSet<String>,
    settings: BTreeSet<String>,
}

impl Taken {
    /// By the help of the program and of all its commands.
    fn ask() -> Self {
        let mut taken = Self::default();
        taken.ask_command(&[]);
        // What the help of no command shows, too.
        taken.read(&help(&["help", "settings"]));
        taken.settings = taken
            .variables
            .iter()
            .map(|v| v[PREFIX.len()..].to_lowercase())
            .collect();
        taken
    }

    fn ask_command(&mut self, command: &[String]) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let help = help(&[&words[..], &["--help"]].concat());
        self.read(&help);
        let mut in_commands = false;
        for line in help.lines() {
            if !line.starts_with(' ') {
                in_commands = line == "Commands:";
                continue;
            }
            let text = line.trim_start();
            if in_commands {
                // Two columns; the second goes on below itself.
                let name = text.split(' ').next().unwrap();
                if line.starts_with("  ") && !line.starts_with("   ") {
                    self.ask_command(&[command, &[name.to_string()]].concat());
                }
            }
        }
    }

    /// The flags and variables of a help.
    fn read(&mut self, help: &str) {
        for text in help.lines().filter(|line| line.starts_with(' ')) {
            let text = text.trim_start();
            if text.starts_with('-') {
                self.flags
                    .extend(words(text).filter(|w| w.starts_with("--")).take(1));
            }
            if let Some((_, rest)) = text.split_once(&format!("[env: {PREFIX}")) {
                let name = rest.split(']').next().unwrap();
                self.variables.insert(format!("{PREFIX}{name}"));
            }
        }
    }

    /// The words of `text` that look like settings and are none.
    fn strangers(&self, text: &str) -> Vec<String> {
        let beginnings: BTreeSet<&str> = self
            .settings
            .iter()
            .filter_map(|name| name.split_inclusive('_').next())
            .filter(|begin| begin.ends_with('_'))
            .collect();
        let is_stranger = |word: &String| {
            if word.starts_with("--") {
                word.contains(|c: char| c.is_ascii_alphanumeric()) && !self.flags.contains(word)
            } else if word.starts_with(PREFIX) {
                !self.variables.contains(word)
            } else {
                beginnings.iter().any(|begin| word.starts_with(begin))
                    && !self.settings.contains(word)
            }
        };
        words(text)
            .filter(|word| !OTHERS.contains(&word.as_str()) && is_stranger(word))
            .collect()
    }
}

fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_anonymizer"))
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names in a text: letters, digits, `_` and `-`.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
        .map(str::to_string)
}

/// The texts of a file, but for those of its tests; with the comments of items if they are `helps`.
fn texts(tokens: TokenStream, helps: bool, into: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(p) if p.as_char() == '#' => {
                // `#![doc = ...]`: of the file, which no command shows.
                let of_file =
                    matches!(tokens.peek(), Some(TokenTree::Punct(p)) if p.as_char() == '!');
                if of_file {
                    tokens.next();
                }
                let Some(TokenTree::Group(attribute)) = tokens.peek() else {
                    continue;
                };
                let attribute = attribute.to_string().replace(' ', "");
                if attribute.starts_with("[doc=") && (of_file || !helps) {
                    tokens.next();
                } else if attribute == "[cfg(test)]" {
                    skip_item(&mut tokens);
                }
            }
            TokenTree::Group(group) => texts(group.stream(), helps, into),
            TokenTree::Literal(literal) => {
                if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                    into.push(text.value());
                }
            }
            _ => {}
        }
    }
}

/// To the end of an item: a block or a semicolon.
fn skip_item(tokens: &mut impl Iterator<Item = TokenTree>) {
    tokens.find(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(p) => p.as_char() == ';',
        _ => false,
    });
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap();
        if name == "tests" {
            continue;
        }
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn every_setting_that_a_message_names_exists() {
    let taken = Taken::ask();
    let mut files = vec![];
    sources(Path::new("src"), &mut files);
    let mut all = vec![];
    for file in &files {
        let tokens: TokenStream = fs::read_to_string(file).unwrap().parse().unwrap();
        let helps = file.starts_with("src/cli") || file.ends_with("main.rs");
        let mut found = vec![];
        texts(tokens, helps, &mut found);
        all.extend(found.into_iter().map(|text| (file, text)));
    }
    let mut strange = String::new();
    for (file, text) in &all {
        for word in taken.strangers(text) {
            writeln!(strange, "{}: {word} in {text:?}", file.display()).unwrap();
        }
    }
    assert!(strange.is_empty(), "no such setting:\n{strange}");
    // An exception that nothing needs any more would hide a slip later.
    for other in OTHERS {
        let is_used = all
            .iter()
            .any(|(_, text)| words(text).any(|word| word == *other));
        assert!(is_used, "{other} is in no message");
    }
}

#[test]
fn a_wrong_name_is_told_from_a_right_one() {
    let taken = Taken::ask();
    let f = |text: &str, want: &[&str]| assert_eq!(taken.strangers(text), want, "{text}");
    f("clickhouse_password: holds a tab", &["clickhouse_password"]);
    f(
        "raise `clickhouse_request_timeout`,",
        &["clickhouse_request_timeout"],
    );
    f(
        "set ANONYMIZER_FLUSH or --flush",
        &["ANONYMIZER_FLUSH", "--flush"],
    );
    f(
        "request_timeout, --request-timeout=1s, ANONYMIZER_REQUEST_TIMEOUT",
        &[],
    );
    f("`replay --delivered` -- and batches retry --yes", &[]);
    f("kafka_properties, --config and ANONYMIZER_CONFIG", &[]);
}
