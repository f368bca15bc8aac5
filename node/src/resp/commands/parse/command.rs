//! COMMAND.

use super::Parsed;
use crate::resp::Reply;
use crate::resp::commands::arguments::upper;
use crate::resp::commands::describe::{self, CommandFilter, CommandQuery};
use crate::resp::commands::{Arguments, Command, CommandError, ServerCommand};

pub(in super::super) fn all(_: &Arguments<'_>) -> Parsed {
    table(CommandQuery::All)
}

pub(in super::super) fn count(_: &Arguments<'_>) -> Parsed {
    table(CommandQuery::Count)
}

pub(in super::super) fn info(arguments: &Arguments<'_>) -> Parsed {
    table(CommandQuery::Info(arguments.from(2).to_vec()))
}

pub(in super::super) fn docs(arguments: &Arguments<'_>) -> Parsed {
    table(CommandQuery::Docs(arguments.from(2).to_vec()))
}

pub(in super::super) fn list(arguments: &Arguments<'_>) -> Parsed {
    let filter = match arguments.from(2) {
        [] => CommandFilter::All,
        [by, kind, value] if by.eq_ignore_ascii_case(b"filterby") => match upper(kind).as_str() {
            "MODULE" => CommandFilter::Module,
            "ACLCAT" => CommandFilter::Category(value.clone()),
            "PATTERN" => CommandFilter::Pattern(value.clone()),
            _ => return Err(CommandError::Syntax),
        },
        _ => return Err(CommandError::Syntax),
    };
    table(CommandQuery::List(filter))
}

pub(in super::super) fn getkeys(arguments: &Arguments<'_>) -> Parsed {
    let (_, keys) = describe::keys(arguments.from(2))?;
    Ok(Command::Fixed(Reply::List(keys.into_iter().map(Reply::Bulk).collect())))
}

pub(in super::super) fn getkeysandflags(arguments: &Arguments<'_>) -> Parsed {
    let (spec, keys) = describe::keys(arguments.from(2))?;
    let rows =
        keys.into_iter().map(|key| Reply::List(vec![Reply::Bulk(key), describe::flags(spec)]));
    Ok(Command::Fixed(Reply::List(rows.collect())))
}

const fn table(query: CommandQuery) -> Parsed {
    Ok(Command::Server(ServerCommand::Table(query)))
}
