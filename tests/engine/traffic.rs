//! `traffic` on the real engine: exact for every combination of dimensions, range, step and filter.

use std::fmt::Write as _;

use crate::totals::{ALL, Engine, START, century, digest, rows, subsets};

/// What `traffic` calls the columns of [`ALL`].
const NAMES: [&str; 4] = ["resource", "status", "cache", "address"];

/// Numbers that are the same in every run: an odd step through 64 bits.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A question that `traffic` takes, and the same to the raw rows.
struct Question<'a> {
    by: &'a [&'a str],
    step: u64,
    from: u64,
    to: u64,
    /// Name and values, as an array of ClickHouse's; `[]` is all.
    filters: Vec<(&'a str, String)>,
}

impl Question<'_> {
    fn to_traffic(&self) -> String {
        let filters = self
            .filters
            .iter()
            .fold(String::new(), |mut text, (name, values)| {
                write!(text, ", {name} = {values}").unwrap();
                text
            });
        format!(
            "traffic(from = toDateTime({}), to = toDateTime({}), step = {}, by = '{}'{filters})",
            self.from,
            self.to,
            self.step,
            self.by.join(",")
        )
    }

    /// All minutes that the range touches, each row by itself.
    fn to_raw(&self) -> String {
        let (first, end) = (self.from / 60 * 60, self.to.div_ceil(60) * 60);
        let time = match self.step {
            0 => format!("toUInt32({first})"),
            step => format!("toUInt32(intDiv(toUInt32(timestamp), {step}) * {step})"),
        };
        let mut wanted = String::new();
        let mut keys = Vec::new();
        for ((name, values), column) in self.filters.iter().zip(ALL) {
            if values != "[]" {
                write!(wanted, " AND {column} IN {values}").unwrap();
            }
            keys.push(match (self.by.contains(name), *name) {
                (true, _) => format!("toString({column})"),
                (false, "resource" | "status") => "'0'".into(),
                (false, _) => "''".into(),
            });
        }
        format!(
            "SELECT {time} AS t, {} AS k, sum(bytes_sent) AS b, count() AS n FROM http_log \
             WHERE {} < {} AND toUInt32(timestamp) >= {first} AND toUInt32(timestamp) < {end}{wanted} \
             GROUP BY ALL",
            keys.join(" || '|' || "),
            self.from,
            self.to,
        )
    }

    fn assert_equal(&self, engine: &Engine) {
        let traffic = self.to_traffic();
        let got = engine.sql(&digest(&format!(
            "SELECT toUInt32(time) AS t, toString(resource_id) || '|' || toString(response_status) \
             || '|' || cache_status || '|' || remote_addr AS k, \
             bytes_sent AS b, requests AS n FROM {traffic}"
        )));
        assert_eq!(got, engine.sql(&digest(&self.to_raw())), "{traffic}");
    }
}

fn all() -> Vec<(&'static str, String)> {
    NAMES.map(|name| (name, "[]".to_string())).to_vec()
}

#[test]
fn the_ends_of_a_range_are_exact() {
    let engine = Engine::start();
    engine.send("t", &rows(7, 20_000, 4 * 86_400), &[]).unwrap();
    for by in [&[][..], &["status"], &["address"], &["status", "address"]] {
        for step in [0, 3_600, 86_400] {
            for (from, to) in [(60, 3 * 86_400 + 1_234), (4_000, 40_000), (7, 8), (9, 9)] {
                let (from, to) = (START + from, START + to);
                let filters = all();
                Question {
                    by,
                    step,
                    from,
                    to,
                    filters,
                }
                .assert_equal(&engine);
            }
        }
    }
}

#[test]
fn every_combination_range_step_and_filter_is_exact() {
    let engine = Engine::start();
    engine
        .send("t", &rows(7, 300_000, 12 * 86_400), &[])
        .unwrap();
    engine.send("c", &century(5_000), &[]).unwrap();
    let mut random = Random(1);
    let mut some = |engine: &Engine, column: &str| match random.below(4) {
        0 => {
            let skip = random.below(100_000);
            let few = format!("SELECT * FROM http_log LIMIT {skip}, 40");
            let values = format!("SELECT groupUniqArray(3)({column}) FROM ({few})");
            engine.sql(&values).trim().to_string()
        }
        _ => "[]".into(),
    };
    let mut where_from = Random(2);
    for by in subsets(&NAMES) {
        for (i, step) in [0, 60, 3_600, 5_400, 86_400, 0, 3_600, 86_400]
            .into_iter()
            .enumerate()
        {
            // Every third range begins and ends with a second of its own, with an hour, with a day.
            let unit = [1, 3_600, 86_400][i % 3];
            let mut from = START + where_from.below(6 * 86_400) - 3_600;
            let mut to = from + 1 + where_from.below(9 * 86_400);
            if where_from.below(20) == 0 {
                (from, to) = (0, u64::from(u32::MAX));
            }
            let (from, to) = (from / unit * unit, to / unit * unit);
            let filters = NAMES
                .into_iter()
                .zip(ALL.iter().map(|c| some(&engine, c)))
                .collect();
            Question {
                by: &by,
                step,
                from,
                to,
                filters,
            }
            .assert_equal(&engine);
        }
    }
}

#[test]
fn a_step_or_dimension_that_it_does_not_take_is_an_error() {
    let engine = Engine::start();
    engine.send("t", &rows(7, 100, 600), &[]).unwrap();
    let f = |step: u32, by: &str, refused: Option<&str>| {
        let sql = format!(
            "SELECT count() FROM traffic(from = toDateTime(0), to = now(), step = {step}, by = '{by}', \
             resource = [], status = [], cache = [], address = [])"
        );
        let answer = engine.answer(&sql);
        match refused {
            Some(why) => assert!(answer.contains(why), "{answer}"),
            None => assert!(answer.trim().parse::<u64>().unwrap() > 0),
        }
    };
    f(90, "", Some("a multiple of 60"));
    f(60, "adress", Some("by takes resource, status"));
    f(60, "status, cache", None);
}
