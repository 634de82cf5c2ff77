//! Headers made from settings.

use ureq::http::HeaderValue;

use crate::clickhouse::options::SinkOptionsError;

/// A header that no log prints.
pub(in crate::clickhouse) fn header(
    setting: &'static str,
    value: Option<&str>,
) -> Result<Option<HeaderValue>, SinkOptionsError> {
    let Some(value) = value else { return Ok(None) };
    // By bytes: a password may hold letters beyond ASCII.
    let mut header = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| SinkOptionsError {
        setting,
        problem: "holds a character that no HTTP header can carry".into(),
        remedy: "remove line ends and control characters (a file often ends in a line end)",
    })?;
    header.set_sensitive(true);
    Ok(Some(header))
}
