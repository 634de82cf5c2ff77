//! Does `top` show what is, in a terminal and without one, and leave the terminal as it was?

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::program::Setup;
use crate::support::wait::{PATIENCE, wait};
use crate::support::world::World;

#[test]
fn without_a_terminal_it_is_a_line_a_second_across_stops_and_starts_until_nobody_reads() {
    let mut w = World::new().with("--flush-interval", "1h");
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.wait_queued(300);
    let mut command = w.setup.command("top");
    let top = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut top = top.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    let mut until = |part: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = lines.next().unwrap().unwrap();
            if line.contains(part) {
                return line;
            }
            assert!(Instant::now() < deadline, "no {part:?}, but {line:?}");
        }
    };
    until("300 rows wait");
    program.stop();
    until("the instance is not running");
    let program = w.setup.run();
    program.wait_log("installation");
    loop {
        let line = until("300 rows wait");
        if !line.contains("not running") {
            break;
        }
    }
    drop(lines);
    assert_eq!(top.wait().unwrap().code(), Some(141));
    let mut said = String::new();
    top.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "", "it ends quietly");
    program.stop();
}

#[test]
fn a_data_dir_that_is_not_there_is_an_error_and_no_screen() {
    let w = World::new();
    let said = w.refused(&["top"]);
    assert!(said.contains("there is no queue in"), "{said}");
}

/// A pseudo terminal of 80 columns and 24 lines, by `script` of util-linux.
struct Screen {
    script: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    /// Runs `top` in it, and says then whether the terminal's settings are as before.
    fn top(setup: &Setup, before: &str) -> Screen {
        let top = setup.command("top");
        let words = std::iter::once(top.get_program()).chain(top.get_args());
        let words: Vec<String> = words
            .map(|w| format!("'{}'", w.to_str().unwrap()))
            .collect();
        let shell = format!(
            "stty rows 24 cols 80; was=$(stty -g); {before} {}; echo code=$?; \
             test \"$was\" = \"$(stty -g)\" && echo as it was",
            words.join(" ")
        );
        let mut script = Command::new("script")
            .args(["-qefc", &shell, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut out) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut some) {
                to.lock().unwrap().extend_from_slice(&some[..n]);
            }
        });
        Screen { script, keys, seen }
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    fn wait(&self, part: &str) {
        wait(
            || self.seen().contains(part),
            || format!("no {part:?} in {:?}", self.seen()),
        );
    }

    /// Sends keys; the terminal must then be as it was.
    fn ends_by(mut self, keys: &[u8], code: &str) -> String {
        self.keys.write_all(keys).unwrap();
        self.keys.flush().unwrap();
        self.wait(code);
        self.wait("as it was");
        self.script.wait().unwrap();
        let seen = self.seen();
        let last = seen.rfind("\u{1b}[?1049h").unwrap();
        assert!(seen[last..].contains("\u{1b}[?1049l"), "{seen:?}");
        assert!(seen[last..].contains("\u{1b}[?25h"), "{seen:?}");
        seen
    }
}

#[test]
fn a_terminal_shows_the_verdict_in_its_colour_and_is_left_as_it_was() {
    let mut w = World::new().with("--flush-interval", "1h");
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.wait_queued(300);
    for (key, before) in [
        (&b"q"[..], ""),
        (b"\x1b", ""),
        (b"\x03", ""),
        (b"q", "NO_COLOR=1"),
    ] {
        let screen = Screen::top(&w.setup, before);
        screen.wait("installation");
        screen.wait("rows in");
        let seen = screen.ends_by(key, "code=0");
        // Colours of the foreground, as crossterm writes them.
        let has_colour = seen.contains("\u{1b}[38;");
        assert_eq!(has_colour, before.is_empty(), "{seen:?}");
    }
    // By a signal, too.
    let screen = Screen::top(&w.setup, "timeout --foreground -s TERM 3");
    screen.wait("installation");
    screen.ends_by(b"", "code=");
    program.stop();
}
