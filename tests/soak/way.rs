//! The way to ClickHouse, and what goes wrong on it: the program -> relay -> nginx at one request a minute ->
//! relay -> ClickHouse's engine. nginx is the real one, and makes the pages, too.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::Signal;

use crate::instance::tell;
use crate::notes::Notes;
use crate::stack::{Stack, until};
use crate::support::chance::Chance;
use crate::support::relay::{Loss, Relay};

pub struct Way<'a> {
    stack: &'a Stack,
    front: Relay,
    back: Relay,
    /// nginx's.
    dir: PathBuf,
    nginx: Child,
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

#[derive(Clone, Copy)]
enum Fault {
    /// A page of a login, a filter or a balancer, by its status.
    Page(&'static str),
    /// The connection is closed without a word.
    Closed,
    /// ClickHouse has the rows, and nginx answers 502.
    AnswerLostBehind,
    /// ClickHouse has the rows, and the connection is cut.
    AnswerLostBefore,
    RequestCut,
    Hangs,
    Killed,
    Restarted,
    Frozen,
}

const FAULTS: &[Fault] = &[
    Fault::Page("200"),
    Fault::Page("502"),
    Fault::Page("503"),
    Fault::Closed,
    Fault::AnswerLostBehind,
    Fault::AnswerLostBefore,
    Fault::RequestCut,
    Fault::Hangs,
    Fault::Killed,
    Fault::Killed,
    Fault::Restarted,
    Fault::Frozen,
];

/// Longer than an instance waits for its turn.
const A_TURN: u64 = 100;

/// What nginx answers where a file of this name is there, before its limiter counts the request.
const PAGES: [(&str, &str); 4] = [
    (
        "200",
        "200 \"<html><body><h1>Please log in</h1></body></html>\"",
    ),
    (
        "502",
        "502 \"<html><body><h1>Bad Gateway</h1></body></html>\"",
    ),
    (
        "503",
        "503 \"<html><body><h1>Maintenance</h1></body></html>\"",
    ),
    ("closed", "444"),
];

impl<'a> Way<'a> {
    /// Starts nginx anew, with the pages, and with a relay behind it.
    pub fn to(stack: &'a Stack) -> Way<'a> {
        let back = Relay::start(0, &stack.clickhouse());
        let dir = stack.dir().join("data/nginx");
        assert!(stack.tell("down", &["nginx"]));
        let conf = dir.join("ch-proxy.conf");
        let text = fs::read_to_string(&conf).unwrap();
        let pages = PAGES.map(|(name, answer)| {
            let file = dir.join(name);
            format!("if (-f \"{}\") {{ return {answer}; }}", file.display())
        });
        let location = format!("location / {{ default_type text/html; {}", pages.join("\n"));
        let changed = text.replacen("location / {", &location, 1).replacen(
            &stack.clickhouse(),
            &back.url(),
            1,
        );
        assert!(changed.contains(&location) && changed.contains(&back.url()));
        fs::write(&conf, changed).unwrap();
        // In a session of its own, as the others: what hangs up on this process would have it reload.
        let nginx = Command::new("setsid")
            .args(["nginx", "-e"])
            .arg(dir.join("error.log"))
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .spawn()
            .unwrap();
        // Whoever stops the stack stops it, too.
        let pid = stack.dir().join("pids/nginx");
        fs::write(pid, nginx.id().to_string()).unwrap();
        let proxy = stack.proxy();
        let address = proxy.trim_start_matches("http://");
        until("nginx", Duration::from_millis(50), || {
            TcpStream::connect(address).ok()
        });
        Way {
            stack,
            front: Relay::start(0, &proxy),
            back,
            dir,
            nginx,
        }
    }

    pub fn url(&self) -> String {
        self.front.url()
    }

    /// A request is at ClickHouse.
    pub fn is_asked(&self) -> bool {
        let spool = fs::read_dir(self.stack.dir().join("data/clickhouse/spool"));
        spool.is_ok_and(|mut requests| requests.next().is_some())
    }

    /// To ClickHouse.
    fn signal(&self, signal: Signal) {
        let pid = fs::read_to_string(self.stack.dir().join("pids/clickhouse")).unwrap();
        tell(pid.trim().parse().unwrap(), signal);
    }

    /// As it should be.
    pub fn heal(&self, notes: &Notes) {
        self.no_page();
        notes.attempt(|| self.signal(Signal::CONT));
        self.start(notes);
    }

    fn start(&self, notes: &Notes) {
        notes.insist("ClickHouse starts", || {
            self.stack.tell("up", &["clickhouse"])
        });
    }

    /// nginx answers so, until a request has met it and for so many seconds more. Whether one has.
    fn page(&self, name: &str, seconds: u64, notes: &Notes) -> bool {
        let before = self.stack.requests().len();
        fs::write(self.dir.join(name), "").unwrap();
        let met = notes.wait_until(A_TURN, || self.stack.requests().len() > before);
        notes.wait(seconds);
        self.no_page();
        met
    }

    fn no_page(&self) {
        for (name, _) in PAGES {
            // It may not be there.
            let _ = fs::remove_file(self.dir.join(name));
        }
    }

    /// Faults from `chance` until the end.
    pub fn disturb(&self, chance: Chance, notes: &Notes) {
        // Most slots have to store something, or a backlog hides what memory does.
        notes.disturb(FAULTS, chance, 60..240, |fault, chance| {
            self.suffer(fault, chance, notes);
        });
    }

    fn suffer(&self, fault: Fault, chance: &mut Chance, notes: &Notes) {
        let lose = |relay: &Relay, loss, kind| {
            relay.lose(loss);
            if notes.wait_until(A_TURN, || !relay.is_due()) {
                notes.fault(kind, "");
            }
        };
        match fault {
            Fault::Page(name) => {
                if self.page(name, chance.below(15), notes) {
                    notes.fault("proxy: a page in HTML", name);
                }
            }
            Fault::Closed => {
                if self.page("closed", 0, notes) {
                    notes.fault("proxy: closes the connection", "");
                }
            }
            Fault::AnswerLostBehind => {
                lose(&self.back, Loss::Answer, "ClickHouse: its answer lost, 502");
            }
            Fault::AnswerLostBefore => {
                lose(&self.front, Loss::Answer, "proxy: its answer lost");
            }
            Fault::RequestCut => {
                let bytes = chance.below(100_000) as usize;
                let loss = Loss::RequestAfter(bytes);
                lose(&self.front, loss, "proxy: a request cut short");
            }
            Fault::Hangs => lose(&self.back, Loss::Everything, "ClickHouse: never answers"),
            Fault::Killed => {
                let under = notes.wait_until(A_TURN, || self.is_asked());
                std::thread::sleep(Duration::from_millis(chance.below(300)));
                self.signal(Signal::KILL);
                let what = if under { "under a request" } else { "" };
                notes.fault("ClickHouse: SIGKILL", what);
                notes.wait(chance.below(40));
                self.start(notes);
            }
            Fault::Restarted => {
                notes.fault("ClickHouse: restarted", "");
                self.stack.tell("down", &["clickhouse"]);
                notes.wait(chance.below(20));
                self.start(notes);
            }
            Fault::Frozen => {
                self.signal(Signal::STOP);
                let seconds = 20 + chance.below(60);
                notes.fault("ClickHouse: frozen", &format!("{seconds} s"));
                notes.wait(seconds);
                self.signal(Signal::CONT);
            }
        }
    }
}
