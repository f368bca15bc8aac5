//! Transactions.

use super::{Parsed, keys_from};
use crate::resp::commands::{Arguments, Command, TransactionCommand};

pub(in super::super) fn multi(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Transaction(TransactionCommand::Multi))
}

pub(in super::super) fn exec(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Transaction(TransactionCommand::Exec))
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
