//! One random schedule: messages are read from a Kafka whose log may be cut, the flusher runs against the
//! hostile proxy and a server that varies, and both are killed; then all become honest, and every message
//! must be in ClickHouse once, or where the queue says.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anonymizer::clickhouse::{AllowedDuplicates, Schema, Sink, SinkOptions};
use anonymizer::flush::{FlushOptions, FlushStatus, Flusher};
use anonymizer::queue::{BatchState, DataDir, LaneState, PackedFormat, Queue, Summary};
use anonymizer::runtime::shutdown::Shutdown;
use anonymizer::runtime::stats::Stats;

use super::files::Image;
use super::judge::Left;
use super::kafka::{self, Broker};
use super::proxy::{Act, Proxy};
use super::reader::{Death, Reader};
use super::server::{self, Server};
use crate::support::chance::Chance;
use crate::support::fake_clickhouse::{FakeClickHouse, Fault};

/// Time between two requests.
const SLOT: Duration = Duration::from_millis(4);
/// How late a request may be noticed.
const LATE: Duration = Duration::from_millis(60);
/// Longest time of a request.
const REQUEST: Duration = Duration::from_millis(400);
/// Until all must have arrived once nobody is hostile any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// No honest schedule needs more requests.
const MOST_REQUESTS: usize = 600;

/// What a schedule came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub rows: u64,
    pub requests: u64,
    pub kills: u64,
    pub holds: u64,
    /// Schedules that ended with a batch of which nobody can tell.
    pub unclear: u64,
    /// Rows that a person has to decide on, since their log is gone.
    pub held: u64,
    /// Offsets named as lost.
    pub named: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.rows += other.rows;
        self.requests += other.requests;
        self.kills += other.kills;
        self.holds += other.holds;
        self.unclear += other.unclear;
        self.held += other.held;
        self.named += other.named;
    }
}

struct World {
    chance: Chance,
    kafka: Broker,
    clickhouse: FakeClickHouse,
    server: Server,
    proxy: Proxy,
    dir: tempfile::TempDir,
    trace: Vec<String>,
    tally: Tally,
}

/// Runs the schedule of a seed. The error is what went wrong, with the steps that led there.
pub fn run(seed: u64) -> Result<Tally, String> {
    let clickhouse = FakeClickHouse::start();
    clickhouse.state().started = 1000;
    let address = clickhouse.url();
    let address: SocketAddr = address.trim_start_matches("http://").parse().unwrap();
    let mut chance = Chance(seed);
    let mut world = World {
        kafka: Broker::new(!chance.one_in(4)),
        chance,
        clickhouse,
        server: Server::new(),
        proxy: Proxy::start(address),
        dir: tempfile::tempdir().unwrap(),
        trace: Vec::new(),
        tally: Tally::default(),
    };
    let result = world.schedule().and_then(|()| world.peace());
    match result {
        Ok(()) => Ok(world.tally),
        Err(e) => Err(format!("seed {seed}: {e}\n{}", world.trace.join("\n"))),
    }
}

impl World {
    fn schedule(&mut self) -> Result<(), String> {
        for _ in 0..2 + self.chance.below(4) {
            self.trace
                .extend(kafka::disturb(&self.kafka, &mut self.chance));
            let queue = self.open()?;
            let deaths = [Death::Appended, Death::Synced, Death::Committed];
            let death = self.chance.pick(&deaths);
            let death = self.chance.one_in(6).then_some(death);
            let mut image = self.reader(&queue).read(death)?;
            if image.is_none() {
                image = self.misuse(&queue)?;
            } else {
                self.trace.push(format!("killed: {death:?}"));
            }
            drop(queue);
            if let Some(image) = image {
                self.tally.kills += 1;
                image.restore(self.dir.path());
            }
        }
        Ok(())
    }

