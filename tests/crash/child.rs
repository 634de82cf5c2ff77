//! The process that is killed: it holds only the queue, and tells on its standard output what it
//! was promised, one line for each act. Kafka and ClickHouse are the parent, which has every line
//! that was written, also those of a process that is dead.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anonymizer::privacy::{Policy, Quarantined};
use anonymizer::queue::LaneId;
use anonymizer::queue::{
    Batch, BatchState, DataDir, LaneState, PackedBlock, Queue, QueueError, SealBounds,
};
use anonymizer::row::minutes::DAY;
use serde::{Deserialize, Serialize};

use super::rows::{Chance, PARTITIONS, planned, span};

pub const TOPIC: &str = "t";

/// A line of the child.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The process runs and opens the queue.
    Opening,
    /// The queue is open and holds this.
    Image(Image),
    /// Rows of the partition are read from this offset on; tails are resolved.
    Start(i32, i64),
    /// An append begins.
    Append,
    /// A sync begins.
    Syncing,
    /// A sync ended: everything below these offsets is on the disk.
    Synced(Vec<(i32, i64)>),
    /// Kafka has this commit.
    Commit(Vec<(i32, i64)>),
    /// A batch is sealed and synced.
    Sealed(String, Vec<Span>),
    /// The batch is given back; its rows get another token.
    Unsealed(String),
    /// ClickHouse has this batch.
    Insert(String, Vec<Span>),
    /// Its rows are released.
    Acked(String),
    /// All that was asked for is done.
    Done,
}

/// Offsets of a partition.
pub type Span = (i32, i64, i64);

/// All that a queue holds.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Image {
    /// Blocks: their span, and the token of the batch that they are in.
    pub blocks: Vec<(Span, Option<String>)>,
    /// Offsets in quarantine.
    pub quarantined: Vec<(i32, i64)>,
    /// Sealed batches: token, spans.
    pub batches: Vec<(String, Vec<Span>)>,
    /// Partition, rows consumed and rows stored, by the counts.
    pub counts: Vec<(i32, i64, i64)>,
    /// What contradicts itself.
    pub bad: Vec<String>,
}

/// What the parent asks for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Orders {
    pub seed: u64,
    /// Committed offsets, as Kafka has them.
    pub committed: BTreeMap<i32, i64>,
    /// Steps; 0 for no end.
    pub steps: u64,
    /// Append nothing, deliver all.
    pub drain: bool,
    /// Only show what is there.
    pub inspect: bool,
    /// Store and flusher take turns in one thread.
    pub single: bool,
    /// No batch is made.
    pub no_batches: bool,
}

struct Out(Mutex<File>);

impl Out {
    /// One `writev`, so that a fault injected into `write` does not hit it.
    fn say(&self, line: &Line) {
        let mut text = serde_json::to_vec(line).unwrap();
        text.push(b'\n');
        let mut out = self.0.lock().unwrap();
        let mut rest = &text[..];
        while !rest.is_empty() {
            let n = out.write_vectored(&[IoSlice::new(rest)]).unwrap();
            rest = &rest[n..];
        }
    }
}

