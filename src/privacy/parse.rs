//! The spellings of an address that a client's field may have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr as _;

/// `a.b.c.d`, `a.b.c.d:port`, IPv6, `[IPv6]`, `[IPv6]:port`, each IPv6 with or without `%zone`.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    if let Ok(a) = Ipv4Addr::from_str(text) {
        return Some(IpAddr::V4(a));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        if !after.is_empty() {
            port(after.strip_prefix(':')?)?;
        }
        return v6(inside);
    }
    if let Some((address, after)) = text.rsplit_once(':')
        && let Ok(a) = Ipv4Addr::from_str(address)
    {
        port(after)?;
        return Some(IpAddr::V4(a));
    }
    v6(text)
}

fn v6(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((address, zone)) if is_zone(zone) => address,
        Some(_) => return None,
        None => text,
    };
    Ipv6Addr::from_str(address).ok().map(IpAddr::V6)
}

fn is_zone(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

fn port(text: &str) -> Option<u16> {
    // `u16::from_str` would accept a sign and any number of zeros.
    if text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}
