//! How a file holds a secret.

use std::fs;
use std::path::Path;

use openssl::pkey::{PKey, Private};

/// The secret in a file.
///
/// # Errors
/// In words, if it cannot be read, or its first line is empty.
pub fn read(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    Ok(first_line(&text)?.to_owned())
}

/// A private key in PEM.
///
/// # Errors
/// In words, if there is none, or one with a passphrase.
pub fn private_key(pem: &[u8]) -> Result<PKey<Private>, &'static str> {
    // OpenSSL would ask for a passphrase on the terminal.
    PKey::private_key_from_pem_callback(pem, |_| Ok(0)).map_err(|_| NO_KEY)
}

/// What a file is told that holds none that can be used.
pub const NO_KEY: &str = "it holds no private key in PEM without a passphrase";

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
