//! What a page answers.

use std::sync::Arc;

/// What a page answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    content_type: &'static str,
    /// Lines of the head of its own, each with its end.
    lines: String,
    pub(super) body: Arc<[u8]>,
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &'static str, body: String) -> Answer {
        Answer {
            status,
            content_type,
            lines: String::new(),
            body: Arc::from(body.into_bytes()),
        }
    }

    pub(super) fn text(status: u16, words: impl Into<String>) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", words.into())
    }

    /// With one more line of the head.
    pub(super) fn with(mut self, name: &str, value: &str) -> Answer {
        self.lines += &format!("{name}: {value}\r\n");
        self
    }

    pub(super) fn head(&self) -> String {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            405 => "Method Not Allowed",
            413 => "Content Too Large",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let allow = if self.status == 405 {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        // What is told is of this moment, for nobody else's page, and nothing that a browser may take for
        // a script.
        format!(
            "HTTP/1.1 {} {reason}\r\n{allow}Content-Type: {}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
             Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n\
             {}Connection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len(),
            self.lines,
        )
    }
}
