//! A session's reads never go back. INV-71.

use std::collections::BTreeMap;

use super::Word;
use crate::sessions::{Counter, SessionId};

#[derive(Default)]
pub(crate) struct MonotonicReads {
    seen: BTreeMap<(SessionId, Counter), i64>,
}

impl MonotonicReads {
    pub(crate) fn read(&mut self, session: SessionId, counter: Counter, number: i64) -> Word {
        let seen = self.seen.entry((session, counter)).or_default();
        if number < *seen {
            return Err(format!("{session:?} reads {number} of {counter:?} after {seen}"));
        }
        *seen = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_caught() {
        let mut checker = MonotonicReads::default();
        assert_eq!(checker.read(SessionId(0), Counter::Left, 5), Ok(()));
        assert_eq!(checker.read(SessionId(0), Counter::Right, 1), Ok(()));
        assert_eq!(checker.read(SessionId(0), Counter::Left, 5), Ok(()));
        assert!(checker.read(SessionId(0), Counter::Left, 4).is_err());
    }
}
