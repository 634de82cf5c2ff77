//! Room on a disk.

use std::path::Path;

/// Bytes that are free to us on the disk of `path`.
///
/// # Errors
/// `statvfs` failed: there is no such path, say.
pub fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let fs = rustix::fs::statvfs(path)?;
    Ok(fs.f_bavail * fs.f_frsize)
}
