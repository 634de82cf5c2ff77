//! From text to a value, one function a kind of setting.
//!
//! Each answers a refused text with what it takes, in words that complete "... is not". None takes
//! an empty text (the optional ones excepted) or one with control characters.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::KafkaStart;
use crate::clickhouse::AllowedDuplicates;
use crate::privacy::policy::{Ipv4Bits, Ipv6Bits, Query};
use crate::queue::PackedFormat;
use crate::runtime::logging::Format;
use crate::runtime::room::Amount;
use crate::runtime::span;
use crate::store::QuarantineFull;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The value, or what would have been taken.
pub(super) type Parsed<T> = Result<T, String>;

/// A time such as `63s` or `1m 30s`; a bare number is seconds, as a JSON number is.
pub(super) fn time(min: Duration, max: Duration) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| {
        let seconds = text.trim().parse::<f64>().ok();
        let parsed = match seconds {
            Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            None => span::within(text, min, max),
        };
        parsed.filter(|t| (min..=max).contains(t)).ok_or_else(|| {
            let (min, max) = (
                humantime::format_duration(min),
                humantime::format_duration(max),
            );
            format!("a time from {min} to {max} (a bare number is seconds)")
        })
    }
}

/// A size such as `64MiB` or `1.5GB`; a bare number is bytes.
pub(super) fn bytes(min: u64, max: u64) -> impl Fn(&str) -> Parsed<u64> {
    move |text| {
        let parsed = text
            .trim()
            .parse::<bytesize::ByteSize>()
            .ok()
            .map(|size| size.as_u64());
        parsed.filter(|n| (min..=max).contains(n)).ok_or_else(|| {
            let (low, high) = (show_bytes(min), show_bytes(max));
            match (min, max) {
                (0, u64::MAX) => "a size in bytes or with a unit".into(),
                (_, u64::MAX) => format!("a size of at least {low}"),
                _ => format!("a size from {low} to {high}"),
            }
        })
    }
}

/// Bytes as above, a share of the disk such as `10%`, or both, of which the smaller holds.
pub(super) fn amount(min: u64) -> impl Fn(&str) -> Parsed<Amount> {
    move |text| {
        let size = bytes(min, u64::MAX);
        let both = || {
            let (mut percent, mut most) = (None, None);
            for part in text.split(',').map(str::trim) {
                let given = match part.strip_suffix('%') {
                    Some(n) => percent.replace(n.trim().parse().ok()?).is_some(),
                    None => most.replace(size(part).ok()?).is_some(),
                };
                if given {
                    return None;
                }
            }
            match percent {
                Some(percent) => Amount::percent(percent, most),
                None => most.map(Amount::bytes),
            }
        };
        both().ok_or_else(|| {
            let size = size("\0").err().unwrap_or_default();
            format!("{size}, a share of the disk such as 10%, or both, of which the smaller holds")
        })
    }
}

/// `64MiB`: exact where the number is a whole multiple of a unit, as bounds are.
fn show_bytes(n: u64) -> String {
    match n {
        0 => "0".into(),
        n if n % GIB == 0 => format!("{}GiB", n / GIB),
        n if n % MIB == 0 => format!("{}MiB", n / MIB),
        n if n % KIB == 0 => format!("{}KiB", n / KIB),
        n => n.to_string(),
    }
}

/// A whole number; `_` may group its digits.
pub(super) fn count(min: u64, max: u64) -> impl Fn(&str) -> Parsed<u64> {
    move |text| {
        let parsed = text.trim().replace('_', "").parse::<u64>().ok();
        parsed
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| format!("a whole number from {min} to {max}"))
    }
}

pub(super) fn ipv4_bits(text: &str) -> Parsed<Ipv4Bits> {
    bits(text, Ipv4Bits::ALL, Ipv4Bits::new)
}

pub(super) fn ipv6_bits(text: &str) -> Parsed<Ipv6Bits> {
    bits(text, Ipv6Bits::ALL, Ipv6Bits::new)
}

pub(super) fn query(text: &str) -> Parsed<Query> {
    match text.trim() {
        "keep" => Ok(Query::Keep),
        "drop" => Ok(Query::Drop),
        _ => Err("keep or drop".into()),
    }
}

/// Names as they are compared: in small letters, each once; none if empty.
pub(super) fn parameters(text: &str) -> Parsed<Vec<String>> {
    let is_name = |name: &String| {
        let is_sign = |c: char| c.is_control() || c.is_whitespace() || "=?&;#/[%+".contains(c);
        !name.is_empty() && !name.contains(is_sign)
    };
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let names = text.split(',').map(|name| name.trim().to_ascii_lowercase());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.iter().all(is_name).then_some(names).ok_or_else(|| {
        "names separated by commas, without spaces and any of = ? & ; # / [ % +".into()
    })
}

/// One of few numbers.
fn bits<T>(text: &str, all: &[u8], new: fn(u8) -> Option<T>) -> Parsed<T> {
    let parsed = text.trim().parse().ok().and_then(new);
    parsed.ok_or_else(|| {
        let all: Vec<String> = all.iter().map(u8::to_string).collect();
        let (last, first) = all.split_last().expect("there are several");
        format!("{} or {last}", first.join(", "))
    })
}

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text.trim() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("true or false".into()),
    }
}

