//! Counters of a store without leaders: every increment counts once, and those that were acknowledged, or read, stay. INV-90,
//! INV-95, INV-96, INV-99, INV-103.

use quorate_model::{Datacenter, Time};

use super::versions::{Known, Quorums};

/// A call on one counter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) called: Time,
    /// `None` when nobody knows whether it took effect.
    pub(crate) answered: Option<Time>,
    /// How many replicas its level asks for.
    pub(crate) count: usize,
    /// The datacenter whose replicas alone count; `None` where all do.
    pub(crate) within: Option<Datacenter>,
    /// What was read; `None` adds one.
    pub(crate) read: Option<i64>,
}

/// # Errors
/// A read of less than was acknowledged or read before, or of more than there can be.
pub(crate) fn check(calls: &[Call], quorums: Quorums) -> Result<(), String> {
    let known = |call: &Call| {
        let mut known = Known::default();
        known.since(call.count, &call.within, call.answered?);
        Some(known)
    };
    let known: Vec<Option<Known>> = calls.iter().map(known).collect();
    for read in calls {
        let (Some(found), Some(answered)) = (read.read, read.answered) else { continue };
        let (mut acknowledged, mut seen, mut most) = (0, 0, 0);
        for (call, known) in calls.iter().zip(&known) {
            let known = known.as_ref();
            let meets = known
                .is_some_and(|one| one.meets(read.called, (read.count, &read.within), quorums));
            match call.read {
                None => {
                    acknowledged += i64::from(meets);
                    most += i64::from(call.called < answered);
                }
                Some(found) if meets => seen = found.max(seen),
                Some(_) => {}
            }
        }
        let least = acknowledged.max(seen);
        if !(least..=most).contains(&found) {
            return Err(format!("{read:?}: there are {least} to {most}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUORUMS: Quorums = Quorums { replicas: 3, lasting: 2, departs: false };

    fn call(called: u64, answered: Option<u64>, count: usize, read: Option<i64>) -> Call {
        let (called, answered) = (Time(called), answered.map(Time));
        Call { called, answered, count, within: None, read }
    }

    #[test]
    fn a_sum_is_of_what_was_acknowledged_and_what_may_be() {
        let added = [call(1, Some(2), 2, None), call(1, None, 2, None), call(1, Some(2), 1, None)];
        for (found, fits) in [(0, false), (1, true), (3, true), (4, false)] {
            let mut calls = added.to_vec();
            calls.push(call(3, Some(4), 2, Some(found)));
            assert_eq!(check(&calls, QUORUMS).is_ok(), fits, "{found}");
            calls.push(call(5, Some(6), 2, Some(found - 1)));
            assert!(check(&calls, QUORUMS).is_err(), "{found} and one less");
        }
    }
}
