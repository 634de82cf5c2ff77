//! The command line as a person meets it: each help and about twenty slips, word by word as they are kept in
//! `tests/corpus/help/` and `tests/corpus/errors.txt`. `UPDATE_GOLDEN=1 cargo test --test integration help`
//! writes them anew; the diff is then the change that users see.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The widest line of any help.
const COLUMNS: usize = 80;

const HELP: &str = "tests/corpus/help";
const ERRORS: &str = "tests/corpus/errors.txt";

/// The program without a terminal, any setting, or more than the words.
fn program(words: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_anonymizer"));
    c.args(words).stdin(Stdio::null()).env_clear();
    c
}

fn call(words: &[&str]) -> Output {
    program(words).output().unwrap()
}

fn text(words: &[&str]) -> String {
    let out = call(words);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {said}");
    String::from_utf8(out.stdout).unwrap()
}

/// The help of each command by its words, the whole program's by none.
fn helps() -> BTreeMap<Vec<String>, String> {
    fn add(words: Vec<String>, all: &mut BTreeMap<Vec<String>, String>) {
        let asked: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = text(&asked);
        let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        for line in listed.lines().take_while(|line| !line.is_empty()) {
            // What goes on below its beginning is indented further.
            if let Some(name) = line[2..].split(' ').next().filter(|name| !name.is_empty()) {
                add([&*words, &[name.to_owned()]].concat(), all);
            }
        }
        all.insert(words, help);
    }
    let mut all = BTreeMap::new();
    add(vec![], &mut all);
    assert!(all.len() > 20, "{:?}", all.keys());
    all
}

/// Compares with a kept file, or writes it.
fn golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == text,
        "{} is not what is printed now; if that is right, write it anew with UPDATE_GOLDEN=1:\n{text}",
        path.display()
    );
}

#[test]
fn each_help_is_the_one_that_is_kept() {
    let mut printed: BTreeMap<String, String> = helps()
        .into_iter()
        .map(|(words, help)| {
            (
                [&["anonymizer".to_owned()], &*words].concat().join("-"),
                help,
            )
        })
        .collect();
    for topic in ["settings", "exit-codes"] {
        printed.insert(format!("help-{topic}"), text(&["help", topic]));
    }
    for (name, help) in &printed {
        golden(&Path::new(HELP).join(format!("{name}.txt")), help);
    }
    for file in fs::read_dir(HELP).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            printed.contains_key(name),
            "{} has no command",
            path.display()
        );
    }
}

