//! A data dir damaged after the fact: each damage must be named, or do no harm.

use std::fs;
use std::path::Path;

use super::child::Orders;
use super::ledger::Ledger;
use super::power::{self, Tally};
use super::process;
use super::progress::Progress;
use super::rows::Chance;

/// `every`: cut at each of the last so many bytes; `samples`: further cuts, and flipped bits.
pub fn run(progress: &Progress, seed: u64, every: u64, samples: u64) -> Vec<Tally> {
    let dir = progress.dir().join("damage");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let whole = dir.join("whole");
    let mut ledger = Ledger::default();
    // Two lives, so that there is a snapshot; the second is killed, so that there is a tail.
    for life in 0..2 {
        let orders = Orders {
            seed: seed + life,
            committed: ledger.committed.clone(),
            steps: 40,
            single: true,
            no_batches: life == 1,
            ..Orders::default()
        };
        let ended = process::start(&process::command(&whole, &orders)).finish();
        assert!(ended.status.success(), "{}", ended.words);
        ended.lines.iter().for_each(|l| ledger.take(l));
    }
    assert!(ledger.is_clean());
    let files: Vec<(String, Vec<u8>)> = fs::read_dir(whole.join("queue"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_file())
        .map(|p| {
            let name = p.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&p).unwrap())
        })
        .chain([("../synced".into(), fs::read(whole.join("synced")).unwrap())])
        .collect();
    let db = files.iter().find(|(n, _)| n == "db").unwrap().1.clone();
    // Where the log ends: sled fills up what it has not written.
    let end = db.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    progress.say(&format!(
        "damage: a queue of {} bytes, {} of them written, and {}",
        db.len(),
        end,
        files
            .iter()
            .map(|(n, c)| format!("{n} ({})", c.len()))
            .collect::<Vec<_>>()
            .join(", ")
    ));
    let place = dir.join("state");
    let mut chance = Chance(seed);
    let mut all = Vec::new();
    let mut damage = |title: &'static str, cases: Vec<(String, Change)>| {
        let mut tally = Tally::default();
        for (what, change) in cases {
            make(&place, &files, &change);
            power::check(&place, &ledger, &mut tally, &|| what.clone());
        }
        tally.say(progress, title);
        all.push(tally);
    };
    damage("undamaged", vec![("nothing".into(), Change::None)]);
    for (name, content) in &files {
        let title: &'static str = match name.as_str() {
            "db" => "db",
            "conf" => "conf",
            "../synced" => "synced",
            _ => "snapshot",
        };
        let name = || name.clone();
        let n = content.len();
        let mid = n / 2;
        damage(
            title,
            vec![
                ("missing".into(), Change::Missing(name())),
                ("zero length".into(), Change::Cut(name(), 0)),
                ("half".into(), Change::Cut(name(), mid)),
                (
                    "garbage behind it".into(),
                    Change::Tail(name(), vec![0xa5; 5000]),
                ),
                (
                    "its end twice".into(),
                    Change::Tail(name(), content[n.saturating_sub(4096)..].to_vec()),
                ),
                ("a bit of its first byte".into(), Change::Flip(name(), 0)),
                ("a bit in the middle".into(), Change::Flip(name(), mid)),
                ("a page of zeros first".into(), Change::Zero(name(), 0)),
                (
                    "a page of zeros within".into(),
                    Change::Zero(name(), mid / 4096 * 4096),
                ),
            ],
        );
    }
    let cut = |at: usize| (format!("cut at {at}"), Change::Cut("db".into(), at));
    damage(
        "cut at each of the last bytes",
        (end.saturating_sub(every as usize)..end).map(cut).collect(),
    );
    damage(
        "cut anywhere",
        (0..samples)
            .map(|_| cut(chance.below(end as u64) as usize))
            .collect(),
    );
    damage(
        "a bit flipped anywhere",
        (0..samples)
            .map(|_| {
                let at = chance.below(end as u64) as usize;
                (format!("a bit of byte {at}"), Change::Flip("db".into(), at))
            })
            .collect(),
    );
    damage(
        "a sector of zeros anywhere",
        (0..samples)
            .map(|_| {
                let at = chance.below(end as u64) as usize / 512 * 512;
                (format!("zeros at {at}"), Change::Sector("db".into(), at))
            })
            .collect(),
    );
    let _ = fs::remove_dir_all(&place);
    all
}

enum Change {
    None,
    Missing(String),
    Cut(String, usize),
    Tail(String, Vec<u8>),
    Flip(String, usize),
    Zero(String, usize),
    Sector(String, usize),
}

fn make(place: &Path, files: &[(String, Vec<u8>)], change: &Change) {
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place.join("queue/blobs")).unwrap();
    for (name, content) in files {
        let mut content = content.clone();
        match change {
            Change::Missing(n) if n == name => continue,
            Change::Cut(n, at) if n == name => content.truncate(*at),
            Change::Tail(n, more) if n == name => content.extend_from_slice(more),
            Change::Flip(n, at) if n == name => content[*at] ^= 0x10,
            Change::Zero(n, at) if n == name => zero(&mut content, *at, 4096),
            Change::Sector(n, at) if n == name => zero(&mut content, *at, 512),
            _ => {}
        }
        fs::write(place.join("queue").join(name), content).unwrap();
    }
}

fn zero(content: &mut [u8], at: usize, len: usize) {
    let end = (at + len).min(content.len());
    content[at..end].fill(0);
}
