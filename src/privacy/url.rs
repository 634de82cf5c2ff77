//! What is taken away of a URL, where a [`Policy`] says so:
//!
//! 1. the query: all from the first `?` or `#` on;
//! 2. the values of named parameters, each of which becomes `X`, in a query, in a fragment and behind a `;` in a
//!    path. A name is compared without its case, its escapes and what follows a `[`;
//! 3. each part, as they stand between `/ ? & ; = #`, that holds an IP or a mail address, in any of the
//!    spellings of [`traces`]: it becomes `X` as a whole.
//!
//! Where parsers differ, more is taken away rather than less. A message in quarantine has the first two in place
//! at equal length ([`in_place`]); one with the third is not kept.

use std::borrow::Cow;

use crate::privacy::policy::{Policy, Query};
use crate::privacy::traces::{self, Client, unescaped_whole};

/// What stands for what was taken away.
const GONE: u8 = b'X';

/// Names within escapes within escapes are looked at so deep.
const ESCAPES: usize = 4;

/// The URL as a row has it.
pub fn cut<'a>(url: &'a [u8], policy: &Policy) -> Cow<'a, [u8]> {
    let mut url = Cow::Borrowed(url);
    if policy.url_query == Query::Drop
        && let Some(at) = query(&url)
    {
        url = match url {
            Cow::Borrowed(url) => Cow::Borrowed(&url[..at]),
            Cow::Owned(url) => Cow::Owned(url[..at].to_vec()),
        };
    }
    if !policy.url_parameters.is_empty() {
        let values = values(&url, &policy.url_parameters);
        url = replaced(url, values);
    }
    if policy.url_addresses {
        let parts = parts_with_addresses(&url);
        url = replaced(url, parts);
    }
    url
}

/// Overwrites the query and the values, at equal length; [`cut`] then makes the same of it. False if an address
/// is left, which has no such spelling.
pub fn in_place(url: &mut [u8], policy: &Policy) -> bool {
    if policy.url_query == Query::Drop
        && let Some(at) = query(url)
    {
        url[at + 1..].fill(GONE);
    }
    for value in values(url, &policy.url_parameters) {
        url[value].fill(GONE);
    }
    !policy.url_addresses || parts_with_addresses(url).is_empty()
}

type Range = std::ops::Range<usize>;

/// Where the query begins. A fragment goes with it: pages have queries of their own there.
fn query(url: &[u8]) -> Option<usize> {
    url.iter().position(|b| b"?#".contains(b))
}

/// The URL with one `X` in the place of each range; they are in order.
fn replaced<'a>(url: Cow<'a, [u8]>, ranges: Vec<Range>) -> Cow<'a, [u8]> {
    if ranges.is_empty() {
        return url;
    }
    let (mut out, mut at) = (Vec::with_capacity(url.len() + ranges.len()), 0);
    for range in ranges {
        out.extend_from_slice(&url[at..range.start]);
        out.push(GONE);
        at = range.end;
    }
    out.extend_from_slice(&url[at..]);
    Cow::Owned(out)
}

/// Where the values of parameters of these names are.
fn values(url: &[u8], names: &[String]) -> Vec<Range> {
    let mut found = Vec::new();
    if names.is_empty() {
        return found;
    }
    let find = |from: usize, signs: &[u8]| {
        let at = url[from..].iter().position(|b| signs.contains(b));
        at.map_or(url.len(), |at| from + at)
    };
    let (mut at, mut in_path) = (0, true);
    while at < url.len() {
        let end = find(at, b"=?&;#/");
        let sign = url.get(end);
        in_path &= !matches!(sign, Some(b'?' | b'#'));
        if sign == Some(&b'=') && is_one_of(&url[at..end], names) {
            // Some take a `;` for the end of a value in a query, others for a part of it.
            let signs: &[u8] = if in_path { b";/?#" } else { b"&#" };
            let value = end + 1..find(end + 1, signs);
            at = value.end;
            found.push(value);
        } else {
            at = end + 1;
        }
    }
    found
}