#[test]
fn no_line_of_a_help_is_wider_than_a_terminal() {
    let mut all: Vec<String> = helps().into_values().collect();
    all.extend(["settings", "exit-codes"].map(|topic| text(&["help", topic])));
    all.push(text(&["config", "example"]));
    for line in all.iter().flat_map(|text| text.lines()) {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
}

#[test]
fn each_help_has_an_example_that_is_a_command_line() {
    for (words, help) in helps() {
        let example = help.split("\nExample").nth(1);
        let example = example.unwrap_or_else(|| panic!("{words:?} has no example"));
        let example = example.split("\n\n").next().unwrap().replace("\\\n", "");
        let mut lines = example.lines().skip(1).peekable();
        assert!(lines.peek().is_some(), "{words:?}: {example}");
        for line in lines {
            let line = line.split(['|', '>']).next().unwrap();
            let given: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(given[0], "anonymizer", "{words:?}: {line}");
            let is_its = given[1..]
                .iter()
                .zip(&words)
                .all(|(given, word)| given == word);
            assert!(is_its, "{words:?}: {line}");
            // `--help` at its end shows help only if all before it is right.
            let out = call(&[&given[1..], &["--help"]].concat());
            assert!(
                out.status.success(),
                "{line}: {}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
        assert!(help.contains("anonymizer help settings"), "{words:?}");
    }
}

/// What the schema of the file says of each setting, and its default as text.
fn defaults() -> BTreeMap<String, String> {
    let schema: Value = serde_json::from_str(&text(&["config", "schema"])).unwrap();
    let keys = schema["properties"].as_object().unwrap();
    let settings = keys.iter().filter(|(name, _)| *name != "$schema");
    settings
        .map(|(name, about)| {
            let default = match &about["default"] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            (name.clone(), default)
        })
        .collect()
}

#[test]
fn help_settings_has_each_setting_in_all_its_spellings() {
    let help = text(&["help", "settings"]);
    let paragraphs: Vec<&str> = help.split("\n\n").collect();
    for (name, default) in defaults() {
        let flag = format!("--{}", name.replace('_', "-"));
        let is_its = |p: &&&str| p.trim_start().split([' ', '[']).next() == Some(&*flag);
        let about = paragraphs.iter().find(is_its);
        let about = about.unwrap_or_else(|| panic!("{flag} is not in: {help}"));
        let env = format!("[env: ANONYMIZER_{}]", name.to_uppercase());
        assert!(about.contains(&env), "{about}");
        assert!(about.contains(&format!("[file: {name}]")), "{about}");
        assert!(about.contains("Takes "), "{about}");
        let default = format!("[default: {default}]");
        assert!(
            about.contains(&default) || default == "[default: ]",
            "{about}"
        );
    }
}

/// The settings that the help of a command shows.
fn shown(help: &str) -> BTreeSet<String> {
    let settings = help.split("\nSettings:\n").nth(1).unwrap_or_default();
    let settings = settings.split("\nExample").next().unwrap();
    let flags = settings
        .lines()
        .filter_map(|line| line.strip_prefix("      --"));
    flags
        .map(|flag| flag.split([' ', '[']).next().unwrap().replace('-', "_"))
        .filter(|name| name != "config")
        .collect()
}

/// What says where tokens for Kafka come from.
const TOKENS: [&str; 2] = ["kafka_client_secret_file", "kafka_token_file"];

/// A command's file says which settings it reads: `config.NAME`, or a method for some of them.
#[test]
fn the_help_of_a_command_shows_the_settings_that_its_source_reads_and_no_other() {
    let every: BTreeSet<String> = defaults().into_keys().collect();
    let options = fs::read_to_string("src/settings/options.rs").unwrap();
    let named = |source: &str, before: &str| -> BTreeSet<String> {
        let words = source.split(before).skip(1);
        words
            .map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                rest[..end.unwrap_or(rest.len())].to_owned()
            })
            .collect()
    };
    let behind = |method: &str| {
        let body = options.split(&format!("fn {method}")).nth(1).unwrap();
        let mut read = named(body.split("\n    }\n").next().unwrap(), "self.");
        if read.remove("clickhouse_password") {
            read.insert("clickhouse_password_file".into());
        }
        if read.contains("tokens") {
            read.extend(TOKENS.map(str::to_owned));
        }
        &read & &every
    };
    for (words, help) in helps() {
        let shown = shown(&help);
        let Some(command) = words.first() else {
            assert_eq!(shown, BTreeSet::new());
            continue;
        };
        let mut source = String::new();
        for file in [
            format!("src/cli/{command}.rs"),
            format!("src/cli/{command}/mod.rs"),
        ] {
            source += &fs::read_to_string(file).unwrap_or_default();
        }
        if *command == "top" {
            // It shows what `status` does, but asks no Kafka.
            let status = fs::read_to_string("src/cli/status.rs").unwrap();
            source = status.replace("config.consumer_options(", "");
        }
        if ["privacy", "produce"].contains(&&**command) {
            source = fs::read_to_string("src/cli/producer.rs").unwrap() + &source;
        }
        let source = source.split("#[cfg(test)]").next().unwrap();
        // What has commands below it reads nothing by itself.
        if help.contains("\nCommands:\n") || ["run", "check", "config"].contains(&&**command) {
            continue;
        }
        let mut read = &named(source, "config.") & &every;
        if source.contains("config.kafka_client()") {
            read.extend(
                ["kafka_brokers", "kafka_password_file", "kafka_properties"].map(str::to_owned),
            );
        }
        if source.contains("config.tokens()") {
            read.extend(TOKENS.map(str::to_owned));
        }
        for method in ["sink", "consumer_options", "bounds"] {
            if source.contains(&format!("config.{method}(")) {
                read.extend(behind(method));
            }
        }
        if source.contains("config.flush_options()") {
            // One that only asks sends nothing.
            match source.contains(".drain()") {
                true => read.extend(behind("flush_options")),
                false => read.extend(["flush_interval".to_owned()]),
            }
        }
        if ["batches", "held", "quarantine"].contains(&&**command) {
            read.insert("data_dir".into());
        }
        // Every command has it, so that it is named in `help settings` alone.
        read.remove("log_format");
        assert_eq!(shown, read, "{words:?}");
    }
    let all = shown(&text(&["run", "--help"]));
    assert_eq!(all, every);
}

#[test]
fn the_table_of_the_readme_has_each_setting_with_its_default() {
    let readme = fs::read_to_string("README.md").unwrap();
    let table = readme.split("\n| setting | default |").nth(1).unwrap();
    let table = table.split("\n\n").next().unwrap();
    let rows: BTreeMap<String, String> = table
        .lines()
        .skip(2)
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(|cell| cell.trim()).collect();
            (cells[1].replace('`', ""), cells[2].replace('`', ""))
        })
        .collect();
    assert_eq!(rows, defaults());
}

