//! A command's words, and how they are read.

use bytes::Bytes;

use super::{CommandError, Spec};
use crate::resp::parse_integer;

/// Their number satisfies the command's arity.
pub struct Arguments<'a> {
    spec: &'static Spec,
    words: &'a [Bytes],
}

impl<'a> Arguments<'a> {
    pub(super) const fn new(spec: &'static Spec, words: &'a [Bytes]) -> Self {
        Self { spec, words }
    }

    pub(super) const fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// How many words there are, the command's name included.
    pub(super) const fn count(&self) -> usize {
        self.words.len()
    }

    /// The word at this place; the name is at 0.
    pub(super) fn at(&self, place: usize) -> &'a Bytes {
        &self.words[place]
    }

    pub(super) fn owned(&self, place: usize) -> Bytes {
        self.words[place].clone()
    }

    pub(super) fn from(&self, place: usize) -> &'a [Bytes] {
        self.words.get(place..).unwrap_or_default()
    }

    pub(super) fn integer(&self, place: usize) -> Result<i64, CommandError> {
        parse_integer(&self.words[place]).ok_or(CommandError::NotInteger)
    }

    /// Where a scan goes on.
    pub(super) fn cursor(&self, place: usize) -> Result<u64, CommandError> {
        let cursor = std::str::from_utf8(self.at(place)).ok().and_then(|text| text.parse().ok());
        cursor.ok_or(CommandError::Cursor)
    }

    /// The words from this place on, read one after the other.
    pub(super) fn options(&self, place: usize) -> Options<'a> {
        Options { words: self.from(place) }
    }
}

pub(super) struct Options<'a> {
    words: &'a [Bytes],
}

impl<'a> Options<'a> {
    pub(super) fn next(&mut self) -> Option<&'a Bytes> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    /// The value that an option must have.
    pub(super) fn value(&mut self) -> Result<&'a Bytes, CommandError> {
        self.next().ok_or(CommandError::Syntax)
    }

    pub(super) fn integer(&mut self) -> Result<i64, CommandError> {
        parse_integer(self.value()?).ok_or(CommandError::NotInteger)
    }

    /// The value of a scan's COUNT.
    pub(super) fn scan_count(&mut self) -> Result<u32, CommandError> {
        let given = self.integer()?;
        if given < 1 {
            return Err(CommandError::Syntax);
        }
        Ok(u32::try_from(given).unwrap_or(u32::MAX))
    }

    pub(super) fn peek(&self) -> Option<&'a Bytes> {
        self.words.first()
    }

    pub(super) const fn left(&self) -> usize {
        self.words.len()
    }
}

/// An option's name in upper case, short enough to be one; anything longer is none.
pub(super) fn upper(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(32)]).to_ascii_uppercase()
}

/// A client's text where only text makes sense.
pub(super) fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}
