//! The head of a request: all of it that is read, and no more than [`MOST`] of it.

use super::access::Credentials;
use super::answer::Answer;

/// Most bytes of a head. Prometheus sends below one KiB.
pub(super) const MOST: usize = 8 << 10;

/// Headers in it.
const HEADERS: usize = 64;

/// What a head asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// It has not come to its end.
    Unfinished,
    /// A page.
    Get(Request),
    /// Something that is not for this server.
    Refused(Answer),
}

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// Without what follows a `?`.
    pub(super) path: String,
    /// What follows it.
    pub(super) query: String,
    /// Whether the page itself is to be left out.
    pub(super) head_only: bool,
    /// What the client says it reads: its `Accept` headers, joined by commas.
    pub(super) accept: String,
    /// Who it says it is.
    pub(super) credentials: Credentials,
}

/// Reads a head, which may still grow.
pub(super) fn parse(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < MOST => return Head::Unfinished,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return refused(431, "the head of a request may have 8 KiB and 64 lines\n");
        }
        Err(_) => return refused(400, "this is not HTTP/1\n"),
    }
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return refused(405, "GET and HEAD only\n"),
    };
    // What is announced is never believed, and never waited for.
    if request.headers.iter().any(announces_a_body) {
        return refused(413, "a request has no body here\n");
    }
    let path = request.path.unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Head::Get(Request {
        path: path.to_owned(),
        query: query.to_owned(),
        head_only,
        accept: accepted(request.headers),
        credentials: credentials(request.headers),
    })
}

fn accepted(headers: &[httparse::Header<'_>]) -> String {
    let accepts = headers
        .iter()
        .filter(|h| h.name.eq_ignore_ascii_case("accept"));
    let values: Vec<_> = accepts.map(|h| String::from_utf8_lossy(h.value)).collect();
    values.join(",")
}

fn credentials(headers: &[httparse::Header<'_>]) -> Credentials {
    let mut all = headers
        .iter()
        .filter(|h| h.name.eq_ignore_ascii_case("authorization"));
    // Of two it would be open which holds.
    match (all.next(), all.next()) {
        (Some(header), None) => Credentials::of_header(header.value),
        _ => Credentials::default(),
    }
}

fn announces_a_body(header: &httparse::Header<'_>) -> bool {
    header.name.eq_ignore_ascii_case("transfer-encoding")
        || header.name.eq_ignore_ascii_case("content-length")
            && header.value.trim_ascii() != b"0".as_slice()
}

fn refused(status: u16, words: &str) -> Head {
    Head::Refused(Answer::text(status, words))
}
