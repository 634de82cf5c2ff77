//! What is refused, and in which words.

use super::*;

#[test]
fn properties_that_would_break_the_promise_are_refused_with_the_reason() {
    let f = |property: &str, words: &[&str]| {
        let error = load(&["--kafka-properties", property], &[], "")
            .unwrap_err()
            .to_string();
        assert_has(
            &error,
            &[
                "flag --kafka-properties",
                property.split('=').next().unwrap(),
            ],
        );
        assert_has(&error, words);
    };
    f("bootstrap.servers=x:1", &["kafka_brokers"]);
    f("metadata.broker.list=x:1", &["kafka_brokers"]);
    f("group.id=x", &["kafka_group"]);
    f(
        "enable.auto.commit=true",
        &["before their rows are on the disk"],
    );
    f(
        "auto.commit.enable=true",
        &["before their rows are on the disk"],
    );
    f(
        "enable.auto.offset.store=true",
        &["before their rows are on the disk"],
    );
    f("auto.offset.reset=earliest", &["kafka_start"]);
    f("enable.partition.eof=true", &["to anything but false"]);
    f("acks=0", &["produce"]);
    f(
        "no.such.property=1",
        &["refused by librdkafka", "No such configuration property"],
    );
    f("linger.ms=soon", &["refused by librdkafka"]);
    let error = load(&["--kafka-properties", "s3cret"], &[], "")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("name=value") && !error.contains("s3cret"),
        "{error}"
    );
    assert_has(
        &file_error(r#"{"kafka_properties": "a=b"}"#),
        &["an object"],
    );
    assert_has(
        &file_error(r#"{"kafka_properties": {"linger.ms": [1]}}"#),
        &["linger.ms", "a number"],
    );
}

/// `ps` shows flags to everybody.
#[test]
fn a_secret_in_a_flag_is_refused() {
    let f = |property: &str, words: &[&str]| {
        let given = format!("{property}=hunter2");
        let error = load(&["--kafka-properties", &given], &[], "").unwrap_err();
        let all = format!("{error} {error:?}");
        assert_has(&all, &[property, "ps", "settings file"]);
        assert_has(&all, words);
        assert!(!all.contains("hunter2"), "{all}");
    };
    f("sasl.password", &["kafka_password_file"]);
    f("topic.sasl.password", &["kafka_password_file"]);
    f("ssl.key.password", &[]);
    f(
        "sasl.oauthbearer.client.credentials.client.secret",
        &["kafka_client_secret_file"],
    );
    let both = "sasl.password=hunter2";
    let env = [
        ("ANONYMIZER_KAFKA_PROPERTIES", both),
        ("ANONYMIZER_KAFKA_PASSWORD_FILE", "/run/secrets/kafka"),
    ];
    let error = load(&[], &env, "").unwrap_err().to_string();
    assert_has(&error, &["kafka_password_file", "one of them"]);
}

#[test]
fn tokens_come_from_one_place() {
    let f = |given: &[(&str, &str)], words: &[&str]| {
        let mut all = serde_json::json!({"sasl.mechanism": "OAUTHBEARER"});
        let mut flags = vec![];
        for (name, value) in given {
            match name.strip_prefix("--") {
                Some(_) => flags.extend([*name, *value]),
                None => all[*name] = (*value).into(),
            }
        }
        let text = serde_json::json!({ "kafka_properties": all }).to_string();
        let loaded = load(&flags, &[], &text);
        match words {
            [] => assert!(loaded.unwrap().tokens().is_some(), "{given:?}"),
            _ => assert_has(&loaded.unwrap_err().to_string(), words),
        }
    };
    let url = "sasl.oauthbearer.token.endpoint.url";
    let endpoint = (url, "https://issuer/token?policy=a");
    let client = ("sasl.oauthbearer.client.id", "me");
    let secret = ("--kafka-client-secret-file", "/secret");
    let file = ("--kafka-token-file", "/token");
    f(&[endpoint, client, secret], &[]);
    f(&[file], &[]);
    f(&[], &[url, "kafka_token_file", "by none"]);
    f(&[endpoint, client, secret, file], &["by two ways"]);
    f(&[endpoint, secret], &["without sasl.oauthbearer.client.id"]);
    f(&[endpoint, client], &["without kafka_client_secret_file"]);
    let beside = ("sasl.oauthbearer.client.secret", "hunter2");
    f(&[endpoint, client, beside], &[]);
    f(&[endpoint, client, secret, beside], &["one of them"]);
    f(
        &[(url, "https://a:b@issuer/token"), client, secret],
        &[url, "without user"],
    );
    f(
        &[file, ("enable.sasl.oauthbearer.unsecure.jwt", "true")],
        &["not built in"],
    );
    f(
        &[file, ("sasl.oauthbearer.grant.type", "x")],
        &["client_credentials"],
    );
    // What is ours is not handed on.
    let text = r#"{"kafka_properties": {"https.ca.location": "/no/such"}}"#;
    let client = load(&[], &[], text).unwrap().kafka_client().unwrap();
    assert_eq!(client.get("https.ca.location"), None);
}

#[test]
fn a_secret_in_a_file_that_everybody_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let f = |text: &str, mode: u32| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let open = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), open).unwrap();
        let env = [("ANONYMIZER_CONFIG".into(), file.path().into())];
        settings(&[]).load_from(env).unwrap().warnings().join(" ")
    };
    let secret = r#"{"kafka_properties": {"sasl.password": "hunter2"}}"#;
    assert_has(&f(secret, 0o644), &["sasl.password", "chmod o-r"]);
    assert_eq!(f(secret, 0o640), "");
    let user = r#"{"kafka_properties": {"sasl.username": "me"}}"#;
    assert_eq!(f(user, 0o644), "");
}

