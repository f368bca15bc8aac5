//! One row of the table of commands, with the ten fields of Redis' COMMAND.

use std::fmt;

use super::{Arguments, Command, CommandError};

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
    /// Relative to the first where not negative, else counted from the end of the words.
    pub last: i8,
    pub step: u8,
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
        Self { keys: Some(Keys { flags, first, last, step }), ..self }
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
    /// The places of the keys among so many words.
    pub(super) fn places(self, words: usize) -> impl Iterator<Item = usize> {
        let first = usize::from(self.first);
        let last = match usize::try_from(self.last) {
            Ok(relative) => first + relative,
            Err(_) => words.saturating_sub(usize::from(self.last.unsigned_abs())),
        };
        (first..=last.min(words.saturating_sub(1))).step_by(usize::from(self.step))
    }

    /// COMMAND's fifth field.
    pub(super) fn last_place(self) -> i64 {
        if self.last < 0 {
            i64::from(self.last)
        } else {
            i64::from(self.first) + i64::from(self.last)
        }
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spec({})", self.name)
    }
}
