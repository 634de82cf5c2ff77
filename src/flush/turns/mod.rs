//! When to ask the proxy, so that all who share its one request a slot get as many.
//!
//! Nobody can ask the others. But all have a clock in common ([`Common`]), so all see the same *frames*, one
//! after the other, each a little longer than a slot. Who shares asks once in a frame, and the longer ago his
//! last request got through, the earlier in the frame: so the one who has waited longest gets the slot, and
//! the others are refused, which costs them nothing. They take turns, however many they are, and whoever has
//! nothing to send leaves the frame to the next.
//!
//! Who is *alone* — as far as he knows — asks each slot, in frames of his own kind that are hardly longer
//! than one: a newcomer finds him there and comes just before him. A refusal, though the last request was
//! longer ago than a slot, tells him that he is not alone.
//!
//! Pure: times come in, the time of the next try goes out.

mod common;

use serde::{Deserialize, Serialize};

use common::Common;

/// So many slots in a row that nobody else wanted, and one counts as alone.
const FREE: u32 = 4;

/// The last request of who never had one counts as so many frames ago.
const NEVER: u32 = 40;

/// At least each so many frames is asked, however many there seem to be.
const SELDOM: f64 = 16.0;

/// A time by two clocks, ms: one that nobody sets, and the local one of people.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Since any point.
    pub steady: i64,
    /// Unix time.
    pub wall: i64,
}

/// What is kept over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    is_shared: bool,
    share: f64,
}

/// What the try to come is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    /// As one who is alone.
    Alone,
    /// Soon after a refusal: the slot may be a little longer than the interval.
    Soon,
    /// In a frame, by age.
    Turn { age: u32 },
    /// Between two: the clocks may differ.
    Between,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Turns {
    interval: i64,
    common: Common,
    /// When the last request began that got through.
    last: Option<i64>,
    /// The same, or one frame before rows came to one who had none to send.
    since: Option<i64>,
    is_shared: bool,
    /// Frames from one request that got through to the next.
    share: f64,
    /// Refusals since.
    refused: u32,
    /// Slots in a row that nobody else wanted.
    free: u32,
    next: Try,
}

impl Turns {
    /// `last` is when the last request began that got through, by the steady clock.
    pub fn new(interval_ms: i64, last: Option<i64>, kept: Option<Kept>) -> Turns {
        Turns {
            interval: interval_ms,
            common: Common::default(),
            last,
            since: last,
            is_shared: kept.is_some_and(|k| k.is_shared),
            share: kept.map_or(1.0, |k| k.share.max(1.0)),
            refused: 0,
            free: 0,
            next: Try::Alone,
        }
    }

    /// What to keep.
    pub fn kept(&self) -> Kept {
        Kept {
            is_shared: self.is_shared,
            share: self.share,
        }
    }

    /// About how many share the slot, this one included.
    pub fn sharers(&self) -> u32 {
        if self.is_shared {
            (self.share.round() as u32).max(2)
        } else {
            1
        }
    }

    /// What an answer said about the time.
    pub fn heard(&mut self, sent_ms: i64, heard_ms: i64, date_ms: i64) {
        self.common.heard(sent_ms, heard_ms, date_ms);
    }

    /// A request begins, `late` ms after the time that was given for it.
    pub fn begins(&mut self, at: At, late: i64) {
        if late > self.frame() / 2 {
            // There was nothing to send: that time says nothing of the others.
            self.since = self.since.map(|_| at.steady - self.frame());
            self.free = 0;
        }
    }

    /// When to make the first request after a start.
    pub fn resumes(&mut self, now: At, chance: &mut dyn FnMut() -> f64) -> i64 {
        match self.last {
            Some(_) if self.is_shared => self.turn(now, chance),
            Some(last) => last + self.interval,
            None => now.steady,
        }
    }

    /// The request that began at `began` got through. When to make the next one, by the steady clock: never
    /// sooner than an interval after it. `chance` gives numbers from 0 to 1.
    pub fn accepted(&mut self, began: i64, now: At, chance: &mut dyn FnMut() -> f64) -> i64 {
        let frames = self.frames(self.since, began);
        if self.last.is_none() {
            if self.refused > 0 {
                self.not_alone();
            }
        } else if self.is_shared {
            self.share = match self.refused {
                0 => self.share.min(f64::from(frames)),
                _ => f64::midpoint(self.share, f64::from(frames)),
            };
            self.free = if frames == 1 { self.free + 1 } else { 0 };
            if self.free >= FREE {
                self.is_shared = false;
                self.share = 1.0;
            }
        } else if self.refused > 0 && began - self.last.unwrap_or(0) >= self.interval * 3 / 2 {
            self.not_alone();
        } else {
            self.free = self.free.saturating_add(1);
        }
        let soon = self.next == Try::Soon;
        (self.last, self.since) = (Some(began), Some(began));
        self.refused = 0;
        if self.is_shared {
            return self.turn(now, chance);
        }
        self.next = Try::Alone;
        let open = began + self.interval;
        // The first ones come as soon as they can. Where slots or requests are longer than the interval, frames
        // of one who is alone would fit every second one.
        if soon || self.free < 2 || open < now.steady {
            return open;
        }
        self.first_frame(now, open, self.frame_alone())
    }

