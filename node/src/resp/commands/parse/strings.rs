//! Strings.

use quorate_group::{DeleteCondition, Expiry, FloatText, Operation, Read, SetCondition, Write};

use super::expiry::{Instant, Unit, relative};
use super::{Parsed, keys_from, read, shaped, write};
use crate::resp::commands::arguments::{Options, upper};
use crate::resp::commands::{Arguments, CommandError, Shape};

const DIGEST_DIGITS: usize = 16;

pub(in super::super) fn append(arguments: &Arguments<'_>) -> Parsed {
    Ok(write(Write::Append { key: arguments.owned(1), suffix: arguments.owned(2) }))
}

/// Without a condition as DEL.
pub(in super::super) fn delex(arguments: &Arguments<'_>) -> Parsed {
    let key = arguments.owned(1);
    let mut options = arguments.options(2);
    let Some(option) = options.next() else { return Ok(write(Write::Delete { keys: vec![key] })) };
    let value = options.value()?;
    let condition = match upper(option).as_str() {
        "IFEQ" => DeleteCondition::Value { value: value.clone(), equal: true },
        "IFNE" => DeleteCondition::Value { value: value.clone(), equal: false },
        "IFDEQ" => DeleteCondition::Digest { digest: digest_of(value)?, equal: true },
        "IFDNE" => DeleteCondition::Digest { digest: digest_of(value)?, equal: false },
        _ => return Err(CommandError::Syntax),
    };
    if options.left() > 0 {
        return Err(CommandError::Syntax);
    }
    Ok(write(Write::DeleteIf { key, condition }))
}

pub(in super::super) fn digest(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::Digest { key: arguments.owned(1) }))
}

pub(in super::super) fn get(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::Get { key: arguments.owned(1) }))
}

pub(in super::super) fn getdel(arguments: &Arguments<'_>) -> Parsed {
    Ok(write(Write::GetDelete { key: arguments.owned(1) }))
}

pub(in super::super) fn getrange(arguments: &Arguments<'_>) -> Parsed {
    let (start, end) = (arguments.integer(2)?, arguments.integer(3)?);
    Ok(read(Read::GetRange { key: arguments.owned(1), start, end }))
}

pub(in super::super) fn mget(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::GetMany { keys: keys_from(arguments, 1) }))
}

pub(in super::super) fn strlen(arguments: &Arguments<'_>) -> Parsed {
    Ok(read(Read::StringLength { key: arguments.owned(1) }))
}

pub(in super::super) fn mset(arguments: &Arguments<'_>) -> Parsed {
    set_many(arguments, false)
}

pub(in super::super) fn msetnx(arguments: &Arguments<'_>) -> Parsed {
    set_many(arguments, true)
}

pub(in super::super) fn incr(arguments: &Arguments<'_>) -> Parsed {
    increment(arguments, 1)
}

pub(in super::super) fn decr(arguments: &Arguments<'_>) -> Parsed {
    increment(arguments, -1)
}

pub(in super::super) fn incrby(arguments: &Arguments<'_>) -> Parsed {
    increment(arguments, arguments.integer(2)?)
}

pub(in super::super) fn decrby(arguments: &Arguments<'_>) -> Parsed {
    let by = arguments.integer(2)?;
    let by = by.checked_neg().ok_or_else(|| CommandError::other("ERR decrement would overflow"))?;
    increment(arguments, by)
}

pub(in super::super) fn incrbyfloat(arguments: &Arguments<'_>) -> Parsed {
    let by = float(arguments, 2, "ERR increment would produce NaN or Infinity")?;
    Ok(write(Write::IncrementFloat { key: arguments.owned(1), by }))
}

/// A finite number; `infinite` is what the command answers to another.
pub(super) fn float(
    arguments: &Arguments<'_>,
    place: usize,
    infinite: &'static str,
) -> Result<FloatText, CommandError> {
    let text = std::str::from_utf8(arguments.at(place)).map_err(|_| CommandError::NotFloat)?;
    match text.parse::<f64>() {
        Ok(number) if number.is_nan() => Err(CommandError::NotFloat),
        Ok(_) if text.chars().any(|c| c.is_ascii_alphabetic() && !c.eq_ignore_ascii_case(&'e')) => {
            Err(CommandError::other(infinite))
        }
        Ok(_) => Ok(FloatText(text.to_owned())),
        Err(_) => Err(CommandError::NotFloat),
    }
}

pub(in super::super) fn setnx(arguments: &Arguments<'_>) -> Parsed {
    let operation = Write::Set {
        key: arguments.owned(1),
        value: arguments.owned(2),
        condition: SetCondition::IfAbsent,
        expiry: Expiry::Never,
        get: false,
    };
    Ok(shaped(Operation::Write(operation), Shape::WasSet))
}

pub(in super::super) fn setex(arguments: &Arguments<'_>) -> Parsed {
    set_expiring(arguments, Unit::Seconds)
}

pub(in super::super) fn psetex(arguments: &Arguments<'_>) -> Parsed {
    set_expiring(arguments, Unit::Milliseconds)
}

