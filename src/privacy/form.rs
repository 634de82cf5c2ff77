//! The one form of which bytes are kept: a record of `schema/` in one segment, in which every byte is a
//! known field's, the structure's, or zero. Nothing can lie in it unseen.

use std::ops::Range;

/// Words of data and pointers of the struct in `schema/`.
const DATA: usize = 5;
const POINTERS: usize = 4;

/// Of the last word of data only the status is known.
const STATUS: u64 = 0xffff;

/// Low bits of a pointer to a struct and to a list, and the size of a list's elements when they are
/// bytes (Cap'n Proto, "Encoding Spec").
const STRUCT: u64 = 0;
const LIST: u64 = 1;
const BYTES: u64 = 2;

/// Where the fields are within the message.
#[derive(Debug, PartialEq, Eq)]
pub struct Fields {
    /// The numbers.
    pub numbers: Range<usize>,
    /// `cacheStatus`, `method`, `remoteAddr` and `url`, with whatever ends them other than NUL.
    pub texts: [Range<usize>; POINTERS],
}

/// The fields of a message of that form: in its frame, also behind the prefix that a schema registry's
/// producers write, or without a frame.
pub fn fields(message: &[u8]) -> Option<Fields> {
    let framed = |at: usize| {
        let (frame, rest) = message.get(at..)?.split_first_chunk::<8>()?;
        let frame = u64::from_le_bytes(*frame);
        let words = (frame >> 32) as usize;
        let is_one_segment = frame as u32 == 0;
        (is_one_segment && words <= rest.len() / 8)
            .then(|| Segment::new(message, at + 8, words).fields())?
    };
    // A zero, then the schema's number in four bytes: one below 2^24, which no address is. Some write the
    // message's place in the schema behind it, which is 0.
    let has_prefix =
        |len: usize| message.starts_with(&[0, 0]) && message.get(5..len) == Some(&[0][..len - 5]);
    framed(0)
        .or_else(|| framed(5).filter(|_| has_prefix(5)))
        .or_else(|| framed(6).filter(|_| has_prefix(6)))
        .or_else(|| {
            // A frame reads as a root without a pointer.
            let root = message.first_chunk::<8>()?;
            let has_pointers = root[6..] != [0, 0];
            has_pointers.then(|| Segment::new(message, 0, message.len() / 8).fields())?
        })
}

/// The words of a segment, each of which may be taken once.
struct Segment<'a> {
    message: &'a [u8],
    start: usize,
    taken: Vec<bool>,
}

impl<'a> Segment<'a> {
    fn new(message: &'a [u8], start: usize, words: usize) -> Segment<'a> {
        Segment {
            message,
            start,
            taken: vec![false; words],
        }
    }

    fn fields(mut self) -> Option<Fields> {
        let mut numbers = 0..0;
        let mut texts = [0..0, 0..0, 0..0, 0..0];
        let root = self.word(0)?;
        self.take(0, 1)?;
        if root != 0 {
            let (data, pointers) = ((root >> 32) as u16 as usize, (root >> 48) as usize);
            if root & 3 != STRUCT {
                return None;
            }
            let body = target(0, root)?;
            self.take(body, data + pointers)?;
            numbers = self.bytes(body, DATA.min(data) * 8);
            for at in 0..data {
                let unknown = match at + 1 {
                    ..DATA => 0,
                    DATA => self.word(body + at)? & !STATUS,
                    _ => self.word(body + at)?,
                };
                (unknown == 0).then_some(())?;
            }
            for nth in 0..pointers {
                let at = body + data + nth;
                let pointer = self.word(at)?;
                if pointer != 0 {
                    *texts.get_mut(nth)? = self.text(at, pointer)?;
                }
            }
        }
        self.rest_is_zero().then_some(Fields { numbers, texts })
    }

    fn text(&mut self, at: usize, pointer: u64) -> Option<Range<usize>> {
        if pointer & 3 != LIST || (pointer >> 32) & 7 != BYTES {
            return None;
        }
        let len = (pointer >> 35) as usize;
        let start = target(at, pointer)?;
        self.take(start, len.div_ceil(8))?;
        let Range { start, end } = self.bytes(start, len);
        let padding = &self.message[end..end + len.next_multiple_of(8) - len];
        if !is_zero(padding) {
            return None;
        }
        let ends = self.message[start..end].last() == Some(&0);
        Some(start..end - usize::from(ends))
    }

    fn bytes(&self, word: usize, len: usize) -> Range<usize> {
        let start = self.start + word * 8;
        start..start + len
    }

    fn word(&self, at: usize) -> Option<u64> {
        (at < self.taken.len()).then_some(())?;
        let bytes = self.message.get(self.bytes(at, 8))?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// `None` if a word of them is not there, or was taken before.
    fn take(&mut self, at: usize, words: usize) -> Option<()> {
        let taken = self.taken.get_mut(at..at.checked_add(words)?)?;
        let free = !taken.contains(&true);
        taken.fill(true);
        free.then_some(())
    }

    fn rest_is_zero(&self) -> bool {
        let mut free = (0..self.taken.len()).filter(|at| !self.taken[*at]);
        free.all(|at| self.word(at) == Some(0))
            && is_zero(&self.message[self.start + self.taken.len() * 8..])
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}

/// Index of the word that the pointer in word `at` points to.
fn target(at: usize, pointer: u64) -> Option<usize> {
    let offset = (pointer as u32 as i32) >> 2;
    (at + 1).checked_add_signed(offset as isize)
}
