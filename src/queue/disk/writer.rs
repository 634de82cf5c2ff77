//! Which release last wrote the queue, so that a start can tell of an upgrade.

use serde::{Deserialize, Serialize};

use crate::queue::format::block::{BLOCK_VERSION, FORMAT};
use crate::queue::{Queue, QueueError};

/// Name under which the queue keeps it.
const WRITER: &str = "writer";

/// Version of the format of this program's queues: of the layout, and of the blocks in it. Another layout
/// is refused, and so are blocks of another version (ops/CHANGELOG.md).
pub fn format_version() -> String {
    format!("{FORMAT}.{BLOCK_VERSION}")
}

/// The program that last ran on a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Its release.
    pub release: String,
    /// Its [`format_version`].
    pub format: String,
}

impl Writer {
    fn this() -> Writer {
        Writer {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            format: format_version(),
        }
    }
}

impl Queue {
    /// Records this program as the one that runs on the queue; the one before, if it was another release or
    /// had another format. Durable after [`Queue::sync`].
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read or written.
    pub fn note_writer(&self) -> Result<Option<Writer>, QueueError> {
        let (before, this) = (self.load::<Writer>(WRITER)?, Writer::this());
        if before.as_ref() == Some(&this) {
            return Ok(None);
        }
        self.save(WRITER, &this)?;
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::fixture::Fixture;

    #[test]
    fn another_release_is_told_once() {
        let mut f = Fixture::new();
        assert_eq!(f.q().note_writer().unwrap(), None);
        assert_eq!(f.q().note_writer().unwrap(), None);
        let other = Writer {
            release: "0.0.9".to_owned(),
            ..Writer::this()
        };
        f.q().save(WRITER, &other).unwrap();
        f.q().sync().unwrap();
        f.reopen();
        assert_eq!(f.q().note_writer().unwrap(), Some(other));
        assert_eq!(f.q().note_writer().unwrap(), None);
    }
}
