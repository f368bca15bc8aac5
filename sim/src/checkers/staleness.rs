//! A read under a bound on its age shows everything that was acknowledged longer ago than that. INV-73.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_model::Time;

use super::Word;
use crate::sessions::Counter;

#[derive(Default)]
pub(crate) struct Staleness {
    /// The highest number that was acknowledged by then.
    acknowledged: BTreeMap<(Counter, Time), i64>,
}

impl Staleness {
    pub(crate) fn wrote(&mut self, counter: Counter, at: Time, number: i64) {
        let before = self.by(counter, at).unwrap_or_default();
        self.acknowledged.insert((counter, at), number.max(before));
    }

    /// A read that was asked for at `called`, under this bound.
    pub(crate) fn read(
        &self,
        counter: Counter,
        called: Time,
        age_max: Duration,
        number: i64,
    ) -> Word {
        let oldest =
            Time(called.0.saturating_sub(u64::try_from(age_max.as_nanos()).unwrap_or(u64::MAX)));
        match self.by(counter, oldest) {
            Some(written) if number < written => Err(format!(
                "{counter:?} was {written} at {oldest:?}, and a read of {called:?} that may be {age_max:?} old shows {number}"
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn by(&self, counter: Counter, at: Time) -> Option<i64> {
        let range = (counter, Time::ZERO)..=(counter, at);
        self.acknowledged.range(range).next_back().map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_is_too_old_is_caught() {
        let mut checker = Staleness::default();
        checker.wrote(Counter::Left, Time(10), 1);
        checker.wrote(Counter::Left, Time(20), 2);
        let read = |called, number| {
            checker.read(Counter::Left, Time(called), Duration::from_nanos(5), number)
        };
        assert_eq!(read(24, 1), Ok(()));
        assert!(read(25, 1).is_err());
        assert_eq!(read(25, 2), Ok(()));
        assert_eq!(checker.read(Counter::Right, Time(90), Duration::ZERO, 0), Ok(()));
    }
}
