//! Starting, watching and killing the child.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use super::child::{Line, Orders};

/// Longest life of a child that was not asked to run for ever.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Running {
    pub child: Child,
    lines: Receiver<Line>,
    words: Receiver<String>,
}

/// What is left of a child.
pub struct Ended {
    pub status: ExitStatus,
    pub lines: Vec<Line>,
    pub words: String,
}

/// The command line of a child.
pub fn command(dir: &Path, orders: &Orders) -> Vec<String> {
    let me = std::env::current_exe().unwrap();
    vec![
        me.display().to_string(),
        "child".into(),
        dir.display().to_string(),
        serde_json::to_string(orders).unwrap(),
    ]
}

pub fn start(line: &[String]) -> Running {
    let mut child = Command::new(&line[0])
        .args(&line[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {}: {e}", line[0]));
    let (to, lines) = unbounded();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            // The last line of a killed process may be cut: it was never said.
            if let Ok(line) = serde_json::from_str(&line) {
                let _ = to.send(line);
            }
        }
    });
    let (to, words) = unbounded();
    let mut err = child.stderr.take().unwrap();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = err.read_to_end(&mut text);
        let _ = to.send(String::from_utf8_lossy(&text).into_owned());
    });
    Running {
        child,
        lines,
        words,
    }
}

impl Running {
    /// The next line within `timeout`; `None` at its end or if the time is over.
    pub fn next(&self, timeout: Duration) -> Option<Line> {
        self.lines.recv_timeout(timeout).ok()
    }

    /// SIGKILL, or its own end if it came first.
    pub fn kill(mut self) -> Ended {
        let _ = self.child.kill();
        self.end()
    }

    /// Waits for its end; kills it if that takes too long.
    pub fn finish(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return self.end();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.kill()
    }

    fn end(&mut self) -> Ended {
        let status = self.child.wait().unwrap();
        Ended {
            status,
            lines: self.lines.iter().collect(),
            words: self.words.recv().unwrap_or_default(),
        }
    }
}
