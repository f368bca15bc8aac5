//! What clients of a store without leaders were told of one member of a set: an addition that as many replicas hold as a read asks of
//! shows until a removal that may have seen it, whatever else is removed at the same time, and what has gone comes back only
//! with another addition. INV-92, INV-95, INV-96, INV-100.
//!
//! No clock and no version is looked at, only what was asked, answered and shown.

use quorate_model::{Datacenter, Time};

use super::versions::{Known, Quorums};

/// A call about the member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) called: Time,
    /// `None` when nobody knows whether it took effect.
    pub(crate) answered: Option<Time>,
    /// How many replicas its level asks for.
    pub(crate) count: usize,
    /// The datacenter whose replicas alone count; `None` where all do.
    pub(crate) within: Option<Datacenter>,
    pub(crate) action: Action,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Add,
    Remove,
    Read { shown: bool },
}

/// # Errors
/// A member that was lost, came back, or was never added.
pub(crate) fn check(calls: &[Call], quorums: Quorums) -> Result<(), String> {
    let of = |action: Action| calls.iter().filter(move |call| call.action == action);
    let (shown, hidden) = (Action::Read { shown: true }, Action::Read { shown: false });
    let Some(first) = of(Action::Add).map(|add| add.called).min() else {
        return of(shown).next().map_or(Ok(()), |read| Err(format!("{read:?}: nobody added it")));
    };
    for read in of(hidden) {
        let Some(end) = read.answered else { continue };
        // One that was answered before the addition was begun has not seen it.
        let removed = |since: Time| {
            let mut removals = of(Action::Remove).filter(|removal| removal.called < end);
            removals.any(|removal| removal.answered.is_none_or(|answered| answered > since))
        };
        let kept = |call: &&Call, since: Time| meets(call, read, quorums) && !removed(since);
        let added = of(Action::Add).find(|add| kept(add, add.called));
        // Which addition a read has shown is not known.
        if let Some(kept) = added.or_else(|| of(shown).find(|before| kept(before, first))) {
            return Err(format!("the member is lost: {read:?} does not show it after {kept:?}"));
        }
    }
    for read in of(shown) {
        let Some(end) = read.answered else { continue };
        if first > end {
            return Err(format!("{read:?}: nobody had added it"));
        }
        for gone in of(hidden).filter(|gone| meets(gone, read, quorums)) {
            let mut adds = of(Action::Add).filter(|add| add.called < end);
            if adds.all(|add| meets(add, gone, quorums)) {
                return Err(format!("the member came back: {read:?} shows it after {gone:?}"));
            }
        }
    }
    Ok(())
}

/// Whether a read meets a replica that knows of a call.
fn meets(call: &Call, read: &Call, quorums: Quorums) -> bool {
    let Some(answered) = call.answered else { return false };
    let mut known = Known::default();
    known.since(call.count, &call.within, answered);
    known.meets(read.called, (read.count, &read.within), quorums)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUORUMS: Quorums = Quorums { replicas: 3, lasting: 0, departs: false };

    fn call(called: u64, answered: Option<u64>, action: Action) -> Call {
        Call { called: Time(called), answered: answered.map(Time), count: 2, within: None, action }
    }

    fn add(called: u64) -> Call {
        call(called, Some(called + 1), Action::Add)
    }

    fn remove(called: u64) -> Call {
        call(called, Some(called + 1), Action::Remove)
    }

    fn read(called: u64, shown: bool) -> Call {
        call(called, Some(called + 1), Action::Read { shown })
    }

    #[track_caller]
    fn finds(calls: &[Call], word: Option<&str>) {
        match (check(calls, QUORUMS), word) {
            (Ok(()), None) => {}
            (Err(found), Some(word)) => assert!(found.contains(word), "{found}"),
            (found, _) => panic!("{found:?}, expected {word:?}"),
        }
    }

    #[test]
    fn an_addition_wins_over_removals_that_have_not_seen_it() {
        finds(&[add(1), read(3, true)], None);
        finds(&[add(1), read(3, false)], Some("lost"));
        finds(&[add(1), remove(3), read(5, false)], None);
        finds(&[add(1), remove(3), read(5, true)], None);
        finds(&[add(1), remove(3), add(5), read(7, true)], None);
        finds(&[add(1), remove(3), add(5), read(7, false)], Some("lost"));
        // At the same time as a removal.
        finds(&[add(1), call(3, Some(9), Action::Remove), add(5), read(7, false)], None);
        finds(&[add(1), call(3, None, Action::Remove), add(5), read(7, false)], None);
        // Not known to be taken, until it is shown.
        let unsure = call(1, None, Action::Add);
        finds(&[unsure.clone(), read(3, false), read(5, true)], None);
        finds(&[unsure, read(3, true), read(5, false)], Some("lost"));
        finds(&[read(1, true)], Some("nobody"));
    }

    #[test]
    fn what_is_gone_comes_back_with_another_addition() {
        let removed = [add(1), remove(3), read(5, false)];
        let with = |more: &[Call]| [&removed[..], more].concat();
        finds(&with(&[read(7, true)]), Some("came back"));
        finds(&with(&[add(7), read(9, true)]), None);
        finds(&with(&[call(7, None, Action::Add), read(9, true)]), None);
        // Of too few to be met.
        let few = Call { count: 1, ..add(1) };
        finds(&[few, remove(3), read(5, false), read(7, true)], None);
    }
}
