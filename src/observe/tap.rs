//! `tap`: rows as they pass, through the control socket.
//!
//! After the usual answer come as many [`Told`] as there is to tell, each a JSON line, with as many bytes of
//! rows behind it as it says.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use serde::{Deserialize, Serialize};

use super::exchange::write_all;
use crate::row::filter::Filter;
use crate::row::read::rows;
use crate::row::tap::{MOST_TAPS, Passing, Tap, Taps};
use crate::row::{Format, write_row};
use crate::runtime::shutdown::Shutdown;

/// How long nothing may be told: whether somebody still listens is noticed by telling.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Which rows, how many and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Rows that may be shown.
    pub filter: Filter,
    /// One in so many of them; at least 1.
    pub every: u64,
    /// At most so many a second; 0 for any number.
    pub rate: u64,
    /// The end, after so many.
    pub limit: Option<u64>,
    /// How they are written.
    pub format: Format,
}

/// What is told, over and over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Bytes of rows that follow this line.
    pub bytes: usize,
    /// Rows shown so far.
    pub shown: u64,
    /// Rows that were looked at so far.
    pub passed: u64,
    /// Rows that passed unseen so far, as the tap was too slow.
    pub missed: u64,
    /// Rows that passed unseen so far, as they are too large: [`crate::row::BLOCK_BYTES`] or more.
    #[serde(default)]
    pub large: u64,
    /// Why nothing follows.
    pub end: Option<End>,
}

/// Why a tap ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// As many rows were shown as were asked for.
    Limit,
    /// The other side wants no more, and only waits for this word.
    Left,
    /// The instance stops.
    Stopped,
}

/// A tap for it.
///
/// # Errors
/// If there are too many already.
pub(super) fn attach<'a>(ask: &Ask, taps: &'a Taps) -> anyhow::Result<Tap<'a>> {
    ensure!(ask.every > 0, "one in 0 rows is none");
    taps.attach()
        .with_context(|| format!("{MOST_TAPS} taps look already"))
}

/// Shows rows until the other side goes, it has enough, or a stop is requested.
///
/// # Errors
/// If the other side goes.
pub(super) fn serve(
    stream: &UnixStream,
    ask: &Ask,
    tap: &Tap<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    log::debug!("tap {} is attached", tap.number);
    let mut sample = Sample::new(ask.clone(), Instant::now());
    loop {
        if let Some(block) = tap.next(TELL_EVERY) {
            sample.look(&block, Instant::now());
        }
        if shutdown.requested() {
            while let Some(block) = tap.next(Duration::ZERO) {
                sample.look(&block, Instant::now());
            }
            sample.told.end = Some(End::Stopped);
        } else if has_left(stream) {
            sample.told.end = Some(End::Left);
        }
        sample.told.missed = tap.missed();
        sample.told.large = tap.large();
        let told = sample.tell();
        // For as long as it takes: who reads slowly misses rows, and is told how many.
        write_all(stream, &told, None, shutdown)?;
        if sample.told.end.is_some() {
            return Ok(());
        }
    }
}

/// Whether the other side will say nothing more.
fn has_left(stream: &UnixStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    !matches!(
        recv(stream, &mut [0; 1], flags),
        Ok((1.., _)) | Err(Errno::AGAIN | Errno::INTR)
    )
}

/// What is taken of what passes.
struct Sample {
    ask: Ask,
    told: Told,
    rows: Vec<u8>,
    matched: u64,
    /// Rows that may be shown at once, and when that was so.
    tokens: f64,
    counted: Instant,
}

impl Sample {
    fn new(ask: Ask, now: Instant) -> Sample {
        Sample {
            tokens: Sample::burst(&ask),
            ask,
            told: Told::default(),
            rows: Vec::new(),
            matched: 0,
            counted: now,
        }
    }

    /// A tenth of a second's, so that they come from all over the second.
    fn burst(ask: &Ask) -> f64 {
        (ask.rate as f64 / 10.0).max(1.0)
    }

