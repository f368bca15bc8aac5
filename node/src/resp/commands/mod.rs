//! Words to typed commands: the table of commands as data, and the reading of each command's arguments.
//!
//! Nothing here runs a command or knows where it will run. What is wrong with the words is answered with Redis' texts.

mod arguments;
mod command;
mod describe;
mod error;
mod parse;
mod spec;
mod table;

use bytes::Bytes;

pub use arguments::Arguments;
pub use command::{
    ClientCommand, ClientFilter, ClusterCommand, Command, ConnectionCommand, Data,
    DurabilityOption, HelloOptions, KeyspaceCommand, QuorumCommand, ReplyMode, ServerCommand,
    SessionCommand, SessionOption, Shape, TransactionCommand, TypeFilter, Wait,
};
pub use describe::CommandQuery;
pub use error::CommandError;
pub use spec::Spec;

/// A command that can be run, and the row of the table that it is.
#[derive(Debug)]
pub struct Parsed {
    pub spec: &'static Spec,
    pub command: Command,
}

/// Reads a request's words.
///
/// # Errors
/// What Redis answers to such words: see [`CommandError`].
///
/// # Panics
/// When there are no words: a request never is empty.
pub fn parse(words: &[Bytes]) -> Result<Parsed, CommandError> {
    let spec = table::find(words)?;
    let command = (spec.parse)(&Arguments::new(spec, words))?;
    Ok(Parsed { spec, command })
}

/// How many commands the table has, subcommands not counted.
#[must_use]
pub fn count() -> usize {
    table::all().count()
}

#[cfg(test)]
mod commands_test;