    /// The flusher runs while proxy and server are hostile. Returns what it left if it was killed.
    fn misuse(&mut self, queue: &Queue) -> Result<Option<Image>, String> {
        let chance = &mut self.chance;
        let acts: Vec<Act> = (0..chance.below(6)).map(|_| Act::any(chance)).collect();
        if chance.one_in(4) {
            let code = chance.pick(&[6, 27, 33, 60, 209, 241, 252, 319, 516, 4242]);
            let http = chance.pick(&[200, 400, 500]);
            self.trace
                .push(format!("ClickHouse: code {code}, HTTP {http}"));
            self.clickhouse.fail(Fault::ExceptionHeader { http, code });
        }
        if chance.one_in(13) {
            // A resend that is kept beyond the window is stored again: LIMITATIONS names it.
            self.proxy.wait_idle();
            let filled = self.server.fill_window(&mut self.clickhouse.state());
            self.trace.push(filled);
        } else {
            let mut state = self.clickhouse.state();
            self.trace.extend(self.server.disturb(&mut state, chance));
        }
        let limit = chance.one_in(8).then(|| 200 + chance.below(20_000));
        self.clickhouse.limit_body(limit);
        if let Some(limit) = limit {
            self.trace.push(format!("longest body {limit}"));
        }
        self.trace.push(format!("acts {acts:?}"));
        let until = self.proxy.log().len() + acts.len();
        self.proxy.then(acts);
        let killed = chance.one_in(3);
        // A kill comes at a request, before it is answered.
        let at = killed.then(|| self.proxy.log().len() + 1 + chance.below(3) as usize);
        // While it runs others read on, unless it is to be seen as it stood at the kill.
        let reads = !killed && chance.one_in(2);
        let image = self
            .flush(queue, at.unwrap_or(until), at.is_some(), reads)?
            .0;
        if image.is_some() {
            self.trace.push("killed at a request".into());
        }
        Ok(image)
    }

