//! Many rows at once: a view's rows as pages of bytes, and pages as new rows of a store.
//!
//! Both are the engine's own work, beside the caller: neither end ever waits here for a disk. A page is rows in order, each
//! `row length(4) value length(4) row value`, little-endian, without the prefix that they share. Pages begin and end with
//! whole rows.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{ROW_BYTES_MAX, StateError};

/// No value is longer: what claims to be is damaged.
const VALUE_BYTES_MAX: usize = 128 << 20;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    pub rows: u64,
    pub bytes: Bytes,
}

/// What an export has to give at present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exported {
    Page(Page),
    /// Ask again shortly.
    Later,
    /// Every row was given.
    End,
}

/// Rows of a view on their way out.
pub trait Export: Send {
    /// # Errors
    /// [`StateError::Read`].
    fn next(&mut self) -> Result<Exported, StateError>;
}

/// Rows on their way into a range that holds none and that nobody reads. Nobody sees them before the end; a crash leaves all,
/// some or none of them. Dropped before its end, it removes in the background what it wrote.
pub trait Ingest: Send {
    /// Rows that follow those of the page before. Never blocks: look at [`Ingest::waiting_bytes`].
    fn push(&mut self, page: Bytes);

    /// Asks for the end: nothing is pushed after this.
    fn finish(&mut self);

    /// What was pushed and is not written.
    fn waiting_bytes(&self) -> usize;

    /// The number of rows, once they can be seen; they are durable with a flush that is asked for after that.
    ///
    /// # Errors
    /// [`IngestError`]: then nothing of it remains.
    fn finished(&self) -> Result<Option<u64>, IngestError>;
}

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("a page is malformed")]
    Malformed,
    #[error(transparent)]
    State(#[from] StateError),
}

/// Puts one more row on a page that is being made.
pub fn put_row(page: &mut BytesMut, row: &[u8], value: &[u8]) {
    page.reserve(8 + row.len() + value.len());
    page.put_u32_le(length(row.len()));
    page.put_u32_le(length(value.len()));
    page.put_slice(row);
    page.put_slice(value);
}

/// Takes the next row off a page; `None` when it is malformed.
pub fn take_row(page: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let (row, value) = next_row(page, 0)?;
    let (from, to) = (row.start, value.end);
    let found = (page.slice(from..row.end), page.slice(value));
    page.advance(to);
    Some(found)
}

/// Where the row that begins at `at`, and its value, are in a page; `None` when it is malformed.
pub(super) fn next_row(page: &[u8], at: usize) -> Option<(Range<usize>, Range<usize>)> {
    let mut lengths = page.get(at..at + 8)?;
    let row = usize::try_from(lengths.get_u32_le()).ok()?;
    let value = usize::try_from(lengths.get_u32_le()).ok()?;
    let (from, middle) = (at + 8, at + 8 + row);
    let whole =
        row <= ROW_BYTES_MAX && value <= VALUE_BYTES_MAX && page.len() - from >= row + value;
    whole.then(|| (from..middle, middle..middle + value))
}

fn length(length: usize) -> u32 {
    assert!(length <= VALUE_BYTES_MAX, "rows are bounded when they are written");
    u32::try_from(length).expect("far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_back_its_rows_and_no_cut_one_does() {
        let mut page = BytesMut::new();
        put_row(&mut page, b"a", b"");
        put_row(&mut page, b"bc", &[7; 300]);
        let page = page.freeze();
        for cut in 0..=page.len() {
            let mut rest = page.slice(..cut);
            let mut rows = Vec::new();
            let whole = loop {
                if rest.is_empty() {
                    break true;
                }
                match take_row(&mut rest) {
                    Some(row) => rows.push(row),
                    None => break false,
                }
            };
            assert_eq!(whole, [0, 9, page.len()].contains(&cut), "{cut}");
        }
        let mut absurd = Bytes::from_static(&[0xff; 16]);
        assert_eq!(take_row(&mut absurd), None);
    }
}
