//! What was said already: the first line of a kind is told at once; those that follow it within a minute
//! are counted, and told together when it is over.
//!
//! A kind is a place in the program and what it says, see `kind`. Lines that name different things are
//! of different kinds, so none of them is ever held back for another.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use log::Level;

use super::line::Again;

/// No kind is told more often, but see [`NEWS`].
pub const MINUTE: Duration = Duration::from_secs(60);

/// A fault that comes again after good news from the same part is news itself, and the other way round:
/// otherwise the last word would be the wrong one for up to a minute. So often a minute.
const NEWS: u32 = 3;

/// Kinds that are remembered, and the bytes of their words. What comes beyond them is told each time.
const MOST_KINDS: usize = 1000;
const MOST_BYTES: usize = 256 << 10;

/// How often kinds are looked through whose minute is over, while there are too many.
const SWEEP: Duration = Duration::from_secs(1);

/// librdkafka's count of lines that it left out itself.
const SUPPRESSED: &str = ", # identical error(s) suppressed";

/// Which lines are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    level: Level,
    target: String,
    line: u32,
    words: String,
}

impl Kind {
    /// Of a line told from a line of the source. Numbers that only measure are left out: of what other
    /// programs' libraries say all that stand alone (`after 12 ms`, `3 requests`), of our own words
    /// times. **ERROR is taken as it is:** what is lost is told by numbers.
    pub fn of(level: Level, target: &str, line: u32, words: &str) -> Kind {
        let words = match level {
            Level::Error => words.to_owned(),
            _ if is_ours(target) => without_numbers(words, false),
            _ => without_numbers(words, true).replace(SUPPRESSED, ""),
        };
        Kind {
            level,
            target: target.to_owned(),
            line,
            words,
        }
    }

    fn bytes(&self) -> usize {
        self.target.len() + self.words.len()
    }

    /// Good or bad.
    fn is_bad(&self) -> bool {
        self.level <= Level::Warn
    }
}

fn is_ours(target: &str) -> bool {
    part(target).is_some()
}

/// `anonymizer::flush::insert` is of the part `flush`.
fn part(target: &str) -> Option<&str> {
    let mut names = target.split("::");
    (names.next() == Some("anonymizer")).then(|| names.next().unwrap_or_default())
}