#[test]
fn the_readme_names_each_command_and_exit_code() {
    let readme = fs::read_to_string("README.md").unwrap();
    let table = readme.split("\n| command | what it does |").nth(1).unwrap();
    let table = table.split("\n\n").next().unwrap();
    for words in helps().keys().filter_map(|words| words.first()) {
        assert!(table.contains(&format!("`{words}")), "{words}");
    }
    let codes = text(&["help", "exit-codes"]);
    for code in codes.lines().filter(|line| !line.starts_with("    ")) {
        let code = code.split_whitespace().next().unwrap();
        assert!(readme.contains(&format!("\n| {code} | ")), "{code}");
    }
}

#[test]
fn typical_slips_are_told_in_the_words_that_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    file("typo.json", "{\"flush_intervall\": \"63s\"}");
    file(
        "twice.json",
        "{\n  \"kafka_topic\": \"a\",\n  \"kafka_topic\": \"b\"\n}",
    );
    file("cut.json", "{\n  // who reads\n  \"kafka_group\": \"a\"\n");
    file("value.json", "{\"max_body_bytes\": 1}");
    file("good.json", "{\"kafka_group\": \"a\"}");
    file("empty", "");
    fs::create_dir_all(dir.path().join("data")).unwrap();
    type Slip<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
    let of_none: &[(&str, &str)] = &[];
    let slips: &[Slip<'_>] = &[
        (&[], of_none),
        (&["stats"], of_none),
        (&["batches"], of_none),
        (&["batches", "show"], of_none),
        (&["batches", "show", "first"], of_none),
        (&["run", "--kafka-broker", "kafka:9092"], of_none),
        (&["run", "--flush-interval"], of_none),
        (&["run", "--flush-interval", "soon"], of_none),
        (&["run", "--max-body-bytes", "1TB"], of_none),
        (
            &["run", "--clickhouse-url", "http://me:secret@ch:8123"],
            of_none,
        ),
        (&["run", "--clickhouse-url", "ch:8123"], of_none),
        (&["run", "--http-listen", "localhost:9464"], of_none),
        (&["run", "--kafka-properties", "acks=0"], of_none),
        (&["run", "--kafka-properties", "sasl.password"], of_none),
        (
            &["run", "--kafka-properties", "sasl.password=s3cret"],
            of_none,
        ),
        (&["status"], &[("ANONYMIZER_FLUSH_INTERVALL", "1s")]),
        (&["status"], &[("ANONYMIZER_NO_CREATE_TABLES", "maybe")]),
        (&["status", "--config", "none.json"], of_none),
        (&["status", "--config", "typo.json"], of_none),
        (&["status", "--config", "twice.json"], of_none),
        (&["status", "--config", "cut.json"], of_none),
        (&["status", "--config", "value.json"], of_none),
        (&["status", "--config", "good.json"], of_none),
        (&["verify", "--data-dir", "/no/such"], of_none),
        (&["repair"], of_none),
        (&["adopt"], of_none),
        (&["replay", "--force"], of_none),
        (&["capacity", "--rate", "1000"], of_none),
        (&["capacity", "--rate", "0", "--retention", "30d"], of_none),
        (&["reconcile", "--from", "1h", "--to", "2h"], of_none),
        (&["reconcile", "--from", "yesterday"], of_none),
        (&["reconcile", "--from", "99999999y"], of_none),
        (&["reconcile", "--to", "9999-01-01T00:00:00Z"], of_none),
        (&["replay", "--delivered", "--since", "99999999y"], of_none),
        (&["run", "--keep-delivered", "99999999y"], of_none),
        (
            &["capacity", "--rate", "1", "--kafka-retention", "99999999y"],
            of_none,
        ),
        (&["tap", "--status", "9xx"], of_none),
        (&["produce", "--delay", "99999999999"], of_none),
        (&["quarantine", "drop"], of_none),
        (&["quarantine", "retry", "3"], of_none),
        (&["schema", "print", "--retention", "30"], of_none),
        (
            &["schema", "print", "--clickhouse-table", "my-table"],
            of_none,
        ),
        (&["produce", "--rate", "1", "--delay", "1"], of_none),
        (
            &["produce", "--count", "1"],
            &[("KAFKA_PRODUCER_DELAY_MS", "soon")],
        ),
        (
            &["produce", "--count", "1"],
            &[("KAFKA_PRODUCER_DELAY_MS", "99999999999")],
        ),
        (&["completions", "tcsh"], of_none),
        (&["man", "--dir", "empty"], of_none),
        (&["help", "setings"], of_none),
    ];
    let mut all = String::new();
    for (words, env) in slips {
        let mut command = program(words);
        command.current_dir(dir.path()).envs(env.iter().copied());
        let out = command.output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(!said.contains("secret"), "{said}");
        let variables = env.iter().map(|(name, value)| format!("{name}={value}"));
        let typed = variables.chain(["anonymizer".to_owned()]);
        let typed = typed.chain(words.iter().map(|word| (*word).to_owned()));
        let typed = typed.collect::<Vec<_>>().join(" ");
        let code = out.status.code().unwrap();
        writeln!(all, "$ {typed}\n{said}[exit code {code}]\n").unwrap();
    }
    golden(Path::new(ERRORS), &all);
}

