//! Does a log that nobody reads stop anything, does any level of it show a secret, does it say a thing once,
//! and can a program read it?

use std::fs;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::support::fake_clickhouse::Fault;
use crate::support::stack::free_port;
use crate::support::wait::{MOMENT, PATIENCE, until};
use crate::support::world::World;

/// With the address of its metrics.
type Logging = World<String>;

fn logging() -> Logging {
    let listen = format!("127.0.0.1:{}", free_port());
    let w = World::new().with("--http-listen", &listen);
    w.and(|w| {
        w.setup.env("RUST_LOG", "trace");
        listen
    })
}

impl Logging {
    /// An instance whose log goes into a pipe, which holds 64 KiB.
    fn run(&self) -> (Running, PipeReader) {
        let (log, stderr) = std::io::pipe().unwrap();
        let mut command = self.setup.command("run");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null());
        (Running(child.stderr(stderr).spawn().unwrap()), log)
    }

    fn lines_dropped(&self) -> Option<u64> {
        self.metric("anonymizer_log_lines_dropped_total")
    }

    fn metric(&self, name: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(&self.own).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        let n = lines.find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))?;
        n.parse().ok()
    }

    fn wait_metric(&self, name: &str, at_least: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(name).is_none_or(|n| n < at_least) {
            assert!(
                Instant::now() < deadline,
                "{name} is {:?}",
                self.metric(name)
            );
        }
    }

    /// Has it say much, until there is no more room for it.
    fn talks_until_lines_are_dropped(&self) {
        let deadline = Instant::now() + PATIENCE;
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(7000));
        while self.lines_dropped().is_none_or(|n| n == 0) {
            assert!(Instant::now() < deadline, "no line was dropped");
            if let Ok(mut stream) = TcpStream::connect(&self.own) {
                let _ = stream.write_all(long.as_bytes());
            }
        }
    }
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends SIGTERM; it must end well before a stop that is forced.
fn stop(Running(child): &mut Running) {
    let began = Instant::now();
    rustix::process::kill_process(Pid::from_child(child), Signal::TERM).unwrap();
    let status = until(
        MOMENT,
        || child.try_wait().unwrap(),
        || "does not end".to_owned(),
    );
    let took = began.elapsed();
    assert!(status.success(), "{status} after {took:?}");
    assert!(took < Duration::from_secs(7), "{took:?}");
}

#[test]
fn a_log_that_nobody_reads_stops_neither_rows_nor_the_stop() {
    let mut w = logging();
    let (mut child, log) = w.run();
    w.talks_until_lines_are_dropped();
    w.stores(1, 1000);
    stop(&mut child);
    drop(log);
    w.assert_exactly_once();
}

#[test]
fn a_log_that_is_read_again_says_how_much_is_missing() {
    let mut w = logging();
    let (mut child, log) = w.run();
    w.stores(1, 1000);
    w.talks_until_lines_are_dropped();
    let mut lines = BufReader::new(log).lines();
    let said = lines.find(|l| {
        let line = l.as_ref().unwrap();
        line.contains("lines of the log are missing here: nobody read it")
    });
    assert!(said.is_some());
    let reads = std::thread::spawn(move || lines.count());
    stop(&mut child);
    reads.join().unwrap();
}

/// A log whose reader has gone.
#[test]
fn a_log_that_is_closed_stops_nothing() {
    let mut w = logging();
    let (mut child, log) = w.run();
    drop(log);
    w.stores(1, 1000);
    stop(&mut child);
}

#[test]
fn no_level_of_the_log_shows_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    const CLICKHOUSE: &str = "Vq7-clickhouse-Zr1";
    const KAFKA: &str = "Kw3-kafka-login-Tb8";
    const KEY: &str = "Pm5-kafka-key-Xd2";
    fs::write(&file, format!("{CLICKHOUSE}\n")).unwrap();
    for level in [
        "error",
        "warn",
        "info",
        "debug",
        "trace",
        "ureq_proto=trace",
    ] {
        let mut w = logging();
        w.setup.env("RUST_LOG", level);
        w.setup.set("--clickhouse-user", "writer");
        w.setup
            .set("--clickhouse-password-file", file.to_str().unwrap());
        w.setup.env(
            "ANONYMIZER_KAFKA_PROPERTIES",
            &format!("sasl.password={KAFKA},ssl.key.password={KEY}"),
        );
        let mut program = w.setup.run();
        w.stores(1, 1000);
        let head = w.clickhouse.requests().pop().unwrap().head;
        assert!(head.contains(CLICKHOUSE), "it was not sent: {head}");
        // To its end, since the lines of the log are written a little later.
        program.signal(Signal::TERM);
        assert!(program.wait().success());
        let log = program.log();
        for secret in [CLICKHOUSE, KAFKA, KEY] {
            assert!(!shows(&log, secret), "{level}: {secret}: {log}");
        }
    }
}

/// With no broker at these ports.
fn without_a_broker() -> (Logging, [u16; 2]) {
    let ports = [free_port(), free_port()];
    let brokers = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let mut w = logging().with("--kafka-brokers", &brokers);
    w.setup.env("RUST_LOG", "info");
    (w, ports)
}

