//! Every byte below a path, and what is compressed in it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

use super::canary::{Canaries, LONGEST, Seen};

/// Read at a time.
const PIECE: usize = 1 << 20;

/// How a frame of zstd begins (RFC 8878, 3.1.1): the rows of the queue, a sealed batch, a rotated log.
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What was looked through.
#[derive(Debug, Default)]
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
    pub plain: BTreeMap<PathBuf, u64>,
    /// What could not be looked through, and why.
    pub left_out: BTreeSet<String>,
}

/// Looks through the files below `path`, or that file; links are followed. What goes away meanwhile is passed over.
pub fn search(path: &Path, canaries: &Canaries, found: &mut Searched) {
    Search {
        canaries,
        found,
        been: HashSet::new(),
    }
    .below(path);
}

struct Search<'a> {
    canaries: &'a Canaries,
    found: &'a mut Searched,
    /// Device and inode: a link may lead round.
    been: HashSet<(u64, u64)>,
}

impl Search<'_> {
    fn below(&mut self, path: &Path) {
        match self.look(path) {
            Ok(()) => {}
            // Also a link that leads nowhere.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => {
                let words = format!("{}: {e}", path.display());
                self.found.left_out.insert(words);
            }
        }
    }

    fn look(&mut self, path: &Path) -> io::Result<()> {
        let about = fs::metadata(path)?;
        if !self.been.insert((about.dev(), about.ino())) {
            return Ok(());
        }
        if about.is_dir() {
            for entry in fs::read_dir(path)? {
                self.below(&entry?.path());
            }
        } else if about.is_file() {
            let seen = self.file(path)?;
            self.found.files += 1;
            self.found.masked += seen.masked;
            if seen.plain > 0 {
                self.found.plain.insert(path.to_owned(), seen.plain);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<Seen> {
        let mut opened = File::open(path)?;
        let (mut frames, mut seen) = (Vec::new(), Seen::default());
        let whole = read(&mut opened, self.canaries, &mut seen, |at| frames.push(at));
        self.found.bytes += whole?;
        for at in frames {
            opened.seek(SeekFrom::Start(at))?;
            let mut frame = zstd::Decoder::new(BufReader::new(&opened))?.single_frame();
            // Up to an error: four bytes may look like a beginning, and the rest of one may be overwritten.
            let _ = read(&mut frame, self.canaries, &mut seen, |_| {});
            self.found.frames += 1;
        }
        Ok(seen)
    }
}

/// Looks through all of `from`, also where it ends with an error, and tells where a frame begins. The bytes.
fn read(
    from: &mut impl Read,
    canaries: &Canaries,
    seen: &mut Seen,
    mut frame: impl FnMut(u64),
) -> io::Result<u64> {
    let finder = Finder::new(&FRAME);
    let (mut piece, mut begins) = (Vec::new(), 0);
    loop {
        let read = from.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let own = match read {
            Ok(1..) => piece.len().saturating_sub(LONGEST),
            Ok(0) | Err(_) => piece.len(),
        };
        *seen += canaries.look(&piece, own);
        let starts = finder.find_iter(&piece).filter(|at| *at < own);
        starts.for_each(|at| frame(begins + at as u64));
        piece.drain(..own);
        begins += own as u64;
        if read? == 0 {
            return Ok(begins);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::Policy;

    /// At every place around the border of two pieces, plain and where no byte of it shows what it says.
    #[test]
    fn an_address_is_found_wherever_it_lies() {
        let canaries = Canaries::new(&Policy::default()).unwrap();
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
                search(dir.path(), &canaries, &mut found);
                assert_eq!(
                    found.plain,
                    BTreeMap::from([(path.clone(), 1)]),
                    "{} bytes at {at}",
                    what.len()
                );
            }
        }
    }

    #[test]
    fn links_are_followed_once_and_what_cannot_be_read_is_named() {
        let canaries = Canaries::new(&Policy::default()).unwrap();
        let address = canaries.records(1).next().unwrap().remote_addr;
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("file"), &address).unwrap();
        for (to, name) in [
            (other.path(), "there"),
            (dir.path(), "round"),
            (Path::new("/none"), "nowhere"),
        ] {
            std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        }
        let mut found = Searched::default();
        search(dir.path(), &canaries, &mut found);
        assert_eq!(
            found.plain,
            BTreeMap::from([(dir.path().join("there/file"), 1)])
        );
        assert!(found.left_out.is_empty(), "{found:?}");
        // Its first page is not there to be read.
        search(Path::new("/proc/self/mem"), &canaries, &mut found);
        assert_eq!(found.left_out.len(), 1, "{found:?}");
    }
}