/// Runs the orders on the queue in `dir`.
pub fn run(dir: &Path, orders: &Orders) -> Result<(), QueueError> {
    let stdout = io::stdout().as_fd().try_clone_to_owned().unwrap();
    let out = Out(Mutex::new(File::from(stdout)));
    out.say(&Line::Opening);
    let queue = Queue::open(DataDir::lock(dir)?)?;
    out.say(&Line::Image(image(&queue)?));
    if orders.inspect {
        return Ok(());
    }
    let mut store = Store::start(&queue, &out, orders)?;
    let mut flusher = Flusher {
        queue: &queue,
        out: &out,
        chance: Chance(orders.seed ^ 0xf1),
    };
    if orders.drain {
        store.sync()?;
        store.commit()?;
        while flusher.step(true)? {}
    } else if orders.single {
        for _ in 0..orders.steps {
            store.step()?;
            if !orders.no_batches {
                flusher.step(false)?;
            }
        }
        store.sync()?;
    } else {
        let failed = AtomicBool::new(false);
        let end = |result: Result<(), QueueError>| {
            if result.is_err() {
                failed.store(true, Ordering::SeqCst);
            }
            result
        };
        std::thread::scope(|scope| {
            let ours = scope.spawn(|| {
                end((|| {
                    let mut n = 0;
                    while !failed.load(Ordering::SeqCst) && (orders.steps == 0 || n < orders.steps)
                    {
                        store.step()?;
                        n += 1;
                    }
                    failed.store(true, Ordering::SeqCst);
                    store.sync()
                })())
            });
            let theirs = scope.spawn(|| {
                end((|| {
                    while !failed.load(Ordering::SeqCst) {
                        if orders.no_batches || !flusher.step(false)? {
                            std::thread::sleep(std::time::Duration::from_micros(300));
                        }
                    }
                    Ok(())
                })())
            });
            let (a, b) = (ours.join().unwrap(), theirs.join().unwrap());
            // The cause before what follows from it.
            match (a, b) {
                (Err(QueueError::Poisoned { .. }), Err(e)) | (Err(e), _) | (_, Err(e)) => Err(e),
                _ => Ok(()),
            }
        })?;
    }
    if orders.drain {
        out.say(&Line::Image(image(&queue)?));
    }
    out.say(&Line::Done);
    Ok(())
}

/// All that the queue holds, each block checked against what belongs there.
pub fn image(queue: &Queue) -> Result<Image, QueueError> {
    let mut image = Image::default();
    let summary = queue.summary()?;
    let lanes: BTreeMap<LaneId, _> = summary.lanes.iter().map(|l| (l.id, l)).collect();
    let partition_of = |lane: LaneId| lanes.get(&lane).map(|l| l.partition);
    let mut spans = BTreeMap::new();
    for batch in &summary.batches {
        let list: Vec<Span> = batch
            .ranges
            .iter()
            .map(|r| (partition_of(r.lane).unwrap_or(-1), r.from, r.to))
            .collect();
        for r in &batch.ranges {
            spans.insert((r.lane, r.from), (r.to, batch.token.clone()));
        }
        image.batches.push((batch.token.clone(), list));
        let (mut rows, mut body) = (0, queue.body(batch));
        while body.next_frame()?.is_some() {
            rows += 1;
        }
        let blocks: u32 = batch.ranges.iter().map(|r| r.blocks).sum();
        if rows != blocks {
            image
                .bad
                .push(format!("batch {}: {rows} of {blocks} blocks", batch.seq));
        }
    }
    let mut at: BTreeMap<LaneId, (i64, u64, u64)> = BTreeMap::new();
    // By the counts, less what lies in blocks: nothing.
    let counts = queue.counts(0..1 << 33, 0)?;
    let mut queued: BTreeMap<u32, i64> = counts.spans.iter().map(|c| (c.start, c.queued)).collect();
    for block in queue.blocks() {
        let (header, frame) = block?;
        let Some(partition) = partition_of(header.lane) else {
            image
                .bad
                .push(format!("a block of {}, which is gone", header.lane));
            continue;
        };
        let want = planned(partition, header.first);
        if (want.next, want.rows) != (header.next, header.rows) || want.frame != frame {
            image
                .bad
                .push(format!("partition {partition}: block {}", header.first));
        }
        let (end, rows, bytes) = at.entry(header.lane).or_insert((header.first, 0, 0));
        // Only messages in quarantine lie between blocks.
        while *end < header.first && span(partition, *end).1 == 0 {
            *end = span(partition, *end).0;
        }
        if *end != header.first {
            image.bad.push(format!(
                "partition {partition}: {end}..{} missing",
                header.first
            ));
        }
        for (minute, rows) in want.minutes.iter() {
            // All of them are of 1970, which is counted by the day.
            *queued.entry(minute / DAY * DAY * 60).or_default() -= i64::from(rows);
        }
        *end = header.next;
        *rows += u64::from(header.rows);
        *bytes += u64::from(header.frame_len);
        let token = spans
            .range(..=(header.lane, header.first))
            .next_back()
            .filter(|((lane, _), (to, _))| *lane == header.lane && header.first < *to)
            .map(|(_, (_, token))| token.clone());
        image
            .blocks
            .push(((partition, header.first, header.next), token));
    }
    for lane in &summary.lanes {
        let (mut end, rows, bytes) = at.get(&lane.id).copied().unwrap_or((lane.next, 0, 0));
        while end < lane.next && span(lane.partition, end).1 == 0 {
            end = span(lane.partition, end).0;
        }
        if (end, rows, bytes) != (lane.next, lane.rows, lane.bytes) {
            image.bad.push(format!(
                "{} of partition {}: its record says {} rows, {} bytes up to {}; its blocks {rows}, \
                 {bytes}, {end}",
                lane.id, lane.partition, lane.rows, lane.bytes, lane.next
            ));
        }
    }
    for (day, rows) in queued.into_iter().filter(|(_, rows)| *rows != 0) {
        image.bad.push(format!(
            "{rows} more rows of the day {day} are counted as queued than there are"
        ));
    }
    let of = counts.partitions.iter();
    image
        .counts
        .extend(of.map(|p| (p.partition, p.consumed, p.stored)));
    for entry in queue.quarantined() {
        let entry = entry?;
        image
            .quarantined
            .push((entry.partition, entry.message.offset));
    }
    Ok(image)
}

