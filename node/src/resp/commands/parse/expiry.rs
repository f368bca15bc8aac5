//! Times of expiry as clients give them.

use bytes::Bytes;
use quorate_group::Expiry;
use quorate_model::WallTime;

use crate::resp::commands::CommandError;
use crate::resp::parse_integer;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

/// A time as written, not read yet: what is wrong with the options is told before what is wrong with the number.
#[derive(Clone, Copy)]
pub(super) struct Instant<'a> {
    pub(super) number: &'a Bytes,
    pub(super) unit: Unit,
    pub(super) absolute: bool,
}

/// The year 2100: a time from now must stay below 2^63 ms whatever the leader's clock says by then.
const NOW_MAX_MS: i64 = 4_102_444_800_000;

pub(super) const fn relative(number: &Bytes, unit: Unit) -> Instant<'_> {
    Instant { number, unit, absolute: false }
}

impl Unit {
    /// The option's unit, and whether its time is absolute.
    pub(super) fn of_option(name: &str) -> Option<(Self, bool)> {
        match name {
            "EX" => Some((Self::Seconds, false)),
            "PX" => Some((Self::Milliseconds, false)),
            "EXAT" => Some((Self::Seconds, true)),
            "PXAT" => Some((Self::Milliseconds, true)),
            _ => None,
        }
    }
}

impl Instant<'_> {
    /// For commands that set a value: the time must be positive.
    pub(super) fn expiry(self, command: &'static str) -> Result<Expiry, CommandError> {
        let expiry = self.expiry_of_any_sign(command)?;
        match expiry {
            Expiry::In { ms } if ms <= 0 => Err(CommandError::ExpireTime(command)),
            Expiry::At(WallTime(0)) => Err(CommandError::ExpireTime(command)),
            Expiry::In { .. } | Expiry::At(_) | Expiry::Never | Expiry::Keep => Ok(expiry),
        }
    }

    /// For EXPIRE and its kin: a time in the past deletes the key. Before 1970 is as past as 1970.
    pub(super) fn expiry_of_any_sign(self, command: &'static str) -> Result<Expiry, CommandError> {
        let number = parse_integer(self.number).ok_or(CommandError::NotInteger)?;
        let ms = match self.unit {
            Unit::Seconds => number.checked_mul(1000),
            Unit::Milliseconds => Some(number),
        };
        let ms = ms.ok_or(CommandError::ExpireTime(command))?;
        if self.absolute {
            return Ok(Expiry::At(WallTime(u64::try_from(ms).unwrap_or(0))));
        }
        if ms > i64::MAX - NOW_MAX_MS {
            return Err(CommandError::ExpireTime(command));
        }
        Ok(Expiry::In { ms })
    }
}
