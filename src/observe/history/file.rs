//! The file `history`: a head of 16 bytes, and a record for each minute of a day at its place.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;

use super::sample::{RECORD, Sample};
use super::{MINUTES, place};
use crate::queue::{DataDir, HISTORY_FILE};

/// What the file begins with: what it is, and the version of its records.
const HEAD: [u8; 16] = *b"anonymizer hist1";

/// Bytes of the file: 113 KiB, always.
pub(super) const SIZE: usize = HEAD.len() + MINUTES * RECORD;

/// See the module.
pub(super) struct HistoryFile(File);

impl HistoryFile {
    /// Opens it, or begins it anew, and reads what is whole of it.
    pub(super) fn open(dir: &DataDir) -> anyhow::Result<(HistoryFile, Vec<Option<Sample>>)> {
        let file = dir.own_file(HISTORY_FILE)?;
        let mut bytes = vec![0; SIZE];
        let is_ours = file.metadata()?.len() == SIZE as u64
            && file.read_exact_at(&mut bytes, 0).is_ok()
            && bytes.starts_with(&HEAD);
        if !is_ours {
            file.set_len(0).context("cannot begin `history` anew")?;
            file.set_len(SIZE as u64)
                .context("cannot begin `history` anew")?;
            file.write_all_at(&HEAD, 0)
                .context("cannot write `history`")?;
            return Ok((HistoryFile(file), vec![None; MINUTES]));
        }
        let records = bytes[HEAD.len()..].chunks_exact(RECORD);
        let samples = records.enumerate().map(|(at, record)| {
            // One that lies elsewhere is no sample of any minute that is looked for there.
            Sample::read(record).filter(|s| place(s.minute) == at)
        });
        Ok((HistoryFile(file), samples.collect()))
    }

    /// Writes a sample at its place.
    pub(super) fn write(&self, at: usize, sample: &Sample) -> anyhow::Result<()> {
        let offset = HEAD.len() + at * RECORD;
        self.0
            .write_all_at(&sample.write(), offset as u64)
            .context("cannot write `history`")
    }
}
