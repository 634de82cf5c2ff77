//! What a process that dies leaves: the files of its data dir, as they are at that moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The files of a data dir.
pub struct Image(BTreeMap<PathBuf, Vec<u8>>);

impl Image {
    pub fn of(dir: &Path) -> Image {
        let mut files = BTreeMap::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(content) = fs::read(&path) {
                    files.insert(path, content);
                }
            }
        }
        Image(files)
    }

    /// Puts the files back, each into its place: the program tells a copy by the file it lies in.
    pub fn restore(&self, dir: &Path) {
        let now = Image::of(dir);
        for path in now.0.keys().filter(|path| !self.0.contains_key(*path)) {
            fs::remove_file(path).unwrap();
        }
        for (path, content) in &self.0 {
            fs::write(path, content).unwrap();
        }
    }
}
