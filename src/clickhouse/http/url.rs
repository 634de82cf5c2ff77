//! The URL of the proxy, and the parameters of a request behind it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Scheme, host, port and path, without a question mark.
#[derive(Debug, Clone)]
pub(in crate::clickhouse) struct Base(String);

impl Base {
    /// Takes `url` as `settings` checked it.
    pub(in crate::clickhouse) fn new(url: &str) -> Self {
        let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
        // A request line needs a path.
        let slash = if after_scheme.contains('/') { "" } else { "/" };
        Self(format!("{url}{slash}"))
    }

    /// The URL of one request.
    pub(in crate::clickhouse) fn with<'a>(
        &self,
        parameters: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> String {
        let mut url = self.0.clone();
        let mut join = '?';
        for (name, value) in parameters {
            url.push(join);
            url.extend(utf8_percent_encode(name, ENCODED));
            url.push('=');
            url.extend(utf8_percent_encode(value, ENCODED));
            join = '&';
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_ends_in_a_path_and_encoded_parameters() {
        let f = |url: &str, want: &str| {
            let url = Base::new(url).with([("a b", "`x`&1+ä-._~")].into_iter());
            assert_eq!(url, want);
        };
        f("http://h", "http://h/?a%20b=%60x%60%261%2B%C3%A4-._~");
        f("http://h/", "http://h/?a%20b=%60x%60%261%2B%C3%A4-._~");
        f(
            "https://h:8443/ch",
            "https://h:8443/ch?a%20b=%60x%60%261%2B%C3%A4-._~",
        );
        f(
            "http://[::1]:80",
            "http://[::1]:80/?a%20b=%60x%60%261%2B%C3%A4-._~",
        );
    }
}