/// Whether a parameter has one of these names, which are in small letters.
fn is_one_of(name: &[u8], names: &[String]) -> bool {
    let mut name = name.to_ascii_lowercase();
    for _ in 0..ESCAPES {
        let text = String::from_utf8_lossy(&name);
        let bare = text.split('[').next().unwrap_or_default();
        if names.iter().any(|n| n == bare.trim_matches([' ', '+'])) {
            return true;
        }
        let plain = without_percent(&name).to_ascii_lowercase();
        if plain == name {
            return false;
        }
        name = plain;
    }
    true
}

/// `%41` as `A`.
fn without_percent(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (b, ..) => {
                out.push(b);
                at += 1;
            }
        }
    }
    out
}

/// Where the parts are that hold an IP or a mail address.
fn parts_with_addresses(url: &[u8]) -> Vec<Range> {
    let mut found = Vec::new();
    let mut start = 0;
    for part in url.split(|b| b"/?&;=#".contains(b)) {
        let range = start..start + part.len();
        start = range.end + 1;
        // Nobody writes an address in letters alone.
        if !part.iter().all(u8::is_ascii_alphabetic) && holds_address(part) {
            found.push(range);
        }
    }
    found
}

fn holds_address(part: &[u8]) -> bool {
    traces::shows(part, &Client::Cut)
        || match unescaped_whole(String::from_utf8_lossy(part).into_owned()) {
            Some(text) => holds_mail(&text),
            None => true,
        }
}