pub(super) fn kafka_start(text: &str) -> Parsed<KafkaStart> {
    match text.trim() {
        "earliest" => Ok(KafkaStart::Earliest),
        "latest" => Ok(KafkaStart::Latest),
        "stop" => Ok(KafkaStart::Stop),
        _ => Err("earliest, latest or stop".into()),
    }
}

pub(super) fn quarantine_full(text: &str) -> Parsed<QuarantineFull> {
    match text.trim() {
        "pause" => Ok(QuarantineFull::Pause),
        "drop-oldest" => Ok(QuarantineFull::DropOldest),
        _ => Err("pause or drop-oldest".into()),
    }
}

pub(super) fn allowed_duplicates(text: &str) -> Parsed<AllowedDuplicates> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    match text.trim() {
        "none" => Ok(AllowedDuplicates::None),
        "all" => Ok(AllowedDuplicates::All),
        _ if names.iter().all(|name| identifier(name).is_ok()) => {
            Ok(AllowedDuplicates::Tables(names))
        }
        _ => Err("none, all, or names of tables, separated by commas".into()),
    }
}

pub(super) fn packed_format(text: &str) -> Parsed<PackedFormat> {
    match text.trim() {
        "rowbinary" => Ok(PackedFormat::RowBinary),
        "native" => Ok(PackedFormat::Native),
        _ => Err("rowbinary or native".into()),
    }
}

pub(super) fn log_format(text: &str) -> Parsed<Format> {
    match text.trim() {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err("text or json".into()),
    }
}

/// Any text that a person can read.
pub(super) fn word(text: &str) -> Parsed<String> {
    let is_good = !text.trim().is_empty() && !text.contains(char::is_control);
    is_good
        .then(|| text.to_string())
        .ok_or_else(|| "a text without control characters".into())
}

/// The names that Kafka takes.
pub(super) fn topic(text: &str) -> Parsed<String> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_good = (1..=249).contains(&text.len())
        && text.chars().all(is_letter)
        && !matches!(text, "." | "..");
    is_good
        .then(|| text.to_string())
        .ok_or_else(|| "a topic name (1 to 249 letters, digits, '.', '_', '-')".into())
}

/// Broker addresses; a port left out is 9092, and `SASL_SSL://` or the like may precede.
pub(super) fn brokers(text: &str) -> Parsed<String> {
    let is_broker = |one: &str| {
        let address = one.split_once("://").map_or(one, |(_, rest)| rest);
        let (host, port) = match address.rsplit_once(':') {
            // A colon inside [...] belongs to the IPv6 address.
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (address, Some(9092)),
        };
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty()
            && (is_bracketed || !host.contains(':'))
            && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
            && port.is_some_and(|port: u16| port > 0)
    };
    let all: Vec<&str> = text.split(',').map(str::trim).collect();
    all.iter()
        .all(|one| is_broker(one))
        .then(|| all.join(","))
        .ok_or_else(|| "a list of host:port, separated by commas".into())
}

/// A name that needs no quoting in SQL, so that none can be read as something else there.
pub(super) fn identifier(text: &str) -> Parsed<String> {
    let is_good = (1..=128).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !text.starts_with(|c: char| c.is_ascii_digit());
    is_good.then(|| text.to_string()).ok_or_else(|| {
        "a name of 1 to 128 letters, digits and '_' that does not begin with a digit".into()
    })
}

/// The user of HTTP basic authentication, which cannot hold a colon; empty for none.
pub(super) fn user(text: &str) -> Parsed<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    word(text)
        .ok()
        .filter(|name| !name.contains(':'))
        .map(Some)
        .ok_or_else(|| "a user name without ':' or control characters".into())
}

/// A path as it is; a relative one is relative to where the program was started.
pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    word(text).map(PathBuf::from).map_err(|_| "a path".into())
}

/// A path, or empty for none.
pub(super) fn optional_path(text: &str) -> Parsed<Option<PathBuf>> {
    if text.is_empty() {
        Ok(None)
    } else {
        path(text).map(Some)
    }
}

/// An address with a port; no name, since a name may stand for several addresses.
pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    text.trim()
        .parse()
        .map_err(|_| "an IP address and a port".into())
}

/// The base of the requests' addresses, without a slash at its end.
pub(super) fn url(text: &str) -> Parsed<String> {
    let is_good = || {
        let uri: ureq::http::Uri = text.trim().parse().ok()?;
        let authority = uri.authority()?;
        let is_good = matches!(uri.scheme_str(), Some("http" | "https"))
            && !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && (authority.port_u16().is_some_and(|p| p > 0) || !has_port(authority.as_str()))
            && uri.query().is_none()
            && !text.contains('#');
        is_good.then(|| text.trim().trim_end_matches('/').to_string())
    };
    is_good().ok_or_else(|| {
        "an http:// or https:// address without user, password (clickhouse_user and \
         clickhouse_password_file have them), query or fragment"
            .into()
    })
}

/// Whether something follows the host's colon, be it a number or not.
fn has_port(authority: &str) -> bool {
    authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.contains(']'))
}
