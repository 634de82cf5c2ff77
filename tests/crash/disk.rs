//! The disk as lost power leaves it.
//!
//! What an fsync covers is there. Of the writes since, any may be there or not, also parts of one
//! (sectors of 512 bytes). A file's name is there once the file or its directory was synced; names
//! change in order, as in a journal. `sync_file_range` counts for nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::rows::Chance;
use super::trace::{Event, What};

/// How a disk is rebuilt from the writes that no sync covers.
pub enum Pick {
    All,
    None,
    Without(usize),
    Chance(Chance),
}

/// Whether a sync of `path` that had ended by `now` covers what had ended at `done`.
fn synced(events: &[Event], path: &Path, done: usize, now: usize) -> bool {
    events
        .iter()
        .any(|s| matches!(s.what, What::Sync) && s.path == path && s.from > done && s.to <= now)
}

fn is_data(what: &What) -> bool {
    matches!(
        what,
        What::Write { .. } | What::Append { .. } | What::Truncate(_)
    )
}

/// Data writes begun by `now` that no sync covers, as indices.
pub fn pending(events: &[Event], now: usize) -> Vec<usize> {
    let begun = events.iter().enumerate().filter(|(_, e)| e.from <= now);
    begun
        .filter(|(_, e)| is_data(&e.what) && !synced(events, &e.path, e.to, now))
        .map(|(i, _)| i)
        .collect()
}

/// Names changed and not synced. As in a journal, a directory that is gone stays so, with all that was
/// in it, once a later name is there.
fn pending_names(events: &[Event], now: usize) -> Vec<usize> {
    let durable = |e: &Event| {
        let parent = e.path.parent().unwrap_or(Path::new("/"));
        let file = matches!(e.what, What::Create) && synced(events, &e.path, e.to, now);
        file || synced(events, parent, e.to, now)
    };
    let named: Vec<(usize, bool)> = events
        .iter()
        .enumerate()
        .filter(|(_, e)| e.from <= now && is_name(&e.what))
        .map(|(i, e)| (i, durable(e)))
        .collect();
    let last = named.iter().rfind(|(_, durable)| *durable);
    let last = last.map_or(0, |(i, _)| *i);
    let is_dir = |path: &Path| events.iter().any(|e| e.path.parent() == Some(path));
    let gone = |i: usize| {
        let event = &events[i];
        i < last && matches!(event.what, What::Unlink) && is_dir(&event.path)
    };
    let open = named.iter().filter(|(i, durable)| !durable && !gone(*i));
    open.map(|(i, _)| *i).collect()
}

fn is_name(what: &What) -> bool {
    matches!(
        what,
        What::Create | What::Rename(_) | What::Exchange(_) | What::Unlink | What::Mkdir
    )
}

pub fn rebuild(place: &Path, data: &Path, events: &[Event], now: usize, pick: &mut Pick) {
    let open = pending(events, now);
    let names = pending_names(events, now);
    // Names change in order, and the first of a fresh data dir are synced before it is used.
    let cut = match pick {
        Pick::All | Pick::Without(_) => names.len(),
        Pick::None => 0,
        Pick::Chance(chance) => chance.below(names.len() as u64 + 1) as usize,
    };
    let gone = &names[cut..];
    let mut files = Files::new();
    for (i, event) in events.iter().enumerate() {
        if event.from > now {
            break;
        }
        if gone.contains(&i) {
            continue;
        }
        let nth = open.iter().position(|o| *o == i);
        let mut kept = nth.is_none();
        let mut torn = None;
        if let Some(nth) = nth {
            kept = match pick {
                Pick::All => true,
                Pick::None => false,
                Pick::Without(one) => nth != *one,
                Pick::Chance(chance) => {
                    if chance.one_in(4) {
                        torn = Some(Chance(chance.next()));
                    }
                    chance.one_in(2)
                }
            };
        }
        match &event.what {
            What::Create => drop(files.entry(event.path.clone()).or_default()),
            What::Rename(to) => {
                let moved = take(&mut files, &event.path);
                put_all(&mut files, to, moved);
            }
            What::Exchange(other) => {
                let (one, two) = (take(&mut files, &event.path), take(&mut files, other));
                put_all(&mut files, other, one);
                put_all(&mut files, &event.path, two);
            }
            What::Unlink => drop(take(&mut files, &event.path)),
            _ if !kept => {}
            What::Truncate(len) => {
                if let Some(file) = files.get_mut(&event.path) {
                    file.resize(*len as usize, 0);
                }
            }
            What::Write { at, data } => {
                if let Some(file) = files.get_mut(&event.path) {
                    put(file, *at as usize, data, torn);
                }
            }
            What::Append { data } => {
                if let Some(file) = files.get_mut(&event.path) {
                    let at = file.len();
                    put(file, at, data, torn);
                }
            }
            _ => {}
        }
    }
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place).unwrap();
    for (path, content) in files {
        let to = place.join(path.strip_prefix(data).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, content).unwrap();
    }
    // The directories of a data dir that was in use are there.
    if place.join("queue").exists() {
        fs::create_dir_all(place.join("queue/blobs")).unwrap();
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The file at `path`, or all below it, by the rest of their names.
fn take(files: &mut Files, path: &Path) -> Files {
    let (taken, left) = std::mem::take(files)
        .into_iter()
        .partition::<Files, _>(|(file, _)| file.starts_with(path));
    *files = left;
    let rest = |file: PathBuf| file.strip_prefix(path).unwrap().to_owned();
    taken.into_iter().map(|(file, c)| (rest(file), c)).collect()
}

fn put_all(files: &mut Files, path: &Path, moved: Files) {
    for (rest, content) in moved {
        // No slash behind the name of a file.
        let to = path.components().chain(rest.components()).collect();
        files.insert(to, content);
    }
}

fn put(file: &mut Vec<u8>, at: usize, data: &[u8], torn: Option<Chance>) {
    if file.len() < at + data.len() {
        file.resize(at + data.len(), 0);
    }
    let Some(mut torn) = torn else {
        file[at..at + data.len()].copy_from_slice(data);
        return;
    };
    let mut i = 0;
    while i < data.len() {
        let sector_end = (at + i) / 512 * 512 + 512 - at;
        let end = sector_end.min(data.len());
        if torn.one_in(2) {
            file[at + i..at + end].copy_from_slice(&data[i..end]);
        }
        i = end;
    }
}
