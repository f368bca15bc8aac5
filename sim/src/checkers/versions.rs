//! What clients of a store without leaders were told of its values: one that as many replicas hold as a read asks of stays until a
//! write replaces it that observed it, and never comes back then, whatever moves meanwhile. INV-91, INV-92, INV-95, INV-96, INV-98,
//! INV-99, INV-100, INV-103.
//!
//! No clock and no version is looked at, only what was written, answered and shown.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::{Datacenter, Time};

/// A call on one key.
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

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Every value that was found.
    Read { shown: BTreeSet<Bytes> },
    /// Perhaps a removal.
    Write { puts: Option<Bytes>, replaces: Replaces },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Replaces {
    /// What its client had read.
    Observed(BTreeSet<Bytes>),
    /// Whatever comes before it in an order that clients do not see.
    Earlier,
}

/// Whose word meets whose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quorums {
    pub(crate) replicas: usize,
    /// What fewer than so many held may be lost with one of them.
    pub(crate) lasting: usize,
    /// A shard left a datacenter, or came to one: a read of each asks the datacenters that have it, and what was written within another
    /// one is still on its way to them.
    pub(crate) departs: bool,
}

/// By how many replicas something is known, within which datacenter or in each, since when at the latest.
#[derive(Clone, Default, Debug)]
pub(super) struct Known(BTreeMap<(usize, Option<Datacenter>), Time>);

#[derive(Default)]
struct Value {
    put: Option<Time>,
    known: Known,
    /// Since when a write that replaces it may have taken effect.
    replaced_from: Option<Time>,
    /// That it is replaced is known.
    gone: Known,
}

impl Call {
    const fn by(&self) -> (usize, &Option<Datacenter>) {
        (self.count, &self.within)
    }
}

impl Known {
    pub(super) fn since(&mut self, count: usize, within: &Option<Datacenter>, at: Time) {
        let known = self.0.entry((count, within.clone())).or_insert(at);
        *known = at.min(*known);
    }

    /// Whether a read by `count` replicas that begins at `called` meets one that knows.
    pub(super) fn meets(
        &self,
        called: Time,
        (count, within): (usize, &Option<Datacenter>),
        quorums: Quorums,
    ) -> bool {
        let mut known = self.0.iter();
        known.any(|((by, place), since)| {
            let apart = match (place, within) {
                (Some(place), Some(within)) => place != within,
                (Some(_), None) => quorums.departs,
                (None, _) => false,
            };
            let overlaps = by + count > quorums.replicas && !apart;
            *by >= quorums.lasting && overlaps && *since < called
        })
    }
}

/// # Errors
/// A value that was lost, came back, or was never written.
pub(crate) fn check(calls: &[Call], quorums: Quorums) -> Result<(), String> {
    let mut values = written(calls);
    let reads: Vec<(&Call, Time, &BTreeSet<Bytes>)> = calls
        .iter()
        .filter_map(|call| match &call.action {
            Action::Read { shown } => Some((call, call.answered?, shown)),
            Action::Write { .. } => None,
        })
        .collect();
    for (read, answered, shown) in &reads {
        for text in *shown {
            let value = values.entry(text.clone()).or_default();
            if value.put.is_none_or(|put| put > *answered) {
                return Err(format!("{read:?} shows {text:?}, which nobody had written"));
            }
            value.known.since(read.count, &read.within, *answered);
        }
    }
    for (read, answered, shown) in &reads {
        for (text, value) in &mut values {
            if shown.contains(text) || !value.known.meets(read.called, read.by(), quorums) {
                continue;
            }
            if value.replaced_from.is_none_or(|from| from > *answered) {
                return Err(format!("{text:?} is lost: {read:?} does not show it"));
            }
            value.gone.since(read.count, &read.within, *answered);
        }
    }
    for (read, _, shown) in &reads {
        for text in *shown {
            if values[text].gone.meets(read.called, read.by(), quorums) {
                return Err(format!("{text:?} came back: {read:?} shows it"));
            }
        }
    }
    Ok(())
}

fn written(calls: &[Call]) -> BTreeMap<Bytes, Value> {
    let mut values = BTreeMap::<Bytes, Value>::new();
    let mut earlier = Vec::new();
    for call in calls {
        let Action::Write { puts, replaces } = &call.action else { continue };
        if let Some(text) = puts {
            let value = values.entry(text.clone()).or_default();
            value.put = Some(call.called);
            if let Some(answered) = call.answered {
                value.known.since(call.count, &call.within, answered);
            }
        }
        match replaces {
            Replaces::Observed(observed) => {
                for text in observed {
                    let value = values.entry(text.clone()).or_default();
                    value.replaced_from = first(value.replaced_from, call.called);
                    if let Some(answered) = call.answered {
                        value.gone.since(call.count, &call.within, answered);
                    }
                }
            }
            Replaces::Earlier => earlier.push((puts, call.called)),
        }
    }
    earlier.sort_by_key(|(_, called)| *called);
    for (text, value) in &mut values {
        let other = earlier.iter().find(|(puts, _)| puts.as_ref() != Some(text));
        if let Some((_, called)) = other {
            value.replaced_from = first(value.replaced_from, *called);
        }
    }
    values
}

