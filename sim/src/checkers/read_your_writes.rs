//! A session reads at least what it wrote and was told is done. INV-70, INV-74.

use std::collections::BTreeMap;

use super::Word;
use crate::sessions::{Counter, SessionId};

/// Counters only rise, so that the newest acknowledged number is a bound for every later read.
#[derive(Default)]
pub(crate) struct ReadYourWrites {
    acknowledged: BTreeMap<(SessionId, Counter), i64>,
}

impl ReadYourWrites {
    pub(crate) fn wrote(&mut self, session: SessionId, counter: Counter, number: i64) {
        let newest = self.acknowledged.entry((session, counter)).or_default();
        *newest = number.max(*newest);
    }

    pub(crate) fn read(&self, session: SessionId, counter: Counter, number: i64) -> Word {
        match self.acknowledged.get(&(session, counter)) {
            Some(written) if number < *written => Err(format!(
                "{session:?} reads {number} of {counter:?} and was told before that it wrote {written}"
            )),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_own_write_is_caught_and_another_sessions_is_not() {
        let mut checker = ReadYourWrites::default();
        checker.wrote(SessionId(0), Counter::Left, 5);
        assert!(checker.read(SessionId(0), Counter::Left, 4).is_err());
        assert_eq!(checker.read(SessionId(0), Counter::Left, 5), Ok(()));
        assert_eq!(checker.read(SessionId(1), Counter::Left, 4), Ok(()));
    }
}