    fn look(&mut self, block: &Passing, now: Instant) {
        let since = now.saturating_duration_since(self.counted);
        let more = since.as_secs_f64() * self.ask.rate as f64;
        self.tokens = (self.tokens + more).min(Sample::burst(&self.ask));
        self.counted = now;
        self.told.passed += u64::from(block.rows);
        if !self.ask.filter.takes_partition(block.partition) {
            return;
        }
        for row in rows(&block.bytes).map_while(Result::ok) {
            if self.told.end.is_some() {
                return;
            }
            if !self.ask.filter.takes(&row) {
                continue;
            }
            self.matched += 1;
            if !(self.matched - 1).is_multiple_of(self.ask.every) || !self.may_show() {
                continue;
            }
            write_row(self.ask.format, &row, &mut self.rows);
            self.told.shown += 1;
            if self.ask.limit.is_some_and(|most| self.told.shown >= most) {
                self.told.end = Some(End::Limit);
            }
        }
    }

    fn may_show(&mut self) -> bool {
        if self.ask.rate == 0 {
            return true;
        }
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }

    /// What there is to tell now, as it is sent.
    fn tell(&mut self) -> Vec<u8> {
        self.told.bytes = self.rows.len();
        let mut out = serde_json::to_vec(&self.told).expect("BUG: numbers are JSON");
        out.push(b'\n');
        out.append(&mut self.rows);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::Policy;
    use crate::privacy::anonymize::anonymize;
    use crate::record::Record;
    use crate::row::encode::encode;

    fn ask() -> Ask {
        Ask {
            filter: Filter::default(),
            every: 1,
            rate: 0,
            limit: None,
            format: Format::Tsv,
        }
    }

    /// Rows of the resources 0, 1, 2 and so on.
    fn block(n: u32) -> Passing {
        let mut bytes = Vec::new();
        for i in 0..n {
            let record = Record {
                timestamp_ms: 1000,
                resource_id: i.into(),
                bytes_sent: 1,
                request_time_ms: 1,
                response_status: 200,
                cache_status: b"HIT",
                method: b"GET",
                remote_addr: b"1.2.3.4",
                url: b"/",
            };
            encode(&anonymize(&record, &Policy::default()), &mut bytes).unwrap();
        }
        Passing {
            partition: 5,
            rows: n,
            bytes,
        }
    }

    /// The resources of the rows shown.
    fn shown(sample: &mut Sample) -> Vec<u64> {
        let told = sample.tell();
        let text = String::from_utf8(told).unwrap();
        let rows = text.lines().skip(1);
        rows.map(|row| row.split('\t').nth(1).unwrap().parse().unwrap())
            .collect()
    }

    fn sample(ask: Ask) -> (Sample, Instant) {
        let now = Instant::now();
        (Sample::new(ask, now), now)
    }

    #[test]
    fn one_in_so_many_of_those_that_match() {
        let filter = Filter {
            resource: (10..20).collect(),
            ..Filter::default()
        };
        let (mut s, now) = sample(Ask {
            filter,
            every: 4,
            ..ask()
        });
        s.look(&block(30), now);
        assert_eq!(shown(&mut s), [10, 14, 18]);
        s.look(&block(30), now);
        assert_eq!(shown(&mut s), [12, 16], "it goes on counting");
        assert_eq!((s.told.passed, s.told.shown), (60, 5));
    }

    #[test]
    fn no_more_than_so_many_a_second() {
        let (mut s, now) = sample(Ask { rate: 20, ..ask() });
        let mut all = 0;
        for tenth in 0..=100 {
            s.look(&block(50), now + Duration::from_millis(100 * tenth));
            let n = shown(&mut s).len();
            assert!(n <= 2, "{n} at once");
            all += n;
        }
        assert!((195..=202).contains(&all), "{all} in ten seconds");
    }

    #[test]
    fn it_ends_with_the_last_that_was_asked_for() {
        let (mut s, now) = sample(Ask {
            limit: Some(3),
            ..ask()
        });
        s.look(&block(50), now);
        s.look(&block(50), now);
        assert_eq!(shown(&mut s), [0, 1, 2]);
        assert_eq!(s.told.end, Some(End::Limit));
    }

    #[test]
    fn of_other_partitions_nothing_is_shown() {
        let mut other = ask();
        other.filter.partition = vec![4];
        let (mut s, now) = sample(other);
        s.look(&block(50), now);
        assert_eq!((shown(&mut s), s.told.passed), (vec![], 50));
    }
}
