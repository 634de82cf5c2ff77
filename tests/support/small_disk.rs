//! A small file system of its own (ext4 in a file, or one in memory), which can be full, fail and be read-only. Only root
//! may mount one.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Unmounted when dropped.
pub struct SmallDisk {
    image: PathBuf,
    at: PathBuf,
}

impl SmallDisk {
    /// Makes one of `mebibytes` in the file `image` and mounts it on the directory `at`. `None` where
    /// that is not allowed; the caller then leaves its test out, and a line says so.
    pub fn mount(image: &Path, at: &Path, mebibytes: u64) -> Option<SmallDisk> {
        File::create(image)
            .and_then(|f| f.set_len(mebibytes << 20))
            .unwrap();
        fs::create_dir_all(at).unwrap();
        if run("mkfs.ext4", &["-q", "-m", "0"], &[image]) {
            return SmallDisk::of(image, at);
        }
        println!("left out: a file system cannot be mounted here");
        None
    }

    /// Mounts what is in the file `image`.
    pub fn of(image: &Path, at: &Path) -> Option<SmallDisk> {
        fs::create_dir_all(at).unwrap();
        if run("mount", &["-o", "loop"], &[image, at]) {
            return Some(SmallDisk {
                image: image.to_owned(),
                at: at.to_owned(),
            });
        }
        println!("left out: a file system cannot be mounted here");
        None
    }

    /// Copies it as it is at one moment, with all that is written, as a snapshot of its device would.
    pub fn copy(&self, image: &Path) {
        assert!(run("fsfreeze", &["-f"], &[&self.at]));
        let copied = fs::copy(&self.image, image);
        assert!(run("fsfreeze", &["-u"], &[&self.at]));
        copied.unwrap();
    }

    /// What the kernel does when the disk fails: from now on it is read-only, open files too.
    pub fn fail(&self) {
        assert!(run("mount", &["-o", "remount,abort"], &[&self.at]));
    }

    /// As after a reboot: unmounted, checked, mounted, read-only or not.
    pub fn again(&self, read_only: bool) {
        assert!(run("umount", &[], &[&self.at]), "somebody uses it");
        // 1: errors were corrected.
        run("e2fsck", &["-p"], &[&self.image]);
        let how = if read_only { "loop,ro" } else { "loop" };
        assert!(run("mount", &["-o", how], &[&self.image, &self.at]));
    }

    /// One in memory, which can grow.
    pub fn in_memory(at: &Path, mebibytes: u64) -> Option<SmallDisk> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={mebibytes}m");
        if run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], &[at]) {
            return Some(SmallDisk {
                image: PathBuf::new(),
                at: at.to_owned(),
            });
        }
        println!("left out: a file system cannot be mounted here");
        None
    }

    /// Makes one in memory larger while it is used.
    pub fn grow(&self, mebibytes: u64) {
        let size = format!("remount,size={mebibytes}m");
        assert!(run("mount", &["-o", &size], &[&self.at]));
    }

    /// Leaves only so many bytes free. Returns what to remove.
    pub fn leave(&self, bytes: u64) -> PathBuf {
        let fs = rustix::fs::statvfs(&self.at).unwrap();
        let path = self.at.join("taken");
        let file = File::create(&path).unwrap();
        let take = fs.f_bavail * fs.f_frsize - bytes;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, take).unwrap();
        path
    }

    /// Leaves no room. Returns what to remove.
    pub fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut file = File::create(&path).unwrap();
        let piece = vec![1; 64 * 1024];
        while file.write_all(&piece).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l"], &[&self.at]);
    }
}

fn run(program: &str, words: &[&str], paths: &[&Path]) -> bool {
    Command::new(program)
        .args(words)
        .args(paths)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
