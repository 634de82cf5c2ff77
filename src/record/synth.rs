//! Synthetic HTTP log records, as an edge network's would look. Pure: no I/O, no clock.
//!
//! Record `i` of a seed is always the same, on every machine and however the records are asked for:
//! only integers are used where rounding could differ, and nothing depends on batches. The skew is
//! what matters to the program: a few resources and client networks have most of the requests (so
//! that grouping by them compresses), clients come in sessions, and some texts are long.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::http_log_capnp::http_log_record;

/// Resources there are; resource `k` is asked for in proportion to `1 / k`.
const RESOURCES: usize = 200;
/// Client networks there are (/24 for IPv4, /48 for IPv6), skewed alike.
const NETWORKS: usize = 200_000;
/// Files that each resource has, skewed alike, as requests for web objects are (Breslau et al., "Web
/// caching and Zipf-like distributions", 1999).
const FILES: usize = 5_000;
/// Sessions that are open at any time.
const SESSIONS: usize = 256;

/// Value and weight in a thousand; realistic for a content network that works.
type Weights<T> = [(T, u64)];
const STATUSES: &Weights<u16> = &[
    (200, 790),
    (206, 60),
    (304, 60),
    (404, 40),
    (301, 15),
    (403, 12),
    (302, 6),
    (499, 4),
    (500, 4),
    (502, 5),
    (503, 2),
    (504, 2),
];
const CACHE_STATES: &Weights<&str> = &[
    ("HIT", 720),
    ("MISS", 170),
    ("EXPIRED", 45),
    ("BYPASS", 40),
    ("STALE", 15),
    ("UPDATING", 10),
];
const METHODS: &Weights<&str> = &[
    ("GET", 930),
    ("HEAD", 30),
    ("POST", 32),
    ("OPTIONS", 5),
    ("PUT", 2),
    ("DELETE", 1),
];
const KINDS: &Weights<&str> = &[
    ("img", 380),
    ("video", 300),
    ("js", 140),
    ("css", 80),
    ("api", 70),
    ("font", 30),
];

/// One synthetic record; the fields are those of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynthRecord {
    /// Milliseconds since 1970.
    pub timestamp_epoch_milli: u64,
    /// From 1001 (the most popular) to 1200.
    pub resource_id: u64,
    /// Bytes; log-normal, 0 for answers without a body.
    pub bytes_sent: u64,
    /// Milliseconds; log-normal, longer when the cache missed.
    pub request_time_milli: u64,
    /// HTTP status.
    pub response_status: u16,
    /// Such as `HIT`.
    pub cache_status: &'static str,
    /// Such as `GET`.
    pub method: &'static str,
    /// An unmasked IPv4 or (2 %) IPv6 address.
    pub remote_addr: String,
    /// Path and sometimes a query; about 57 bytes, with a heavy tail to about 2,000.
    pub url: String,
}

impl SynthRecord {
    /// Appends the record to `out` in Cap'n Proto's standard framing, as one segment.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let texts = [self.cache_status, self.method, &self.remote_addr, &self.url];
        // Root pointer, five words of numbers, four pointers; a text ends in a NUL and fills its
        // last word. A first segment of this size is also the only one.
        let words = 10 + texts.iter().map(|text| text.len() / 8 + 1).sum::<usize>();
        let words = u32::try_from(words).expect("BUG: a synthetic text is longer than 32 GiB");
        let allocator = capnp::message::HeapAllocator::new().first_segment_words(words);
        let mut message = capnp::message::Builder::new(allocator);
        let mut record = message.init_root::<http_log_record::Builder<'_>>();
        record.set_timestamp_epoch_milli(self.timestamp_epoch_milli);
        record.set_resource_id(self.resource_id);
        record.set_bytes_sent(self.bytes_sent);
        record.set_request_time_milli(self.request_time_milli);
        record.set_response_status(self.response_status);
        record.set_cache_status(self.cache_status);
        record.set_method(self.method);
        record.set_remote_addr(&self.remote_addr[..]);
        record.set_url(&self.url[..]);
        capnp::serialize::write_message(out, &message).expect("BUG: a Vec takes every write");
    }
}

/// An endless iterator of synthetic records.
pub struct Synth {
    random: SplitMix64,
    start_ms: u64,
    interval: Duration,
    made: u64,
    resources: Zipf,
    networks: Zipf,
    files: Zipf,
    sessions: Vec<Session>,
}

/// A client that asks for a few things of one resource, one after the other.
struct Session {
    remote_addr: String,
    resource_id: u64,
    /// In the query of some of its requests.
    id: u32,
    requests_left: u64,
}

impl Synth {
    /// The records of `seed`, the first at `start_ms` (milliseconds since 1970), one a millisecond.
    #[must_use]
    pub fn new(seed: u64, start_ms: u64) -> Self {
        let mut synth = Synth {
            random: SplitMix64(seed),
            start_ms,
            interval: Duration::from_millis(1),
            made: 0,
            resources: Zipf::new(RESOURCES),
            networks: Zipf::new(NETWORKS),
            files: Zipf::new(FILES),
            sessions: Vec::with_capacity(SESSIONS),
        };
        for _ in 0..SESSIONS {
            let session = synth.open_session();
            synth.sessions.push(session);
        }
        synth
    }

