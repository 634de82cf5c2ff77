//! What must hold, told by rules of the test's own: nothing here calls the code that is tested.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use anonymizer::record::synth::{Synth, SynthRecord};
use serde_json::Value;

use crate::stack::{Request, Stack};

/// A row of `http_log`, as RowBinary holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub timestamp: u32,
    pub resource_id: u64,
    pub bytes_sent: u64,
    pub request_time_milli: u64,
    pub response_status: u16,
    pub cache_status: Vec<u8>,
    pub method: Vec<u8>,
    pub remote_addr: Vec<u8>,
    pub url: Vec<u8>,
}

impl Row {
    /// All rows of a RowBinary text.
    pub fn all(mut bytes: &[u8]) -> Vec<Row> {
        let mut rows = Vec::new();
        while !bytes.is_empty() {
            rows.push(Row {
                timestamp: u32::from_le_bytes(take(&mut bytes)),
                resource_id: u64::from_le_bytes(take(&mut bytes)),
                bytes_sent: u64::from_le_bytes(take(&mut bytes)),
                request_time_milli: u64::from_le_bytes(take(&mut bytes)),
                response_status: u16::from_le_bytes(take(&mut bytes)),
                cache_status: text(&mut bytes),
                method: text(&mut bytes),
                remote_addr: text(&mut bytes),
                url: text(&mut bytes),
            });
        }
        rows
    }

    /// The row that a synthetic record has to become.
    pub fn of_synth(r: &SynthRecord) -> Row {
        Row {
            timestamp: (r.timestamp_epoch_milli / 1000) as u32,
            resource_id: r.resource_id,
            bytes_sent: r.bytes_sent,
            request_time_milli: r.request_time_milli,
            response_status: r.response_status,
            cache_status: r.cache_status.into(),
            method: r.method.into(),
            remote_addr: masked(&r.remote_addr).into_bytes(),
            url: r.url.clone().into_bytes(),
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, rest) = bytes.split_first_chunk().expect("a row cut short");
    *bytes = rest;
    *head
}

/// A text with its length before it, as LEB128.
fn text(bytes: &mut &[u8]) -> Vec<u8> {
    let (mut len, mut shift) = (0, 0);
    loop {
        let [byte] = take(bytes);
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let (head, rest) = bytes.split_at(len);
    *bytes = rest;
    head.to_vec()
}

/// The masked form of an address as [`Synth`] spells it.
fn masked(address: &str) -> String {
    match address.parse::<std::net::Ipv6Addr>() {
        Ok(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}::X")
        }
        Err(_) => address[..=address.rfind('.').expect("an IPv4 address")].to_owned() + "X",
    }
}

/// `X`, three octets and `.X`, or three groups and `::X`.
pub fn is_masked(address: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(address) else {
        return false;
    };
    let three = |text: &str, at: char, ok: fn(&str) -> bool| {
        text.split(at).count() == 3 && text.split(at).all(ok)
    };
    if let Some(groups) = text.strip_suffix("::X") {
        return three(groups, ':', |g| {
            (1..=4).contains(&g.len()) && u16::from_str_radix(g, 16).is_ok()
        });
    }
    match text.strip_suffix(".X") {
        Some(octets) => three(octets, '.', |o| o.parse::<u8>().is_ok()),
        None => text == "X",
    }
}

/// The addresses that were produced: they must be nowhere.
#[derive(Default)]
pub struct Plain {
    synth: HashSet<String>,
    /// Others, long enough to be looked for anywhere in a text.
    pub odd: Vec<String>,
}

impl Plain {
    pub fn of_synth(seed: u64, start_ms: u64, count: u64) -> Plain {
        let records = Synth::new(seed, start_ms).take(count as usize);
        Plain {
            synth: records.map(|r| r.remote_addr).collect(),
            odd: Vec::new(),
        }
    }