#[test]
fn config_print_tells_each_value_with_its_origin_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.json");
    fs::write(
        &file,
        "{ // of the site\n\"kafka_group\": \"of-the-file\", \"kafka_topic\": \"of-the-file\",\n\
         \"kafka_properties\": { \"sasl.password\": \"s3cret\" } }",
    )
    .unwrap();
    let mut command = program(&["config", "print", "--json", "--flush-interval", "70s"]);
    command
        .arg("--config")
        .arg(&file)
        .env("ANONYMIZER_KAFKA_TOPIC", "of-the-environment");
    let out = command.output().unwrap();
    let said = String::from_utf8([out.stdout.clone(), out.stderr].concat()).unwrap();
    assert!(out.status.success() && !said.contains("s3cret"), "{said}");
    let all: Value = serde_json::from_slice(&out.stdout).unwrap();
    let all = all["items"].as_array().unwrap();
    let f = |name: &str, value: &str, origin: &str| {
        let found = all.iter().find(|s| s["name"] == name).unwrap();
        assert_eq!(
            (&found["value"], &found["origin"]),
            (&value.into(), &origin.into())
        );
    };
    f("flush_interval", "70s", "flag --flush-interval");
    f(
        "kafka_topic",
        "of-the-environment",
        "environment variable ANONYMIZER_KAFKA_TOPIC",
    );
    f(
        "kafka_group",
        "of-the-file",
        &format!("file {}", file.display()),
    );
    f("data_dir", "./data", "default");
    f(
        "kafka_properties.sasl.password",
        "***",
        &format!("file {}", file.display()),
    );
    let plain = text(&["config", "print"]);
    assert!(
        plain.contains("flush_interval = 63s (default)\n"),
        "{plain}"
    );
    assert_eq!(plain.lines().count(), defaults().len() - 1, "{plain}");
}

#[test]
fn the_printed_example_is_a_settings_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.json");
    fs::write(&file, text(&["config", "example"])).unwrap();
    let file = file.to_str().unwrap();
    let without = |text: String| text.replace(&format!("(file {file})"), "(default)");
    assert_eq!(
        without(text(&["config", "print", "--config", file])),
        text(&["config", "print"])
    );
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    text(&["man", "--dir", dir.path().to_str().unwrap()]);
    let read = |name: &str| fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
    for words in helps().keys() {
        let page = read(&[&["anonymizer".to_owned()], &**words].concat().join("-"));
        assert!(page.contains(".SH EXAMPLES"), "{words:?}: {page}");
    }
    let main = text(&["man"]);
    assert_eq!(main, read("anonymizer"));
    assert!(main.contains(".SH \"EXIT STATUS\""), "{main}");
    let settings = read("anonymizer-settings").replace("\\-", "-");
    for name in defaults().into_keys() {
        assert!(
            settings.contains(&format!("--{}", name.replace('_', "-"))),
            "{name}: {settings}"
        );
    }
}

#[test]
fn bash_takes_the_completions_and_completes_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("completions");
    fs::write(&script, text(&["completions", "bash"])).unwrap();
    let ask = |words: &str, at: usize| {
        let ask = format!(
            "source \"$1\"; COMP_WORDS=({words}); COMP_CWORD={at}; \
             _anonymizer anonymizer \"${{COMP_WORDS[{at}]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let mut bash = Command::new("bash");
        let out = bash.args(["-c", &ask, "bash"]).arg(&script).output();
        let out = out.unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.is_empty(), "{said}");
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(ask("anonymizer qu", 1).trim(), "quarantine");
    assert_eq!(ask("anonymizer batches sh", 2).trim(), "show");
    assert!(ask("anonymizer verify --data", 2).contains("--data-dir"));
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(
            text(&["completions", shell]).contains("anonymizer"),
            "{shell}"
        );
    }
}