#[test]
fn a_credential_of_systemd_is_the_file_of_its_setting() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kafka_password"), "s3cret\n").unwrap();
    let dir_words = dir.path().to_str().unwrap();
    let env = [("CREDENTIALS_DIRECTORY", dir_words)];
    let c = load(&[], &env, "").unwrap();
    let client = c.kafka_client().unwrap();
    assert_eq!(client.get("sasl.password"), Some("s3cret"));
    assert_eq!(c.clickhouse_password_file, None);
    let all = c.describe();
    let row = all.iter().find(|(name, ..)| name == "kafka_password_file");
    assert!(row.unwrap().2.starts_with("credential /"), "{row:?}");
    // What is said by a person wins.
    let given = load(&["--kafka-password-file", "/other"], &env, "").unwrap();
    assert_eq!(given.kafka_password_file, Some("/other".into()));
}

#[test]
fn a_password_with_commas_in_the_environment_is_never_printed() {
    let f = |list: &str| {
        let error = load(&[], &[("ANONYMIZER_KAFKA_PROPERTIES", list)], "").unwrap_err();
        let all = format!("{error} {error:?}");
        assert_has(&all, &["ANONYMIZER_KAFKA_PROPERTIES", "comma"]);
        for part in ["aSecret", "Part2", "Hidden"] {
            assert!(!all.contains(part), "{all}");
        }
    };
    f("sasl.password=aSecret,Part2=Hidden");
    f("sasl.pasword=aSecret,Part2=Hidden");
    f("linger.ms=1,sasl.password=aSecret,x,Part2=Hidden,client.id=b");
    f("aSecret");
    let c = load(
        &[],
        &[(
            "ANONYMIZER_KAFKA_PROPERTIES",
            "sasl.password=a,b,linger.ms=1",
        )],
        "",
    )
    .unwrap();
    assert_eq!(c.kafka_properties["sasl.password"], "a,b");
}