pub(in super::super) fn getset(arguments: &Arguments<'_>) -> Parsed {
    Ok(write(Write::Set {
        key: arguments.owned(1),
        value: arguments.owned(2),
        condition: SetCondition::Always,
        expiry: Expiry::Never,
        get: true,
    }))
}

pub(in super::super) fn setrange(arguments: &Arguments<'_>) -> Parsed {
    let offset = arguments.integer(2)?;
    if offset < 0 {
        return Err(CommandError::other("ERR offset is out of range"));
    }
    let offset = u32::try_from(offset).map_err(|_| {
        CommandError::other("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
    })?;
    Ok(write(Write::SetRange { key: arguments.owned(1), offset, bytes: arguments.owned(3) }))
}

pub(in super::super) fn set(arguments: &Arguments<'_>) -> Parsed {
    let mut condition = SetCondition::Always;
    let mut expiry = ExpiryOption::None;
    let mut get = false;
    let mut options = arguments.options(3);
    while let Some(option) = options.next() {
        match upper(option).as_str() {
            "NX" if matches!(condition, SetCondition::Always | SetCondition::IfAbsent) => {
                condition = SetCondition::IfAbsent;
            }
            "XX" if matches!(condition, SetCondition::Always | SetCondition::IfPresent) => {
                condition = SetCondition::IfPresent;
            }
            "IFEQ" if condition == SetCondition::Always => {
                condition = SetCondition::IfEqual(options.value()?.clone());
            }
            "IFNE" if condition == SetCondition::Always => {
                condition = SetCondition::IfNotEqual(options.value()?.clone());
            }
            "GET" => get = true,
            "KEEPTTL" if matches!(expiry, ExpiryOption::None | ExpiryOption::Keep) => {
                expiry = ExpiryOption::Keep;
            }
            name => expiry.take(name, &mut options)?,
        }
    }
    let expiry = match expiry {
        ExpiryOption::None => Expiry::Never,
        ExpiryOption::Keep => Expiry::Keep,
        ExpiryOption::Given(instant) => instant.expiry(arguments.spec().name)?,
    };
    let (key, value) = (arguments.owned(1), arguments.owned(2));
    Ok(write(Write::Set { key, value, condition, expiry, get }))
}

pub(in super::super) fn getex(arguments: &Arguments<'_>) -> Parsed {
    let mut expiry = ExpiryOption::None;
    let mut persist = false;
    let mut options = arguments.options(2);
    while let Some(option) = options.next() {
        match upper(option).as_str() {
            "PERSIST" if matches!(expiry, ExpiryOption::None) => persist = true,
            name if !persist => expiry.take(name, &mut options)?,
            _ => return Err(CommandError::Syntax),
        }
    }
    let key = arguments.owned(1);
    match expiry {
        ExpiryOption::Given(instant) => {
            let expiry = instant.expiry(arguments.spec().name)?;
            Ok(write(Write::GetExpire { key, expiry }))
        }
        ExpiryOption::None | ExpiryOption::Keep if persist => {
            Ok(write(Write::GetExpire { key, expiry: Expiry::Never }))
        }
        ExpiryOption::None | ExpiryOption::Keep => Ok(read(Read::Get { key })),
    }
}

/// EX, PX, EXAT, PXAT and KEEPTTL: at most one of them.
enum ExpiryOption<'a> {
    None,
    Keep,
    Given(Instant<'a>),
}

impl<'a> ExpiryOption<'a> {
    fn take(&mut self, name: &str, options: &mut Options<'a>) -> Result<(), CommandError> {
        let (Self::None, Some((unit, absolute))) = (&*self, Unit::of_option(name)) else {
            return Err(CommandError::Syntax);
        };
        *self = Self::Given(Instant { number: options.value()?, unit, absolute });
        Ok(())
    }
}

fn digest_of(word: &[u8]) -> Result<u64, CommandError> {
    let digits = std::str::from_utf8(word).ok().filter(|word| word.len() == DIGEST_DIGITS);
    digits
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| CommandError::other("ERR a digest is 16 hexadecimal digits"))
}

fn increment(arguments: &Arguments<'_>, by: i64) -> Parsed {
    Ok(write(Write::Increment { key: arguments.owned(1), by }))
}

fn set_many(arguments: &Arguments<'_>, only_if_none: bool) -> Parsed {
    let words = arguments.from(1);
    if !words.len().is_multiple_of(2) {
        return Err(CommandError::Arity(arguments.spec().name));
    }
    let pairs = words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    Ok(write(Write::SetMany { pairs, only_if_none }))
}

fn set_expiring(arguments: &Arguments<'_>, unit: Unit) -> Parsed {
    let expiry = relative(arguments.at(2), unit).expiry(arguments.spec().name)?;
    Ok(write(Write::Set {
        key: arguments.owned(1),
        value: arguments.owned(3),
        condition: SetCondition::Always,
        expiry,
        get: false,
    }))
}