    /// Fails if one of them is in `text`, alone, in brackets, or with a port or a full stop behind.
    pub fn absent_from(&self, text: &str) {
        for address in &self.odd {
            assert!(!text.contains(address), "unmasked address {address}");
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == ':';
        for token in text.split(|c| !is_part(c)) {
            let token = token.trim_end_matches(['.', ':']);
            let host = token.rsplit_once(':').map_or(token, |(host, _port)| host);
            for word in [token, host] {
                assert!(!self.synth.contains(word), "unmasked address {word}");
            }
        }
    }
}

/// Messages of other encoders, and messages that are no records: `data/golden/`.
pub struct Odd {
    pub messages: Vec<Vec<u8>>,
    /// The rows that ClickHouse must have of them.
    pub rows: Vec<Row>,
    /// How many cannot be rows.
    pub quarantined: usize,
    pub addresses: Vec<String>,
}

impl Odd {
    pub fn load() -> Odd {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden");
        let read = |entry: &Value| fs::read(golden.join(entry["file"].as_str().unwrap())).unwrap();
        let manifest = fs::read_to_string(golden.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let mut odd = Odd {
            messages: Vec::new(),
            rows: Vec::new(),
            quarantined: 0,
            addresses: Vec::new(),
        };
        for entry in manifest["good"].as_array().unwrap() {
            odd.messages.push(read(entry));
            match entry["row"].as_str() {
                Some(row) => odd.rows.extend(Row::all(&unhex(row))),
                None => odd.quarantined += 1,
            }
            let address = entry["fields"]["remote_addr"].as_str().unwrap();
            // Shorter ones could be part of something else.
            if address.len() >= 7 {
                odd.addresses.push(address.to_owned());
            }
        }
        for entry in manifest["bad"].as_array().unwrap() {
            if entry["must"] == "quarantine" {
                odd.messages.push(read(entry));
                odd.quarantined += 1;
            }
        }
        assert!(odd.quarantined > 50 && odd.addresses.len() > 10);
        odd
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// What a table's rows add up to.
#[derive(Default)]
pub struct Totals {
    pub count: u64,
    bytes_sent: u128,
    request_time_milli: u128,
    by_status: BTreeMap<String, u64>,
    by_resource: BTreeMap<String, u64>,
    by_address: BTreeMap<String, u64>,
}

impl Totals {
    /// What `produce` says that it produced.
    pub fn of_summary(file: &Path) -> Totals {
        let summary: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let number = |name: &str| summary[name].as_u64().unwrap();
        let counts = |name: &str| -> BTreeMap<String, u64> {
            let counts = summary[name].as_object().unwrap().iter();
            counts
                .map(|(key, n)| (key.clone(), n.as_u64().unwrap()))
                .collect()
        };
        Totals {
            count: number("count"),
            bytes_sent: number("bytes_sent_sum").into(),
            request_time_milli: number("request_time_milli_sum").into(),
            by_status: counts("by_response_status"),
            by_resource: counts("by_resource_id"),
            by_address: counts("by_masked_addr"),
        }
    }

    pub fn add(&mut self, row: &Row) {
        let address = String::from_utf8(row.remote_addr.clone()).unwrap();
        self.count += 1;
        self.bytes_sent += u128::from(row.bytes_sent);
        self.request_time_milli += u128::from(row.request_time_milli);
        *self
            .by_status
            .entry(row.response_status.to_string())
            .or_default() += 1;
        *self
            .by_resource
            .entry(row.resource_id.to_string())
            .or_default() += 1;
        *self.by_address.entry(address).or_default() += 1;
    }

    /// What ClickHouse holds. Every address there must be masked.
    pub fn in_clickhouse(stack: &Stack) -> Totals {
        let lines = |sql: &str| -> Vec<(String, String)> {
            let text = String::from_utf8(stack.query(sql)).unwrap();
            let pairs = text.lines().map(|line| line.split_once('\t').unwrap());
            pairs.map(|(a, b)| (a.into(), b.into())).collect()
        };
        let counts = |column: &str| -> BTreeMap<String, u64> {
            let sql = format!("SELECT {column}, count() FROM http_log GROUP BY {column}");
            let pairs = lines(&sql).into_iter();
            pairs.map(|(key, n)| (key, n.parse().unwrap())).collect()
        };
        // Odd records hold the largest numbers there are: their sum needs more than 64 bits.
        let sums = &lines(
            "SELECT sum(toUInt128(bytes_sent)), sum(toUInt128(request_time_milli)) FROM http_log",
        )[0];
        let by_address = counts("remote_addr");
        for address in by_address.keys() {
            assert!(is_masked(address.as_bytes()), "in ClickHouse: {address}");
        }
        Totals {
            count: stack.count(),
            bytes_sent: sums.0.parse().unwrap(),
            request_time_milli: sums.1.parse().unwrap(),
            by_status: counts("response_status"),
            by_resource: counts("resource_id"),
            by_address,
        }
    }

    /// Fails where ClickHouse has something else.
    pub fn compare(&self, stored: &Totals) {
        same_counts("address", &self.by_address, &stored.by_address);
        same_counts("resource", &self.by_resource, &stored.by_resource);
        same_counts("status", &self.by_status, &stored.by_status);
        assert_eq!(
            (self.count, self.bytes_sent, self.request_time_milli),
            (stored.count, stored.bytes_sent, stored.request_time_milli)
        );
    }
}

/// Each table of totals adds up to the raw rows, and `traffic` says the same. Sums wrap at 64 bits alike.
pub fn totals_are_those_of_the_rows(stack: &Stack) {
    let raw = stack.query("SELECT count(), sum(bytes_sent) FROM http_log");
    let tables =
        ["totals", "totals_1d", "address_1d", "1m", "1h", "1d"].map(|t| format!("http_log_{t}"));
    let asked = |by: &str| {
        format!(
            "traffic(from = 0, to = 4294967295, step = 0, by = '{by}', \
             resource = [], status = [], cache = [], address = [])"
        )
    };
    for from in tables
        .into_iter()
        .chain(["", "status", "address", "address,cache"].map(asked))
    {
        let sums = stack.query(&format!(
            "SELECT sum(requests), sum(bytes_sent) FROM {from}"
        ));
        assert_eq!(
            String::from_utf8(sums),
            String::from_utf8(raw.clone()),
            "{from}"
        );
    }
}

fn same_counts<K: Ord + Debug>(what: &str, want: &BTreeMap<K, u64>, got: &BTreeMap<K, u64>) {
    let keys = want.keys().chain(got.keys());
    let wrong: Vec<_> = keys
        .filter(|k| want.get(k) != got.get(k))
        .map(|k| (k, want.get(k), got.get(k)))
        .take(10) // They may be many.
        .collect();
    assert!(
        wrong.is_empty(),
        "({what}, produced, in ClickHouse): {wrong:?}"
    );
}

/// Fails if a row was not produced, or is there more often than it was.
pub fn are_part_of(rows: &[Row], seed: u64, start_ms: u64, count: u64) {
    let mut left: HashMap<Row, u64> = HashMap::new();
    for record in Synth::new(seed, start_ms).take(count as usize) {
        *left.entry(Row::of_synth(&record)).or_default() += 1;
    }
    for row in rows {
        match left.get_mut(row) {
            Some(n) if *n > 0 => *n -= 1,
            Some(_) => panic!("more often than it was produced: {row:?}"),
            None => panic!("not produced: {row:?}"),
        }
    }
}

/// Fails if a request was made in a slot that another had used, passed or not.
///
/// Any request uses its slot but those that nginx refuses by itself. Passed ones cannot be closer
/// than nginx's 62.5 s; the program is bound to leave the limiter alone as well, else a restart
/// would knock every few seconds. A refusal at the very edge is allowed: it may be late by what the
/// request before was delayed.
pub fn one_request_a_slot(requests: &[Request]) {
    const SLOT: f64 = 62.5;
    const EDGE: f64 = 5.0;
    let mut requests: Vec<&Request> = requests.iter().filter(|r| !r.too_large()).collect();
    requests.sort_by(|a, b| a.start.total_cmp(&b.start));
    let mut used: Option<&Request> = None;
    for request in requests {
        let least = if request.limited() { SLOT - EDGE } else { SLOT };
        if let Some(last) = used {
            let apart = request.start - last.start;
            assert!(
                apart >= least,
                "{apart:.3} s apart: {last:?} and {request:?}"
            );
        }
        if !request.limited() {
            used = Some(request);
        }
    }
}