    /// Sets the time from one record's timestamp to the next.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    fn open_session(&mut self) -> Session {
        let random = &mut self.random;
        let network = self.networks.draw(random) as u32;
        let remote_addr = if random.below(100) < 2 {
            // From the documentation prefix; the third group is never 0, so that its masked form
            // has only one spelling.
            let group = 1 + (network % 0xffff) as u16;
            let host = 1 + random.below(0xfffe) as u16;
            let subnet = random.below(4) as u16;
            Ipv6Addr::new(0x2001, 0xdb8, group, subnet, 0, 0, 0, host).to_string()
        } else {
            // An odd factor spreads the ranks over all of the space without a collision: there are
            // 221 first octets (1 to 223 but 10 and 127), and the space is a multiple of 13 and 17.
            let spread = (u64::from(network) * 9_576_041 % (221 << 16)) as u32;
            let [_, first, b, c] = Ipv4Addr::from_bits(spread).octets();
            let first = first + 1;
            let first = if first >= 10 { first + 1 } else { first };
            let first = if first >= 127 { first + 1 } else { first };
            Ipv4Addr::new(first, b, c, 1 + random.below(254) as u8).to_string()
        };
        let resource_id = 1001 + self.resources.draw(random) as u64;
        // 1, 2, 3 ... with a quarter less of each.
        let mut requests_left = 1;
        while requests_left < 40 && random.below(4) > 0 {
            requests_left += 1;
        }
        Session {
            remote_addr,
            resource_id,
            id: random.next() as u32,
            requests_left,
        }
    }
}

impl Iterator for Synth {
    type Item = SynthRecord;

    /// The next record; never `None`.
    fn next(&mut self) -> Option<SynthRecord> {
        let at = self.random.below(SESSIONS as u64) as usize;
        if self.sessions[at].requests_left == 0 {
            self.sessions[at] = self.open_session();
        }
        let session = &mut self.sessions[at];
        session.requests_left -= 1;
        let random = &mut self.random;
        let response_status = random.pick(STATUSES);
        let cache_status = random.pick(CACHE_STATES);
        let method = random.pick(METHODS);
        let has_body = response_status != 304 && method != "HEAD";
        // Medians: 16 KiB for content, 500 bytes for a redirect or an error; 8 ms from the cache,
        // 96 ms without.
        let bytes_sent = random.log_normal(if response_status < 300 { 16_384 } else { 500 }, 2);
        let request_time_milli = random.log_normal(if cache_status == "HIT" { 8 } else { 96 }, 1);
        let since_start = u128::from(self.made) * self.interval.as_nanos() / 1_000_000;
        let record = SynthRecord {
            timestamp_epoch_milli: self.start_ms.saturating_add(since_start as u64),
            resource_id: session.resource_id,
            bytes_sent: if has_body { bytes_sent } else { 0 },
            request_time_milli,
            response_status,
            cache_status,
            method,
            remote_addr: session.remote_addr.clone(),
            url: random.url(session, &self.files),
        };
        self.made += 1;
        Some(record)
    }
}

/// Ranks 0, 1, 2 ... with probabilities in proportion to 1, 1/2, 1/3 ...
struct Zipf {
    /// Sum of the weights up to and with each rank.
    sums: Vec<u64>,
}

impl Zipf {
    fn new(ranks: usize) -> Self {
        let weights = (1..=ranks as u64).map(|k| (1 << 40) / k);
        let sums = weights
            .scan(0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        Zipf { sums }
    }

    fn draw(&self, random: &mut SplitMix64) -> usize {
        let total = *self.sums.last().expect("BUG: a Zipf without ranks");
        let point = random.below(total);
        self.sums.partition_point(|sum| *sum <= point)
    }
}

/// Steele, Lea and Flood's generator: 64 bits of state, good enough for skewed tests, four lines.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound - 1`; the bias is less than one in 2^20 for all our bounds.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn pick<T: Copy>(&mut self, weights: &Weights<T>) -> T {
        let mut point = self.below(weights.iter().map(|(_, weight)| weight).sum());
        for (value, weight) in weights {
            match point.checked_sub(*weight) {
                None => return *value,
                Some(rest) => point = rest,
            }
        }
        unreachable!("BUG: a point beyond all weights")
    }

    /// About log-normal: `median * 2^(octaves * n)` with `n` about standard normal.
    fn log_normal(&mut self, median: u64, octaves: i64) -> u64 {
        // The sum of twelve uniform numbers has variance 1 and mean 6; in units of 1/65536.
        let sum: i64 = (0..12).map(|_| self.below(1 << 16) as i64).sum();
        let exponent = (sum - (6 << 16)) * octaves;
        // 2^(whole + part), a straight line from one power of two to the next.
        let (whole, part) = (exponent >> 16, (exponent & 0xffff) as u64);
        let value = u128::from(median) * u128::from((1 << 16) + part);
        let shift = 16 - whole;
        (if shift >= 0 {
            value >> shift.min(127)
        } else {
            value << -shift
        }) as u64
    }

    /// `/res/1001/video/3f2a91c07b55/part-001234-720p.bin?v=...`; one in 40 has a long query.
    fn url(&mut self, session: &Session, files: &Zipf) -> String {
        let resource_id = session.resource_id;
        let file = files.draw(self) as u64;
        let mut of_file = SplitMix64(resource_id << 32 | file);
        let hash = of_file.next() >> 16;
        let kind = of_file.pick(KINDS);
        let mut url = format!(
            "/res/{resource_id}/{kind}/{hash:012x}/part-{file:06}-{}p.bin",
            144 << (file % 4)
        );
        if self.below(3) == 0 {
            url += &format!("?v={}&session={:08x}", file % 90, session.id);
        }
        if self.below(40) == 0 {
            let long = self.log_normal(120, 1).min(1900);
            url += if url.contains('?') {
                "&token="
            } else {
                "?token="
            };
            while (url.len() as u64) < long {
                url += &format!("{:016x}", self.next());
            }
        }
        url
    }
}

#[cfg(test)]
mod tests;
