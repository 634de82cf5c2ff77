//! A proxy's limiter and instances before it, in simulated time: no clock runs, every run of a seed is alike.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::{At, Turns};

/// nginx's `rate=1r/m`.
pub const SLOT: i64 = 62_500;

const INTERVAL: i64 = 63_000;

/// How instances choose their times.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// As [`Turns`] says.
    Turns,
    /// An interval after each request that got through; refused, after 3 to 6 s, half as long again each time,
    /// up to one to two intervals. So it was before.
    Interval,
}

/// What is simulated. Times in seconds.
pub struct Fleet {
    way: Way,
    starts: Vec<i64>,
    stops: Vec<i64>,
    sends: fn(usize, i64) -> bool,
    /// Most that a clock is off, ms.
    apart: i64,
    /// How far the proxy's clock is ahead of the true time, ms; none: its answers have no `Date`.
    proxy: Option<i64>,
    slot: i64,
    counting: Option<i64>,
}

impl Fleet {
    pub fn of(n: usize) -> Fleet {
        Fleet {
            way: Way::Turns,
            starts: vec![0; n],
            stops: vec![i64::MAX; n],
            sends: |_, _| true,
            apart: 30,
            proxy: None,
            slot: SLOT,
            counting: None,
        }
    }
    pub fn way(mut self, way: Way) -> Fleet {
        self.way = way;
        self
    }
    pub fn starts(mut self, s: &[i64]) -> Fleet {
        self.starts = s.to_vec();
        self
    }
    pub fn stops(mut self, s: &[i64]) -> Fleet {
        self.stops = s.to_vec();
        self
    }
    pub fn sends(mut self, f: fn(usize, i64) -> bool) -> Fleet {
        self.sends = f;
        self
    }
    pub fn clocks(mut self, apart: i64, proxy: Option<i64>) -> Fleet {
        (self.apart, self.proxy) = (apart, proxy);
        self
    }
    pub fn slot(mut self, slot: i64) -> Fleet {
        self.slot = slot;
        self
    }
    pub fn counting(mut self, window: i64) -> Fleet {
        self.counting = Some(window);
        self
    }
}

/// nginx's `limit_req` without a burst: one that is refused changes nothing. Or one that counts those too.
struct Limiter {
    slot: i64,
    counting: Option<i64>,
    last: i64,
}

impl Limiter {
    fn lets_through(&mut self, at: i64) -> bool {
        let passes = at - self.last >= self.counting.unwrap_or(self.slot);
        if passes || self.counting.is_some() {
            self.last = at;
        }
        passes
    }
}

/// splitmix64.
pub struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
    fn of(&mut self, ms: i64) -> i64 {
        (self.next() * ms as f64) as i64
    }
}

struct Instance {
    turns: Turns,
    last: Option<i64>,
    refused: i32,
    clock: i64,
    planned: i64,
}

/// What happened: who got each slot, and all requests, with their times in ms.
pub struct World {
    pub slots: Vec<(i64, usize)>,
    all: Vec<(i64, usize)>,
    slot: i64,
}

impl World {
    pub fn run(fleet: &Fleet, seconds: i64, seed: u64) -> World {
        let mut chance = Chance(seed.wrapping_mul(77) + 5);
        let base = 1_790_000_000_000 + chance.of(3_600_000);
        let mut limiter = Limiter {
            slot: fleet.slot,
            counting: fleet.counting,
            last: i64::MIN / 2,
        };
        let mut events = BinaryHeap::new();
        let mut instances: Vec<Instance> = Vec::new();
        for (i, start) in fleet.starts.iter().enumerate() {
            let at = start * 1000 + chance.of(5000);
            instances.push(Instance {
                turns: Turns::new(INTERVAL, None, None),
                last: None,
                refused: 0,
                clock: base + chance.of(2 * fleet.apart + 1) - fleet.apart,
                planned: at,
            });
            events.push(Reverse((at, i)));
        }
        let mut world = World {
            slots: Vec::new(),
            all: Vec::new(),
            slot: fleet.slot,
        };
        while let Some(Reverse((t, i))) = events.pop() {
            if t > seconds * 1000 {
                break;
            }
            if t >= fleet.stops[i].saturating_mul(1000) {
                continue;
            }
            if !(fleet.sends)(i, t / 1000) {
                events.push(Reverse((t + 1000, i)));
                continue;
            }
            world.all.push((t, i));
            let me = &mut instances[i];
            let at = At {
                steady: t,
                wall: t + me.clock,
            };
            me.turns.begins(at, t - me.planned);
            // The way there and back takes up to 150 ms each, now and then a second.
            let slow = if chance.next() < 0.02 { 1000 } else { 150 };
            let there = t + 1 + chance.of(slow);
            let back = there + 1 + chance.of(slow);
            if let Some(ahead) = fleet.proxy {
                let date = (there + base + ahead) / 1000 * 1000;
                me.turns.heard(t + me.clock, back + me.clock, date);
            }
            let passes = limiter.lets_through(there);
            let heard = At {
                steady: back,
                wall: back + me.clock,
            };
            let mut number = || chance.next();
            let next = match (fleet.way, passes) {
                (Way::Turns, true) => me.turns.accepted(t, heard, &mut number),
                (Way::Turns, false) => me.turns.refused(heard, &mut number),
                (Way::Interval, true) => t + INTERVAL,
                (Way::Interval, false) => {
                    let pause = (3000.0 * 1.5f64.powi(me.refused.min(19))).min(INTERVAL as f64);
                    let pause = (pause * (1.0 + chance.next())) as i64;
                    let of_before = me.last.map_or(0, |last| last + INTERVAL - back);
                    back + pause.max(of_before)
                }
            };
            if passes {
                assert!(next >= t + INTERVAL, "sooner than an interval");
                world.slots.push((t, i));
                (me.last, me.refused) = (Some(t), 0);
            } else {
                me.refused += 1;
            }
            me.planned = next;
            events.push(Reverse((next.max(back), i)));
        }
        world
    }

    /// The slots from number `from` on.
    fn some(&self, from: usize, slots: usize) -> &[(i64, usize)] {
        let from = from.min(self.slots.len());
        &self.slots[from..from.saturating_add(slots).min(self.slots.len())]
    }

    pub fn shares(&self, n: usize, from: usize, slots: usize) -> Vec<usize> {
        let some = self.some(from, slots);
        let of = |i| some.iter().filter(|(_, who)| *who == i).count();
        (0..n).map(of).collect()
    }

    /// The part of the time that slots took.
    pub fn used(&self, from: usize, slots: usize) -> f64 {
        self.slot as f64 / self.spacing(from, slots)
    }

    /// From one slot to the next, ms.
    pub fn spacing(&self, from: usize, slots: usize) -> f64 {
        let some = self.some(from, slots);
        let (first, last) = (some[0].0, some[some.len() - 1].0);
        (last - first) as f64 / (some.len() - 1) as f64
    }

    /// Number of the first slot from `ms` on.
    pub fn index(&self, ms: i64) -> usize {
        self.slots.partition_point(|(t, _)| *t < ms)
    }

    /// When instance `i` had its first slot from `from` on.
    pub fn first(&self, i: usize, from: i64) -> i64 {
        let it = self.slots.iter().find(|(t, who)| *who == i && *t >= from);
        it.map_or(i64::MAX / 2, |(t, _)| *t)
    }

    pub fn requests(&self, i: usize, from: i64, to: i64) -> usize {
        let of = |&&(t, who): &&(i64, usize)| who == i && t >= from && t < to;
        self.all.iter().filter(of).count()
    }

    pub fn all_requests(&self) -> usize {
        self.all.len()
    }
}
