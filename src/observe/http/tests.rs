//! The front against clients that do what no honest one does.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::connection::PATIENCE;
use super::front::{Front, MOST, Page, Site};
use super::head::Request;
use super::keep_serving;
use crate::runtime::shutdown::Shutdown;

/// Far above what anything here takes: only a server that does not answer comes near it.
const LONG: Duration = Duration::from_secs(60);

/// Two pages: a short one, and one that is made while `open`.
#[derive(Default)]
struct Pages {
    open: Mutex<bool>,
    opened: Condvar,
    made: AtomicU64,
}

impl Site for Pages {
    fn find(&self, request: &Request) -> Page {
        match request.path.as_str() {
            "/short" => Page::AtOnce(Answer::text(200, "short\n")),
            "/long" => Page::TakesTime("/long"),
            "/broken" => panic!("broken"),
            _ => Page::AtOnce(Answer::text(404, "no\n")),
        }
    }

    fn make(&self, _page: &'static str) -> Answer {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
        self.made.fetch_add(1, Ordering::SeqCst);
        Answer::text(200, "x".repeat(8 << 20))
    }
}

impl Pages {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// Runs `clients` against a front; it must end at once when told to.
fn served(clients: impl FnOnce(SocketAddr, &Pages)) {
    let front = Front::bind(([127, 0, 0, 1], 0).into(), None).unwrap();
    serve(&front, clients);
}

fn serve(front: &Front, clients: impl FnOnce(SocketAddr, &Pages)) {
    let (pages, stop) = (Pages::default(), AtomicBool::new(false));
    /// Also when a client's check fails: the server must not be waited for then.
    struct End<'a>(&'a AtomicBool, &'a Pages);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
            self.1.open();
        }
    }
    thread::scope(|scope| {
        let end = End(&stop, &pages);
        let served = scope.spawn(|| front.serve(&pages, &|| stop.load(Ordering::SeqCst)));
        clients(front.address(), &pages);
        drop(end);
        served.join().unwrap().unwrap();
    });
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn ask(to: SocketAddr, request: &str) -> String {
    let mut stream = connect(to);
    stream.write_all(request.as_bytes()).unwrap();
    rest(&mut stream)
}

/// What still comes; nothing if the server has closed the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or_default()
}

fn healthy(to: SocketAddr) {
    assert_eq!(status(&ask(to, "GET /short HTTP/1.1\r\n\r\n")), 200);
}

#[test]
fn pages_are_answered_once_and_closed() {
    served(|to, _| {
        let answer = ask(to, "GET /short?since=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nshort\n"), "{answer}");
        let head = ask(to, "HEAD /short HTTP/1.0\r\n\r\n");
        assert!(head.contains("Content-Length: 6\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        assert_eq!(status(&ask(to, "GET /other HTTP/1.1\r\n\r\n")), 404);
    });
}

#[test]
fn what_a_request_announces_is_neither_waited_for_nor_believed() {
    served(|to, _| {
        for (request, want) in [
            ("POST /short HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 405),
            (
                "GET /short HTTP/1.1\r\nContent-Length: 1000000000000000\r\n\r\n",
                413,
            ),
            (
                "GET /short HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
                413,
            ),
            (
                "GET /short HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                413,
            ),
            ("GET /short HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 200),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
            ("\x16\x03\x01 hello\r\n\r\n", 400),
        ] {
            assert_eq!(status(&ask(to, request)), want, "{request}");
        }
    });
}

#[test]
fn a_head_without_an_end_is_cut_at_8_kib() {
    served(|to, _| {
        let long = format!("GET /{}", "a".repeat(16 << 10));
        assert_eq!(status(&ask(to, &long)), 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(status(&ask(to, &many)), 431);
        healthy(to);
    });
}

#[test]
fn a_head_that_does_not_come_is_waited_for_five_seconds() {
    served(|to, _| {
        let began = Instant::now();
        let mut slow = connect(to);
        slow.write_all(b"GET /short HT").unwrap();
        assert_eq!(rest(&mut slow), "");
        assert!(began.elapsed() >= PATIENCE);
    });
}

#[test]
fn one_more_than_there_is_room_for_takes_the_place_of_the_slowest() {
    served(|to, pages| {
        let began = Instant::now();
        let mut waits = connect(to);
        waits.write_all(b"GET /long HTTP/1.1\r\n\r\n").unwrap();
        let mut slow: Vec<TcpStream> = (0..MOST).map(|_| connect(to)).collect();
        for stream in &mut slow {
            let _ = stream.write_all(b"GET /short HTTP/1.1\r\n");
        }
        healthy(to);
        // The first to come had to go, long before its time was up; the one that waits for a page stays.
        assert_eq!(rest(&mut slow[0]), "");
        assert!(began.elapsed() < PATIENCE);
        pages.open();
        assert_eq!(status(&rest(&mut waits)), 200);
    });
}

#[test]
fn a_page_that_takes_time_keeps_no_other_waiting_and_is_made_once_for_all() {
    served(|to, pages| {
        let mut waits: Vec<TcpStream> = (0..8).map(|_| connect(to)).collect();
        for stream in &mut waits {
            stream.write_all(b"GET /long HTTP/1.1\r\n\r\n").unwrap();
        }
        healthy(to);
        pages.open();
        for stream in &mut waits {
            assert!(rest(stream).ends_with("xxx"));
        }
        let made = pages.made.load(Ordering::SeqCst);
        assert!((1..8).contains(&made), "{made}");
    });
}

#[test]
fn scrapers_that_do_not_read_keep_nobody_out_and_are_left_after_five_seconds() {
    served(|to, pages| {
        pages.open();
        let mut deaf: Vec<TcpStream> = (0..MOST + 8).map(|_| connect(to)).collect();
        for stream in &mut deaf {
            let _ = stream.write_all(b"GET /long HTTP/1.1\r\n\r\n");
        }
        healthy(to);
        thread::sleep(PATIENCE);
        healthy(to);
        // The answer was cut off.
        assert!(rest(&mut deaf[MOST]).len() < 8 << 20);
    });
}

#[test]
fn a_page_that_panics_takes_nothing_down() {
    served(|to, _| {
        assert_eq!(status(&ask(to, "GET /broken HTTP/1.1\r\n\r\n")), 500);
        healthy(to);
    });
}

#[test]
fn a_front_that_fails_or_panics_is_there_again_and_ends_nothing_else() {
    let shutdown = Shutdown::default();
    let mut times = 0;
    keep_serving(&shutdown, || {
        times += 1;
        match times {
            1 => Err(io::Error::other("gone")),
            2 => panic!("gone"),
            _ => {
                shutdown.request();
                Ok(())
            }
        }
    });
    assert_eq!(times, 3);
}
