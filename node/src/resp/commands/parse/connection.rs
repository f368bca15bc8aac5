//! The connection itself.

use super::Parsed;
use crate::resp::commands::arguments::{text, upper};
use crate::resp::commands::parse::client;
use crate::resp::commands::{Arguments, Command, CommandError, ConnectionCommand, HelloOptions};
use crate::resp::{Protocol, Reply, parse_integer};

pub(in super::super) fn hello(arguments: &Arguments<'_>) -> Parsed {
    let mut hello = HelloOptions::default();
    if arguments.count() > 1 {
        let version = parse_integer(arguments.at(1)).ok_or_else(|| {
            CommandError::other("ERR Protocol version is not an integer or out of range")
        })?;
        hello.protocol = Some(match version {
            2 => Protocol::Resp2,
            3 => Protocol::Resp3,
            _ => return Err(CommandError::other("NOPROTO unsupported protocol version")),
        });
    }
    let mut options = arguments.options(2);
    while let Some(option) = options.next() {
        match (upper(option).as_str(), options.left()) {
            ("AUTH", 2..) => {
                hello.auth = Some((options.value()?.clone(), options.value()?.clone()));
            }
            ("SETNAME", 1..) => hello.name = Some(client::name(options.value()?)?),
            _ => {
                let option = text(option);
                let text = format!("ERR Syntax error in HELLO option '{option}'");
                return Err(CommandError::Other(text));
            }
        }
    }
    Ok(Command::Connection(ConnectionCommand::Hello(hello)))
}

pub(in super::super) fn auth(arguments: &Arguments<'_>) -> Parsed {
    let (user, password) = match arguments.from(1) {
        [password] => (None, password.clone()),
        [user, password] => (Some(user.clone()), password.clone()),
        _ => return Err(CommandError::Syntax),
    };
    Ok(Command::Connection(ConnectionCommand::Auth { user, password }))
}

pub(in super::super) fn ping(arguments: &Arguments<'_>) -> Parsed {
    match arguments.from(1) {
        [] => Ok(Command::Connection(ConnectionCommand::Ping(None))),
        [word] => Ok(Command::Connection(ConnectionCommand::Ping(Some(word.clone())))),
        _ => Err(CommandError::Arity(arguments.spec().name)),
    }
}

pub(in super::super) fn echo(arguments: &Arguments<'_>) -> Parsed {
    Ok(Command::Fixed(Reply::Bulk(arguments.owned(1))))
}

pub(in super::super) fn select(arguments: &Arguments<'_>) -> Parsed {
    Ok(Command::Connection(ConnectionCommand::Select(arguments.integer(1)?)))
}

pub(in super::super) fn quit(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Connection(ConnectionCommand::Quit))
}

pub(in super::super) fn reset(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Connection(ConnectionCommand::Reset))
}
