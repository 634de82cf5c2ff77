//! What the server knows, and what tests set.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use anonymizer::clickhouse::Schema;

use super::{Fault, Multiset};

/// One request as it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When its head had come.
    pub at: Instant,
    /// `insert_deduplication_token` of an INSERT.
    pub token: Option<String>,
    /// The path without parameters.
    pub path: String,
    /// The whole head, as sent.
    pub head: String,
    /// The SQL: of the parameter `query`, or the body.
    pub sql: String,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// How many body bytes were read.
    pub body_read: u64,
    /// Rows in the body.
    pub rows: u64,
    /// The status answered; 0 for none.
    pub status: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the connection is over, so that `body_read` is final.
    pub closed: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not finished.
    Running,
    /// New rows were stored.
    Stored,
    /// The token was known; nothing was added.
    Deduplicated,
    /// A query was answered.
    Answered,
    /// Refused before the body.
    Refused,
    /// Refused after the body, or by a strict check.
    Failed,
    /// No answer was sent.
    Dropped,
}

/// Everything the server knows. Tests read it through [`FakeClickHouse::state`].
#[derive(Debug, Default)]
pub struct State {
    /// The stored rows.
    pub rows: Multiset,
    /// Rows by token.
    pub tokens: HashMap<String, Multiset>,
    /// Every request, in the order of arrival.
    pub requests: Vec<Seen>,
    /// What a correct client never does.
    pub violations: Vec<String>,
    /// Faults to come.
    pub faults: VecDeque<Fault>,
    /// nginx's `client_max_body_size`.
    pub body_limit: Option<u64>,
    /// Whether `Expect: 100-continue` is answered at once.
    pub silent_on_expect: bool,
    /// Whether `Expect: 100-continue` is answered with 417.
    pub knows_no_expect: bool,
    /// What `X-ClickHouse-Key` has to be, if anything.
    pub password: Option<String>,
    /// Tables the schema check does not find.
    pub missing: BTreeSet<String>,
    /// Tables the schema check finds without a window.
    pub without_window: BTreeSet<String>,
    /// The window of the tables that have one; 10,000 if not set.
    pub window: Option<u64>,
    /// UUID that the schema check tells, if another than the first.
    pub uuid: Option<String>,
    /// What `version()` answers and how hashes are made, if not as 26.9.
    pub version: Option<(&'static str, &'static str)>,
    /// A body is cut after so many bytes, as by a proxy whose time is up; nothing of it is stored.
    pub cut_bodies: Option<u64>,
    /// Whether a second server answers every other insert.
    pub in_turn: bool,
    /// `serverUUID()`, if it tells it.
    pub server_id: &'static str,
    /// When it was started, Unix seconds; 0: it does not tell.
    pub started: u64,
    /// Whether the user's profile has a question that takes long end with a part of the answer, and a part
    /// is nothing here.
    pub cuts_answers: bool,
    /// An insert of more rows takes too much memory (241), and nothing of it is stored.
    pub most_rows: Option<usize>,
    /// Blocks that other writers have written into each table.
    pub blocks: u64,
    /// Tables of the totals that have not what the raw table has.
    pub disagree: BTreeSet<String>,
    /// Types of columns, by `table.column`, where they are not those of the DDL.
    pub types: BTreeMap<String, String>,
    /// Engines that the schema check tells, by table, where they are not those of the DDL.
    pub engines: BTreeMap<String, String>,
    /// Settings that the server knows besides those that are sent: name, value, whether it is fixed.
    pub settings: Vec<(&'static str, &'static str, bool)>,
    /// Parameters that a proxy drops.
    pub lost_parameters: BTreeSet<&'static str>,
    /// Statements other than SELECT and INSERT.
    pub ddl: Vec<String>,
    /// Answers to queries that contain the key; the first in key order wins.
    pub answers: BTreeMap<String, String>,
    pub(super) released: u64,
    pub(super) stopping: bool,
}

impl State {
    /// The type of a column of the raw table.
    pub(super) fn kind(&self, column: &str) -> String {
        let changed = self.types.get(&format!("http_log.{column}"));
        let schema = Schema::new("default", "http_log").unwrap();
        let raw = schema.objects().iter().find(|o| o.name == "http_log");
        let mut columns = raw.unwrap().columns().into_iter();
        let kind = columns
            .find(|(name, _)| name == column)
            .map(|(_, kind)| kind);
        changed.cloned().or(kind).unwrap_or_default()
    }

    /// How many rows are stored, each as often as it is there.
    pub fn row_count(&self) -> u64 {
        self.rows.values().sum()
    }
}
