//! Stores without leaders or with several: concurrent values, conflicts, and how many replicas must answer.

use bytes::Bytes;
use quorate_group::{HomeOf, Read, Write};
use quorate_model::Level;

use super::{Parsed, read, write};
use crate::resp::commands::arguments::upper;
use crate::resp::commands::{Arguments, Command, CommandError, KeyspaceCommand, QuorumCommand};
use crate::resp::parse_integer;

pub(in super::super) fn vget(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::Siblings { key: arguments.owned(1) }))
}

pub(in super::super) fn vset(arguments: &Arguments<'_>) -> Parsed {
    let context = match arguments.from(3) {
        [] => None,
        words => Some(context(words)?),
    };
    Ok(write(Write::SetSibling { key: arguments.owned(1), value: arguments.owned(2), context }))
}

pub(in super::super) fn vdel(arguments: &Arguments<'_>) -> Parsed {
    let context = context(arguments.from(2))?;
    Ok(write(Write::DeleteSiblings { key: arguments.owned(1), context }))
}

/// CONFLICTS [COUNT count]
pub(in super::super) fn conflicts(arguments: &Arguments<'_>) -> Parsed {
    const COUNT: u32 = 100;
    let count = match arguments.from(1) {
        [] => COUNT,
        [option, count] if option.eq_ignore_ascii_case(b"count") => {
            let count = parse_integer(count).and_then(|count| u32::try_from(count).ok());
            count.filter(|count| *count > 0).ok_or(CommandError::NotInteger)?
        }
        _ => return Err(CommandError::Syntax),
    };
    Ok(Command::Keyspace(KeyspaceCommand::Conflicts { count }))
}

/// HOME key [datacenter|-]
pub(in super::super) fn home(arguments: &Arguments<'_>) -> Parsed {
    let key = arguments.owned(1);
    match arguments.from(2) {
        [] => Ok(read(Read::Home { key })),
        [place] => {
            let home = Some(place).filter(|place| place.as_ref() != b"-").cloned();
            Ok(write(Write::SetHome { of: HomeOf::Key(key), home }))
        }
        _ => Err(CommandError::Syntax),
    }
}

pub(in super::super) fn quorum(arguments: &Arguments<'_>) -> Parsed {
    Ok(Command::Quorum(match arguments.from(1) {
        [] => QuorumCommand::Get,
        [reset] if reset.eq_ignore_ascii_case(b"reset") => QuorumCommand::Reset,
        [word] if word.eq_ignore_ascii_case(b"linearizable") => QuorumCommand::Linearizable,
        [read, write] => QuorumCommand::Set { read: level(read)?, write: level(write)? },
        _ => {
            let text = "ERR QUORUM takes a level for reads and one for writes, or LINEARIZABLE, or RESET, or nothing";
            return Err(CommandError::other(text));
        }
    }))
}

/// CONTEXT and what VGET gave out.
fn context(words: &[Bytes]) -> Result<Bytes, CommandError> {
    match words {
        [option, context] if option.eq_ignore_ascii_case(b"context") => Ok(context.clone()),
        _ => Err(CommandError::Syntax),
    }
}

fn level(word: &[u8]) -> Result<Level, CommandError> {
    upper(word).parse().map_err(|error| CommandError::Other(format!("ERR {error}")))
}