    /// Nobody is hostile any more, and somebody retries what was set aside.
    fn peace(&mut self) -> Result<(), String> {
        self.proxy.forgive();
        self.proxy.wait_idle();
        self.clickhouse.limit_body(None);
        {
            let mut state = self.clickhouse.state();
            state.faults.clear();
            server::mend(&mut state);
        }
        self.trace.push("peace".into());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let queue = self.open()?;
            self.reader(&queue).read_to_the_end()?;
            let summary = queue.summary().map_err(|e| e.to_string())?;
            if is_over(&summary) {
                self.proxy.wait_idle();
                return self.judge(&queue);
            }
            for batch in &summary.batches {
                if matches!(batch.state, BatchState::Rejected { .. }) {
                    self.trace.push(format!("retry of batch {}", batch.seq));
                    queue.retry_batch(batch.seq).map_err(|e| e.to_string())?;
                }
            }
            let seen = self.proxy.log().len();
            let hold = self.flush(&queue, seen + 4, false, false)?.1;
            if hold.as_ref().is_some_and(|why| why.split(' ').count() < 3) {
                return Err("a hold without words".into());
            }
            // Said openly, with what a person has to do: LIMITATIONS.md has when.
            if hold.is_some_and(|why| why.contains("cannot tell")) {
                self.tally.unclear += 1;
                self.proxy.wait_idle();
                return self.judge(&queue);
            }
            if Instant::now() > deadline {
                return Err("rows never arrive though nobody is hostile any more".into());
            }
        }
    }

    fn judge(&mut self, queue: &Queue) -> Result<(), String> {
        let log = self.proxy.log();
        let left = Left::of(queue)?;
        self.tally.rows = self.kafka.produced();
        self.tally.requests = log.len() as u64;
        self.tally.held = left.held();
        self.tally.named = left.named();
        let state = self.clickhouse.state();
        if !state.violations.is_empty() {
            return Err(format!(
                "the client did what none may: {:?}",
                state.violations
            ));
        }
        left.judge(&state.rows, &self.kafka).map_err(|fault| {
            let requests: Vec<String> = state
                .requests
                .iter()
                .map(|r| {
                    format!(
                        "{:?} {:?} {} rows, {}",
                        r.token, r.outcome, r.rows, r.status
                    )
                })
                .collect();
            format!("{fault}; ClickHouse saw\n{}", requests.join("\n"))
        })?;
        if log.len() > MOST_REQUESTS {
            return Err(format!("{} requests", log.len()));
        }
        keeps_slots(&log)
    }

    fn open(&self) -> Result<Queue, String> {
        let dir = DataDir::lock(self.dir.path()).map_err(|e| e.to_string())?;
        Queue::open(dir).map_err(|e| format!("the queue does not open: {e}"))
    }

    fn reader<'a>(&'a mut self, queue: &'a Queue) -> Reader<'a> {
        let dir = self.dir.path();
        Reader::new(queue, &self.kafka, dir, &mut self.chance, &mut self.trace)
    }

    /// Runs the flusher until so many requests have come and the rest of a moment, with `reads` beside a
    /// reader. With `kill` the files as they are at that request are returned: what a process that dies
    /// there leaves.
    fn flush(
        &mut self,
        queue: &Queue,
        until: usize,
        kill: bool,
        reads: bool,
    ) -> Result<(Option<Image>, Option<String>), String> {
        let (shutdown, stats, status) = (
            Shutdown::default(),
            Stats::default(),
            Mutex::new(FlushStatus::default()),
        );
        let options = SinkOptions {
            url: self.proxy.url(),
            database: "default".into(),
            table: "http_log".into(),
            user: None,
            password: None,
            tls: Default::default(),
            request_timeout: REQUEST,
        };
        let flush = FlushOptions {
            interval: SLOT,
            max_rows: 1_000_000,
            max_body_bytes: 1 << 20,
            url: options.url.clone(),
            database: options.database.clone(),
            table: options.table.clone(),
            packed_format: PackedFormat::RowBinary,
            create_tables: true,
            allow_duplicates: AllowedDuplicates::Tables(Vec::new()),
            request_timeout: REQUEST,
            keep_delivered: Duration::ZERO,
        };
        let schema = Schema::new("default", "http_log").unwrap();
        let mut image = None;
        let mut read = Ok(None);
        if kill {
            self.proxy.freeze(until);
        }
        std::thread::scope(|scope| {
            let (shutdown, stats, status) = (&shutdown, &stats, &status);
            let sink = Sink::new(&options).unwrap();
            let flusher = Flusher::new(queue, sink, schema, flush, shutdown, stats, status);
            let mut flusher = flusher.expect("the flusher starts");
            let running = scope.spawn(move || flusher.run());
            if reads {
                read = self.reader(queue).read(None);
            }
            // Without rows no request comes.
            let reached = self.proxy.wait_requests(until, Duration::from_millis(700));
            if kill && reached {
                // The flusher waits for the answer: nothing is written meanwhile.
                image = Some(Image::of(self.dir.path()));
            }
            // Before it goes on: a process that is dead makes no other request.
            shutdown.request();
            self.proxy.thaw();
            running.join().unwrap().expect("the queue works");
        });
        read?;
        let hold = status.into_inner().unwrap().hold;
        if let Some(why) = &hold {
            self.tally.holds += 1;
            self.trace.push(format!("held: {why}"));
        }
        Ok((image, hold))
    }
}

/// Whether nothing is left that could be sent, or has yet to be resolved.
fn is_over(summary: &Summary) -> bool {
    let done = |state: &LaneState| matches!(state, LaneState::Held(_));
    let mut lanes = summary.lanes.iter();
    summary.batches.is_empty()
        && lanes.all(|l| l.sealed >= l.eligible && (!l.has_tail() || done(&l.state)))
}

/// Requests that cost a slot keep it, over any stretch: the threads here are served late, too.
fn keeps_slots(log: &[(Instant, Act)]) -> Result<(), String> {
    let costly: Vec<Instant> = log
        .iter()
        .filter(|(_, act)| !matches!(act, Act::Refuse(page) if page.is_free()))
        .map(|(at, _)| *at)
        .collect();
    for (i, first) in costly.iter().enumerate() {
        for (n, last) in costly[i..].iter().enumerate().skip(1) {
            if *last - *first + LATE < SLOT * n as u32 {
                return Err(format!(
                    "{n} slots in {:?}, a slot is {SLOT:?}",
                    *last - *first
                ));
            }
        }
    }
    Ok(())
}
