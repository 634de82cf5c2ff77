//! SIGKILL of the program itself, between a mock cluster and a strict ClickHouse that also fails.
//!
//! Joining the group takes seconds in which nothing happens, so several worlds run side by side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::progress::{Count, Progress};
use super::rows::Chance;
use super::support::fake_clickhouse::{FakeClickHouse, Fault, Multiset, Outcome};
use super::support::kafka::Kafka;
use super::support::program::{Program, Setup};

/// Worlds side by side.
const WORLDS: u64 = 10;
/// Kills until everything is delivered and compared.
const GENERATION: u64 = 20;
/// Comparisons until a world is made anew: the mock cluster keeps 5 MiB a partition.
const GENERATIONS: u64 = 6;
const PARTITIONS: i32 = 3;
/// Longest wait for a moment to kill in.
const MOMENT: Duration = Duration::from_secs(8);
const DRAIN: Duration = Duration::from_secs(90);

pub fn run(progress: &Progress, count: Count, target: u64) -> Count {
    let began = Instant::now();
    let (seed, before) = (count.seed ^ count.kills, count.seconds);
    let count = Mutex::new(count);
    std::thread::scope(|scope| {
        for n in 0..WORLDS.min(1 + target / 10) {
            let count = &count;
            scope.spawn(move || {
                let mut chance = Chance(seed.wrapping_add(n << 32));
                while go_on(count, target) {
                    let ended = catch_unwind(AssertUnwindSafe(|| {
                        world(&mut chance, count, target, &|c| {
                            c.seconds = before + began.elapsed().as_secs();
                            progress.keep(c);
                            progress.say(&c.summary());
                        });
                    }));
                    if let Err(panic) = ended {
                        let words = panic
                            .downcast_ref::<String>()
                            .map(String::as_str)
                            .or(panic.downcast_ref::<&str>().copied())
                            .unwrap_or("a panic");
                        let words: String = words.chars().take(3000).collect();
                        progress.say(&format!("whole: {words}"));
                        count.lock().unwrap().faults.push(words);
                    }
                }
            });
        }
    });
    count.into_inner().unwrap()
}

fn go_on(count: &Mutex<Count>, target: u64) -> bool {
    let count = count.lock().unwrap();
    count.kills < target && count.is_clean()
}

struct World {
    kafka: Kafka,
    clickhouse: FakeClickHouse,
    setup: Setup,
    produced: u64,
}

fn world(chance: &mut Chance, count: &Mutex<Count>, target: u64, keep: &dyn Fn(&mut Count)) {
    let kafka = Kafka::start(PARTITIONS);
    let clickhouse = FakeClickHouse::start();
    let mut setup = Setup::new(&kafka, &clickhouse);
    // A dead member keeps the others waiting for so long; `set` would replace the heartbeat too.
    setup.add("--kafka-properties", "session.timeout.ms=1500");
    let mut w = World {
        kafka,
        clickhouse,
        setup,
        produced: 0,
    };
    for _ in 0..GENERATIONS {
        for _ in 0..GENERATION {
            if !go_on(count, target) {
                break;
            }
            let phase = w.one(chance);
            let mut count = count.lock().unwrap();
            match phase {
                Ok(phase) => {
                    count.kills += 1;
                    *count.phases.entry(phase.to_owned()).or_default() += 1;
                }
                Err(words) => {
                    count.faults.push(words);
                    return;
                }
            }
        }
        let rows = w.drain();
        let mut count = count.lock().unwrap();
        match rows {
            Ok(rows) => {
                count.compared += 1;
                count.rows += rows;
            }
            Err((lost, doubled, words)) => {
                count.lost += lost;
                count.doubled += doubled;
                count.faults.push(words);
            }
        }
        keep(&mut count);
        if count.kills >= target || !count.is_clean() {
            return;
        }
    }
}

