//! Keys of any type, and what is asked of the whole keyspace.

use quorate_group::{Comparison, KeyType, Operation, Read, TtlUnit, Write};

use super::expiry::{Instant, Unit};
use super::{Parsed, keys_from, read, shaped, write};
use crate::resp::commands::arguments::{text, upper};
use crate::resp::commands::{
    Arguments, Command, CommandError, KeyspaceCommand, Shape, TypeFilter, Wait,
};
use crate::resp::{Reply, parse_integer};

pub(in super::super) fn del(arguments: &Arguments<'_>) -> Parsed {
    Ok(write(Write::Delete { keys: keys_from(arguments, 1) }))
}

pub(in super::super) fn exists(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::CountExisting { keys: keys_from(arguments, 1) }))
}

pub(in super::super) fn type_of(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::Type { key: arguments.owned(1) }))
}

pub(in super::super) fn persist(arguments: &Arguments<'_>) -> Parsed {
    Ok(write(Write::Persist { key: arguments.owned(1) }))
}

pub(in super::super) fn ttl(arguments: &Arguments<'_>) -> Parsed {
    time_to_live(arguments, TtlUnit::Seconds)
}

pub(in super::super) fn pttl(arguments: &Arguments<'_>) -> Parsed {
    time_to_live(arguments, TtlUnit::Milliseconds)
}

pub(in super::super) fn expiretime(arguments: &Arguments<'_>) -> Parsed {
    time_to_live(arguments, TtlUnit::AtSeconds)
}

pub(in super::super) fn pexpiretime(arguments: &Arguments<'_>) -> Parsed {
    time_to_live(arguments, TtlUnit::AtMilliseconds)
}

pub(in super::super) fn expire(arguments: &Arguments<'_>) -> Parsed {
    expire_at(arguments, Unit::Seconds, false)
}

pub(in super::super) fn pexpire(arguments: &Arguments<'_>) -> Parsed {
    expire_at(arguments, Unit::Milliseconds, false)
}

pub(in super::super) fn expireat(arguments: &Arguments<'_>) -> Parsed {
    expire_at(arguments, Unit::Seconds, true)
}

pub(in super::super) fn pexpireat(arguments: &Arguments<'_>) -> Parsed {
    expire_at(arguments, Unit::Milliseconds, true)
}

pub(in super::super) fn keys(arguments: &Arguments<'_>) -> Parsed {
    Ok(Command::Keyspace(KeyspaceCommand::Keys { pattern: arguments.owned(1) }))
}

