//! Does the program go on, and stop in time, whatever clients do to its metrics port?

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};

use crate::support::program::Program;
use crate::support::wait::PATIENCE;
use crate::support::world::World;

/// What clients may cost.
const MOST_KIB: u64 = 16 << 10;

/// A running program, and where its metrics are.
struct Served {
    program: Program,
    address: String,
}

fn served() -> World<Served> {
    let mut w = World::new().and(|w| {
        let program = w.setup.run();
        let address = program.pages_address();
        Served { program, address }
    });
    w.stores(1, 1000);
    w
}

impl World<Served> {
    fn connect(&self) -> TcpStream {
        connect(&self.own.address)
    }

    /// How long `/healthz` took. A machine that is too busy to run us between connecting and sending
    /// makes us a slow client, which may have to go for another one; an honest one then asks again.
    fn healthy(&self) -> Duration {
        let began = Instant::now();
        let mut answer = String::new();
        while answer.is_empty() {
            assert!(began.elapsed() < PATIENCE, "never answered");
            let mut stream = self.connect();
            let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n");
            if let Err(error) = asked.and_then(|()| stream.read_to_string(&mut answer).map(drop)) {
                let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                assert!(gone.contains(&error.kind()), "{error}");
            }
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        began.elapsed()
    }

    fn rss_kib(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.own.program.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Stops it, before the five seconds are over that a client is waited for.
    fn stops(mut self) {
        let yardstick = Yardstick::start();
        let began = Instant::now();
        self.own.program.signal(Signal::TERM);
        assert!(
            self.own.program.wait().success(),
            "{}",
            self.own.program.log()
        );
        yardstick.assert_within(Duration::from_secs(4), &[began.elapsed()]);
        self.assert_exactly_once();
        assert_eq!(self.setup.status()["queue"]["rows"], 0);
    }

    /// Lets it have as many files as it has by default, and us enough for the clients.
    fn limit_files(&self) {
        let pid = Pid::from_raw(self.own.program.pid() as i32);
        let limit = Rlimit {
            current: Some(1024),
            maximum: Some(1024),
        };
        prlimit(pid, Resource::Nofile, limit).unwrap();
        let ours = getrlimit(Resource::Nofile);
        let enough = Rlimit {
            current: ours.maximum,
            ..ours
        };
        setrlimit(Resource::Nofile, enough).unwrap();
    }

    /// While clients do what they do: an honest one asks on and on, and rows are stored.
    fn goes_on(&mut self, seeds: std::ops::Range<u64>, mut attacked: impl FnMut() -> bool) {
        let before = self.rss_kib();
        let yardstick = Yardstick::start();
        let mut took = Vec::new();
        for seed in seeds {
            self.stores(seed, 500);
            took.extend((0..8).map(|_| self.healthy()));
        }
        while attacked() {
            took.push(self.healthy());
        }
        yardstick.assert_within(Duration::from_secs(2), &took);
        let more = self.rss_kib().saturating_sub(before);
        println!("{more} KiB more");
        assert!(more < MOST_KIB, "{more} KiB");
    }
}

/// How late this machine is: others keep it busy, and what it does not run is nobody's fault.
struct Yardstick {
    latest: Arc<Mutex<Duration>>,
}

impl Yardstick {
    /// Now and then connects, sends, and syncs a file, as a server does, until it is dropped.
    fn start() -> Yardstick {
        const STEP: Duration = Duration::from_millis(5);
        let latest = Arc::new(Mutex::new(Duration::ZERO));
        let ours = Arc::downgrade(&latest);
        let echo = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = echo.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in echo.incoming().map_while(Result::ok) {
                let mut asked = [0];
                if stream.read_exact(&mut asked).is_err() {
                    return;
                }
                let _ = stream.write_all(&asked);
            }
        });
        std::thread::spawn(move || {
            let mut file = tempfile::tempfile().unwrap();
            while let Some(latest) = ours.upgrade() {
                let began = Instant::now();
                std::thread::sleep(STEP);
                let mut stream = connect(&address);
                stream.write_all(b"a").unwrap();
                stream.read_exact(&mut [0]).unwrap();
                file.write_all(b"a").unwrap();
                file.sync_data().unwrap();
                let late = began.elapsed() - STEP;
                let mut latest = latest.lock().unwrap();
                *latest = late.max(*latest);
            }
            // One that sends nothing ends the other thread.
            drop(connect(&address));
        });
        Yardstick { latest }
    }

