//! Where every datacenter has a leader, what stands in the end: nothing that was acknowledged is lost but to a write that has seen
//! it or is concurrent, nothing counts twice, nothing that was replaced comes back. INV-107, INV-108, INV-112.

use bytes::Bytes;
use quorate_group::keyspace::matches;
use quorate_model::{Datacenter, Homes, Time, Unreachable};

/// A write of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    /// What it writes; nothing removes.
    pub(crate) value: Option<Bytes>,
    /// The datacenter that took it.
    pub(crate) at: Option<Datacenter>,
    pub(crate) called: Time,
    /// `None` when nobody knows whether it took effect.
    pub(crate) answered: Option<Time>,
}

/// How often a counter was added to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counter {
    pub(crate) added: i64,
    /// Nobody knows.
    pub(crate) perhaps: i64,
}

/// Whether one datacenter at a time writes the key: it has a home, and nobody takes writes in its place.
pub(crate) fn has_one_writer(homes: &Homes, key: &[u8]) -> bool {
    homes.unreachable == Unreachable::Reject && has_home(homes, key)
}

pub(crate) fn has_home(homes: &Homes, key: &[u8]) -> bool {
    homes.keys.iter().any(|home| matches(home.pattern.as_bytes(), key))
}

/// # Errors
/// What was read in the end is nobody's, or was replaced by a later write of the same datacenter, or of any where it has a home; or
/// nothing is there although nothing removes it.
pub(crate) fn check_register(
    calls: &[Call],
    has_home: bool,
    found: Option<&Bytes>,
) -> Result<(), String> {
    // A later write of a datacenter has seen its earlier ones.
    let replaced = |call: &Call| {
        let later = |other: &&Call| {
            let after = call.answered.is_some_and(|answered| answered < other.called);
            other.answered.is_some() && (has_home || other.at == call.at) && after
        };
        calls.iter().find(later).cloned()
    };
    match found {
        Some(value) => {
            // A merge of several values names them all.
            for part in value.split(|byte| *byte == b'/') {
                let call = calls.iter().find(|call| call.value.as_deref() == Some(part));
                let call = call.ok_or_else(|| format!("{part:?} was never written"))?;
                if let Some(later) = replaced(call) {
                    return Err(format!("{call:?} came back: {later:?} has replaced it"));
                }
            }
            Ok(())
        }
        None => {
            let stands = |call: &&Call| call.value.is_some() && call.answered.is_some();
            let removed = calls.iter().any(|call| call.value.is_none());
            match calls.iter().find(stands).filter(|_| !removed) {
                Some(lost) => Err(format!("{lost:?} is lost: nothing is there")),
                None => Ok(()),
            }
        }
    }
}

/// # Errors
/// It is not what was added.
pub(crate) fn check_counter(counter: Counter, sum: i64) -> Result<(), String> {
    let Counter { added, perhaps } = counter;
    if (added..=added + perhaps).contains(&sum) {
        Ok(())
    } else {
        Err(format!("a counter is {sum}: {added} were added, and perhaps {perhaps}"))
    }
}

/// # Errors
/// It was added, and is not there.
pub(crate) fn check_member(call: &Call, found: bool) -> Result<(), String> {
    if found || call.answered.is_none() { Ok(()) } else { Err(format!("{call:?} is lost")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(value: Option<&'static str>, at: &str, called: u64, answered: Option<u64>) -> Call {
        let value = value.map(|value| Bytes::from_static(value.as_bytes()));
        let at = Some(Datacenter::new(at).unwrap());
        Call { value, at, called: Time(called), answered: answered.map(Time) }
    }

    #[test]
    fn what_was_replaced_or_lost_is_told() {
        let calls = [
            call(Some("a"), "dc-1", 1, Some(2)),
            call(Some("b"), "dc-1", 3, Some(4)),
            call(Some("c"), "dc-2", 3, Some(4)),
            call(Some("d"), "dc-1", 5, None),
            call(Some("e"), "dc-3", 0, Some(1)),
        ];
        let check = |found: Option<&'static str>| {
            let found = found.map(|text| Bytes::from_static(text.as_bytes()));
            [false, true].map(|has_home| check_register(&calls, has_home, found.as_ref()).is_ok())
        };
        for (found, fits) in [
            (Some("a"), [false, false]),
            (Some("b"), [true, true]),
            (Some("b/c"), [true, true]),
            (Some("a/c"), [false, false]),
            (Some("d"), [true, true]),
            (Some("e"), [true, false]),
            (Some("x"), [false, false]),
            (None, [false, false]),
        ] {
            assert_eq!(check(found), fits, "{found:?}");
        }
        let counter = Counter { added: 3, perhaps: 1 };
        assert_eq!(
            [2, 3, 4, 5].map(|sum| check_counter(counter, sum).is_ok()),
            [false, true, true, false]
        );
    }
}