struct Store<'a> {
    queue: &'a Queue,
    out: &'a Out,
    chance: Chance,
    lanes: Vec<(i32, LaneId, i64)>,
    appended: u64,
    /// Often, where every call is looked at.
    compact_one_in: u64,
}

impl<'a> Store<'a> {
    /// Resolves the tails against what Kafka has, as `ownership` does, and opens new lanes.
    fn start(queue: &'a Queue, out: &'a Out, orders: &Orders) -> Result<Store<'a>, QueueError> {
        for tail in queue.tails() {
            let committed = orders.committed.get(&tail.partition).copied().unwrap_or(0);
            let eligible = committed.clamp(tail.eligible, tail.next);
            if !queue.settle(tail.id, eligible, eligible..tail.next)? {
                return Err(QueueError::Damaged {
                    what: format!("partition {}: {committed} is in a block", tail.partition),
                });
            }
        }
        let mut lanes = Vec::new();
        for partition in 0..PARTITIONS {
            let committed = orders.committed.get(&partition).copied().unwrap_or(0);
            let local = queue.eligible_next(TOPIC, partition)?.unwrap_or(0);
            let at = committed.max(local);
            let lane = queue.open_lane(TOPIC, partition, at)?;
            out.say(&Line::Start(partition, at));
            lanes.push((partition, lane, at));
        }
        Ok(Store {
            queue,
            out,
            chance: Chance(orders.seed ^ 0x57),
            lanes,
            appended: 0,
            compact_one_in: if orders.single { 2 } else { 40 },
        })
    }

    /// Some appends, a sync, and mostly a commit.
    fn step(&mut self) -> Result<(), QueueError> {
        let mut together = Vec::new();
        for _ in 0..1 + self.chance.below(6) {
            together.push(self.block());
            if self.chance.one_in(2) {
                self.append(&mut together)?;
            }
        }
        self.append(&mut together)?;
        self.sync()?;
        if !self.chance.one_in(6) {
            self.commit()?;
        }
        if self.chance.one_in(20) {
            self.queue.renew_after(0)?;
        }
        if self.chance.one_in(self.compact_one_in) {
            self.queue.compact()?;
        }
        if self.chance.one_in(40) {
            self.rebalance()?;
        }
        Ok(())
    }

    /// The next block of a lane.
    fn block(&mut self) -> (LaneId, PackedBlock) {
        let i = self.chance.below(self.lanes.len() as u64) as usize;
        let (partition, lane, at) = self.lanes[i];
        let plan = planned(partition, at);
        let block = PackedBlock {
            first: at,
            next: plan.next,
            rows: plan.rows,
            raw_len: plan.frame.len() as u32,
            frame: plan.frame,
            minutes: plan.minutes,
            appended_ms: self.appended,
            kafka_ms: 0,
            quarantined: if plan.rows > 0 {
                Vec::new()
            } else {
                vec![Quarantined {
                    offset: at,
                    reason: "planned".into(),
                    len: partition as u64,
                    hash: String::new(),
                    kept: None,
                    not_kept: None,
                    policy: Policy::default(),
                }]
            },
            last: None,
        };
        self.appended += 1;
        self.lanes[i].2 = block.next;
        (lane, block)
    }

    fn append(&mut self, blocks: &mut Vec<(LaneId, PackedBlock)>) -> Result<(), QueueError> {
        self.out.say(&Line::Append);
        let stored = self.queue.append_all(blocks)?;
        assert!(!stored.contains(&false), "an open lane refuses");
        blocks.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), QueueError> {
        self.out.say(&Line::Syncing);
        self.queue.sync()?;
        let all = self.lanes.iter().map(|(p, _, at)| (*p, *at)).collect();
        self.out.say(&Line::Synced(all));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), QueueError> {
        assert!(self.queue.is_synced());
        let all = self.lanes.iter().map(|(p, _, at)| (*p, *at)).collect();
        self.out.say(&Line::Commit(all));
        if self.chance.one_in(8) {
            return Ok(()); // Kafka has it, and its answer is lost.
        }
        for (_, lane, at) in &self.lanes {
            self.queue.acknowledge(*lane, *at)?;
        }
        Ok(())
    }

    /// Lets a partition go once it is committed, and takes it again.
    fn rebalance(&mut self) -> Result<(), QueueError> {
        self.sync()?;
        let i = self.chance.below(self.lanes.len() as u64) as usize;
        let (partition, lane, at) = self.lanes[i];
        self.out.say(&Line::Commit(vec![(partition, at)]));
        self.queue.acknowledge(lane, at)?;
        self.queue.end_lane(lane)?;
        self.lanes[i].1 = self.queue.open_lane(TOPIC, partition, at)?;
        Ok(())
    }
}

