//! A packed body, in a file of the data dir that has no name: it goes with the process, and is made
//! again from the batch's blocks by the next one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::path::Path;

/// The name it has for a moment.
const NAME: &str = "body.new";

/// A packed body.
#[derive(Debug)]
pub struct Spool {
    file: File,
    len: u64,
}

impl Spool {
    /// Has `write` fill a new spool in `dir`.
    ///
    /// # Errors
    /// What `write` returns, or the file's own error.
    pub fn fill<T, E: From<io::Error>>(
        dir: &Path,
        write: impl FnOnce(&mut BufWriter<&File>) -> Result<T, E>,
    ) -> Result<(Spool, T), E> {
        let path = dir.join(NAME);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        fs::remove_file(&path)?;
        let mut out = BufWriter::new(&file);
        let value = write(&mut out)?;
        out.flush()?;
        drop(out);
        let len = file.stream_position()?;
        Ok((Spool { file, len }, value))
    }

    /// Its length in bytes.
    pub fn body_len(&self) -> u64 {
        self.len
    }

    /// The body, from its start.
    ///
    /// # Errors
    /// The file's.
    pub fn rewound(&mut self) -> io::Result<&mut File> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(&mut self.file)
    }
}
