//! A few changes of three datacenters that saw some of each other's, in every order of arrival: each is applied once and in its
//! turn, and all orders come to one state, under every policy.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::{ActorId, Datacenter, Hlc, Time, VersionVector};

use super::taking::{Full, Taking};
use super::{Change, Turn};
use crate::causal::{self, Cell, CellKey, Content};

/// What one datacenter holds.
#[derive(Clone, Default)]
struct Site {
    known: VersionVector,
    cells: BTreeMap<CellKey, Cell>,
    /// Whether the last writer wins; else all values stay.
    last: bool,
}

fn key(name: &str) -> CellKey {
    CellKey::new(Bytes::from(format!("\0\0hash{name}"))).unwrap()
}

fn value(text: &'static str) -> causal::Change {
    let content = Content::Value { value: Bytes::from_static(text.as_bytes()), expiry: None };
    causal::Change::Put { content, context: None }
}

impl Site {
    fn new(last: bool) -> Self {
        Self { last, ..Self::default() }
    }

    /// In one transaction, at a time that others' clocks need not have reached.
    fn write(&mut self, origin: u64, at: u64, writes: Vec<(&str, causal::Change)>) -> Change {
        let writes = writes.into_iter().map(|(name, change)| (key(name), change)).collect();
        let change = Change::written(ActorId(origin), &self.known, &self.cells, Hlc(at), writes);
        self.apply(&change);
        change
    }

    fn apply(&mut self, change: &Change) {
        assert_eq!(change.turn(&self.known), Turn::Next);
        for (key, cell) in &change.cells {
            let here = self.cells.entry(key.clone()).or_default();
            here.merge(cell);
            if self.last {
                here.keep_last_writer();
            }
        }
        self.known.include(change.through());
    }
}

/// Registers, a counter, a member, a removal, and a transaction; some saw each other.
fn changes(last: bool) -> Vec<Change> {
    let [mut one, mut two, mut three] = [(); 3].map(|()| Site::new(last));
    let insert = one.write(1, 10, vec![("title", value("A")), ("count", causal::Change::Add(1))]);
    two.apply(&insert);
    let update = two.write(2, 20, vec![("title", value("B"))]);
    let other = three.write(3, 20, vec![("title", value("C")), ("count", causal::Change::Add(5))]);
    one.apply(&update);
    let content = Content::Member;
    let add = causal::Change::Put { content, context: None };
    let both = one.write(1, 5, vec![("count", causal::Change::Add(2)), ("member", add)]);
    three.apply(&insert);
    let removal = match last {
        true => causal::Change::Put { content: Content::Removed, context: None },
        false => causal::Change::Remove { context: None },
    };
    let removed = three.write(3, 21, vec![("title", removal)]);
    vec![insert, update, other, both, removed]
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(count - 1);
    let longer = |order: &Vec<usize>| {
        let order = order.clone();
        (0..count).map(move |at| {
            let mut longer = order.clone();
            longer.insert(at, count - 1);
            longer
        })
    };
    shorter.iter().flat_map(longer).collect()
}

#[test]
fn every_order_of_arrival_comes_to_one_state_and_applies_each_once() {
    let by = Datacenter::new("dc").unwrap();
    for last in [false, true] {
        let changes = changes(last);
        let mut states = BTreeSet::new();
        for order in permutations(changes.len()) {
            let mut site = Site::new(last);
            let mut taking = Taking::new(VersionVector::default(), usize::MAX);
            let mut applied = 0;
            // All of it twice.
            for at in order.iter().chain(&order) {
                for change in taking.take(Time::ZERO, &by, changes[*at].clone()).unwrap() {
                    site.apply(&change);
                    applied += 1;
                }
            }
            assert_eq!((applied, taking.held_bytes()), (changes.len(), 0));
            states.insert(format!("{:?}", site.cells));
        }
        assert_eq!(states.len(), 1, "last writer wins: {last}");
    }
}

/// The textbook's case: the update comes first.
#[test]
fn an_update_waits_for_its_insert() {
    let [insert, update, ..] = &changes(false)[..] else { panic!("they are there") };
    let by = Datacenter::new("dc").unwrap();
    let mut taking = Taking::new(VersionVector::default(), usize::MAX);
    assert_eq!(taking.take(Time(7), &by, update.clone()), Ok(vec![]));
    let blocked = taking.blocked().unwrap();
    assert_eq!((blocked.on, blocked.since, &blocked.by), (insert.through(), Time(7), &by));
    let both = vec![insert.clone(), update.clone()];
    assert_eq!(taking.take(Time(8), &by, insert.clone()), Ok(both));
    assert_eq!(taking.blocked(), None);
}

#[test]
fn what_waits_is_bounded_and_what_comes_beyond_it_comes_again() {
    let [insert, update, other, _, removed] = &changes(false)[..] else { panic!("all five") };
    let by = Datacenter::new("dc").unwrap();
    let room = update.bytes();
    let mut taking = Taking::new(VersionVector::default(), room);
    assert_eq!(taking.take(Time::ZERO, &by, update.clone()), Ok(vec![]));
    assert_eq!(taking.take(Time::ZERO, &by, update.clone()), Ok(vec![]), "it is held already");
    assert_eq!(taking.take(Time::ZERO, &by, removed.clone()), Err(Full));
    // A snapshot brings what it waits for.
    let known = [insert.through()].into_iter().collect();
    assert_eq!(taking.know(&known), vec![update.clone()]);
    let rest = [other, removed].map(Clone::clone);
    let taken = rest.into_iter().flat_map(|one| taking.take(Time::ZERO, &by, one).unwrap());
    assert_eq!(taken.count(), 2);
}

#[test]
fn a_change_knows_no_more_than_it_says() {
    let [insert, update, ..] = &changes(false)[..] else { panic!("they are there") };
    let nothing = VersionVector::default();
    for wrong in [
        Change { after: nothing, ..update.clone() },
        Change { first: 0, ..insert.clone() },
        Change { first: 9, ..insert.clone() },
        Change { after: [insert.through()].into_iter().collect(), ..insert.clone() },
    ] {
        assert!(!wrong.is_well_formed(), "{wrong:?}");
    }
}
