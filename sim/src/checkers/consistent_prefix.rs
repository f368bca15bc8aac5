//! Who has seen an effect sees its cause, also in another shard. INV-72.
//!
//! Sessions count up `Left`, and when that is acknowledged, `Right`: whoever has seen the second number has to find
//! the first one from then on.

use std::collections::BTreeMap;

use super::Word;
use crate::sessions::{Counter, SessionId};

#[derive(Default)]
pub(crate) struct ConsistentPrefix {
    /// What `Left` was at least, before `Right` became this.
    causes: BTreeMap<i64, i64>,
    seen: BTreeMap<SessionId, i64>,
}

impl ConsistentPrefix {
    /// `left` was acknowledged before the write began that made `Right` this.
    pub(crate) fn wrote(&mut self, left: i64, right: i64) {
        let cause = self.causes.entry(right).or_default();
        *cause = left.max(*cause);
    }

    pub(crate) fn read(&mut self, session: SessionId, counter: Counter, number: i64) -> Word {
        let seen = self.seen.entry(session).or_default();
        match counter {
            Counter::Right => {
                *seen = number.max(*seen);
                Ok(())
            }
            Counter::Left => match self.causes.range(..=*seen).map(|(_, left)| *left).max() {
                Some(cause) if number < cause => Err(format!(
                    "{session:?} has seen Right at {seen}, before which Left was {cause}, and reads Left at {number}"
                )),
                Some(_) | None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_without_its_cause_is_caught() {
        let mut checker = ConsistentPrefix::default();
        checker.wrote(7, 3);
        let session = SessionId(0);
        assert_eq!(checker.read(session, Counter::Left, 6), Ok(()));
        assert_eq!(checker.read(session, Counter::Right, 3), Ok(()));
        assert_eq!(checker.read(session, Counter::Left, 7), Ok(()));
        assert!(checker.read(session, Counter::Left, 6).is_err());
        assert_eq!(checker.read(SessionId(1), Counter::Left, 6), Ok(()));
    }
}
