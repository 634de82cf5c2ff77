//! A text in pieces: numbers, or words, and what stands before each.

/// A number or word, and what stands before it.
pub type Piece<'a> = (&'a str, &'a str);

/// Pieces of a text that are made of such characters.
pub fn pieces(text: &str, is_part: impl Fn(char) -> bool) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (gap, piece) = rest.split_at(rest.find(&is_part)?);
        let len = piece.find(|c| !is_part(c)).unwrap_or(piece.len());
        rest = &piece[len..];
        Some((gap, &piece[..len]))
    })
}

/// Each `N` pieces that follow each other.
pub fn windows<const N: usize>(
    text: &str,
    is_part: impl Fn(char) -> bool,
) -> impl Iterator<Item = [Piece<'_>; N]> {
    let (mut last, mut count) = ([("", ""); N], 0);
    pieces(text, is_part).filter_map(move |piece| {
        last.rotate_left(1);
        last[N - 1] = piece;
        count += 1;
        (count >= N).then_some(last)
    })
}

pub fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

pub fn is_octet(digits: &str) -> bool {
    let octal = digits.starts_with('0') && u64::from_str_radix(digits, 8).is_ok_and(|n| n < 256);
    octal || digits.parse::<u64>().is_ok_and(|n| n < 256)
}

pub fn number((_, digits): Piece<'_>) -> u64 {
    digits.parse().unwrap_or(u64::MAX)
}
