//! The order of system calls in the real program: after the last write to the queue, an fsync of it,
//! then the commit to Kafka. And after an fsync that failed, no commit at all.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::progress::Progress;
use super::support::fake_clickhouse::FakeClickHouse;
use super::support::kafka::Kafka;
use super::support::program::Setup;
use super::trace::{self, Event, What};

const CALLS: &str = "pwrite64,fsync,fdatasync,sendto,sendmsg,write,writev";
/// Kafka's api key of a commit.
const OFFSET_COMMIT: u16 = 8;

/// Runs the program under strace with a little traffic, and returns what it did. Nothing is
/// inserted meanwhile: the flusher writes to the queue, too, and would blur the order.
fn recorded(dir: &Path, inject: Option<&str>) -> (Vec<Event>, String) {
    let trace = dir.join("trace");
    let mut kafka = Kafka::start(3);
    let clickhouse = FakeClickHouse::start();
    let mut setup = Setup::new(&kafka, &clickhouse);
    setup.set("--flush-interval", "1h");
    kafka.produce(1, 300);
    let run = setup.command("run");
    let mut line = trace::strace(&trace, CALLS, inject);
    line.push(run.get_program().to_string_lossy().into_owned());
    line.extend(run.get_args().map(|a| a.to_string_lossy().into_owned()));
    let log = dir.join("log");
    let mut child = Command::new(&line[0])
        .args(&line[1..])
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(40);
    let mut more = 0;
    while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
        let committed: i64 = kafka.committed().values().sum();
        if committed >= 300 * (more + 1) {
            more += 1;
            if more == 4 {
                break;
            }
            kafka.produce(1 + more as u64, 300);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // strace forwards no signal: the program's own pid is in its lock file.
    let lock = std::fs::read_to_string(setup.data_dir().join("lock")).unwrap_or_default();
    if child.try_wait().unwrap().is_none()
        && let Some(pid) = lock
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
    let words = std::fs::read_to_string(&log).unwrap_or_default();
    (trace::read(&trace, 0), words)
}

fn is_db(event: &Event) -> bool {
    event.path.ends_with("queue/db")
}

/// Returns what is wrong.
pub fn run(progress: &Progress, faults: u64) -> Vec<String> {
    let dir: PathBuf = progress.dir().join("order");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let mut wrong = Vec::new();
    let (events, words) = recorded(&dir, None);
    let commits: Vec<&Event> = events
        .iter()
        .filter(|e| matches!(e.what, What::Request(OFFSET_COMMIT)))
        .collect();
    if commits.len() < 3 {
        wrong.push(format!("only {} commits were seen: {words}", commits.len()));
    }
    for commit in &commits {
        let before = |e: &&Event| is_db(e) && e.from < commit.from;
        let write = events
            .iter()
            .filter(before)
            .rfind(|e| matches!(e.what, What::Write { .. }));
        let Some(write) = write else {
            wrong.push("a commit before any write".into());
            continue;
        };
        let synced = events.iter().any(|e| {
            is_db(e) && matches!(e.what, What::Sync) && e.from > write.to && e.to < commit.from
        });
        if !synced {
            wrong.push(format!(
                "the commit in line {} of the trace follows the write in line {} without an fsync",
                commit.from, write.to
            ));
        }
    }
    progress.say(&format!(
        "order: {} commits, each after an fsync that follows the last write: {}",
        commits.len(),
        wrong.is_empty()
    ));
    let (mut hit, mut after) = (0, 0);
    for n in 1..=faults {
        let inject = format!("fsync:error=EIO:when={n}");
        let (events, words) = recorded(&dir, Some(&inject));
        let Some(failed) = events.iter().find(|e| e.injected) else {
            continue;
        };
        hit += 1;
        after += events
            .iter()
            .filter(|e| e.from > failed.to && matches!(e.what, What::Request(OFFSET_COMMIT)))
            .count();
        if after > 0 {
            wrong.push(format!("a commit after fsync {n} failed: {words}"));
        }
        let said = ["cannot sync", "cannot open", "cannot make"];
        if !said.iter().any(|text| words.contains(text)) {
            wrong.push(format!("fsync {n} failed and nothing says so: {words}"));
        }
    }
    progress.say(&format!(
        "order: {hit} failed fsyncs of the program, {after} commits after one"
    ));
    let _ = std::fs::remove_dir_all(&dir);
    wrong
}