/// librdkafka tells it 39 times a second, once by its log and twice by its errors.
#[test]
fn a_dead_broker_is_told_of_once_a_minute_with_the_count() {
    let (w, ports) = without_a_broker();
    let began = Instant::now();
    let mut program = w.setup.run();
    w.wait_metric("anonymizer_log_lines_repeated_total", 40);
    program.signal(Signal::TERM);
    assert!(program.wait().success());
    let log = program.log();
    // The first, one a minute, and the rest at the end.
    let most = 2 + began.elapsed().as_secs() as usize / 60;
    let of = |words: &str| {
        log.lines()
            .filter(|l| l.contains(words))
            .collect::<Vec<_>>()
    };
    let down = of("AllBrokersDown");
    assert!((1..=most).contains(&down.len()), "{log}");
    let counted: u64 = of(" in the last ")
        .iter()
        .map(|l| {
            let (_, count) = l.rsplit_once(" (").unwrap();
            let digits: String = count.chars().take_while(|c| *c != ' ').collect();
            let digits = digits.replace(',', "").replace("once", "1");
            digits.parse::<u64>().unwrap()
        })
        .sum();
    assert!(counted >= 40, "{log}");
    for port in ports {
        let told = of(&format!("127.0.0.1:{port} failed"));
        assert!((1..=most).contains(&told.len()), "{log}");
        let firsts = told.iter().filter(|l| !l.contains(" in the last "));
        assert!(firsts.count() < most, "{log}");
        assert!(told.iter().all(|l| l.contains(" WARN  librdkafka] ")));
    }
}

#[test]
fn a_limiter_that_goes_on_refusing_is_warned_of() {
    let mut w = World::of(1);
    let refusals = std::iter::repeat_n(Fault::Limited503(None), 1000);
    let program = w.run_with(refusals);
    w.kafka.produce(1, 100);
    program.wait_log("the proxy's limiter refused; trying again in ");
    program.wait_log("no request got through since ");
    w.clickhouse.state().faults.clear();
    program.wait_log("a request got through, after ");
    let log = program.log();
    let of = |words: &str| {
        log.lines()
            .filter(|l| l.contains(words))
            .collect::<Vec<_>>()
    };
    let loud = of("no request got through since ");
    assert_eq!(loud.len(), 1, "{log}");
    assert!(loud[0].contains(" WARN ") && loud[0].contains("flush_interval"));
    assert!(
        loud[0].contains(" tries): the proxy's limiter refuses"),
        "{log}"
    );
    assert_eq!(of("limiter refused;").len(), 1, "{log}");
    w.finish(program);
}

#[test]
fn a_clickhouse_that_cannot_be_reached_for_long_is_warned_of() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let w = World::of(1).with("--clickhouse-url", &url);
    let program = w.setup.run();
    program.wait_log(&format!("cannot reach {url}"));
    program.wait_log(&format!(" tries): {url} cannot be reached: "));
    program.stop();
}

#[test]
fn messages_in_quarantine_are_told_in_sum() {
    let mut w = World::of(1);
    w.kafka.send(&[Vec::new()]);
    let mut program = w.setup.run();
    // The first is told at once, and the others would be in a minute.
    w.setup.wait_status(|s| s["queue"]["quarantined"] == 1);
    w.kafka.send(&vec![b"no capnp".to_vec(); 300]);
    w.setup.wait_status(|s| s["queue"]["quarantined"] == 301);
    program.signal(Signal::TERM);
    assert!(program.wait().success());
    let log = program.log();
    let told: Vec<&str> = log
        .lines()
        .filter_map(|l| l.split_once("] quarantined "))
        .map(|(_, words)| words)
        .collect();
    let counts = told
        .iter()
        .map(|w| w.split_once(' ').unwrap().0.parse::<u32>().unwrap());
    // The first at once, the others in the next minute, or at the end.
    assert!(told.len() <= 2, "{log}");
    assert_eq!(counts.sum::<u32>(), 301, "{log}");
    for reason in ["1 empty", " malformed"] {
        assert!(told.iter().any(|words| words.contains(reason)), "{log}");
    }
}

