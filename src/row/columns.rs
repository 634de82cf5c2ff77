//! The columns of a row: one table from which all that lists them is made.
//!
//! RowBinary has no names and no separators, so this order is that of every stored row. Rows wait on the
//! disk: what changes here changes what they mean, so it needs a new version of the block format, and a
//! queue that holds rows of other columns is not opened (`queue::disk::columns`).

use xxhash_rust::xxh3::xxh3_64;

use super::varint::string;
use crate::record::Record;

/// A value as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Seconds of Unix time.
    Time(u32),
    /// A number.
    Number(u64),
    /// Any bytes.
    Text(&'a [u8]),
}

/// One column of the table.
pub struct Column {
    /// Its name in ClickHouse.
    pub name: &'static str,
    /// Its type there.
    pub kind: &'static str,
    /// Writes its value, as RowBinary and Native alike have it.
    pub put: fn(&Row<'_>, &mut Vec<u8>),
    /// Its value.
    pub value: for<'a> fn(&Row<'a>) -> Value<'a>,
}

/// What a value is kept as in memory.
trait Kept<'a>: Copy {
    /// Most bytes of it in RowBinary.
    fn size(self) -> usize;
    fn put(self, out: &mut Vec<u8>);
    fn take(from: &mut Cursor<'a>) -> Option<Self>;
}

macro_rules! columns {
    ($($name:ident: $kept:ty, $kind:literal, $show:ident, |$record:ident| $from:expr;)*) => {
        /// One row; texts are any bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the columns, see the table")]
        pub struct Row<'a> {
            $(pub $name: $kept,)*
            /// The row's own bytes, where it was read from some.
            pub raw: &'a [u8],
        }

        /// All columns, in their order.
        pub const COLUMNS: &[Column] = &[$(Column {
            name: stringify!($name),
            kind: $kind,
            put: |row, out| row.$name.put(out),
            value: |row| Value::$show(row.$name.into()),
        }),*];

        impl<'a> Row<'a> {
            /// The row of a masked record. Inlined, like what follows: copies cost 49 instructions a record.
            #[inline(always)]
            pub(super) fn of(record: &Record<'a>) -> Row<'a> {
                Row { $($name: { let $record = record; $from },)* raw: &[] }
            }

            /// Most bytes that it has in RowBinary.
            #[inline(always)]
            pub(super) fn size(&self) -> usize {
                0 $(+ self.$name.size())*
            }

            /// Appends it as RowBinary.
            #[inline(always)]
            pub(super) fn put(&self, out: &mut Vec<u8>) {
                $(self.$name.put(out);)*
            }

            /// The row that the bytes begin with.
            pub(super) fn take(from: &mut Cursor<'a>) -> Option<Row<'a>> {
                Some(Row { $($name: Kept::take(from)?,)* raw: &[] })
            }
        }
    };
}

type Text<'a> = &'a [u8];

columns! {
    // Column          kept as   in ClickHouse         from the record
    timestamp:          u32,      "DateTime", Time,   |r| (r.timestamp_ms / 1000) as u32;
    resource_id:        u64,      "UInt64",   Number, |r| r.resource_id;
    bytes_sent:         u64,      "UInt64",   Number, |r| r.bytes_sent;
    request_time_milli: u64,      "UInt64",   Number, |r| r.request_time_ms;
    response_status:    u16,      "UInt16",   Number, |r| r.response_status;
    cache_status:       Text<'a>, "String",   Text,   |r| r.cache_status;
    method:             Text<'a>, "String",   Text,   |r| r.method;
    remote_addr:        Text<'a>, "String",   Text,   |r| r.remote_addr;
    url:                Text<'a>, "String",   Text,   |r| r.url;
}

/// Names and types, as in `timestamp DateTime, resource_id UInt64, ...`.
pub fn described() -> String {
    let all = COLUMNS.iter().map(|c| format!("{} {}", c.name, c.kind));
    all.collect::<Vec<_>>().join(", ")
}

/// The names, as an insert lists them.
pub fn names() -> String {
    COLUMNS
        .iter()
        .map(|c| c.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// XXH3-64 of [`described`].
pub fn fingerprint() -> u64 {
    xxh3_64(described().as_bytes())
}

macro_rules! kept_number {
    ($($type:ty),*) => {$(
        impl Kept<'_> for $type {
            fn size(self) -> usize {
                size_of::<$type>()
            }

            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(from: &mut Cursor<'_>) -> Option<Self> {
                Some(<$type>::from_le_bytes(from.array()?))
            }
        }
    )*};
}

kept_number!(u16, u32, u64);

impl<'a> Kept<'a> for Text<'a> {
    /// A length has at most 5 bytes.
    fn size(self) -> usize {
        self.len() + 5
    }

    fn put(self, out: &mut Vec<u8>) {
        string(self, out);
    }

    fn take(from: &mut Cursor<'a>) -> Option<Self> {
        from.string()
    }
}

/// Bytes that are read from their beginning.
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// LEB128 length and bytes. Lengths of more than 5 bytes are none that we write.
    fn string(&mut self) -> Option<&'a [u8]> {
        let mut len = 0u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            len |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return self.bytes(usize::try_from(len).ok()?);
            }
        }
        None
    }
}
