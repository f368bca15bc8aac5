//! One row of the table of commands, with the ten fields of Redis' COMMAND.

use std::fmt;

use bytes::Bytes;

use super::{Arguments, Command, CommandError};
use crate::resp::parse_integer;

/// Flags, categories, tips and so on are words, as COMMAND shows them, with a blank between.
pub struct Spec {
    /// In lower case; a subcommand's is `container|subcommand`.
    pub name: &'static str,
    /// How many words it takes with its name (and its container's); at least so many when negative.
    pub arity: i8,
    pub flags: &'static str,
    pub categories: &'static str,
    pub tips: &'static str,
    pub keys: Option<Keys>,
    /// Keys that the command treats in another way than the first ones.
    pub more_keys: Option<Keys>,
    pub subcommands: &'static [Self],
    pub group: &'static str,
    /// The version of Redis that had it first.
    pub since: &'static str,
    pub summary: &'static str,
    pub(super) parse: ParseArguments,
}

pub(super) type ParseArguments = fn(&Arguments<'_>) -> Result<Command, CommandError>;

/// Where the keys are among the words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    pub flags: &'static str,
    pub first: u8,
    pub extent: Extent,
}

/// How far they go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    Range {
        /// Relative to the first where not negative, else counted from the end of the words.
        last: i8,
        step: u8,
    },
    /// The first word is their number, and they follow it.
    Counted,
}

impl Spec {
    pub(super) const fn new(
        name: &'static str,
        arity: i8,
        flags: &'static str,
        categories: &'static str,
        parse: ParseArguments,
    ) -> Self {
        Self {
            name,
            arity,
            flags,
            categories,
            tips: "",
            keys: None,
            more_keys: None,
            subcommands: &[],
            group: "",
            since: "",
            summary: "",
            parse,
        }
    }

    pub(super) const fn about(
        self,
        group: &'static str,
        since: &'static str,
        summary: &'static str,
    ) -> Self {
        Self { group, since, summary, ..self }
    }

    pub(super) const fn keys(self, flags: &'static str, first: u8, last: i8, step: u8) -> Self {
        Self { keys: Some(Keys::range(flags, first, last, step)), ..self }
    }

    pub(super) const fn more_keys(
        self,
        flags: &'static str,
        first: u8,
        last: i8,
        step: u8,
    ) -> Self {
        Self { more_keys: Some(Keys::range(flags, first, last, step)), ..self }
    }

    pub(super) const fn counted_keys(self, flags: &'static str, count: u8) -> Self {
        Self { keys: Some(Keys { flags, first: count, extent: Extent::Counted }), ..self }
    }

    pub(super) const fn tips(self, tips: &'static str) -> Self {
        Self { tips, ..self }
    }

    pub(super) const fn subcommands(self, subcommands: &'static [Self]) -> Self {
        Self { subcommands, ..self }
    }

    #[must_use]
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.split_ascii_whitespace().any(|own| own == flag)
    }

    pub(super) fn key_specs(&self) -> impl Iterator<Item = Keys> {
        self.keys.into_iter().chain(self.more_keys)
    }

    /// The places of the keys among these words.
    pub(super) fn key_places(&self, words: &[Bytes]) -> Vec<usize> {
        self.key_specs().flat_map(|keys| keys.places(words)).collect()
    }

    /// COMMAND's fourth to sixth field: nothing where keys have to be looked for.
    pub(super) fn key_range(&self) -> (i64, i64, i64) {
        let mut range = (0, 0, 0);
        for keys in self.key_specs() {
            let Extent::Range { last, step } = keys.extent else { return (0, 0, 0) };
            let first = i64::from(keys.first);
            let last = if last < 0 { i64::from(last) } else { first + i64::from(last) };
            range = (if range.0 == 0 { first } else { range.0 }, last, i64::from(step));
        }
        range
    }

    pub(super) fn accepts(&self, words: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { words >= arity } else { words == arity }
    }

    /// A subcommand's own name, without its container's.
    pub(super) fn short_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, short)| short)
    }
}

impl Keys {
    const fn range(flags: &'static str, first: u8, last: i8, step: u8) -> Self {
        Self { flags, first, extent: Extent::Range { last, step } }
    }

    fn places(self, words: &[Bytes]) -> impl Iterator<Item = usize> + use<> {
        let first = usize::from(self.first);
        let end = words.len().saturating_sub(1);
        let (first, last, step) = match self.extent {
            Extent::Range { last, step } => {
                let last = match usize::try_from(last) {
                    Ok(relative) => first + relative,
                    Err(_) => words.len().saturating_sub(usize::from(last.unsigned_abs())),
                };
                (first, last, usize::from(step))
            }
            Extent::Counted => {
                let count = words.get(first).and_then(|count| parse_integer(count));
                let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
                (first + 1, first.saturating_add(count), 1)
            }
        };
        (first..=last.min(end)).step_by(step)
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spec({})", self.name)
    }
}