#[test]
fn a_property_by_two_names_is_one_property() {
    // The stronger source holds, by whatever name.
    let c = load(
        &["--kafka-properties", "queue.buffering.max.ms=1"],
        &[("ANONYMIZER_KAFKA_PROPERTIES", "linger.ms=2")],
        "",
    )
    .unwrap();
    let expected = [("queue.buffering.max.ms".to_string(), "1".to_string())];
    assert_eq!(c.kafka_properties, expected.into());
    assert_has(
        &file_error(r#"{"kafka_properties": {"linger.ms": 3, "queue.buffering.max.ms": 4}}"#),
        &["another name of linger.ms"],
    );
}

#[test]
fn unknown_names_are_errors_that_name_the_nearest() {
    let env = |name: &str| load(&[], &[(name, "1")], "").unwrap_err().to_string();
    assert_has(
        &env("ANONYMIZER_FLUSH_INTERVALL"),
        &[
            "ANONYMIZER_FLUSH_INTERVALL;",
            "is ANONYMIZER_FLUSH_INTERVAL",
        ],
    );
    assert_has(
        &env("ANONYMIZER_KAFKA_BROKER"),
        &["is ANONYMIZER_KAFKA_BROKERS"],
    );
    assert_has(
        &file_error(r#"{"max_body_byte": 1}"#),
        &[".json", "\"max_body_byte\"", "is max_body_bytes"],
    );
    assert_has(
        &file_error(r#"{"flush-interval": "63s"}"#),
        &["is flush_interval"],
    );
    let flag = Line::try_parse_from(["anonymizer", "--flush-intervall=1s"]);
    assert_has(&flag.err().unwrap().to_string(), &["--flush-interval'"]);
    // Names that are nobody's slip: the build's, other programs', Kubernetes' service links.
    for name in [
        "ANONYMIZER_COMMIT",
        "ANONYMIZER_NO_CAPNP",
        "FLUSH_INTERVAL",
        "ANONYMIZER",
        "ANONYMIZER_PORT",
        "ANONYMIZER_SERVICE_HOST",
        "ANONYMIZER_SERVICE_PORT_HTTP",
        "ANONYMIZER_PORT_9464_TCP_ADDR",
        "ANONYMIZER_METRICS_SERVICE_PORT",
    ] {
        assert!(load(&[], &[(name, "x")], "").is_ok(), "{name}");
    }
}

#[test]
fn every_bound_holds_on_both_sides() {
    fn f(name: &str, good: &[&str], bad: &[&str]) {
        for value in good {
            load(&[], &[(&env_name(name), value)], "").unwrap_or_else(|e| panic!("{e}"));
        }
        for value in bad {
            let error = load(&[], &[(&env_name(name), value)], "").err();
            let error = error
                .unwrap_or_else(|| panic!("{name} takes {value:?}"))
                .to_string();
            assert_has(
                &error,
                &[
                    name,
                    "environment variable",
                    &env_name(name),
                    "is not",
                    "for example",
                ],
            );
        }
    }
    f(
        "kafka_brokers",
        &[
            "a",
            "a:1,b:2",
            "[::1]:9092",
            "SASL_SSL://k:9093",
            "a:1, b:2",
        ],
        &["", "a,", "a:b", "a:0", "a:70000", "::1", "a b:1"],
    );
    f(
        "kafka_topic",
        &["a.b_c-D9"],
        &["", "a b", "a/b", ".", "..", "ä", &"x".repeat(250)],
    );
    f("kafka_group", &["a b"], &["", " ", "a\nb"]);
    f(
        "kafka_start",
        &["earliest", "latest", "stop"],
        &["", "beginning"],
    );
    f("data_dir", &["/x y"], &["", "a\0b"]);
    f(
        "clickhouse_url",
        &["https://h", "http://h:1/ch/", "http://[::1]:8124"],
        &[
            "",
            "h:8124",
            "ftp://h",
            "http://",
            "http://u:p@h",
            "http://a b",
            "http://h?x=1",
            "http://h/?x=1",
            "http://h#x",
            "http://h:0",
            "http://h:99999",
        ],
    );
    f(
        "clickhouse_database",
        &["_a9", &"x".repeat(128)],
        &["", "9a", "a-b", "a.b", "a`b", "ä", &"x".repeat(129)],
    );
    f("clickhouse_table", &["http_log"], &["", "a b", "a;b"]);
    f("clickhouse_user", &["", "a b"], &["a:b", "a\nb"]);
    f(
        "clickhouse_password_file",
        &["", "/run/secrets/x"],
        &["a\0b"],
    );
    f(
        "flush_interval",
        &["1s", "1", "1day", "86400", "62.5"],
        &["", "999ms", "0.9", "86401", "25h", "-1", "NaN", "inf", "1x"],
    );
    f("request_timeout", &["1s", "1h"], &["999ms", "3601s"]);
    f(
        "sync_interval",
        &["10ms", "10s", "0.01"],
        &["9ms", "10001ms"],
    );
    f(
        "max_body_bytes",
        &["128KiB", "1GiB", "131072"],
        &["", "131071", "1025MiB", "-1", "1XB", "64 apples"],
    );
    f(
        "max_batch_rows",
        &["1", "10000000"],
        &["", "0", "10000001", "1.5", "1k"],
    );
    f(
        "max_queue_bytes",
        &["64MiB", "5TiB", "10%", "0.5%", "100 %, 64MiB", "5TiB,1%"],
        &[
            "63MiB",
            "67108863",
            "10%,63MiB",
            "0%",
            "101%",
            "-1%",
            "%",
            "10%,20%",
            "1GiB,2GiB",
            "10%,",
            "nan%",
        ],
    );
    f(
        "min_free_disk",
        &["0", "1B", "5%,0"],
        &["", "some", ",", "5%0"],
    );
    f(
        "no_create_tables",
        &["true", "false", "1", "0"],
        &["", "yes"],
    );
    f(
        "http_listen",
        &["0.0.0.0:0", "[::]:9464"],
        &["", "localhost:9464", "127.0.0.1", "1.2.3.4:70000"],
    );
}

#[test]
fn an_error_tells_setting_source_value_bounds_and_example() {
    let error = load(&["--flush-interval=5ms"], &[], "")
        .unwrap_err()
        .to_string();
    let expected = "flush_interval: \"5ms\" (flag --flush-interval) is not a time from 1s to 1day \
                    (a bare number is seconds); for example 63s";
    assert_eq!(error, expected);
    let error = load(
        &[],
        &[("ANONYMIZER_CLICKHOUSE_URL", "http://me:s3cret@h")],
        "",
    )
    .unwrap_err();
    assert_has(
        &error.to_string(),
        &["***@h", "clickhouse_password_file", "http://ch-proxy:8124"],
    );
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

/// ClickHouse's own way of giving it.
#[test]
fn a_password_in_the_query_of_a_url_is_not_shown() {
    let url = "http://h:8123/?user=me&password=s3cret";
    let error = load(&[], &[("ANONYMIZER_CLICKHOUSE_URL", url)], "").unwrap_err();
    assert_has(
        &error.to_string(),
        &["http://h:8123/?***", "http://ch-proxy:8124"],
    );
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn a_value_that_is_not_unicode_is_an_error() {
    use std::os::unix::ffi::OsStringExt as _;
    let value = OsString::from_vec(vec![0xff]);
    let error = Settings::default()
        .load_from([("ANONYMIZER_DATA_DIR".into(), value)])
        .unwrap_err();
    assert_has(&error.to_string(), &["ANONYMIZER_DATA_DIR", "UTF-8"]);
}