/// Whether something stands before an `@`, and behind it a name with a dot in it that is no version.
fn holds_mail(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let is_local = |c: char| c.is_alphanumeric() || "._%+-!#$'*^`{|}~\"".contains(c);
        let is_domain = |c: &char| c.is_alphanumeric() || "-.".contains(*c);
        let domain: String = text[at + 1..].chars().take_while(is_domain).collect();
        let last = domain.trim_end_matches('.').rsplit_once('.');
        text[..at].ends_with(is_local)
            && last.is_some_and(|(_, top)| top.chars().all(char::is_alphabetic) && !top.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(drop: bool, names: &[&str], addresses: bool) -> Policy {
        Policy {
            url_query: if drop { Query::Drop } else { Query::Keep },
            url_parameters: names.iter().map(|n| (*n).to_owned()).collect(),
            url_addresses: addresses,
            ..Policy::default()
        }
    }

    fn all() -> Vec<Policy> {
        let names: [&[&str]; 3] = [&[], &["token"], &["sid", "token"]];
        let of = |drop| {
            names
                .into_iter()
                .flat_map(move |n| [false, true].map(|a| policy(drop, n, a)))
        };
        [false, true].into_iter().flat_map(of).collect()
    }

    fn cut_of(url: &str, policy: &Policy) -> String {
        String::from_utf8(cut(url.as_bytes(), policy).into_owned()).unwrap()
    }

    #[test]
    fn nothing_is_taken_away_by_default() {
        for url in ["", "/a?token=b&c=jo@example.com#d", "/192.0.2.1;x=y", "?"] {
            assert_eq!(cut_of(url, &Policy::default()), url);
        }
    }

    #[test]
    fn a_query_goes_from_its_first_sign_on() {
        let f = |url, want| assert_eq!(cut_of(url, &policy(true, &[], false)), want);
        f(
            "https://example.com/a/b?c=d&e=f#g",
            "https://example.com/a/b",
        );
        f("/a?", "/a");
        f("/a#b?c", "/a");
        f("/a/b;c=d", "/a/b;c=d");
        f("?a", "");
    }

    #[test]
    fn the_value_of_a_named_parameter_becomes_x_however_it_is_written() {
        let f = |url, want| assert_eq!(cut_of(url, &policy(false, &["sid", "token"], false)), want);
        f("/a?token=secret", "/a?token=X");
        f("/a?token=", "/a?token=X");
        f("/a?token", "/a?token");
        f(
            "/a?tokens=1&my_token=2&x=token",
            "/a?tokens=1&my_token=2&x=token",
        );
        f("/a?b=c&TOKEN=x/y;z?w&d=e#f", "/a?b=c&TOKEN=X&d=e#f");
        f(
            "/a?%74oken=x&%2574oken=y&token%5B%5D=z&token[0]=w",
            "/a?%74oken=X&%2574oken=X&token%5B%5D=X&token[0]=X",
        );
        f("/a?+token=x&token+=y", "/a?+token=X&token+=X");
        f("/a;sid=12/b;c=d?e=f", "/a;sid=X/b;c=d?e=f");
        f("/a?b&amp;sid=12&amp;c=d", "/a?b&amp;sid=X&amp;c=d");
        f("/a#sid=12&b=c", "/a#sid=X&b=c");
        f("/a?u=sid=12&b=c", "/a?u=sid=X&b=c");
        f("/a?sid=1&sid=2", "/a?sid=X&sid=X");
    }

    #[test]
    fn a_part_with_an_ip_or_a_mail_address_becomes_x() {
        let f = |url, want| assert_eq!(cut_of(url, &policy(false, &[], true)), want);
        f("/users/jo@example.com/orders", "/users/X/orders");
        f(
            "/a?mail=Jo.Doe%2Bnews%40mail.example.com&b=c",
            "/a?mail=X&b=c",
        );
        f("/a?mail=jo%2540example.com", "/a?mail=X");
        f("/a?mail=j\u{f6}@b\u{fc}cher.example", "/a?mail=X");
        f("mailto:jo@example.com", "X");
        f("https://jo:secret@example.com/a", "https://X/a");
        f("/a/192.0.2.77/b", "/a/X/b");
        f("/a?ip=192%2E0%2e2.77:443&b=c", "/a?ip=X&b=c");
        f("/a?ip=[2001:db8::1]&b", "/a?ip=X&b");
        f("/a/2001%3adb8%3a%3a1", "/a/X");
        f("/ip-192-0-2-77.internal", "/X");
        f("https://203.0.113.9:8080/a", "https://X/a");
        for url in [
            "https://example.com:443/a/b?c=d",
            "/res/1059/img/debf12ab34cd.jpg?v=3&w=640&h=480",
            "/npm/react@18.2.0/umd/react.js",
            "/@jo/posts/17",
            "/video/2026-11-26/12:34:56/seg-00123.ts",
            "/api/v1.2.3/550e8400-e29b-41d4-a716-446655440000",
            "/t?ts=1790000000123&u=1790000000",
            "/b%C3%BCcher/%E2%98%83?q=a%20b",
        ] {
            f(url, url);
        }
    }

    /// Words of which URLs with something to take away are made.
    fn urls() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just("/"),
            Just("?"),
            Just("&"),
            Just(";"),
            Just("="),
            Just("#"),
            Just("token"),
            Just("sid"),
            Just("%74oken"),
            Just("a"),
            Just("jo@example.com"),
            Just("%40"),
            Just("192.0.2.77"),
            Just("X"),
            Just("secret"),
            Just("["),
            Just("+"),
            Just("\u{e4}"),
            Just("1"),
        ];
        proptest::collection::vec(word, 0..24).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn what_is_overwritten_in_place_gives_the_same_row_also_by_a_stricter_policy(url in urls()) {
            for by in all() {
                let mut kept = url.clone().into_bytes();
                if !in_place(&mut kept, &by) {
                    continue;
                }
                prop_assert_eq!(kept.len(), url.len());
                for now in all() {
                    let both = by.stricter(&now);
                    let want = cut(url.as_bytes(), &both);
                    let got = cut(&kept, &both);
                    let [want, got] = [&want, &got].map(|u| String::from_utf8_lossy(u).into_owned());
                    prop_assert_eq!(got, want, "{} by {}, {}", url, by, now);
                }
            }
        }

        #[test]
        fn what_was_taken_away_is_in_no_row(secret in "[a-z0-9/?;.%]{8,20}", before in urls(), behind in urls()) {
            let rules = policy(false, &["token"], false);
            let url = format!("{before}?token={secret}&{behind}");
            prop_assert!(!cut_of(&url, &rules).contains(&secret));
            prop_assert!(!cut_of(&url, &policy(true, &[], false)).contains(&secret));
        }

        #[test]
        fn any_bytes_are_a_url_and_cut_twice_they_are_the_same(url: Vec<u8>) {
            for policy in all() {
                let once = cut(&url, &policy).into_owned();
                prop_assert_eq!(cut(&once, &policy).into_owned(), once);
            }
        }
    }
}
