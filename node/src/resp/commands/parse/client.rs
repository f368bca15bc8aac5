//! CLIENT.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Parsed;
use crate::resp::commands::arguments::{Options, text, upper};
use crate::resp::commands::{
    Arguments, ClientCommand, ClientFilter, Command, CommandError, ReplyMode,
};
use crate::resp::{Reply, parse_integer};

/// Names are kept per connection and shown to others: bounded.
const NAME_BYTES_MAX: usize = 256;

/// A connection's name: printable, without blanks, so that CLIENT LIST stays one line.
pub(in super::super) fn name(word: &[u8]) -> Result<String, CommandError> {
    const WRONG: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
    printable(word, WRONG)
}

pub(in super::super) fn id(_: &Arguments<'_>) -> Parsed {
    client(ClientCommand::Id)
}

pub(in super::super) fn getname(_: &Arguments<'_>) -> Parsed {
    client(ClientCommand::Name)
}

pub(in super::super) fn setname(arguments: &Arguments<'_>) -> Parsed {
    client(ClientCommand::SetName(name(arguments.at(2))?))
}

pub(in super::super) fn setinfo(arguments: &Arguments<'_>) -> Parsed {
    let option = upper(arguments.at(2));
    let wrong = format!(
        "ERR {} cannot contain spaces, newlines or special characters.",
        option.to_lowercase()
    );
    match option.as_str() {
        "LIB-NAME" => client(ClientCommand::SetLibraryName(printable(arguments.at(3), &wrong)?)),
        "LIB-VER" => client(ClientCommand::SetLibraryVersion(printable(arguments.at(3), &wrong)?)),
        _ => {
            let option = text(arguments.at(2));
            Err(CommandError::Other(format!("ERR Unrecognized option '{option}'")))
        }
    }
}

pub(in super::super) fn info(_: &Arguments<'_>) -> Parsed {
    client(ClientCommand::Info)
}

pub(in super::super) fn list(arguments: &Arguments<'_>) -> Parsed {
    let mut filter = ClientFilter::default();
    match arguments.from(2) {
        [] => {}
        [option, kind] if option.eq_ignore_ascii_case(b"type") => {
            filter.normal = Some(normal(kind)?)
        }
        [option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let ids: Option<BTreeSet<u64>> = ids.iter().map(|id| positive(id)).collect();
            filter.ids = Some(ids.ok_or_else(|| CommandError::other("ERR Invalid client ID"))?);
        }
        _ => return Err(CommandError::Syntax),
    }
    client(ClientCommand::List(filter))
}

pub(in super::super) fn kill(arguments: &Arguments<'_>) -> Parsed {
    let mut filter = ClientFilter::default();
    let mut skip_me = true;
    if let [peer] = arguments.from(2) {
        filter.peer = Some(text(peer));
        return client(ClientCommand::Kill { filter, skip_me: false, old_style: true });
    }
    let mut options = arguments.options(2);
    while let Some(option) = options.next() {
        kill_option(option, &mut options, &mut filter, &mut skip_me)?;
    }
    client(ClientCommand::Kill { filter, skip_me, old_style: false })
}

pub(in super::super) fn no_evict(arguments: &Arguments<'_>) -> Parsed {
    on_or_off(arguments.at(2)).map(|_| Command::Fixed(Reply::Ok))
}

pub(in super::super) fn no_touch(arguments: &Arguments<'_>) -> Parsed {
    on_or_off(arguments.at(2)).map(|_| Command::Fixed(Reply::Ok))
}

pub(in super::super) fn reply(arguments: &Arguments<'_>) -> Parsed {
    let mode = match upper(arguments.at(2)).as_str() {
        "ON" => ReplyMode::On,
        "OFF" => ReplyMode::Off,
        "SKIP" => ReplyMode::Skip,
        _ => return Err(CommandError::Syntax),
    };
    client(ClientCommand::Reply(mode))
}

pub(in super::super) fn getredir(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Fixed(Reply::Integer(-1)))
}

pub(in super::super) fn trackinginfo(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Fixed(Reply::Map(vec![
        (Reply::text("flags"), Reply::Set(vec![Reply::text("off")])),
        (Reply::text("redirect"), Reply::Integer(-1)),
        (Reply::text("prefixes"), Reply::List(Vec::new())),
    ])))
}

pub(in super::super) fn tracking(arguments: &Arguments<'_>) -> Parsed {
    match on_or_off(arguments.at(2))? {
        true => Err(CommandError::other("ERR client-side caching is not supported yet")),
        false => Ok(Command::Fixed(Reply::Ok)),
    }
}

pub(in super::super) fn unblock(arguments: &Arguments<'_>) -> Parsed {
    arguments.integer(2).map(|_| Command::Fixed(Reply::Integer(0)))
}

const fn client(command: ClientCommand) -> Parsed {
    Ok(Command::Client(command))
}

fn kill_option(
    option: &[u8],
    options: &mut Options<'_>,
    filter: &mut ClientFilter,
    skip_me: &mut bool,
) -> Result<(), CommandError> {
    let value = options.value()?;
    match upper(option).as_str() {
        "ID" => {
            let id = positive(value)
                .ok_or_else(|| CommandError::other("ERR client-id should be greater than 0"))?;
            filter.ids = Some(BTreeSet::from([id]));
        }
        "TYPE" => filter.normal = Some(normal(value)?),
        "ADDR" => filter.peer = Some(text(value)),
        "LADDR" => filter.local = Some(text(value)),
        "USER" if value.as_ref() == b"default" => filter.user = Some(text(value)),
        "USER" => {
            let user = text(value);
            return Err(CommandError::Other(format!("ERR No such user '{user}'")));
        }
        "SKIPME" => match upper(value).as_str() {
            "YES" => *skip_me = true,
            "NO" => *skip_me = false,
            _ => return Err(CommandError::Syntax),
        },
        _ => return Err(CommandError::Syntax),
    }
    Ok(())
}

fn printable(word: &[u8], wrong: &str) -> Result<String, CommandError> {
    if word.len() > NAME_BYTES_MAX || !word.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(CommandError::other(wrong));
    }
    Ok(text(word))
}

/// Whether the type is that of the only clients that there are.
fn normal(kind: &Bytes) -> Result<bool, CommandError> {
    match upper(kind).as_str() {
        "NORMAL" => Ok(true),
        "MASTER" | "REPLICA" | "SLAVE" | "PUBSUB" => Ok(false),
        _ => {
            let kind = text(kind);
            Err(CommandError::Other(format!("ERR Unknown client type '{kind}'")))
        }
    }
}

fn positive(word: &[u8]) -> Option<u64> {
    parse_integer(word).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0)
}

fn on_or_off(word: &[u8]) -> Result<bool, CommandError> {
    match upper(word).as_str() {
        "ON" => Ok(true),
        "OFF" => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}
