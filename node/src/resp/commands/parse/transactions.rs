//! Transactions, and writes that are done once.

use bytes::Bytes;
use quorate_group::keyspace::{self, TOKEN_BYTES_MAX};
use quorate_group::{Operation, Write};

use super::{Parsed, keys_from};
use crate::resp::commands::{Arguments, Command, CommandError, Data, TransactionCommand, parse};

pub(in super::super) fn multi(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Transaction(TransactionCommand::Multi))
}

pub(in super::super) fn exec(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Transaction(TransactionCommand::Exec { token: None }))
}

pub(in super::super) fn discard(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Transaction(TransactionCommand::Discard))
}

pub(in super::super) fn watch(arguments: &Arguments<'_>) -> Parsed {
    Ok(Command::Transaction(TransactionCommand::Watch { keys: keys_from(arguments, 1) }))
}

pub(in super::super) fn unwatch(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Transaction(TransactionCommand::Unwatch))
}

/// ONCE token command...: a command that writes keys of one slot, or EXEC.
pub(in super::super) fn once(arguments: &Arguments<'_>) -> Parsed {
    let token = arguments.owned(1);
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        let text = format!("ERR a token has 1 to {TOKEN_BYTES_MAX} bytes");
        return Err(CommandError::Other(text));
    }
    let words = arguments.from(2);
    let refused =
        || CommandError::other("ERR ONCE takes a command that writes keys of one slot, or EXEC");
    // Not another ONCE: reading it would go as deep as a client likes.
    if words.first().is_some_and(|name| name.eq_ignore_ascii_case(b"once")) {
        return Err(refused());
    }
    match parse(words)?.command {
        Command::Data(Data { operation: Operation::Write(write), slot: None, shape }) => {
            let fingerprint = fingerprint(words);
            let write = Write::Once { token, fingerprint, write: Box::new(write), answer: None };
            Ok(Command::Data(Data { operation: Operation::Write(write), slot: None, shape }))
        }
        Command::Transaction(TransactionCommand::Exec { token: None }) => {
            Ok(Command::Transaction(TransactionCommand::Exec { token: Some(token) }))
        }
        Command::Data(_)
        | Command::Keyspace(_)
        | Command::Wait(_)
        | Command::Session(_)
        | Command::Quorum(_)
        | Command::Transaction(_)
        | Command::Connection(_)
        | Command::Client(_)
        | Command::Server(_)
        | Command::Cluster(_)
        | Command::Fixed(_) => Err(refused()),
    }
}

/// The command's name counts in any case.
fn fingerprint(words: &[Bytes]) -> u64 {
    let name = words.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    let rest = words.iter().skip(1).map(|word| &word[..]);
    keyspace::fingerprint(std::iter::once(&name[..]).chain(rest))
}
