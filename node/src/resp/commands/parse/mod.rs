//! One function per command: its words to its type.

pub(super) mod client;
pub(super) mod cluster;
pub(super) mod command;
pub(super) mod config;
pub(super) mod connection;
mod expiry;
pub(super) mod hashes;
pub(super) mod keys;
pub(super) mod leaderless;
pub(super) mod refuse;
pub(super) mod server;
pub(super) mod session;
pub(super) mod sets;
pub(super) mod strings;
pub(super) mod transactions;

use bytes::Bytes;
use quorate_group::{Operation, Read, Write};

use super::{Arguments, Command, CommandError, Data, Shape, describe};

type Parsed = Result<Command, CommandError>;

/// A container without a subcommand.
pub(super) fn container(arguments: &Arguments<'_>) -> Parsed {
    Err(CommandError::Arity(arguments.spec().name))
}

/// HELP of any container.
pub(super) fn help(arguments: &Arguments<'_>) -> Parsed {
    let container = arguments.spec().name.split_once('|').map_or("", |(container, _)| container);
    Ok(Command::Fixed(describe::help(container)))
}

const fn read(read: Read) -> Command {
    shaped(Operation::Read(read), Shape::AsIs)
}

const fn write(write: Write) -> Command {
    shaped(Operation::Write(write), Shape::AsIs)
}

const fn shaped(operation: Operation, shape: Shape) -> Command {
    Command::Data(Data { operation, slot: None, shape })
}

fn keys_from(arguments: &Arguments<'_>, place: usize) -> Vec<Bytes> {
    arguments.from(place).to_vec()
}
