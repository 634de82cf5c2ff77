//! How a file holds a secret.

/// The secret: its first line, so that an editor's end of line does no harm.
///
/// # Errors
/// In words, if that line is empty.
pub fn first_line(text: &str) -> Result<&str, &'static str> {
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line),
        _ => Err("its first line is empty"),
    }
}
