//! Inserts: what is strict about them, the rows, and the tokens that tell a resend.

use super::exchange::Request;
use super::{Multiset, Outcome, lock};

/// A row of `http_log` in RowBinary, different for each `n`.
pub fn row(n: u64) -> Vec<u8> {
    let mut row = Vec::new();
    row.extend_from_slice(&(1_700_000_000 + n as u32).to_le_bytes());
    for number in [n, n * 10, n % 1000] {
        row.extend_from_slice(&number.to_le_bytes());
    }
    row.extend_from_slice(&200u16.to_le_bytes());
    for text in ["HIT", "GET", "192.0.2.X", &format!("/object/{n}")] {
        assert!(text.len() < 128, "one-byte length");
        row.push(text.len() as u8);
        row.extend_from_slice(text.as_bytes());
    }
    row
}

/// The rows of a body. `None` if it does not end at the end of a row.
pub fn parse_rows(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rows = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let start = at;
        at += 4 + 8 + 8 + 8 + 2;
        for _ in 0..4 {
            let (mut len, mut shift) = (0u64, 0);
            loop {
                let byte = *body.get(at)?;
                at += 1;
                len |= u64::from(byte & 0x7f).checked_shl(shift)?;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            at = at.checked_add(usize::try_from(len).ok()?)?;
        }
        rows.push(body.get(start..at)?.to_vec());
    }
    Some(rows)
}

impl Request<'_> {
    /// What a correct client never does.
    pub(super) fn problem(&self) -> Option<String> {
        if self.headers.contains_key("transfer-encoding") {
            return Some("a chunked body".into());
        }
        if self.length.is_none() {
            return Some("no Content-Length".into());
        }
        self.parameters.get("query")?;
        let wanted = [
            ("insert_deduplicate", "1"),
            ("deduplicate_blocks_in_dependent_materialized_views", "1"),
            ("materialized_views_ignore_errors", "0"),
            ("ignore_materialized_views_with_dropped_target_table", "0"),
            ("async_insert", "0"),
            ("max_insert_threads", "1"),
            ("min_insert_block_size_bytes", "0"),
            ("wait_end_of_query", "1"),
            ("send_progress_in_http_headers", "0"),
            ("http_write_exception_in_output_format", "0"),
        ];
        for (name, value) in wanted {
            if self.parameters.get(name).map(String::as_str) != Some(value) {
                return Some(format!("{name} is not {value}"));
            }
        }
        for name in [
            "insert_deduplication_token",
            "query_id",
            "max_insert_block_size",
            "min_insert_block_size_rows",
        ] {
            if self.parameters.get(name).is_none_or(String::is_empty) {
                return Some(format!("no {name}"));
            }
        }
        None
    }

    pub(super) fn insert(&self, body: &[u8]) -> Result<(Outcome, String, String), (u32, String)> {
        let plain = if self.headers.get("content-encoding").map(String::as_str) == Some("zstd") {
            zstd::decode_all(body).map_err(|e| (562, e.to_string()))?
        } else {
            body.to_vec()
        };
        let sql = self.parameters["query"].as_str();
        let mut rows = &plain[..];
        if sql.ends_with("FORMAT RowBinaryWithNamesAndTypes") {
            rows = self.header(rows)?;
        }
        let rows = parse_rows(rows).ok_or((33, "Cannot read all data".to_string()))?;
        let most = lock(self.shared).most_rows;
        if most.is_some_and(|most| rows.len() > most) {
            return Err((241, "Memory limit exceeded".to_string()));
        }
        let token = self.parameters["insert_deduplication_token"].clone();
        let block: usize = self.parameters["max_insert_block_size"]
            .parse()
            .unwrap_or(0);
        let mut state = lock(self.shared);
        if rows.len() > block {
            state
                .violations
                .push(format!("{} rows in blocks of {block}", rows.len()));
        }
        state.requests[self.index].rows = rows.len() as u64;
        let mut sent = Multiset::new();
        for row in rows {
            *sent.entry(row).or_default() += 1;
        }
        let read = sent.values().sum::<u64>();
        let (outcome, written) = match state.tokens.get(&token) {
            Some(stored) => {
                // The real one drops other rows under a known token without a word.
                if *stored != sent {
                    state
                        .violations
                        .push(format!("token {token} was used for other rows"));
                }
                (Outcome::Deduplicated, 0)
            }
            None => {
                for (row, count) in &sent {
                    *state.rows.entry(row.clone()).or_default() += count;
                }
                state.tokens.insert(token, sent);
                (Outcome::Stored, read)
            }
        };
        let summary = format!(
            "X-ClickHouse-Summary: {{\"read_rows\":\"{read}\",\"written_rows\":\"{written}\"}}\r\n"
        );
        Ok((outcome, summary, String::new()))
    }

    /// Reads names and types of the columns, and refuses others than the table has, as the real one does.
    /// Returns the rows behind them.
    fn header<'b>(&self, body: &'b [u8]) -> Result<&'b [u8], (u32, String)> {
        let cut = || (33, "Cannot read all data".to_string());
        let mut rest = body.strip_prefix(&[9]).ok_or_else(cut)?;
        let mut text = || {
            let (length, after) = rest.split_first()?;
            let (text, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let texts: Option<Vec<String>> = (0..18).map(|_| text()).collect();
        let texts = texts.ok_or_else(cut)?;
        let state = lock(self.shared);
        for (name, sent) in texts[..9].iter().zip(&texts[9..]) {
            let kind = state.kind(name);
            if *sent != kind {
                let words = format!("Type of '{name}' must be {kind}, not {sent}");
                return Err((117, words));
            }
        }
        Ok(rest)
    }
}
