//! Which source wins and what comes out; what is refused has a file of its own.

mod refusals;

use super::*;
use crate::privacy::Policy;
use crate::runtime::room::Amount;
use clap::Parser;
use std::io::Write as _;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Run>,
}

#[derive(clap::Subcommand)]
enum Run {
    Run,
}

fn settings(flags: &[&str]) -> Settings {
    Line::try_parse_from([&["anonymizer"], flags].concat())
        .unwrap()
        .settings
}

/// Loads from flags, environment, and a file of this text (none if empty).
fn load(flags: &[&str], env: &[(&str, &str)], file: &str) -> Result<Config, ConfigError> {
    let mut env: Vec<(OsString, OsString)> = env
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let mut on_disk = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    if !file.is_empty() {
        env.push(("ANONYMIZER_CONFIG".into(), on_disk.path().into()));
    }
    settings(flags).load_from(env)
}

/// The words of the error that this file's text gives.
fn file_error(file: &str) -> String {
    load(&[], &[], file).unwrap_err().to_string()
}

fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

/// With the variables that the image's Dockerfile has, its file being where it is in the repository.
fn load_in_the_image(env: &[(&str, &str)], file: &str) -> Config {
    let dockerfile = include_str!("../../ops/container/Dockerfile").replace("\\\n", " ");
    let words = dockerfile.lines().filter_map(|l| l.strip_prefix("ENV "));
    let presets = words.flat_map(str::split_whitespace).map(|word| {
        let (name, value) = word.split_once('=').unwrap();
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/container");
        (name, value.replace("/usr/share/anonymizer", here))
    });
    let presets: Vec<(&str, String)> = presets.collect();
    let mut all: Vec<(&str, &str)> = presets.iter().map(|(n, v)| (*n, &**v)).collect();
    all.extend(env);
    load(&[], &all, file).unwrap()
}