impl World {
    /// Produces, starts, kills at some moment. Returns the phase.
    fn one(&mut self, chance: &mut Chance) -> Result<&'static str, String> {
        self.produce(chance);
        self.clickhouse.state().faults.clear();
        while chance.one_in(3) {
            let fault = match chance.below(7) {
                0 | 1 => Fault::ApplyThenDrop,
                2 => Fault::ResetMidBody,
                3 => Fault::ExceptionHeader {
                    http: 500,
                    code: 252,
                },
                4 => Fault::ExceptionHeader {
                    http: 200,
                    code: 209,
                },
                5 => Fault::Limited503(Some("0")),
                _ => Fault::Hang(Duration::from_millis(chance.below(400))),
            };
            self.clickhouse.fail(fault);
        }
        let before = self.clickhouse.state().requests.len();
        let mut program = self.setup.run();
        let delay = |chance: &mut Chance, most: u64| Duration::from_micros(chance.below(most));
        let phase = match chance.below(10) {
            0 | 1 => {
                std::thread::sleep(delay(chance, 120_000));
                "start and open"
            }
            2 => {
                self.until(&mut program, |_, p| p.log().contains("installation"))?;
                std::thread::sleep(delay(chance, 30_000));
                "open, join"
            }
            3 => {
                self.until(&mut program, |_, p| p.log().contains("assigned"))?;
                std::thread::sleep(delay(chance, 20_000));
                "assigned"
            }
            4 | 5 => {
                self.until(&mut program, |_, p| p.log().contains("assigned"))?;
                self.produce(chance);
                std::thread::sleep(delay(chance, 100_000));
                "append, sync, commit"
            }
            6 | 7 => {
                let sent = |w: &World, _: &Program| w.inserts_since(before, |_| true) > 0;
                self.produce_until(&mut program, chance, sent)?;
                std::thread::sleep(delay(chance, 6_000));
                "insert sent"
            }
            8 => {
                let stored = |w: &World, _: &Program| {
                    w.inserts_since(before, |o| {
                        matches!(o, Outcome::Stored | Outcome::Deduplicated)
                    }) > 0
                };
                self.produce_until(&mut program, chance, stored)?;
                std::thread::sleep(delay(chance, 8_000));
                "stored, answered, ack"
            }
            _ => {
                let acked = |_: &World, p: &Program| p.log().contains("inserted ");
                self.produce_until(&mut program, chance, acked)?;
                std::thread::sleep(delay(chance, 400_000));
                "after an ack"
            }
        };
        if let Some(status) = program.ended() {
            return Err(died(status, &program));
        }
        program.kill();
        self.clickhouse.release();
        Ok(phase)
    }

    fn produce(&mut self, chance: &mut Chance) {
        let seed = chance.next();
        let records = 3 * (1 + chance.below(40) as usize);
        self.kafka.produce(seed, records);
        self.produced += records as u64;
    }

    fn inserts_since(&self, before: usize, outcome: impl Fn(Outcome) -> bool) -> usize {
        let state = self.clickhouse.state();
        let new = state.requests[before..].iter();
        new.filter(|r| r.token.is_some() && outcome(r.outcome))
            .count()
    }

    /// Waits for a moment; if it does not come in time, any other is good as well.
    fn until(
        &self,
        program: &mut Program,
        moment: impl Fn(&World, &Program) -> bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + MOMENT;
        while Instant::now() < deadline && !moment(self, program) {
            if let Some(status) = program.ended() {
                return Err(died(status, program));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn produce_until(
        &mut self,
        program: &mut Program,
        chance: &mut Chance,
        moment: impl Fn(&World, &Program) -> bool,
    ) -> Result<(), String> {
        self.until(program, |_, p| p.log().contains("assigned"))?;
        self.produce(chance);
        self.until(program, moment)
    }

    /// Lets everything arrive, and compares. Returns the rows, or what is lost and doubled.
    fn drain(&mut self) -> Result<u64, (u64, u64, String)> {
        self.clickhouse.state().faults.clear();
        let mut program = self.setup.run();
        let want = self.kafka.expected_rows();
        let deadline = Instant::now() + DRAIN;
        let mut empty = false;
        while Instant::now() < deadline && !(empty && self.clickhouse.rows() >= want) {
            if let Some(status) = program.ended() {
                return Err((0, 0, died(status, &program)));
            }
            std::thread::sleep(Duration::from_millis(20));
            let out = self.setup.command("status").arg("--json").output().unwrap();
            let status: Option<serde_json::Value> = serde_json::from_slice(&out.stdout).ok();
            empty = status.is_some_and(|s| s["queue"]["rows"] == 0);
        }
        let log = program.log();
        program.stop();
        let state = self.clickhouse.state();
        let rows = |a: &Multiset, b: &Multiset| -> u64 {
            a.iter()
                .map(|(row, n)| n.saturating_sub(b.get(row).copied().unwrap_or(0)))
                .sum()
        };
        let lost = rows(&self.kafka.expected, &state.rows);
        let doubled = rows(&state.rows, &self.kafka.expected);
        let violations = state.violations.clone();
        drop(state);
        let committed = self.kafka.committed();
        let total: i64 = committed.values().sum();
        if lost + doubled > 0 || !violations.is_empty() || total as u64 != self.produced {
            let words = format!(
                "{lost} lost, {doubled} doubled, committed {committed:?} of {} produced, {violations:?}: {}",
                self.produced,
                tail(&log)
            );
            return Err((lost, doubled, words));
        }
        Ok(want)
    }
}

fn tail(log: &str) -> String {
    let known = |l: &&str| !l.contains("DEBUG");
    let lines: Vec<&str> = log.lines().filter(known).collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn died(status: ExitStatus, program: &Program) -> String {
    let log = tail(&program.log());
    let holder = log.split("(pid ").nth(1).and_then(|t| t.split(')').next());
    let who = holder.map(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|e| e.to_string())
    });
    format!("ended by itself, {status}: {log}; holder: {who:?}")
}