    /// The request was refused by the proxy's limiter at `at`. When to make the next one.
    pub fn refused(&mut self, at: At, chance: &mut dyn FnMut() -> f64) -> i64 {
        self.refused = self.refused.saturating_add(1);
        let tried = self.next;
        if !self.is_shared && self.refused == 1 {
            self.next = Try::Soon;
            return at.steady + self.soon(chance());
        }
        if self.last.is_some() && !self.is_shared {
            self.not_alone();
        }
        let turn = self.turn(at, chance);
        let age = match self.next {
            Try::Turn { age } => age,
            _ => NEVER,
        };
        let overdue = self.last.is_none() || f64::from(age) > 2.0 * self.share + 2.0;
        // Not for ever: some limiters count what they refuse, and pass only who has kept away for a slot.
        let often = if self.refused <= 10 { 1.0 } else { 0.6 };
        if overdue && tried != Try::Between && chance() < often {
            let between = if chance() < 0.7 {
                let alone = self.first_frame(at, at.steady + self.apart(), self.frame_alone());
                alone - self.margin()
            } else {
                at.steady + (self.frame() as f64 * (0.1 + 0.8 * chance())) as i64
            };
            if between + self.apart() / 2 < turn && between > at.steady {
                self.next = Try::Between;
                return between;
            }
        }
        turn
    }

    /// The next turn in a frame after `at`.
    fn turn(&mut self, at: At, chance: &mut dyn FnMut() -> f64) -> i64 {
        let mut start = self.first_frame(at, at.steady, self.frame());
        let least = match self.share {
            few if few <= 2.5 => 1.0,
            share => (share / 2.0).min(SELDOM),
        };
        let open = self.last.map_or(i64::MIN, |last| last + self.interval);
        loop {
            let age = match self.last {
                None => NEVER,
                some => self.frames(some, start),
            };
            let then = start + self.place(age);
            // The one before the last seldom gets it: asked now and then, in case the others have gone.
            let skip = age == 1 && self.free == 0 && chance() < 0.4;
            if then >= open && then >= at.steady + self.apart() && f64::from(age) >= least && !skip
            {
                self.next = Try::Turn { age };
                return then;
            }
            start += self.frame();
        }
    }

    fn not_alone(&mut self) {
        self.is_shared = true;
        self.share = 2.0;
        self.free = 0;
    }

    /// Where in a frame one comes whose last request got through `age` frames ago: twice the age, an equal
    /// step earlier, down to the start.
    fn place(&self, age: u32) -> i64 {
        let part = 1.0 - f64::from(age.max(1)).log2() / 6.0;
        (self.window() as f64 * part.max(0.0)) as i64
    }

    /// Frames from `from` to `to`, at least one.
    fn frames(&self, from: Option<i64>, to: i64) -> u32 {
        let Some(from) = from else { return 1 };
        let frames = (to - from + self.frame() / 2) / self.frame();
        u32::try_from(frames.max(1)).unwrap_or(u32::MAX)
    }

    /// The first start of a frame of this length from `from` on, as seen at `at`.
    fn first_frame(&self, at: At, from: i64, length: i64) -> i64 {
        let common = at.wall + self.common.offset() + (from - at.steady);
        from + (-common).rem_euclid(length)
    }

    /// A frame has room for a slot after the latest request in the frame before.
    fn frame(&self) -> i64 {
        self.interval + self.window() + self.margin()
    }

    fn frame_alone(&self) -> i64 {
        self.interval + self.margin()
    }

    /// In which all of a frame come.
    fn window(&self) -> i64 {
        self.interval / 12
    }

    /// Half a second of a minute.
    fn margin(&self) -> i64 {
        (self.interval / 126).max(1)
    }

    /// Least time between a refusal and the next try.
    fn apart(&self) -> i64 {
        (self.interval / 12).max(1)
    }

    /// 3 to 6 s, or one to two slots, if those are shorter.
    fn soon(&self, chance: f64) -> i64 {
        let least = self.interval.min(3000);
        least + (least as f64 * chance) as i64
    }
}

#[cfg(test)]
mod tests;
