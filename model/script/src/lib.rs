//! Scripts that make one value of several that were written at the same time: the conflict policy `Custom`.
//!
//! A script is a pure function: of the key and of the siblings, which it is given from the first to the last that was written.
//! `language` says what it is made of. There is no time, no randomness and nothing outside, and everything is bounded here:
//! a script that goes beyond has failed, and so it has everywhere.

mod language;
#[cfg(test)]
mod limits_test;

use rhai::{AST, Dynamic, Scope};

use language::{Opaque, Values, engine};

pub const SOURCE_BYTES_MAX: usize = 8 << 10;
/// So many siblings it is given.
pub const SIBLINGS_MAX: usize = 64;
/// A longer value, or one that is not UTF-8, is not a string to it: it can be compared and answered.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
/// About five for each line that is run. One takes as long as the longest string or array: an endless loop ends after a millisecond,
/// the worst that was found, which changes the last character of a long string, after one second.
pub const OPERATIONS_MAX: u64 = 10_000;
/// All strings of one value of the script together.
pub const STRING_BYTES_MAX: usize = 8 << 10;
/// Elements of one array, with those of arrays in it; and entries of a map.
pub const ELEMENTS_MAX: usize = 512;
pub const VARIABLES_MAX: usize = 64;
/// Blocks and expressions within each other. A chain such as `a + b + c` counts as its length.
pub const DEPTH_MAX: usize = 64;
/// What it answers may be longer than all values together by so much: what is made of a write must fit where the write did.
pub const ANSWER_BYTES_SPARE: usize = 64;
/// Of what an error says.
const REASON_BYTES_MAX: usize = 160;

/// One of the values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sibling<'a> {
    pub value: &'a [u8],
    /// The datacenter that wrote it,
    pub origin: &'a str,
    /// and when, by its clock.
    pub time_ms: u64,
}

/// A script that has been read.
#[derive(Clone, Debug)]
pub struct Script(AST);

/// Why there is no script, or no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    #[error("the script has {0} bytes, and may have {SOURCE_BYTES_MAX}")]
    TooLong(usize),
    #[error("{0}")]
    Syntax(String),
    #[error("{0} values are more than {SIBLINGS_MAX}")]
    Siblings(usize),
    #[error("{0}")]
    Failed(String),
    #[error("the answer has {0} bytes, more than all values and {ANSWER_BYTES_SPARE}")]
    Answer(usize),
    #[error("the answer is a {0}, not a string, bytes, an integer or ()")]
    Type(&'static str),
}

impl Script {
    /// # Errors
    /// [`Error::TooLong`] and [`Error::Syntax`], a sentence with line and column.
    pub fn compile(source: &str) -> Result<Self, Error> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(Error::TooLong(source.len()));
        }
        let compiled = engine().compile_with_scope(&scope(&Values::new(b"", &[]), &[]), source);
        compiled.map(Self).map_err(|error| Error::Syntax(brief(&error.to_string())))
    }

    /// What it makes of these, the last writer's last. Nothing: it leaves them to the last writer.
    ///
    /// # Errors
    /// Everything but what [`Script::compile`] answers.
    pub fn run(&self, key: &[u8], siblings: &[Sibling<'_>]) -> Result<Option<Vec<u8>>, Error> {
        if siblings.len() > SIBLINGS_MAX {
            return Err(Error::Siblings(siblings.len()));
        }
        let values = Values::new(key, siblings);
        let mut scope = scope(&values, siblings);
        let answer = engine().eval_ast_with_scope::<Dynamic>(&mut scope, &self.0);
        let answer = answer.map_err(|error| Error::Failed(brief(&error.to_string())))?;
        let answer = read(answer, &values)?;
        let bytes = answer.as_ref().map_or(0, Vec::len);
        let bytes_max =
            siblings.iter().map(|one| one.value.len()).sum::<usize>() + ANSWER_BYTES_SPARE;
        if bytes > bytes_max { Err(Error::Answer(bytes)) } else { Ok(answer) }
    }
}

fn scope(values: &Values<'_>, siblings: &[Sibling<'_>]) -> Scope<'static> {
    let mut scope = Scope::new();
    let all = siblings.iter().enumerate().map(|(at, one)| values.sibling(at, one));
    scope.push_constant("siblings", all.collect::<Vec<_>>());
    scope.push_constant_dynamic("key", values.value(siblings.len()));
    scope
}

fn read(answer: Dynamic, values: &Values<'_>) -> Result<Option<Vec<u8>>, Error> {
    if answer.is_unit() {
        Ok(None)
    } else if let Ok(number) = answer.as_int() {
        Ok(Some(number.to_string().into_bytes()))
    } else if let Some(opaque) = answer.read_lock::<Opaque>() {
        Ok(Some(values.bytes(&opaque).to_vec()))
    } else {
        let name = answer.type_name();
        answer.into_string().map(|text| Some(text.into_bytes())).map_err(|_| Error::Type(name))
    }
}

/// Its beginning, in one line.
fn brief(text: &str) -> String {
    let mut text = text.replace(['\r', '\n'], " ");
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}