pub(in super::super) fn scan(arguments: &Arguments<'_>) -> Parsed {
    let cursor = arguments.cursor(1)?;
    let (mut pattern, mut count, mut types) = (None, 10, TypeFilter::Any);
    let mut options = arguments.options(2);
    while let Some(option) = options.next() {
        match upper(option).as_str() {
            "COUNT" => count = options.scan_count()?,
            "MATCH" => pattern = Some(options.value()?.clone()),
            "TYPE" => {
                types = match upper(options.value()?).as_str() {
                    "STRING" => TypeFilter::Only(KeyType::String),
                    "HASH" => TypeFilter::Only(KeyType::Hash),
                    "SET" => TypeFilter::Only(KeyType::Set),
                    _ => TypeFilter::Nothing,
                };
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(Command::Keyspace(KeyspaceCommand::Scan { cursor, pattern, count, types }))
}

pub(in super::super) fn randomkey(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Keyspace(KeyspaceCommand::RandomKey))
}

pub(in super::super) fn rename(arguments: &Arguments<'_>) -> Parsed {
    let (from, to) = (arguments.owned(1), arguments.owned(2));
    Ok(write(Write::Rename { from, to, only_if_none: false }))
}

pub(in super::super) fn renamenx(arguments: &Arguments<'_>) -> Parsed {
    let (from, to) = (arguments.owned(1), arguments.owned(2));
    Ok(write(Write::Rename { from, to, only_if_none: true }))
}

pub(in super::super) fn copy(arguments: &Arguments<'_>) -> Parsed {
    let (from, to) = (arguments.owned(1), arguments.owned(2));
    let mut replace = false;
    let mut options = arguments.options(3);
    while let Some(option) = options.next() {
        match upper(option).as_str() {
            "REPLACE" => replace = true,
            "DB" => {
                if options.integer()? != 0 {
                    return Err(CommandError::other("ERR DB index is out of range"));
                }
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    if from == to {
        let text = "ERR source and destination objects are the same";
        return Err(CommandError::other(text));
    }
    Ok(write(Write::Copy { from, to, replace }))
}

pub(in super::super) fn wait(arguments: &Arguments<'_>) -> Parsed {
    let replicas = arguments.integer(1)?;
    let timeout_ms = timeout(arguments, 2)?;
    let replicas = u32::try_from(replicas.max(0)).unwrap_or(u32::MAX);
    Ok(Command::Wait(Wait::Replicas { replicas, timeout_ms }))
}

pub(in super::super) fn waitaof(arguments: &Arguments<'_>) -> Parsed {
    if !(0..=1).contains(&arguments.integer(1)?) {
        return Err(CommandError::OutOfRange(0, 1));
    }
    let replicas = u32::try_from(arguments.integer(2)?)
        .map_err(|_| CommandError::other("ERR value is out of range, must be positive"))?;
    let timeout_ms = timeout(arguments, 3)?;
    Ok(Command::Wait(Wait::Durable { replicas, timeout_ms }))
}

pub(in super::super) fn object_encoding(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::Encoding { key: arguments.owned(2) }))
}

pub(in super::super) fn object_refcount(arguments: &Arguments<'_>) -> Parsed {
    Ok(if_exists(arguments, 1))
}

pub(in super::super) fn object_idletime(arguments: &Arguments<'_>) -> Parsed {
    Ok(if_exists(arguments, 0))
}

pub(in super::super) fn object_freq(_: &Arguments<'_>) -> Parsed {
    Ok(Command::Fixed(Reply::error("ERR access frequency is not tracked")))
}

fn if_exists(arguments: &Arguments<'_>, number: i64) -> Command {
    let keys = vec![arguments.owned(2)];
    shaped(Operation::Read(Read::CountExisting { keys }), Shape::IfExists(number))
}

fn time_to_live(arguments: &Arguments<'_>, unit: TtlUnit) -> Parsed {
    Ok(read(Read::TimeToLive { key: arguments.owned(1), unit }))
}

fn timeout(arguments: &Arguments<'_>, place: usize) -> Result<u64, CommandError> {
    let timeout = parse_integer(arguments.at(place))
        .ok_or_else(|| CommandError::other("ERR timeout is not an integer or out of range"))?;
    u64::try_from(timeout).map_err(|_| CommandError::other("ERR timeout is negative"))
}

fn expire_at(arguments: &Arguments<'_>, unit: Unit, absolute: bool) -> Parsed {
    let comparison = comparison(arguments)?;
    let instant = Instant { number: arguments.at(2), unit, absolute };
    let expiry = instant.expiry_of_any_sign(arguments.spec().name)?;
    Ok(write(Write::Expire { key: arguments.owned(1), expiry, comparison }))
}

fn comparison(arguments: &Arguments<'_>) -> Result<Comparison, CommandError> {
    let (mut none, mut any, mut greater, mut less) = (false, false, false, false);
    for option in arguments.from(3) {
        match upper(option).as_str() {
            "NX" => none = true,
            "XX" => any = true,
            "GT" => greater = true,
            "LT" => less = true,
            _ => {
                let text = format!("ERR Unsupported option {}", text(option));
                return Err(CommandError::Other(text));
            }
        }
    }
    match (none, any, greater, less) {
        (true, _, _, _) if any || greater || less => Err(CommandError::other(
            "ERR NX and XX, GT or LT options at the same time are not compatible",
        )),
        (_, _, true, true) => {
            Err(CommandError::other("ERR GT and LT options at the same time are not compatible"))
        }
        (_, true, _, true) => Ok(Comparison::IfAnyAndLess),
        (true, _, _, _) => Ok(Comparison::IfNone),
        // A key without an expiry counts as one that expires last: nothing is greater, so XX adds nothing to GT.
        (_, _, true, _) => Ok(Comparison::IfGreater),
        (_, _, _, true) => Ok(Comparison::IfLess),
        (_, true, _, _) => Ok(Comparison::IfAny),
        (false, false, false, false) => Ok(Comparison::Always),
    }
}
