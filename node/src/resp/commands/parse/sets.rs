//! Sets.

use bytes::Bytes;
use quorate_group::{CollectionKind, Combination, Operation, Part, Read, Write};

use super::hashes::{not_negative, picks, scan};
use super::{Parsed, keys_from, read, shaped, write};
use crate::resp::commands::arguments::upper;
use crate::resp::commands::{Arguments, CommandError, Shape};

const SET: CollectionKind = CollectionKind::Set;

pub(in super::super) fn sadd(arguments: &Arguments<'_>) -> Parsed {
    Ok(write(Write::AddMembers { key: arguments.owned(1), members: keys_from(arguments, 2) }))
}

pub(in super::super) fn srem(arguments: &Arguments<'_>) -> Parsed {
    let (key, fields) = (arguments.owned(1), keys_from(arguments, 2));
    Ok(write(Write::RemoveFields { key, kind: SET, fields }))
}

pub(in super::super) fn scard(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::CountFields { key: arguments.owned(1), kind: SET }))
}

pub(in super::super) fn sismember(arguments: &Arguments<'_>) -> Parsed {
    let (key, fields) = (arguments.owned(1), vec![arguments.owned(2)]);
    Ok(read(Read::HasFields { key, kind: SET, fields, many: false }))
}

pub(in super::super) fn smismember(arguments: &Arguments<'_>) -> Parsed {
    let (key, fields) = (arguments.owned(1), keys_from(arguments, 2));
    Ok(read(Read::HasFields { key, kind: SET, fields, many: true }))
}

pub(in super::super) fn smembers(arguments: &Arguments<'_>) -> Parsed {
    let operation = Read::AllFields { key: arguments.owned(1), kind: SET, part: Part::Fields };
    Ok(shaped(Operation::Read(operation), Shape::Set))
}

pub(in super::super) fn spop(arguments: &Arguments<'_>) -> Parsed {
    let key = arguments.owned(1);
    match arguments.from(2) {
        [] => Ok(write(Write::PopMembers { key, count: None })),
        [count] => {
            let count = not_negative(count, "ERR value is out of range, must be positive")?;
            let operation = Write::PopMembers { key, count: Some(count) };
            Ok(shaped(Operation::Write(operation), Shape::Set))
        }
        _ => Err(CommandError::Syntax),
    }
}

pub(in super::super) fn srandmember(arguments: &Arguments<'_>) -> Parsed {
    let count = match arguments.count() {
        2 => None,
        3 => Some(picks(arguments, 2)?),
        _ => return Err(CommandError::Syntax),
    };
    let key = arguments.owned(1);
    Ok(read(Read::RandomFields { key, kind: SET, count, part: Part::Fields }))
}

pub(in super::super) fn sscan(arguments: &Arguments<'_>) -> Parsed {
    scan(arguments, SET)
}

pub(in super::super) fn smove(arguments: &Arguments<'_>) -> Parsed {
    let (from, to, member) = (arguments.owned(1), arguments.owned(2), arguments.owned(3));
    Ok(write(Write::MoveMember { from, to, member }))
}

pub(in super::super) fn sinter(arguments: &Arguments<'_>) -> Parsed {
    combined(arguments, Combination::Intersection)
}

pub(in super::super) fn sunion(arguments: &Arguments<'_>) -> Parsed {
    combined(arguments, Combination::Union)
}

pub(in super::super) fn sdiff(arguments: &Arguments<'_>) -> Parsed {
    combined(arguments, Combination::Difference)
}

pub(in super::super) fn sinterstore(arguments: &Arguments<'_>) -> Parsed {
    stored(arguments, Combination::Intersection)
}

pub(in super::super) fn sunionstore(arguments: &Arguments<'_>) -> Parsed {
    stored(arguments, Combination::Union)
}

pub(in super::super) fn sdiffstore(arguments: &Arguments<'_>) -> Parsed {
    stored(arguments, Combination::Difference)
}

pub(in super::super) fn sintercard(arguments: &Arguments<'_>) -> Parsed {
    let count = not_negative(arguments.at(1), NO_KEYS)?;
    if count == 0 {
        return Err(CommandError::other(NO_KEYS));
    }
    let words = arguments.from(2);
    let count = usize::try_from(count).ok().filter(|count| *count <= words.len());
    let Some(count) = count else {
        let text = "ERR Number of keys can't be greater than number of args";
        return Err(CommandError::other(text));
    };
    let keys: Vec<Bytes> = words[..count].to_vec();
    let mut limit = 0;
    let mut options = arguments.options(2 + count);
    while let Some(option) = options.next() {
        match upper(option).as_str() {
            "LIMIT" => limit = not_negative(options.value()?, "ERR LIMIT can't be negative")?,
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(read(Read::CountIntersection { keys, limit }))
}

const NO_KEYS: &str = "ERR numkeys should be greater than 0";

fn combined(arguments: &Arguments<'_>, combination: Combination) -> Parsed {
    let operation = Read::CombineSets { keys: keys_from(arguments, 1), combination };
    Ok(shaped(Operation::Read(operation), Shape::Set))
}

fn stored(arguments: &Arguments<'_>, combination: Combination) -> Parsed {
    let (to, keys) = (arguments.owned(1), keys_from(arguments, 2));
    Ok(write(Write::StoreSets { to, keys, combination }))
}
