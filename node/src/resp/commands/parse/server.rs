//! The node.

use quorate_group::Read;

use super::{Parsed, read};
use crate::resp::commands::arguments::{text, upper};
use crate::resp::commands::{Arguments, Command, CommandError, KeyspaceCommand, ServerCommand};
use crate::resp::{Reply, parse_integer};

pub(in super::super) fn info(arguments: &Arguments<'_>) -> Parsed {
    let sections = arguments.from(1).iter().map(|section| text(section).to_lowercase()).collect();
    Ok(Command::Server(ServerCommand::Info(sections)))
}

pub(in super::super) fn dbsize(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Keyspace(KeyspaceCommand::Count))
}

/// Whether in the background or not is Redis' concern: ours is a log entry per shard.
pub(in super::super) fn flush(arguments: &Arguments<'_>) -> Parsed {
    match arguments.from(1) {
        [] => {}
        [mode] if matches!(upper(mode).as_str(), "ASYNC" | "SYNC") => {}
        _ => return Err(CommandError::Syntax),
    }
    Ok(Command::Keyspace(KeyspaceCommand::Flush))
}

pub(in super::super) fn role(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Server(ServerCommand::Role))
}

pub(in super::super) fn time(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Server(ServerCommand::Time))
}

pub(in super::super) fn lastsave(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Server(ServerCommand::LastSave))
}

pub(in super::super) fn acl_whoami(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::text("default"))
}

pub(in super::super) fn latency_doctor(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::Verbatim("Latency events are not collected here: see the metrics.".to_owned()))
}

pub(in super::super) fn latency_histogram(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::Map(Vec::new()))
}

pub(in super::super) fn latency_history(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::List(Vec::new()))
}

pub(in super::super) fn latency_latest(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::List(Vec::new()))
}

pub(in super::super) fn latency_reset(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::Integer(0))
}

pub(in super::super) fn memory_doctor(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::Verbatim("Memory is bounded by the node's settings: see the metrics.".to_owned()))
}

pub(in super::super) fn memory_purge(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::Ok)
}

pub(in super::super) fn memory_usage(arguments: &Arguments<'_>) -> Parsed {
    match arguments.from(3) {
        [] => {}
        [option, samples] if option.eq_ignore_ascii_case(b"samples") => {
            parse_integer(samples).filter(|samples| *samples >= 0).ok_or(CommandError::Syntax)?;
        }
        _ => return Err(CommandError::Syntax),
    }
    Ok(read(Read::MemoryUsage { key: arguments.owned(2) }))
}

pub(in super::super) fn slowlog_get(arguments: &Arguments<'_>) -> Parsed {
    let count = arguments.from(2).first().map(|count| parse_integer(count));
    match (count, arguments.count()) {
        (_, 4..) => Err(CommandError::Arity(arguments.spec().name)),
        (None | Some(Some(-1..)), _) => fixed(Reply::List(Vec::new())),
        (Some(Some(_) | None), _) => {
            Err(CommandError::other("ERR count should be greater than or equal to -1"))
        }
    }
}

pub(in super::super) fn slowlog_len(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::Integer(0))
}

pub(in super::super) fn slowlog_reset(_: &Arguments<'_>) -> Parsed {
    fixed(Reply::Ok)
}

const fn fixed(reply: Reply) -> Parsed {
    Ok(Command::Fixed(reply))
}