#[test]
fn what_the_image_presets_gives_way_to_a_file_and_to_variables() {
    let facts = |c: Config| (c.data_dir.display().to_string(), c.http_listen.to_string());
    let f = |env, file| facts(load_in_the_image(env, file));
    let (dir, listen) = ("/var/lib/anonymizer".to_string(), "0.0.0.0:9464".into());
    assert_eq!(f(&[], ""), (dir.clone(), listen));
    let (own, file) = ("/queue".to_string(), r#"{"data_dir": "/queue"}"#);
    assert_eq!(f(&[], file), (own.clone(), "0.0.0.0:9464".into()));
    let listen = [("ANONYMIZER_HTTP_LISTEN", "127.0.0.1:1")];
    assert_eq!(f(&listen, file), (own, "127.0.0.1:1".into()));
    let shown = load_in_the_image(&[], "").describe();
    let (_, _, origin) = shown.iter().find(|(name, ..)| name == "data_dir").unwrap();
    assert_has(origin, &["file ", "defaults.json"]);
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let c = load(&[], &[], "").unwrap();
    assert_eq!(c.kafka_brokers, "localhost:9092");
    assert_eq!(
        (&*c.kafka_topic, &*c.kafka_group),
        ("http_log", "anonymizer")
    );
    assert_eq!(c.kafka_start, KafkaStart::Earliest);
    assert!(c.kafka_properties.is_empty());
    assert_eq!(c.data_dir, PathBuf::from("./data"));
    assert_eq!(c.clickhouse_url, "http://localhost:8124");
    assert_eq!(
        (&*c.clickhouse_database, &*c.clickhouse_table),
        ("default", "http_log")
    );
    assert_eq!(
        (c.clickhouse_user, c.clickhouse_password_file),
        (None, None)
    );
    assert_eq!(c.flush_interval, Duration::from_secs(63));
    assert_eq!(c.request_timeout, Duration::from_secs(120));
    assert_eq!((c.max_body_bytes, c.max_batch_rows), (64 << 20, 1_000_000));
    let both = |percent, most| Amount::percent(percent, Some(most)).unwrap();
    assert_eq!(c.max_queue_bytes, both(90.0, 100 << 30));
    assert_eq!(c.min_free_disk, both(10.0, 2 << 30));
    assert_eq!(c.max_quarantine_bytes, both(10.0, 1 << 30));
    assert_eq!(c.quarantine_full, QuarantineFull::Pause);
    assert_eq!(c.sync_interval, Duration::from_millis(250));
    assert!(!c.no_create_tables);
    assert_eq!(c.http_listen, "127.0.0.1:9464".parse().unwrap());
    assert_eq!(c.log_format, Format::Text);
}

/// Before anything is checked, since errors are written so.
#[test]
fn the_format_of_the_log_is_known_whatever_else_is_wrong() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(br#"{"log_format": "json", "no_such": 1}"#)
        .unwrap();
    let path = file.path().to_str().unwrap();
    let of = |flags: &[&str], variable: Option<&str>, file: &str| {
        let variables = [("LOG_FORMAT", variable), ("CONFIG", Some(file))];
        let variables = variables.iter().filter_map(|(name, value)| {
            Some((format!("{ENV_PREFIX}{name}").into(), value.as_ref()?.into()))
        });
        source::log_format(&settings(flags), variables.chain([("X".into(), "".into())]))
    };
    use Format::{Json, Text};
    assert_eq!(of(&[], None, "/no/such"), Text);
    assert_eq!(of(&[], None, path), Json);
    assert_eq!(of(&[], Some("text"), path), Text);
    assert_eq!(of(&["--log-format=json"], Some("text"), path), Json);
    assert_eq!(of(&["--log-format=xml"], Some("json"), path), Text);
    assert_eq!(
        of(&["--config", path, "--kafka-topic= "], None, "/no/such"),
        Json
    );
}

/// Four values a setting, one a source; each source must win over all that stand after it.
#[test]
fn the_flag_wins_over_the_environment_over_the_file_over_the_default() {
    fn f<T: PartialEq + fmt::Debug>(
        name: &str,
        values: [(&str, T); 3],
        default: T,
        get: fn(Config) -> T,
    ) {
        let [(flag, as_flag), (env, as_env), (file, as_file)] = values;
        let flag = format!("{}={flag}", flag_name(name));
        let env_pair = [(&*env_name(name), env)];
        let file = format!("{{\"{name}\": {file}}}");
        let from =
            |flags: &[&str], env: &[(&str, &str)], file: &str| get(load(flags, env, file).unwrap());
        assert_eq!(from(&[&flag], &env_pair, &file), as_flag, "{name}");
        assert_eq!(from(&[&flag], &[], &file), as_flag, "{name}");
        assert_eq!(from(&[], &env_pair, &file), as_env, "{name}");
        assert_eq!(from(&[], &[], &file), as_file, "{name}");
        assert_eq!(from(&[], &[], ""), default, "{name}");
    }
    let s = Duration::from_secs;
    f(
        "flush_interval",
        [("2s", s(2)), ("3s", s(3)), ("\"1m 4s\"", s(64))],
        s(63),
        |c| c.flush_interval,
    );
    f(
        "max_body_bytes",
        [("1MiB", 1 << 20), ("2MB", 2_000_000), ("131072", 1 << 17)],
        64 << 20,
        |c| c.max_body_bytes,
    );
    f(
        "max_batch_rows",
        [("1", 1), ("2_000", 2000), ("3", 3)],
        1_000_000,
        |c| c.max_batch_rows,
    );
    f(
        "no_create_tables",
        [("false", false), ("true", true), ("true", true)],
        false,
        |c| c.no_create_tables,
    );
    let t = |text: &str| text.to_string();
    f(
        "kafka_topic",
        [("a", t("a")), ("b", t("b")), ("\"c\"", t("c"))],
        t("http_log"),
        |c| c.kafka_topic,
    );
    let u = |text: &str| Some(text.to_string());
    f(
        "clickhouse_user",
        [("a", u("a")), ("b", u("b")), ("\"c\"", u("c"))],
        None,
        |c| c.clickhouse_user,
    );
    let a = |text: &str| text.parse::<SocketAddr>().unwrap();
    f(
        "http_listen",
        [
            ("[::1]:1", a("[::1]:1")),
            ("1.1.1.1:2", a("1.1.1.1:2")),
            ("\"1.1.1.1:3\"", a("1.1.1.1:3")),
        ],
        a("127.0.0.1:9464"),
        |c| c.http_listen,
    );
    use KafkaStart::{Earliest, Latest, Stop};
    f(
        "kafka_start",
        [("stop", Stop), ("latest", Latest), ("\"stop\"", Stop)],
        Earliest,
        |c| c.kafka_start,
    );
}

#[test]
fn kafka_properties_are_gathered_one_by_one() {
    let c = load(
        &["--kafka-properties", "linger.ms=1", "--kafka-properties=client.id=a=b"],
        &[("ANONYMIZER_KAFKA_PROPERTIES", "linger.ms=2,debug=broker,topic, fetch.min.bytes=9")],
        r#"{"kafka_properties": {"linger.ms": 3, "check.crcs": true, "ssl.key.password": "s3cret", "fetch.min.bytes": 8}}"#,
    )
    .unwrap();
    let expected = [
        ("check.crcs", "true"),
        ("client.id", "a=b"),
        ("debug", "broker,topic"),
        ("fetch.min.bytes", "9"),
        ("queue.buffering.max.ms", "1"),
        ("ssl.key.password", "s3cret"),
    ];
    assert_eq!(
        c.kafka_properties,
        expected.map(|(k, v)| (k.into(), v.into())).into()
    );
    let client = c.kafka_client().unwrap();
    assert_eq!(client.get("bootstrap.servers"), Some("localhost:9092"));
    assert_eq!(client.get("fetch.min.bytes"), Some("9"));
    // No secret in anything that is shown.
    assert!(!format!("{c:?} {:?}", c.describe()).contains("s3cret"));
    let row = |name: &str| c.describe().into_iter().find(|(n, ..)| n == name).unwrap();
    assert_eq!(row("kafka_properties.ssl.key.password").1, "***");
    assert_eq!(
        row("kafka_properties.linger.ms").2,
        "flag --kafka-properties"
    );
}

#[test]
fn the_file_takes_numbers_and_texts() {
    let get = |json: &str| load(&[], &[], json).unwrap();
    assert_eq!(
        get(r#"{"max_body_bytes": "1.5MiB"}"#).max_body_bytes,
        3 << 19
    );
    assert_eq!(get(r#"{"max_body_bytes": 1e6}"#).max_body_bytes, 1_000_000);
    assert_eq!(
        get(r#"{"max_queue_bytes": 107374182400}"#).max_queue_bytes,
        Amount::bytes(100 << 30)
    );
    assert_eq!(
        Some(get(r#"{"min_free_disk": "2.5 %"}"#).min_free_disk),
        Amount::percent(2.5, None)
    );
    assert_eq!(
        get(r#"{"flush_interval": 70}"#).flush_interval,
        Duration::from_secs(70)
    );
    assert_eq!(
        get(r#"{"sync_interval": 0.5}"#).sync_interval,
        Duration::from_millis(500)
    );
    assert!(get(r#"{"no_create_tables": true}"#).no_create_tables);
    assert_has(
        &file_error(r#"{"flush_interval": null}"#),
        &["flush_interval: \"null\"", "a time"],
    );
    assert_has(
        &file_error(r#"{"kafka_topic": {"a": 1}}"#),
        &["kafka_topic", "a topic name"],
    );
    assert_has(
        &file_error("{\"flush_interval\": 63,\n,}"),
        &[".json", "line 2"],
    );
    assert_has(&file_error("[1]"), &["an object of settings"]);
    assert_has(
        &file_error(r#"{"kafka_topic": "a", "kafka_topic": "b"}"#),
        &["\"kafka_topic\"", "twice"],
    );
}

#[test]
fn the_file_named_by_the_flag_wins_and_a_missing_one_is_an_error() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(br#"{"kafka_topic": "mine"}"#).unwrap();
    let path = file.path().to_str().unwrap();
    let c = load(&["--config", path], &[], r#"{"kafka_topic": "other"}"#).unwrap();
    assert_eq!(c.kafka_topic, "mine");
    let row = c
        .describe()
        .into_iter()
        .find(|(name, ..)| name == "kafka_topic")
        .unwrap();
    assert_eq!(
        row,
        ("kafka_topic".into(), "mine".into(), format!("file {path}"))
    );
    let error = load(&["--config=/no/such"], &[], "")
        .unwrap_err()
        .to_string();
    assert_has(&error, &["/no/such", "flag --config", "No such file"]);
}

#[test]
fn flags_are_taken_before_and_after_the_command() {
    for flags in [
        ["--kafka-topic=a", "run", "--no-create-tables"],
        ["--no-create-tables", "run", "--kafka-topic=a"],
    ] {
        let line = Line::try_parse_from(["anonymizer"].into_iter().chain(flags)).unwrap();
        assert!(matches!(line.command, Some(Run::Run)));
        let c = line.settings.load_from([]).unwrap();
        assert_eq!((&*c.kafka_topic, c.no_create_tables), ("a", true));
    }
}

#[test]
fn the_reference_shows_environment_bounds_and_default_of_each() {
    let help = reference().term_width(0).render_long_help().to_string();
    for setting in TABLE {
        assert_has(
            &help,
            &[
                &flag_name(setting.name),
                &format!("[env: {}]", env_name(setting.name)),
            ],
        );
        assert!(
            !(setting.accepted)().is_empty(),
            "{} takes a NUL",
            setting.name
        );
    }
    assert_has(
        &help,
        &[
            "[default: 63s]",
            "a time from 1s to 1day",
            "ANONYMIZER_CONFIG names",
            "--kafka-properties",
        ],
    );
}

#[test]
fn the_table_of_examples_and_defaults_is_itself_valid() {
    for setting in TABLE {
        let loaded = load(&[], &[(&env_name(setting.name), setting.example)], "");
        // Those of a pair were taken, each, before the other one was missed.
        let is_half =
            matches!(&loaded, Err(ConfigError::Half { given, .. }) if *given == setting.name);
        assert!(loaded.is_ok() || is_half, "{loaded:?}");
    }
}

#[test]
fn what_is_masked_is_told_by_bits_a_word_and_names() {
    let policy = |file: &str| load(&[], &[], file).unwrap().policy();
    assert_eq!(policy("{}"), Policy::default());
    let file = r#"{"mask_ipv4_bits": 16, "mask_ipv6_bits": "128", "mask_url_query": "drop",
        "mask_url_parameters": "Token, sid,token", "mask_url_addresses": true}"#;
    let want = Policy {
        ipv4_bits: Ipv4Bits::new(16).unwrap(),
        ipv6_bits: Ipv6Bits::new(128).unwrap(),
        url_query: Query::Drop,
        url_parameters: vec!["sid".into(), "token".into()],
        url_addresses: true,
    };
    assert_eq!(policy(file), want);
    for (wrong, words) in [
        (r#"{"mask_ipv4_bits": 0}"#, "8, 16, 24 or 32"),
        (r#"{"mask_ipv4_bits": 12}"#, "8, 16, 24 or 32"),
        (r#"{"mask_ipv6_bits": 64}"#, "80, 96 or 128"),
        (r#"{"mask_url_query": "true"}"#, "keep or drop"),
        (
            r#"{"mask_url_parameters": "a,,b"}"#,
            "names separated by commas",
        ),
        (
            r#"{"mask_url_parameters": "a b"}"#,
            "names separated by commas",
        ),
        (
            r#"{"mask_url_parameters": "token="}"#,
            "names separated by commas",
        ),
    ] {
        assert_has(&file_error(wrong), &[words]);
    }
}

#[test]
fn the_password_is_the_first_line_of_its_file() {
    let mut c = load(&[], &[], "").unwrap();
    assert_eq!(c.clickhouse_password().unwrap(), None);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    c.clickhouse_password_file = Some(file.path().into());
    assert_has(
        &c.clickhouse_password().unwrap_err().to_string(),
        &["first line is empty"],
    );
    file.write_all(b"s3cret \nsecond\n").unwrap();
    assert_eq!(c.clickhouse_password().unwrap().as_deref(), Some("s3cret "));
    c.clickhouse_password_file = Some("/no/such".into());
    assert_has(
        &c.clickhouse_password().unwrap_err().to_string(),
        &["clickhouse_password_file", "/no/such"],
    );
}
