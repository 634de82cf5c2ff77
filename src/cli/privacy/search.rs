//! Every byte below a path, and what is compressed in it.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use memchr::memmem::Finder;
use serde::Serialize;

use super::canary::{Canaries, LONGEST, Seen};

/// Read at a time.
const PIECE: usize = 1 << 20;

/// How a frame of zstd begins (RFC 8878, 3.1.1): the rows of the queue, a sealed batch, a rotated log.
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What a frame may hold at the most. The program's own hold far less; others are cut there.
const MOST_IN_FRAME: u64 = 1 << 30;

/// What was looked through.
#[derive(Debug, Default, Serialize)]
pub struct Searched {
    /// Files.
    pub files: u64,
    /// Bytes of them, as they lie there.
    pub bytes: u64,
    /// Frames of zstd found in them, whose content was looked through as well.
    pub frames: u64,
    /// Where masked canaries were.
    pub masked: u64,
    /// Files with an address that is not masked, and how many.
    pub plain: Vec<(PathBuf, u64)>,
}

/// Looks through the files below `path`, or that file. What goes away meanwhile is passed over; links are not followed.
///
/// # Errors
/// If something there cannot be read.
pub fn search(path: &Path, canaries: &Canaries, found: &mut Searched) -> io::Result<()> {
    let about = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        about => about?,
    };
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            search(&entry?.path(), canaries, found)?;
        }
    } else if about.is_file() {
        let seen = file(path, canaries, found)?;
        found.files += 1;
        found.masked += seen.masked;
        if seen.plain > 0 {
            found.plain.push((path.to_owned(), seen.plain));
        }
    }
    Ok(())
}

fn file(path: &Path, canaries: &Canaries, found: &mut Searched) -> io::Result<Seen> {
    let mut opened = File::open(path)?;
    let mut frames = Vec::new();
    let mut seen = read(
        &mut opened,
        canaries,
        |at| frames.push(at),
        &mut found.bytes,
    )?;
    found.frames += frames.len() as u64;
    for at in frames {
        opened.seek(SeekFrom::Start(at))?;
        let mut frame = zstd::Decoder::new(BufReader::new(&opened))?
            .single_frame()
            .take(MOST_IN_FRAME);
        seen += read_frame(&mut frame, canaries);
    }
    Ok(seen)
}

/// Up to where it is none: four bytes may look like a beginning, and the rest of a frame may be overwritten.
fn read_frame(frame: &mut impl Read, canaries: &Canaries) -> Seen {
    let mut content = Vec::new();
    // What was read before an error is looked through all the same.
    let _ = frame.read_to_end(&mut content);
    canaries.look(&content, content.len())
}

/// Looks through all of `from`, and tells where a frame begins.
fn read(
    from: &mut impl Read,
    canaries: &Canaries,
    mut frame: impl FnMut(u64),
    bytes: &mut u64,
) -> io::Result<Seen> {
    let finder = Finder::new(&FRAME);
    let (mut seen, mut piece, mut begins) =
        (Seen::default(), Vec::with_capacity(PIECE + LONGEST), 0);
    loop {
        let read = from.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        *bytes += read as u64;
        let own = if read == 0 {
            piece.len()
        } else {
            piece.len().saturating_sub(LONGEST)
        };
        seen += canaries.look(&piece, own);
        let starts = finder.find_iter(&piece).filter(|at| *at < own);
        starts.for_each(|at| frame(begins + at as u64));
        if read == 0 {
            return Ok(seen);
        }
        piece.drain(..own);
        begins += own as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At every place around the border of two pieces, plain and where no byte of it shows what it says.
    #[test]
    fn an_address_is_found_wherever_it_lies() {
        let canaries = Canaries::new().unwrap();
        let address = canaries.records(1).next().unwrap().remote_addr;
        let noise: String = (1..400_u32)
            .map(|i| format!("{:x} ", i.wrapping_mul(2_654_435_761)))
            .collect();
        let packed = zstd::encode_all(format!("{noise}{address}{noise}").as_bytes(), 1).unwrap();
        assert_eq!(canaries.look(&packed, packed.len()), Seen::default());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for at in [0, 7, PIECE - 40, PIECE - 9, PIECE - 1, PIECE, 2 * PIECE - 3] {
            for what in [address.as_bytes(), &packed] {
                fs::write(&path, [&vec![b' '; at], what, b" and more"].concat()).unwrap();
                let mut found = Searched::default();
                search(dir.path(), &canaries, &mut found).unwrap();
                assert_eq!(
                    found.plain,
                    [(path.clone(), 1)],
                    "{} bytes at {at}",
                    what.len()
                );
            }
        }
    }
}
