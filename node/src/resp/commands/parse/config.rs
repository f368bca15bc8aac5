//! CONFIG.

use super::Parsed;
use crate::resp::commands::{Arguments, Command, CommandError, ServerCommand};

pub(in super::super) fn get(arguments: &Arguments<'_>) -> Parsed {
    Ok(Command::Server(ServerCommand::ConfigGet(arguments.from(2).to_vec())))
}

pub(in super::super) fn set(arguments: &Arguments<'_>) -> Parsed {
    let words = arguments.from(2);
    if !words.len().is_multiple_of(2) {
        return Err(CommandError::Arity(arguments.spec().name));
    }
    let pairs = words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    Ok(Command::Server(ServerCommand::ConfigSet(pairs)))
}

pub(in super::super) fn resetstat(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Server(ServerCommand::ConfigResetStatistics))
}
