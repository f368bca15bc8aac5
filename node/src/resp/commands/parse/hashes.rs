//! Hashes.

use bytes::Bytes;
use quorate_group::{CollectionKind, Operation, Part, Read, Write};

use super::strings::float;
use super::{Parsed, keys_from, read, shaped, write};
use crate::resp::commands::arguments::upper;
use crate::resp::commands::{Arguments, CommandError, Shape};
use crate::resp::parse_integer;

const HASH: CollectionKind = CollectionKind::Hash;

pub(in super::super) fn hset(arguments: &Arguments<'_>) -> Parsed {
    Ok(write(set_fields(arguments)?))
}

pub(in super::super) fn hmset(arguments: &Arguments<'_>) -> Parsed {
    Ok(shaped(Operation::Write(set_fields(arguments)?), Shape::Done))
}

pub(in super::super) fn hsetnx(arguments: &Arguments<'_>) -> Parsed {
    let (key, field, value) = (arguments.owned(1), arguments.owned(2), arguments.owned(3));
    Ok(write(Write::SetFieldIfNone { key, field, value }))
}

pub(in super::super) fn hget(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::Field { key: arguments.owned(1), field: arguments.owned(2) }))
}

pub(in super::super) fn hmget(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::FieldsNamed { key: arguments.owned(1), fields: keys_from(arguments, 2) }))
}

pub(in super::super) fn hdel(arguments: &Arguments<'_>) -> Parsed {
    let (key, fields) = (arguments.owned(1), keys_from(arguments, 2));
    Ok(write(Write::RemoveFields { key, kind: HASH, fields }))
}

pub(in super::super) fn hgetall(arguments: &Arguments<'_>) -> Parsed {
    let operation = Read::AllFields { key: arguments.owned(1), kind: HASH, part: Part::Both };
    Ok(shaped(Operation::Read(operation), Shape::Map))
}

pub(in super::super) fn hkeys(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::AllFields { key: arguments.owned(1), kind: HASH, part: Part::Fields }))
}

pub(in super::super) fn hvals(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::AllFields { key: arguments.owned(1), kind: HASH, part: Part::Values }))
}

pub(in super::super) fn hlen(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::CountFields { key: arguments.owned(1), kind: HASH }))
}

pub(in super::super) fn hstrlen(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::FieldLength { key: arguments.owned(1), field: arguments.owned(2) }))
}

pub(in super::super) fn hexists(arguments: &Arguments<'_>) -> Parsed {
    let (key, fields) = (arguments.owned(1), vec![arguments.owned(2)]);
    Ok(read(Read::HasFields { key, kind: HASH, fields, many: false }))
}

pub(in super::super) fn hincrby(arguments: &Arguments<'_>) -> Parsed {
    let by = arguments.integer(3)?;
    Ok(write(Write::IncrementField { key: arguments.owned(1), field: arguments.owned(2), by }))
}

pub(in super::super) fn hincrbyfloat(arguments: &Arguments<'_>) -> Parsed {
    let by = float(arguments, 3, "ERR value is NaN or Infinity")?;
    Ok(write(Write::IncrementFieldFloat { key: arguments.owned(1), field: arguments.owned(2), by }))
}

pub(in super::super) fn hrandfield(arguments: &Arguments<'_>) -> Parsed {
    let key = arguments.owned(1);
    let pick = |count, part| Read::RandomFields { key, kind: HASH, count, part };
    if arguments.count() == 2 {
        return Ok(read(pick(None, Part::Fields)));
    }
    let count = picks(arguments, 2)?;
    match arguments.from(3) {
        [] => Ok(read(pick(Some(count), Part::Fields))),
        [option] if upper(option) == "WITHVALUES" => {
            if count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
                return Err(CommandError::other("ERR value is out of range"));
            }
            let operation = Operation::Read(pick(Some(count), Part::Both));
            Ok(shaped(operation, Shape::Pairs))
        }
        _ => Err(CommandError::Syntax),
    }
}

pub(in super::super) fn hscan(arguments: &Arguments<'_>) -> Parsed {
    scan(arguments, HASH)
}

/// How many to pick at random: any number that has a negative.
pub(super) fn picks(arguments: &Arguments<'_>, place: usize) -> Result<i64, CommandError> {
    match arguments.integer(place)? {
        i64::MIN => Err(CommandError::OutOfRange(-i64::MAX, i64::MAX)),
        count => Ok(count),
    }
}

/// HSCAN and SSCAN.
pub(super) fn scan(arguments: &Arguments<'_>, kind: CollectionKind) -> Parsed {
    // Nothing stands beyond the last cursor that was ever given.
    let cursor = u32::try_from(arguments.cursor(2)?).unwrap_or(u32::MAX);
    let (mut pattern, mut count) = (None, 10);
    let mut part = match kind {
        CollectionKind::Hash => Part::Both,
        CollectionKind::Set => Part::Fields,
    };
    let mut options = arguments.options(3);
    while let Some(option) = options.next() {
        match upper(option).as_str() {
            "COUNT" => count = options.scan_count()?,
            "MATCH" => pattern = Some(options.value()?.clone()),
            "NOVALUES" if kind == HASH => part = Part::Fields,
            _ => return Err(CommandError::Syntax),
        }
    }
    let operation =
        Read::ScanFields { key: arguments.owned(1), kind, cursor, pattern, count, part };
    Ok(shaped(Operation::Read(operation), Shape::Scanned))
}

fn set_fields(arguments: &Arguments<'_>) -> Result<Write, CommandError> {
    let words = arguments.from(2);
    if !words.len().is_multiple_of(2) {
        return Err(CommandError::Arity(arguments.spec().name));
    }
    let pairs: Vec<(Bytes, Bytes)> =
        words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    Ok(Write::SetFields { key: arguments.owned(1), pairs })
}

/// A number that may not be negative, in the words of the commands that have one.
pub(super) fn not_negative(word: &[u8], refusal: &'static str) -> Result<u64, CommandError> {
    let number = parse_integer(word).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| CommandError::other(refusal))
}
