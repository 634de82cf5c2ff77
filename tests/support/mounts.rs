//! Kinds of file systems below a data dir whose files may get other inode numbers when they are mounted anew: a
//! container's layers (overlayfs) and one in user space (FUSE, by bindfs, which `ops/test` installs); and memory
//! (tmpfs, as of an `emptyDir` that is asked for there). Only root may mount them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Unmounted when dropped.
pub struct Mounted {
    at: PathBuf,
    how: Vec<String>,
    /// What it shows, unmounted after it.
    _shows: Option<Box<Mounted>>,
}

impl Mounted {
    /// A container's layers: an empty image below, what is written above it in `base`.
    pub fn overlay(base: &Path) -> Option<Mounted> {
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| base.join(name));
        for dir in [&lower, &upper, &work] {
            fs::create_dir_all(dir).unwrap();
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        Mounted::by(base, &["mount", "-t", "overlay", "overlay", "-o", &layers])
    }

    /// A folder in `base` seen through a process.
    pub fn fuse(base: &Path) -> Option<Mounted> {
        let below = base.join("below");
        fs::create_dir_all(&below).unwrap();
        let below = below.display().to_string();
        Mounted::by(base, &["bindfs", "--resolve-symlinks", &below])
    }

    /// Memory, which outlives the mount of the data dir as that of a pod outlives its containers.
    pub fn tmpfs(base: &Path) -> Option<Mounted> {
        let memory = Mounted::by(&base.join("memory"), &["mount", "-t", "tmpfs", "tmpfs"])?;
        let shown = memory.at.display().to_string();
        let mut mounted = Mounted::by(base, &["mount", "--bind", &shown])?;
        mounted._shows = Some(Box::new(memory));
        Some(mounted)
    }

    fn by(base: &Path, how: &[&str]) -> Option<Mounted> {
        let at = base.join("mounted");
        fs::create_dir_all(&at).unwrap();
        let how: Vec<String> = how.iter().map(|&word| word.to_owned()).collect();
        if run(&how, &at) {
            return Some(Mounted {
                at,
                how,
                _shows: None,
            });
        }
        println!("left out: no {} here", how[0]);
        None
    }

    /// The folder.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// As after a reboot or a move to another node.
    pub fn again(&self) {
        assert!(run(&["umount".into()], &self.at), "somebody uses it");
        assert!(run(&self.how, &self.at));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(&["umount".into(), "-l".into()], &self.at);
    }
}

fn run(words: &[String], at: &Path) -> bool {
    Command::new(&words[0])
        .args(&words[1..])
        .arg(at)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
