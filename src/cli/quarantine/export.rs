//! `quarantine export`: a directory that has its name once all is in it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{Damaged, pages};
use crate::observe::quarantine::Ask;
use crate::queue::{Which, partial_of, rename_new};

/// What was written.
#[derive(Debug, Default, Serialize)]
pub struct Written {
    /// Messages in the manifest.
    pub messages: usize,
    /// Files with the bytes of one.
    pub files: usize,
    /// Messages left out, since their commit was not acknowledged yet.
    pub left_out: usize,
    /// The directory.
    pub directory: PathBuf,
}

/// Writes into `to.partial` beside it, which is renamed in the end, and removed if it fails.
pub fn export(data_dir: &Path, to: &Path) -> anyhow::Result<(Written, Damaged)> {
    // Without the slash that a shell adds, or the partial one would lie inside.
    let to: PathBuf = to.components().collect();
    if to.symlink_metadata().is_ok() {
        bail!("cannot create {}: it is there already", to.display());
    }
    let partial = partial_of(&to);
    fs::create_dir(&partial).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => anyhow::anyhow!(
            "{0} is there: another export to that name is under way, or one was killed. If none runs, \
             remove that directory and export again",
            partial.display()
        ),
        _ => anyhow::Error::from(e).context(format!("cannot create {}", partial.display())),
    })?;
    let done = fill(data_dir, &partial, &to).and_then(|done| {
        let named = File::open(&partial).and_then(|dir| dir.sync_all());
        named
            .and_then(|()| rename_new(&partial, &to))
            .with_context(|| format!("cannot create {}", to.display()))?;
        Ok(done)
    });
    if done.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    done
}

fn fill(data_dir: &Path, dir: &Path, to: &Path) -> anyhow::Result<(Written, Damaged)> {
    let mut manifest = Vec::new();
    let mut done = Written {
        directory: to.to_owned(),
        ..Written::default()
    };
    let damaged = pages(data_dir, Ask::Read(Which::default()), |mut entry| {
        if !entry.facts.eligible {
            done.left_out += 1;
            return Ok(());
        }
        let bytes = entry.bytes();
        entry.hex = None;
        let mut facts = serde_json::to_value(&entry)?;
        if let Some(bytes) = bytes {
            let f = &entry.facts;
            // Several lanes may have read one offset.
            let name = format!(
                "{}-{}-{}-lane{}.bin",
                f.topic_name(),
                f.partition,
                f.message.offset,
                f.lane.0
            );
            write(&dir.join(&name), &bytes)?;
            facts["file"] = name.into();
            done.files += 1;
        }
        manifest.push(facts);
        Ok(())
    })?;
    done.messages = manifest.len();
    let manifest = serde_json::to_vec_pretty(&manifest)?;
    write(&dir.join("manifest.json"), &manifest)?;
    Ok((done, damaged))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