struct Flusher<'a> {
    queue: &'a Queue,
    out: &'a Out,
    chance: Chance,
}

impl Flusher<'_> {
    /// Takes one batch a step further, in the order of `flush`.
    fn step(&mut self, drain: bool) -> Result<bool, QueueError> {
        let bounds = SealBounds {
            rows: 20 + self.chance.below(400),
            bytes: 1 << 20,
        };
        let batch = match self.queue.sealed_batch() {
            Some(batch) => batch,
            // Wait until a few blocks are there, mostly.
            None if !drain && self.queue.bytes() < (1 << 17) && !self.chance.one_in(4) => {
                return Ok(false);
            }
            None => match self.queue.seal(bounds, 0, |_| Vec::new())? {
                Some(batch) => batch,
                None => return Ok(false),
            },
        };
        self.insert(batch, drain)?;
        Ok(true)
    }

    fn insert(&mut self, mut batch: Batch, drain: bool) -> Result<(), QueueError> {
        let before = batch.may_be_stored;
        batch.attempts += 1;
        batch.may_be_stored = true;
        self.queue.update_batch(&batch)?;
        self.queue.save("attempt", &batch.attempts)?;
        self.queue.sync()?;
        let spans = self.spans(&batch);
        self.out
            .say(&Line::Sealed(batch.token.clone(), spans.clone()));
        let mut body = self.queue.body(&batch);
        while body.next_frame()?.is_some() {}
        drop(body);
        match self.chance.below(10) {
            // Refused: certainly not stored.
            0 | 1 if !drain => {
                batch.may_be_stored = before;
                self.queue.update_batch(&batch)?;
                if !before && self.chance.one_in(2) {
                    self.out.say(&Line::Unsealed(batch.token.clone()));
                    self.queue.unseal(&batch)?;
                }
            }
            // No answer, and nothing stored.
            2 if !drain => {}
            // Stored, and the answer is lost.
            3 if !drain => self.out.say(&Line::Insert(batch.token.clone(), spans)),
            _ => {
                self.out.say(&Line::Insert(batch.token.clone(), spans));
                self.queue.ack(&batch)?;
                assert!(batch.state == BatchState::Sealed);
                self.out.say(&Line::Acked(batch.token.clone()));
            }
        }
        Ok(())
    }

    fn spans(&self, batch: &Batch) -> Vec<Span> {
        batch
            .ranges
            .iter()
            .map(|r| {
                let lane = self.queue.lane(r.lane).expect("the lane of a sealed batch");
                assert!(!matches!(lane.state, LaneState::Held(_)));
                (lane.partition, r.from, r.to)
            })
            .collect()
    }
}
