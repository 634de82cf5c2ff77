//! What becomes of the server while nobody looks: another release, another zone, other tables and settings.

use std::collections::HashMap;

use crate::support::chance::Chance;
use crate::support::fake_clickhouse::State;

/// Releases, what they tell of their hashes, and which of the ways to hash a token each writes and reads.
const RELEASES: [(&str, &str, u8); 4] = [
    ("25.8.1.1", "", 1),
    ("26.3.9.1", "compatible_double_hashes", 3),
    ("26.9.2.1", "new_unified_hash", 2),
    ("27.1.1.1", "hash_of_next_year", 4),
];

/// A server whose release, zone, tables and settings vary.
pub struct Server {
    release: usize,
    /// By which ways each token was hashed when it was stored, as far as it was looked.
    hashed: HashMap<String, u8>,
    tables: u32,
}

impl Server {
    pub fn new() -> Server {
        Server {
            release: 2,
            hashed: HashMap::new(),
            tables: 1,
        }
    }

    /// It starts again, as another release. What that cannot read it does not know.
    fn become_release(&mut self, state: &mut State, release: usize) {
        let before = RELEASES[self.release].2;
        for token in state.tokens.keys() {
            self.hashed.entry(token.clone()).or_insert(before);
        }
        let (version, hashes, reads) = RELEASES[release];
        state
            .tokens
            .retain(|token, _| self.hashed[token] & reads != 0);
        state.version = Some((version, hashes));
        state.started += 1000;
        self.release = release;
    }

    /// Others write until no token is known any more.
    pub fn fill_window(&self, state: &mut State) -> String {
        state.tokens.clear();
        state.blocks += 20_000;
        "others filled the window: no token is known".into()
    }

    /// What others do to it. Returns it in words.
    pub fn disturb(&mut self, state: &mut State, chance: &mut Chance) -> Option<String> {
        Some(match 2 + chance.below(24) {
            2 | 3 => {
                let release = chance.below(RELEASES.len() as u64) as usize;
                self.become_release(state, release);
                format!("ClickHouse is {} now", RELEASES[release].0)
            }
            4 => {
                let zone = chance.pick(&["Europe/Prague", "America/St_Johns", "UTC"]);
                let kind = format!("DateTime('{zone}')");
                state.types.insert("http_log.timestamp".into(), kind);
                format!("the table's times are shown in the zone {zone}")
            }
            5 => {
                let kind = chance.pick(&["UInt32", "Float64", "String", "Nullable(UInt64)"]);
                let column = chance.pick(&["resource_id", "bytes_sent", "request_time_milli"]);
                state
                    .types
                    .insert(format!("http_log.{column}"), kind.into());
                format!("{column} is of type {kind}")
            }
            6 => {
                let column = "http_log.cache_status".to_owned();
                state.types.insert(column, "String".into());
                "cache_status has an equivalent type".into()
            }
            7 | 8 => {
                let engine = chance.pick(&["Memory", "Null", "Distributed", "Buffer", "Log"]);
                state.engines.insert("http_log".into(), engine.into());
                format!("a table does not recognise a resend: {engine}")
            }
            9 => {
                // Its rows came along, what it knew of tokens did not.
                self.tables += 1;
                state.uuid = Some(format!("00000000-0000-0000-0000-{:012}", self.tables));
                state.tokens.clear();
                state.blocks = 0;
                "the tables were replaced by copies".into()
            }
            10 => {
                state.window = Some(chance.pick(&[10, 100, 1000]));
                format!("the window is {:?}", state.window)
            }
            11 => {
                let name = chance.pick(&["deduplicate_insert", "use_strict_insert_block_limits"]);
                state.settings.push((name, "disable", true));
                format!("{name} is fixed by the profile")
            }
            12 => {
                state.settings.push(("readonly", "2", true));
                "the profile is readonly".into()
            }
            13 => {
                let name = chance.pick(&["insert_deduplication_token", "insert_deduplicate"]);
                state.lost_parameters.insert(name);
                format!("the proxy drops {name}")
            }
            14 => {
                state.most_rows = Some(1 + chance.below(300) as usize);
                format!("memory is enough for {:?} rows", state.most_rows)
            }
            15 => {
                state.cut_bodies = Some(1_000 + chance.below(10_000));
                format!("bodies are cut at {:?} bytes", state.cut_bodies)
            }
            16 => {
                state.cuts_answers = true;
                "long questions end with a part of the answer".into()
            }
            17 | 18 => {
                state.blocks += 40;
                "others write as well".into()
            }
            19..=22 => {
                mend(state);
                "somebody mended what was wrong".into()
            }
            _ => return None,
        })
    }
}

/// Takes away whatever keeps rows from being stored. A release, a zone and tables stay as they are.
pub fn mend(state: &mut State) {
    state.types.clear();
    state.engines.clear();
    state.settings.clear();
    state.lost_parameters.clear();
    state.window = None;
    (state.most_rows, state.cut_bodies) = (None, None);
    state.cuts_answers = false;
}