fn first(known: Option<Time>, at: Time) -> Option<Time> {
    Some(known.map_or(at, |known| known.min(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUORUMS: Quorums = Quorums { replicas: 3, lasting: 0, departs: false };

    fn set(values: &[&str]) -> BTreeSet<Bytes> {
        values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes())).collect()
    }

    fn put(called: u64, answered: Option<u64>, value: &str, observed: &[&str]) -> Call {
        let puts = (!value.is_empty()).then(|| Bytes::copy_from_slice(value.as_bytes()));
        let replaces = Replaces::Observed(set(observed));
        let (called, answered) = (Time(called), answered.map(Time));
        Call { called, answered, count: 2, within: None, action: Action::Write { puts, replaces } }
    }

    fn read(called: u64, count: usize, shown: &[&str]) -> Call {
        let answered = Some(Time(called + 1));
        Call {
            called: Time(called),
            answered,
            count,
            within: None,
            action: Action::Read { shown: set(shown) },
        }
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
    fn an_acknowledged_value_stays_until_a_write_that_observed_it() {
        let a = put(1, Some(2), "a", &[]);
        finds(&[a.clone(), read(3, 2, &["a"])], None);
        finds(&[a.clone(), read(3, 2, &[])], Some("lost"));
        // Concurrent with the write, or of too few.
        finds(&[put(1, Some(5), "a", &[]), read(3, 2, &[])], None);
        finds(&[a.clone(), read(3, 1, &[])], None);
        // Nobody observed it: it must be beside the other.
        let beside = put(3, Some(4), "b", &[]);
        finds(&[a.clone(), beside.clone(), read(5, 2, &["b"])], Some("lost"));
        finds(&[a.clone(), beside, read(5, 2, &["a", "b"])], None);
        let over = put(3, Some(4), "b", &["a"]);
        finds(&[a.clone(), over.clone(), read(5, 2, &["b"])], None);
        finds(&[a.clone(), over, read(5, 2, &["a", "b"])], Some("came back"));
        // Nobody knows whether the removal took effect, until a read shows it.
        let removal = put(3, None, "", &["a"]);
        finds(&[a.clone(), removal.clone(), read(5, 2, &[]), read(7, 2, &[])], None);
        finds(&[a.clone(), removal.clone(), read(5, 2, &["a"]), read(7, 2, &[])], None);
        finds(&[a, removal, read(5, 2, &[]), read(7, 2, &["a"])], Some("came back"));
    }

    #[test]
    fn reads_do_not_go_back() {
        let a = put(1, None, "a", &[]);
        finds(&[a.clone(), read(3, 2, &["a"]), read(5, 2, &[])], Some("lost"));
        finds(&[a.clone(), read(3, 1, &["a"]), read(5, 2, &[])], None);
        finds(&[a, read(3, 2, &[]), read(5, 2, &["a"])], None);
        finds(&[read(3, 2, &["a"])], Some("nobody"));
    }

    #[test]
    fn a_datacenter_promises_nothing_of_another_one() {
        let place = |name: &str| Some(Datacenter::new(name).unwrap());
        let a = Call { within: place("here"), ..put(1, Some(2), "a", &[]) };
        let read = |within| Call { within, ..read(3, 2, &[]) };
        finds(&[a.clone(), read(place("there"))], None);
        finds(&[a.clone(), read(place("here"))], Some("lost"));
        finds(&[a.clone(), read(None)], Some("lost"));
        finds(&[put(1, Some(2), "a", &[]), read(place("there"))], Some("lost"));
        let departed = Quorums { departs: true, ..QUORUMS };
        assert_eq!(check(&[a.clone(), read(None)], departed), Ok(()));
        assert!(check(&[a, read(place("here"))], departed).is_err());
    }

    #[test]
    fn the_last_writer_may_be_another_but_stays_the_last() {
        let set = |called, value| Call {
            action: Action::Write {
                puts: Some(Bytes::from_static(value)),
                replaces: Replaces::Earlier,
            },
            ..put(called, Some(called + 1), "x", &[])
        };
        let (a, b) = (set(1, b"a"), set(3, b"b"));
        finds(&[a.clone(), b.clone(), read(5, 2, &["a"]), read(7, 2, &["a"])], None);
        finds(&[a.clone(), b.clone(), read(5, 2, &["b"]), read(7, 2, &["b"])], None);
        finds(&[a.clone(), read(2, 2, &[]), read(3, 2, &[])], Some("lost"));
        let calls = [a, b, read(5, 2, &["a"]), read(7, 2, &["b"]), read(9, 2, &["a"])];
        finds(&calls, Some("came back"));
    }
}
