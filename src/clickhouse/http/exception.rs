//! The text of an exception, as ClickHouse writes it: where it stands, which code it names, and what its
//! words prove.

/// Whether the words are those of a refusal on sight. ClickHouse writes "while pushing to view" behind what
/// a view throws, and "Received from" before what another server said to it. Without words, as where a
/// proxy strips them, nothing is proven.
pub(in crate::clickhouse) fn is_before(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let foreign = ["pushing to view", "Received from", "while executing"];
    text.contains("DB::") && !foreign.iter().any(|words| text.contains(words))
}

/// Whether the table or database that codes 60 and 81 miss is the one of `home`, or a table made from it.
/// True where the words are gone: the schema check then tells.
pub(in crate::clickhouse) fn is_ours(text: &[u8], home: &str) -> bool {
    let text = String::from_utf8_lossy(text);
    let marks = [
        "Target table ",
        "expression identifier ",
        "Table ",
        "Database ",
    ];
    let Some(rest) = marks
        .iter()
        .find_map(|mark| text.split_once(mark))
        .map(|(_, rest)| rest)
    else {
        return true;
    };
    let end = rest.find([' ', ',', ';']).unwrap_or(rest.len());
    let missing = rest[..end].replace(['\'', '`'], "");
    let missing = missing.trim_end_matches('.');
    let database = home.split_once('.').map_or(home, |(database, _)| database);
    let table = missing.strip_prefix(home);
    missing == database || table.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// The text of an exception written behind a result: `__exception__` on a line of its own since 2025,
/// before that a line that begins with the code.
pub(in crate::clickhouse) fn late_exception(body: &[u8]) -> Option<&[u8]> {
    const MARK: &[u8] = b"__exception__\r\n";
    // At most 16 KiB are written behind the mark; anything further up is a value in the result.
    let tail = &body[body.len().saturating_sub(20 * 1024)..];
    if let Some(at) = tail.windows(MARK.len()).position(|w| w == MARK) {
        return Some(&tail[at + MARK.len()..]);
    }
    let line = tail.split_inclusive(|b| *b == b'\n').rev().find(|line| {
        line.starts_with(b"Code: ") && line.windows(13).any(|w| w == b"DB::Exception")
    })?;
    let at = line.as_ptr() as usize - tail.as_ptr() as usize;
    Some(&tail[at..])
}

/// The code in `Code: 241. DB::Exception: ...`, if the text holds one.
pub(in crate::clickhouse) fn code_in(text: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(&text[..text.len().min(4096)]).into_owned();
    let (_, rest) = text.split_once("Code: ")?;
    let (code, rest) = rest.split_once('.')?;
    rest.trim_start().starts_with("DB::").then_some(())?;
    code.parse().ok()
}