#[test]
fn the_first_line_says_what_runs_where() {
    let w = World::of(1).with("--kafka-group", "those");
    let program = w.setup.run();
    program.wait_log("installation");
    let log = program.log();
    let status = w.setup.wait_status(|s| s["live"] == true);
    program.stop();
    let line = log.lines().find(|l| l.contains("installation")).unwrap();
    for part in [
        concat!(
            " INFO  anonymizer::pipeline] anonymizer ",
            env!("CARGO_PKG_VERSION")
        ),
        "librdkafka 2.",
        "topic http_log, group those, brokers ",
        &w.kafka.brokers,
        &w.clickhouse.url(),
        "table default.http_log",
        &w.setup.data_dir().display().to_string(),
        status["installation"].as_str().unwrap(),
        "0 rows queued",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
}

/// The lines, each of which must be an object with the keys that are promised.
fn parsed(log: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for line in log.lines() {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let keys: Vec<&str> = read.as_object().unwrap().keys().map(|k| &k[..]).collect();
        for key in ["time", "level", "target", "message"] {
            assert!(read[key].is_string(), "{key}: {line}");
        }
        let time = read["time"].as_str().unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
        let more: Vec<&&str> = keys
            .iter()
            .filter(|k| !["time", "level", "target", "message"].contains(k))
            .collect();
        let is_again = read["repeated"].is_u64() && read["last"].is_string() && more.len() == 2;
        assert!(more.is_empty() || is_again, "{line}");
        all.push(read);
    }
    assert!(!all.is_empty());
    all
}

fn has(lines: &[Value], level: &str, words: &str) -> bool {
    let mut lines = lines.iter();
    lines.any(|l| l["level"] == level && l["message"].as_str().unwrap().contains(words))
}

#[test]
fn every_line_of_a_run_is_json_if_that_is_asked_for() {
    let (mut w, _) = without_a_broker();
    w.setup.set("--log-format", "json");
    w.setup.env("RUST_LOG", "debug");
    let mut program = w.setup.run();
    w.wait_metric("anonymizer_log_lines_repeated_total", 5);
    program.signal(Signal::TERM);
    assert!(program.wait().success());
    let lines = parsed(&program.log());
    assert!(has(&lines, "INFO", "installation"));
    assert!(has(
        &lines,
        "DEBUG",
        "log_format = json (flag --log-format)"
    ));
    assert!(has(&lines, "INFO", "stopped"));
    let repeated: u64 = lines.iter().filter_map(|l| l["repeated"].as_u64()).sum();
    assert!(repeated >= 5);
}

#[test]
fn json_that_nobody_reads_says_in_json_how_much_is_missing() {
    let mut w = logging();
    w.setup.env("ANONYMIZER_LOG_FORMAT", "json");
    let (mut child, log) = w.run();
    w.stores(1, 1000);
    w.talks_until_lines_are_dropped();
    let reads = std::thread::spawn(move || {
        let lines = BufReader::new(log).lines();
        lines.map(|l| l.unwrap() + "\n").collect::<String>()
    });
    stop(&mut child);
    let lines = parsed(&reads.join().unwrap());
    assert!(has(&lines, "WARN", "lines of the log are missing here"));
}

/// Whatever is wrong, whoever asks by whatever source for JSON gets it.
#[test]
fn errors_of_settings_and_commands_are_json_if_that_is_asked_for() {
    let w = World::of(1);
    let dir = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = dir.path().join("settings.json");
        fs::write(&path, text).unwrap();
        format!("--config={}", path.display())
    };
    let json = "--log-format=json";
    for (args, variable, says) in [
        (vec![json, "--kafka-topic=a b"], None, "kafka_topic"),
        (vec!["--kafka-topic=a b"], Some("json"), "kafka_topic"),
        (vec!["--log-format", "json", "--no-such"], None, "--no-such"),
        (vec!["--no-such"], Some("json"), "--no-such"),
        (vec![json, "--config=/no/such"], None, "/no/such"),
        (
            vec![&file(r#"{"log_format": "json", "x": 1}"#)],
            None,
            "unknown key",
        ),
        (vec![json], Some("xml"), "no queue in"),
    ] {
        let mut command = w.setup.command("verify");
        command.args(&args);
        command.envs(variable.map(|value| ("ANONYMIZER_LOG_FORMAT", value)));
        let out = command.output().unwrap();
        assert!(!out.status.success(), "{args:?}");
        let lines = parsed(&String::from_utf8(out.stderr).unwrap());
        assert!(has(&lines, "ERROR", says), "{args:?}: {lines:?}");
    }
    // What is no format is an error, for a person.
    let said = w.refused(&["verify", "--log-format=xml"]);
    assert!(
        said.contains("log_format: \"xml\" (flag --log-format) is not text or json"),
        "{said}"
    );
}

/// Whether a log holds a secret as it is, in hex or in base64; of a hex dump, which spreads it over
/// lines, six bytes are enough.
fn shows(log: &str, secret: &str) -> bool {
    let base64 = |skip: usize| {
        let text = openssl::base64::encode_block(&[&[b'x'; 2][..skip], secret.as_bytes()].concat());
        // What depends on the neighbours is left out.
        text[4 * usize::from(skip > 0)..text.len() - 4].to_owned()
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let dump: Vec<String> = log
        .lines()
        .map(|l| l.replace([' ', ':'], "").to_ascii_lowercase())
        .collect();
    log.contains(secret)
        || (0..3).any(|skip| log.contains(&base64(skip)))
        || secret
            .as_bytes()
            .windows(6)
            .any(|bytes| dump.iter().any(|l| l.contains(&hex(bytes))))
}

#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    let secret = "Vq7-clickhouse-Zr1";
    assert!(shows("user: Vq7-clickhouse-Zr1", secret));
    assert!(shows("[TRACE] 5671 372d 636c 6963  Vq7-clic", secret));
    for skip in ["", "u", "u:"] {
        let text = openssl::base64::encode_block(format!("{skip}{secret}@host").as_bytes());
        assert!(shows(&text, secret), "{text}");
    }
    assert!(!shows("Vq7-clickh 5671 372d", secret));
}
