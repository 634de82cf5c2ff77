//! Just enough of SQL to read our own files: statements, the names in them, what each creates.

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// Holds rows, so it needs a deduplication window.
    Table,
    /// Fills a table from the rows of another as they come.
    MaterializedView,
    /// A stored question.
    View,
}

/// What every object's name in the files begins with; the configured table name takes its place.
pub(super) const NAME: &str = "http_log";

/// The one name without it, since people type it: the view to ask. Another table has `TABLE_traffic`.
pub(super) const ASK: &str = "traffic";

/// The statements of a file, without comments. A `;` or `--` inside quotes ends nothing.
pub(super) fn statements(file: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut sql = String::new();
    let mut chars = file.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '`' | '"' => {
                sql.push(c);
                while let Some(inner) = chars.next() {
                    sql.push(inner);
                    if inner == '\\' {
                        sql.extend(chars.next());
                    } else if inner == c {
                        break;
                    }
                }
            }
            '-' if chars.peek() == Some(&'-') => {
                // The line end stays: it parts the words around it.
                while chars.next_if(|c| *c != '\n').is_some() {}
            }
            '/' if chars.peek() == Some(&'*') => {
                let mut last = ' ';
                for inner in chars.by_ref().skip(1) {
                    if last == '*' && inner == '/' {
                        break;
                    }
                    last = inner;
                }
                sql.push(' ');
            }
            ';' => all.push(std::mem::take(&mut sql)),
            _ => sql.push(c),
        }
    }
    all.push(sql);
    let tidy = |sql: String| {
        let lines = sql
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n").trim().to_string()
    };
    all.into_iter()
        .map(tidy)
        .filter(|sql| !sql.is_empty())
        .collect()
}

/// Puts `table` in place of [`NAME`] wherever an identifier begins with it, and `TABLE_traffic` in place
/// of [`ASK`].
pub(super) fn rename(sql: &str, table: &str) -> String {
    if table == NAME {
        return sql.to_string();
    }
    let asked = replace(sql, ASK, &format!("{NAME}_{ASK}"), |next| !in_name(next));
    replace(&asked, NAME, table, |_| true)
}

/// Puts `new` in place of the identifier `old`.
pub(super) fn replace_name(sql: &str, old: &str, new: &str) -> String {
    replace(sql, old, new, |next| !in_name(next))
}

/// Whether a character can be within an identifier.
fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Puts `new` in place of `old` wherever an identifier begins with it and goes on as `fits` likes.
fn replace(sql: &str, old: &str, new: &str, fits: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(old) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        rest = &found[old.len()..];
        let inside = out.chars().next_back().is_some_and(in_name);
        let fits = !inside && rest.chars().next().is_none_or(fits);
        out.push_str(if fits { new } else { old });
    }
    out.push_str(rest);
    out
}

/// Kind and name of what `CREATE ... IF NOT EXISTS name` makes.
pub(super) fn head(sql: &str) -> Option<(ObjectKind, String)> {
    let rest = words(sql, "CREATE")?;
    let (kind, rest) = None
        .or_else(|| {
            Some((
                ObjectKind::MaterializedView,
                words(rest, "MATERIALIZED VIEW")?,
            ))
        })
        .or_else(|| Some((ObjectKind::View, words(rest, "VIEW")?)))
        .or_else(|| Some((ObjectKind::Table, words(rest, "TABLE")?)))?;
    let rest = words(rest, "IF NOT EXISTS")?;
    let end = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
    (end > 0).then(|| (kind, rest[..end].to_string()))
}

/// The columns that `CREATE TABLE` gives: name and type of each.
pub(super) fn columns(sql: &str) -> Vec<(String, String)> {
    let list = sql.split_once('(').map_or("", |(_, rest)| rest);
    let mut depth = 0;
    let mut columns = vec![String::new()];
    for c in list.chars() {
        match c {
            ')' if depth == 0 => break,
            ',' if depth == 0 => {
                columns.push(String::new());
                continue;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        columns.last_mut().expect("BUG: one is there").push(c);
    }
    let column = |text: String| {
        let (name, rest) = text.trim().split_once(char::is_whitespace)?;
        let kind = rest.split_once(" CODEC(").map_or(rest, |(kind, _)| kind);
        Some((name.to_owned(), kind.trim().to_owned()))
    };
    columns.into_iter().filter_map(column).collect()
}

/// What follows `expected` at the start of `sql`.
fn words<'a>(sql: &'a str, expected: &str) -> Option<&'a str> {
    let mut rest = sql;
    for word in expected.split(' ') {
        rest = rest.trim_start().strip_prefix(word)?;
        if !rest.starts_with(char::is_whitespace) {
            return None;
        }
    }
    Some(rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_quotes() {
        let file = "-- top; comment\nCREATE TABLE IF NOT EXISTS a -- why; not\n(x String DEFAULT ';--', /* a;b */ y Int8);\n\n\
                    CREATE MATERIALIZED VIEW IF NOT EXISTS b TO a AS SELECT 'it\\'s;' AS x;\n-- end\n";
        let all = statements(file);
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[0].contains("';--'") && !all[0].contains("comment") && !all[0].contains("a;b"));
        assert_eq!(head(&all[0]), Some((ObjectKind::Table, "a".into())));
        assert_eq!(
            head(&all[1]),
            Some((ObjectKind::MaterializedView, "b".into()))
        );
        assert_eq!(
            head("CREATE VIEW IF NOT EXISTS v\nAS SELECT 1"),
            Some((ObjectKind::View, "v".into()))
        );
        let of = columns(
            "CREATE TABLE a (x Int8 CODEC(T64, ZSTD(1)), y\n  Decimal(18, 3)\n)\nENGINE = M((z))",
        );
        let want = [("x", "Int8"), ("y", "Decimal(18, 3)")];
        assert_eq!(of, want.map(|(n, k)| (n.to_owned(), k.to_owned())));
        assert_eq!(head("CREATE TABLE a (x Int8)"), None, "must be repeatable");
        assert_eq!(head("DROP TABLE a"), None);
    }
}
