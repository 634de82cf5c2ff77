//! Text in lines of a bounded width.

/// The widest line of any help: a terminal as it comes.
pub const COLUMNS: usize = 80;

/// The words of a text in lines of at most `width` characters; a longer word has its own line.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_are_full_and_none_is_too_wide() {
        assert_eq!(
            wrap("a bb  ccc\ndddddd e", 4),
            ["a bb", "ccc", "dddddd", "e"]
        );
        assert_eq!(wrap("a bb ccc", 8), ["a bb ccc"]);
        assert!(wrap("", 4).is_empty());
    }
}
