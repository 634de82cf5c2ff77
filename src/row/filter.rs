//! Which rows a person wants to see.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::read::Row;

/// Rows of any of these values; nothing said of a column lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub struct Filter {
    /// Only these resources, by commas
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    pub resource: Vec<u64>,
    /// Only these statuses, by commas: 404, or 5xx
    #[arg(long, value_delimiter = ',')]
    pub status: Vec<Statuses>,
    /// Only these cache statuses, by commas
    #[arg(long, value_delimiter = ',', value_name = "STATUS")]
    pub cache: Vec<String>,
    /// Only these methods, by commas
    #[arg(long, value_delimiter = ',')]
    pub method: Vec<String>,
    /// Only URLs with this in them
    #[arg(long, value_name = "PART")]
    pub url: Option<String>,
    /// Only these partitions, by commas
    #[arg(long, value_delimiter = ',', value_name = "NUMBER")]
    pub partition: Vec<i32>,
}

impl Filter {
    /// Whether rows of the partition may pass.
    pub fn takes_partition(&self, partition: i32) -> bool {
        self.partition.is_empty() || self.partition.contains(&partition)
    }

    /// Whether the row may.
    pub fn takes(&self, row: &Row<'_>) -> bool {
        let any_text = |wanted: &[String], is: &[u8]| {
            wanted.is_empty() || wanted.iter().any(|w| w.as_bytes().eq_ignore_ascii_case(is))
        };
        (self.resource.is_empty() || self.resource.contains(&row.resource_id))
            && (self.status.is_empty() || self.status.iter().any(|s| s.has(row.response_status)))
            && any_text(&self.cache, row.cache_status)
            && any_text(&self.method, row.method)
            && self
                .url
                .as_ref()
                .is_none_or(|part| has(row.url, part.as_bytes()))
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|w| w == part)
}

/// A status, or a hundred of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statuses {
    from: u16,
    to: u16,
}

impl Statuses {
    fn has(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl FromStr for Statuses {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Statuses, Self::Err> {
        const WRONG: &str = "neither a status like 404 nor a class, which are 1xx to 5xx";
        let class = text.strip_suffix("xx").or(text.strip_suffix("XX"));
        match class {
            Some(digit) => match digit.parse::<u16>() {
                Ok(n @ 1..=5) if digit.len() == 1 => Ok(Statuses {
                    from: n * 100,
                    to: n * 100 + 99,
                }),
                _ => Err(WRONG),
            },
            None => {
                let status = text.parse().map_err(|_| WRONG)?;
                Ok(Statuses {
                    from: status,
                    to: status,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row<'static> = Row {
        timestamp: 1,
        resource_id: 7,
        bytes_sent: 2,
        request_time_milli: 3,
        response_status: 404,
        cache_status: b"HIT",
        method: b"GET",
        remote_addr: b"1.2.3.X",
        url: b"/a/b.css",
        raw: b"",
    };

    fn takes(change: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        filter.takes(&ROW)
    }

    #[test]
    fn each_condition_is_one_of_its_values_and_all_must_hold() {
        assert!(takes(|_| {}));
        assert!(takes(|f| f.resource = vec![1, 7]));
        assert!(!takes(|f| f.resource = vec![1]));
        assert!(takes(|f| f.cache = vec!["miss".into(), "hit".into()]));
        assert!(!takes(|f| f.cache = vec!["HI".into()]));
        assert!(takes(|f| f.method = vec!["GET".into()]));
        assert!(!takes(|f| f.method = vec!["POST".into()]));
        assert!(takes(|f| f.url = Some("b.css".into())));
        assert!(takes(|f| f.url = Some(String::new())));
        assert!(!takes(|f| f.url = Some("/a/b.css?".into())));
        assert!(!takes(|f| {
            f.resource = vec![7];
            f.method = vec!["POST".into()];
        }));
    }

    #[test]
    fn a_status_is_a_number_or_a_class() {
        let status = |text: &str| takes(|f| f.status = vec![text.parse().unwrap()]);
        assert!(status("404") && status("4xx"));
        assert!(!status("405") && !status("5xx") && !status("3XX"));
        assert!("1xx".parse::<Statuses>().is_ok() && "999".parse::<Statuses>().is_ok());
        for wrong in [
            "", "xx", "40xx", "4x", "-1", "70000", "é", "0xx", "6xx", "9xx",
        ] {
            let words = wrong.parse::<Statuses>().unwrap_err();
            assert!(words.contains("1xx to 5xx"), "{wrong}");
        }
    }

    #[test]
    fn partitions_are_told_apart() {
        let only = Filter {
            partition: vec![3],
            ..Filter::default()
        };
        assert!(Filter::default().takes_partition(0));
        assert!(only.takes_partition(3) && !only.takes_partition(0));
    }
}