    /// The longest of them, too, was within the limit, but for the few times that the machine had to run
    /// somebody for it.
    fn assert_within(self, limit: Duration, took: &[Duration]) {
        let late = *self.latest.lock().unwrap();
        let longest = *took.iter().max().unwrap();
        let of = took.len();
        println!("longest of {of}: {longest:?}, the machine was late by {late:?}");
        assert!(longest < limit + 8 * late, "{longest:?} and {late:?}");
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_request_that_announces_a_petabyte_or_sends_no_body_changes_nothing() {
    let mut w = served();
    for request in [
        "GET /healthz HTTP/1.1\r\nContent-Length: 1000000000000000\r\n\r\n",
        "POST /metrics HTTP/1.1\r\nContent-Length: 1000000000000000\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nContent-Length: 10\r\n\r\n",
    ] {
        let mut stream = w.connect();
        stream.write_all(request.as_bytes()).unwrap();
        w.healthy();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
    // One whose body does not come, while it stops.
    let mut waiting = w.connect();
    waiting
        .write_all(b"POST /healthz HTTP/1.1\r\nContent-Length: 10\r\n\r\n")
        .unwrap();
    w.stores(2, 1000);
    w.stops();
}

#[test]
fn a_browser_gets_plain_text_and_prometheus_what_it_asks_for() {
    let w = served();
    let asked = |accept: &str| {
        let mut stream = w.connect();
        let head = format!("GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\r\nVary: Accept\r\n"), "{answer}");
        answer
    };
    let plain = asked("text/html, */*;q=0.8");
    assert!(
        plain.contains("Content-Type: text/plain; version=0.0.4"),
        "{plain}"
    );
    assert!(plain.contains("# TYPE anonymizer_rows_appended_total counter\n"));
    assert!(
        plain.contains("\nanonymizer_rows_appended_total 1000\n"),
        "{plain}"
    );
    assert!(!plain.contains("# EOF"), "{plain}");
    let open = asked("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(
        open.contains("Content-Type: application/openmetrics-text"),
        "{open}"
    );
    assert!(
        open.contains("# TYPE anonymizer_rows_appended counter\n"),
        "{open}"
    );
    assert!(open.ends_with("# EOF\n"), "{open}");
    w.stops();
}

#[test]
fn a_request_line_without_an_end_takes_no_memory() {
    let w = served();
    let before = w.rss_kib();
    let mut stream = w.connect();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /").unwrap();
    let some = [b'a'; 1 << 16];
    // 256 MiB, or until it is closed.
    let refused = (0..4096).find_map(|_| stream.write_all(&some).err());
    let kind = refused.map(|e| e.kind());
    assert!(
        matches!(
            kind,
            Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        ),
        "{kind:?}"
    );
    let more = w.rss_kib().saturating_sub(before);
    assert!(more < MOST_KIB, "{more} KiB");
    w.stops();
}

#[test]
fn a_thousand_slow_clients_and_scrapers_that_do_not_read_keep_nothing_from_going_on() {
    let mut w = served();
    w.limit_files();
    let done = AtomicBool::new(false);
    let (address, ended) = (w.own.address.clone(), &done);
    std::thread::scope(|scope| {
        // A failed check must end the clients, too.
        let clients = Done(ended);
        for part in 0..4 {
            let address = address.clone();
            scope.spawn(move || slow_clients(&address, 250, part == 0, ended));
        }
        w.goes_on(2..7, || false);
        w.stops();
        drop(clients);
    });
}

/// The tool of those who attack servers this way, as they use it. `ops/test` installs it.
#[test]
fn slowhttptest_keeps_nothing_from_going_on() {
    let mut w = served();
    w.limit_files();
    let deaf = deaf_scraper(&w);
    let mut seed = 2;
    for way in [
        &["-H"][..],
        &["-B"],
        &["-B", "-t", "GET"],
        &["-X", "-w", "1", "-y", "16", "-z", "1"],
    ] {
        println!("slowhttptest {way:?}");
        let mut attack = Attack::start(way, &w.own.address);
        w.goes_on(seed..seed + 2, || attack.goes_on());
        seed += 2;
    }
    let attack = Attack::start(&["-H"], &w.own.address);
    w.stores(seed, 500);
    w.stops();
    drop((attack, deaf));
}

#[test]
fn a_command_that_says_nothing_does_not_delay_the_stop() {
    let w = served();
    let socket = w.setup.data_dir().join("control.sock");
    let mut begun = UnixStream::connect(&socket).unwrap();
    begun.write_all(b"\"sta").unwrap();
    // Taken by then: commands are taken in order.
    w.setup.wait_status(|s| s["live"] == true);
    w.stops();
}

/// A thousand clients of `slowhttptest`, for some seconds.
struct Attack(Child);

impl Attack {
    fn start(way: &[&str], address: &str) -> Attack {
        let url = format!("http://{address}/metrics");
        let started = Command::new("slowhttptest")
            .args(way)
            .args([
                "-c", "1000", "-r", "500", "-i", "1", "-l", "6", "-p", "5", "-u", &url,
            ])
            .stdout(Stdio::null())
            .spawn();
        Attack(started.expect("install the Debian package slowhttptest, as ops/test does"))
    }

    fn goes_on(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks for the metrics again and again, and reads none of them.
fn deaf_scraper(w: &World<Served>) -> Vec<TcpStream> {
    let ask = |_| {
        let mut stream = w.connect();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        stream
    };
    (0..32).map(ask).collect()
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Keeps `count` connections that send a byte of their head now and then, or ask for the metrics and
/// read nothing; one that was closed is made anew.
fn slow_clients(address: &str, count: usize, deaf: bool, done: &AtomicBool) {
    let mut all: Vec<Option<TcpStream>> = Vec::new();
    all.resize_with(count, || None);
    while !done.load(Ordering::SeqCst) {
        for slot in &mut all {
            if done.load(Ordering::SeqCst) {
                return;
            }
            let stays = slot
                .as_mut()
                .is_some_and(|stream| deaf && is_open(stream) || stream.write_all(b"a").is_ok());
            if stays {
                continue;
            }
            let Ok(mut stream) = TcpStream::connect(address) else {
                continue;
            };
            let begin: &[u8] = match deaf {
                true => b"GET /metrics HTTP/1.1\r\n\r\n",
                false => b"GET /metrics HTTP/1.1\r\nX: ",
            };
            let _ = stream.write_all(begin);
            *slot = Some(stream);
        }
        // A slow client is slow: 1,000 bytes a second of all of them.
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).is_ok()
        && !matches!(stream.peek(&mut [0]), Ok(0))
        && stream.set_nonblocking(false).is_ok()
}