/// Puts `#` for numbers: for all that stand alone, or for those that are times.
pub fn without_numbers(words: &str, all: bool) -> String {
    const UNITS: [&str; 8] = ["ns", "us", "µs", "ms", "s", "m", "min", "h"];
    let is_between = |c: char| c.is_whitespace() || "(),;=".contains(c);
    let mut out = String::with_capacity(words.len());
    let mut rest = words;
    while !rest.is_empty() {
        let token = &rest[..rest.find(is_between).unwrap_or(rest.len())];
        rest = &rest[token.len()..];
        // `timeout #3`, `30s.`
        let bare = token
            .trim_start_matches('#')
            .trim_end_matches(['.', ':', '!']);
        let end = bare.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = bare.split_at(end.unwrap_or(bare.len()));
        let is_number =
            number.starts_with(|c: char| c.is_ascii_digit()) && number.matches('.').count() <= 1;
        let next = rest.trim_start_matches(' ');
        let next = &next[..next.find(is_between).unwrap_or(next.len())];
        let is_time = UNITS.contains(&unit)
            || unit.is_empty() && UNITS.contains(&next.trim_end_matches(['.', ':', '!']));
        if is_number && (is_time || all && unit.is_empty()) {
            out.push('#');
            out.push_str(unit);
        } else {
            out.push_str(token);
        }
        if let Some(c) = rest.chars().next() {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// A line that stands for those that were counted.
pub struct Owed {
    pub level: Level,
    pub target: String,
    pub message: String,
    pub again: Option<Again>,
}

/// What was told in the last minute.
pub struct Repeats {
    kinds: BTreeMap<Kind, Told>,
    bytes: usize,
    /// When the first kind is to be told again of which lines were counted.
    due: Option<Instant>,
    swept: Option<Instant>,
    /// Lines told ever; and by part the number of the last good one and the last bad one.
    told: u64,
    news: BTreeMap<String, [u64; 2]>,
    /// Lines counted ever.
    counted: u64,
}

struct Told {
    /// When its minute began.
    since: Instant,
    /// The number of the line that told it last, and how often it was told in this minute.
    number: u64,
    tellings: u32,
    counted: Option<Counted>,
}

struct Counted {
    times: u64,
    last: Instant,
    last_ms: u64,
    message: String,
}

impl Repeats {
    pub const fn new() -> Repeats {
        Repeats {
            kinds: BTreeMap::new(),
            bytes: 0,
            due: None,
            swept: None,
            told: 0,
            news: BTreeMap::new(),
            counted: 0,
        }
    }

    /// Lines that were counted since the start, in place of being told each.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// When [`Repeats::owed`] has something to tell, if nothing else comes.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A line comes. Returns whether it is to be told now; else it was counted. What is owed at `now` must
    /// have been taken.
    pub fn meet(&mut self, kind: Kind, message: &str, now: Instant, now_ms: u64) -> bool {
        let part = part(&kind.target).map(str::to_owned);
        let news = part.as_ref().and_then(|part| self.news.get(part));
        let other_side = news.map_or(0, |news| news[usize::from(!kind.is_bad())]);
        let side = usize::from(kind.is_bad());
        let number = self.told + 1;
        match self.kinds.get_mut(&kind) {
            Some(told) if now < told.since + MINUTE => {
                let is_news = told.number < other_side && told.tellings < NEWS;
                if !is_news {
                    self.counted += 1;
                    let times = told.counted.as_ref().map_or(0, |c| c.times) + 1;
                    told.counted = Some(Counted {
                        times,
                        last: now,
                        last_ms: now_ms,
                        message: message.to_owned(),
                    });
                    let due = told.since + MINUTE;
                    self.due = Some(self.due.map_or(due, |d| d.min(due)));
                    return false;
                }
                told.tellings += 1;
                told.number = number;
            }
            _ => self.remember(kind, number, now),
        }
        self.told = number;
        if let Some(part) = part {
            self.news.entry(part).or_default()[side] = number;
        }
        true
    }

    fn remember(&mut self, kind: Kind, number: u64, now: Instant) {
        let bytes = kind.bytes();
        let is_full = |s: &Self| s.kinds.len() >= MOST_KINDS || s.bytes + bytes > MOST_BYTES;
        if is_full(self) && self.swept.is_none_or(|at| at + SWEEP <= now) {
            self.swept = Some(now);
            self.kinds
                .retain(|_, told| told.counted.is_some() || now < told.since + MINUTE);
            self.bytes = self.kinds.keys().map(Kind::bytes).sum();
        }
        let told = Told {
            since: now,
            number,
            tellings: 1,
            counted: None,
        };
        if let Some(old) = self.kinds.get_mut(&kind) {
            *old = told;
        } else if !is_full(self) {
            self.bytes += bytes;
            self.kinds.insert(kind, told);
        }
    }

    /// What is to be told at `now`, those first that came first; with `all` also that of which the minute
    /// is not over.
    pub fn owed(&mut self, now: Instant, all: bool) -> Vec<Owed> {
        if !all && self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let mut owed = Vec::new();
        for (kind, told) in &mut self.kinds {
            if !all && now < told.since + MINUTE {
                continue;
            }
            let Some(counted) = told.counted.take() else {
                continue;
            };
            let again = Again {
                times: counted.times,
                within_s: (now - told.since).as_secs(),
                ago_s: (now - counted.last).as_secs(),
                last_ms: counted.last_ms,
            };
            self.told += 1;
            *told = Told {
                since: now,
                number: self.told,
                tellings: 1,
                counted: None,
            };
            let line = Owed {
                level: kind.level,
                target: kind.target.clone(),
                message: counted.message,
                // What comes once a minute may come a moment early: it is told a moment late.
                again: (all || again.times > 1 || again.ago_s > 0).then_some(again),
            };
            owed.push((counted.last, line));
        }
        let waiting = self.kinds.values().filter(|told| told.counted.is_some());
        self.due = waiting.map(|told| told.since + MINUTE).min();
        owed.sort_by_key(|(last, _)| *last);
        owed.into_iter().map(|(_, line)| line).collect()
    }
}

#[cfg(test)]
mod tests;
