//! The URL of the proxy, checked once, and the parameters of a request behind it.

use ureq::http::Uri;

use super::SinkOptionsError;

/// Scheme, host, port and path, without a question mark.
#[derive(Debug, Clone)]
pub(crate) struct Base(String);

impl Base {
    /// Checks `url`. The error never repeats a password written into it.
    pub(crate) fn parse(url: &str) -> Result<Self, SinkOptionsError> {
        let error = |problem: String, remedy| SinkOptionsError {
            setting: "clickhouse_url",
            problem,
            remedy,
        };
        if url.contains('@') {
            return Err(error(
                "holds a user or a password".into(),
                "give them as clickhouse_user and clickhouse_password",
            ));
        }
        let example = "write it like http://proxy.example:8080 or https://proxy.example/clickhouse";
        let uri: Uri = url
            .parse()
            .map_err(|e| error(format!("{url:?} is no URL ({e})"), example))?;
        if !matches!(uri.scheme_str(), Some("http" | "https"))
            || uri.host().is_none_or(str::is_empty)
        {
            return Err(error(format!("{url:?} is no http or https URL"), example));
        }
        if url.contains(['?', '#']) {
            return Err(error(
                format!("{url:?} holds parameters"),
                "leave out everything from the ? or # on; the parameters are made by the program",
            ));
        }
        let mut base = url.to_string();
        // A request line needs a path.
        if uri.path() == "/" && !base.ends_with('/') {
            base.push('/');
        }
        Ok(Self(base))
    }

    /// The URL of one request.
    pub(crate) fn with<'a>(&self, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let mut url = self.0.clone();
        let mut join = '?';
        for (name, value) in parameters {
            url.push(join);
            encode(name, &mut url);
            url.push('=');
            encode(value, &mut url);
            join = '&';
        }
        url
    }
}

fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(byte as char);
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_http_https_ports_and_paths() {
        let f = |url: &str, want: &str| {
            let url = Base::parse(url)
                .unwrap()
                .with([("a b", "`x`&1")].into_iter());
            assert_eq!(url, want);
        };
        f("http://h", "http://h/?a%20b=%60x%60%261");
        f("http://h/", "http://h/?a%20b=%60x%60%261");
        f("https://h:8443/ch", "https://h:8443/ch?a%20b=%60x%60%261");
        f("http://[::1]:80", "http://[::1]:80/?a%20b=%60x%60%261");
    }

    #[test]
    fn refuses_the_rest_with_a_remedy() {
        for url in [
            "",
            "h:8123",
            "ftp://h",
            "http://",
            "http://h/?x=1",
            "http://h/#x",
            "http://a b",
        ] {
            let error = Base::parse(url).unwrap_err();
            assert!(!error.remedy.is_empty(), "{url}: {error}");
        }
        let error = Base::parse("http://me:secret@h").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
