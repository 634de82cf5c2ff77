//! Kafka, nginx and ClickHouse as `ops/stack` starts them, and what nginx wrote down.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tempfile::TempDir;

/// Far beyond what anything here takes: a wait that ends so is a failure.
const PATIENCE: Duration = Duration::from_secs(420);
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// Runs until its standard input closes, which it does however the test ends: by its end, a panic,
/// Ctrl-C or SIGKILL. Then stops, by their pids, the program and the stack.
const GUARD: &str = r#"
    set -euo pipefail
    cat >/dev/null
    . ops/lib/common.sh
    stop_process "$STACK_DIR/program.pid" "$STACK_DIR/" 1
    exec ops/stack down 2>"$STACK_DIR/down.log"
"#;

/// Tells a person how it goes on. Not with `eprintln!`, whose lines the harness keeps until the end.
fn progress(line: &str) {
    // A closed terminal is no failure.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Asks until there is an answer, and says what it waits for.
pub fn until<T>(what: &str, pause: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let (thread, start) = (std::thread::current(), Instant::now());
    let test = thread.name().unwrap_or_default();
    progress(&format!("{test}: waiting for {what}"));
    loop {
        if let Some(found) = look() {
            progress(&format!(
                "{test}: after {} s: {what}",
                start.elapsed().as_secs()
            ));
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(pause);
    }
}

/// A running stack. Stopped when dropped, and removed unless the test failed.
pub struct Stack {
    name: String,
    dir: Option<TempDir>,
    guard: Child,
    /// Open for as long as the stack should run.
    lifeline: Option<ChildStdin>,
    max_body: String,
    kafka: u16,
    kafka_controller: u16,
    clickhouse: u16,
    proxy: u16,
    agent: ureq::Agent,
}

impl Stack {
    /// Starts one whose proxy takes bodies of `max_body`.
    pub fn up(name: &str, max_body: &str) -> Stack {
        Stack::of(&["kafka", "clickhouse", "nginx"], name, max_body)
    }

    /// The same with some of the services.
    pub fn of(services: &[&str], name: &str, max_body: &str) -> Stack {
        let dir = tempfile::Builder::new()
            .prefix(&format!("end-to-end-{name}-"))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let mut guard = Command::new("setsid") // So that Ctrl-C does not reach it.
            .args(["bash", "-c", GUARD])
            .current_dir(REPOSITORY)
            .env("STACK_DIR", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("bash and setsid (util-linux) are there");
        let stack = Stack {
            name: name.to_owned(),
            dir: Some(dir),
            lifeline: guard.stdin.take(),
            guard,
            max_body: max_body.to_owned(),
            kafka: free_port(),
            kafka_controller: free_port(),
            clickhouse: free_port(),
            proxy: free_port(),
            agent: ureq::Agent::config_builder()
                .timeout_global(Some(Duration::from_secs(120)))
                .proxy(None)
                .build()
                .into(),
        };
        stack.say(&format!("starting {}", services.join(", ")));
        stack.start(services);
        stack
    }

    /// Starts those of the services that do not run.
    pub fn start(&self, services: &[&str]) {
        assert!(self.tell("up", services), "ops/stack up");
    }

    /// Whether `ops/stack` could do it: not on a machine that is far too busy.
    pub fn tell(&self, verb: &str, services: &[&str]) -> bool {
        Command::new("ops/stack")
            .arg(verb)
            .args(services)
            .current_dir(REPOSITORY)
            .env("STACK_DIR", self.dir())
            .env("KAFKA_PORT", self.kafka.to_string())
            .env("KAFKA_CONTROLLER_PORT", self.kafka_controller.to_string())
            .env("KAFKA_PARTITIONS", "6")
            .env("CLICKHOUSE_PORT", self.clickhouse.to_string())
            .env("CLICKHOUSE_USER", "default")
            .env("CLICKHOUSE_PASSWORD", "")
            .env("PROXY_PORT", self.proxy.to_string())
            .env("CLIENT_MAX_BODY_SIZE", &self.max_body)
            .env("LOG_PREFIX", format!("{}: ", self.name))
            .status()
            .unwrap()
            .success()
    }

    /// Tells a person how it goes on.
    pub fn say(&self, what: &str) {
        progress(&format!("{}: {what}", self.name));
    }

    /// Where all of it lives.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("not dropped").path()
    }

    pub fn kafka(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    pub fn proxy(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy)
    }

    pub fn clickhouse(&self) -> String {
        format!("http://127.0.0.1:{}", self.clickhouse)
    }

    /// The body of a GET.
    pub fn get(&self, url: &str) -> Result<String, ureq::Error> {
        self.agent.get(url).call()?.body_mut().read_to_string()
    }

    /// Asks ClickHouse, not through the proxy.
    pub fn query(&self, sql: &str) -> Vec<u8> {
        let url = self.clickhouse() + "/";
        let mut answer = self.agent.post(&url).send(sql).unwrap();
        let body = answer.body_mut().with_config().limit(1 << 30);
        body.read_to_vec().unwrap()
    }

    /// Rows in ClickHouse.
    pub fn count(&self) -> u64 {
        let answer = self.query("SELECT count() FROM http_log");
        let text = String::from_utf8(answer).unwrap();
        text.trim().parse().unwrap()
    }

    /// Produces messages to the topic, one partition after the other.
    pub fn produce(&self, messages: &[Vec<u8>]) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka())
            .set("enable.idempotence", "true")
            .create()
            .unwrap();
        for (message, partition) in messages.iter().zip((0..6).cycle()) {
            let record = BaseRecord::<(), [u8]>::to("http_log").partition(partition);
            producer.send(record.payload(message)).unwrap();
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// Whether a request body of `bytes` has reached ClickHouse whole, behind the names and types of the
    /// columns, and its query still runs.
    pub fn has_body_of(&self, bytes: u64) -> bool {
        let spool = fs::read_dir(self.dir().join("data/clickhouse/spool")).unwrap();
        spool.flatten().any(|request| {
            let body = fs::metadata(request.path().join("body"));
            body.is_ok_and(|body| (bytes..bytes + 1024).contains(&body.len()))
        })
    }

    /// What nginx has answered so far.
    pub fn requests(&self) -> Vec<Request> {
        let log = fs::read_to_string(self.dir().join("logs/nginx-access.log")).unwrap();
        log.lines().map(Request::parse).collect()
    }

    /// Lengths of the bodies that nginx refused as too large, in order. Its access log counts what
    /// came of a request, and of these nothing but the head did.
    pub fn refused_bodies(&self) -> Vec<u64> {
        let log = fs::read_to_string(self.dir().join("data/nginx/error.log")).unwrap();
        let after = |line: &str| {
            let (_, rest) = line.split_once("intended to send too large body: ")?;
            rest.split_once(' ')?.0.parse().ok()
        };
        log.lines().filter_map(after).collect()
    }

    /// Those that insert under `token`; all inserts if it is empty.
    pub fn inserts(&self, token: &str) -> Vec<Request> {
        let wanted = format!("insert_deduplication_token={token}");
        let mut all = self.requests();
        // A look at the tables is sent with the parameters of an insert, too.
        all.retain(|r| r.uri.contains("query=INSERT") && r.uri.contains(&wanted));
        all
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let down = self.guard.wait();
        let Some(dir) = self.dir.take() else { return };
        let stopped = down.is_ok_and(|status| status.success());
        if std::thread::panicking() || !stopped {
            let at: PathBuf = dir.keep();
            let state = if stopped { "stopped" } else { "NOT STOPPED" };
            self.say(&format!("{state}, kept in {}", at.display()));
        }
    }
}

/// One line of nginx's log, see `ops/nginx/ch-proxy.conf.template`.
#[derive(Debug)]
pub struct Request {
    /// When its first byte came, in seconds since 1970.
    pub start: f64,
    pub status: u16,
    /// ClickHouse's, if it was asked and has answered.
    pub upstream: Option<u16>,
    pub uri: String,
}

impl Request {
    fn parse(line: &str) -> Request {
        let (before, rest) = line.split_once(" \"").expect("a quoted URI");
        let (uri, seconds) = rest.rsplit_once("\" ").expect("a quoted URI");
        let fields: Vec<&str> = before.split(' ').collect();
        let [end, status, upstream, _length, _method] = fields[..] else {
            panic!("a line of nginx's log: {line}")
        };
        let (seconds, _address) = seconds.split_once(' ').expect("an address");
        let number = |text: &str| text.parse::<f64>().unwrap();
        Request {
            start: number(end) - number(seconds),
            status: status.parse().unwrap(),
            upstream: upstream.parse().ok(),
            uri: uri.to_owned(),
        }
    }

    /// Whether ClickHouse stored it.
    pub fn passed(&self) -> bool {
        self.upstream == Some(200)
    }

    /// Refused by nginx for its length, before the limiter counts it.
    pub fn too_large(&self) -> bool {
        self.upstream.is_none() && self.status == 413
    }

    /// Refused by nginx's limiter.
    pub fn limited(&self) -> bool {
        self.upstream.is_none() && self.status == 503
    }
}

/// A port that nothing listens on, never given twice. Below the range that the kernel gives to
/// outgoing connections, one of which could else take it before its server does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + std::process::id() as u16 % 1_000 * 10;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
