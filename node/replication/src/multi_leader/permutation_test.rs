//! A few changes of datacenters that saw some of each other's, in every order of arrival: each is applied once and in its turn, and
//! all orders come to one state, of each kind of value. Whoever was there before comes to it by merging as well.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_model::{ActorId, Datacenter, Hlc, Time, VersionVector, WallTime};

use super::site_test::{Act, Site, key, value};
use super::taking::{Full, Taking};
use super::{Change, Turn};
use crate::causal::Content;

/// Sites that write; what each wrote is given to those that are named.
#[derive(Default)]
struct Sites {
    sites: [Site; 3],
    changes: Vec<Change>,
}

impl Sites {
    /// At a time that others' clocks need not have reached.
    fn write(&mut self, at: usize, acts: &[(&str, Act)], given: &[usize]) {
        let acts = acts.iter().map(|(name, act)| ((*name).to_owned(), act.clone())).collect();
        let time = Hlc(20 - 5 * at as u64);
        let change = self.sites[at].write(ActorId(1 + at as u64), time, acts);
        self.sites[at].apply(&change);
        self.changes.push(change);
        given.iter().for_each(|other| self.give(at, *other));
    }

    /// All that the one knows.
    fn give(&mut self, from: usize, to: usize) {
        for change in &self.changes {
            if self.sites[from].known.covers(change.through())
                && !self.sites[to].known.covers(change.through())
            {
                self.sites[to].apply(change);
            }
        }
    }
}

fn put(text: &str) -> Act {
    Act::Put(value(text))
}

/// Registers and a transaction; a removal against an update.
fn registers() -> Vec<Change> {
    let mut sites = Sites::default();
    sites.write(0, &[("title", put("A")), ("other", put("A"))], &[1]);
    sites.write(1, &[("title", put("B"))], &[0]);
    sites.write(2, &[("title", put("C")), ("other", put("C"))], &[]);
    sites.write(0, &[("other", put("D"))], &[]);
    sites.write(1, &[("title", Act::Remove), ("other", Act::Remove)], &[]);
    sites.changes
}

/// Counters, and who sets or removes them meanwhile, twice at the same time.
fn counters() -> Vec<Change> {
    let mut sites = Sites::default();
    sites.write(0, &[("count", Act::Add(1_000))], &[1, 2]);
    sites.write(1, &[("count", put("7"))], &[]);
    sites.write(0, &[("count", Act::Add(1))], &[2]);
    sites.write(2, &[("count", Act::Remove)], &[]);
    sites.write(0, &[("count", Act::Add(-3))], &[]);
    sites.write(2, &[("count", Act::Add(40))], &[]);
    sites.changes
}

/// Counters whose run ends: its origin has seen it replaced, by itself or by another one.
fn runs() -> Vec<Change> {
    let mut sites = Sites::default();
    sites.write(0, &[("count", Act::Add(5)), ("own", Act::Add(5))], &[1]);
    sites.write(1, &[("count", Act::Remove), ("own", Act::Remove)], &[]);
    sites.write(0, &[("own", put("1")), ("own", Act::Add(2))], &[]);
    sites.give(1, 0);
    sites.write(0, &[("count", Act::Add(9)), ("own", Act::Remove), ("own", Act::Add(3))], &[2]);
    sites.write(2, &[("count", put("0"))], &[]);
    sites.changes
}

/// Members, and what a client writes in place of what it has read.
fn members() -> Vec<Change> {
    let mut sites = Sites::default();
    sites.write(0, &[("member", Act::Put(Content::Member)), ("text", put("A"))], &[1, 2]);
    sites.write(1, &[("member", Act::Remove), ("text", put("B"))], &[]);
    sites.write(2, &[("member", Act::Put(Content::Member)), ("text", put("C"))], &[0]);
    let read = sites.sites[2].cells[&key("text")].known();
    sites.write(0, &[("text", put("D")), ("text", Act::PutOver(value("E"), read))], &[]);
    sites.write(2, &[("member", Act::Remove)], &[]);
    sites.changes
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
    for changes in [registers(), counters(), runs(), members()] {
        let mut states = BTreeSet::new();
        for order in permutations(changes.len()) {
            let mut site = Site::default();
            let mut taking = Taking::new(VersionVector::default(), usize::MAX);
            let (mut applied, mut passed) = (0, Vec::new());
            // All of it twice.
            for at in order.iter().chain(&order) {
                for change in taking.take(Time::ZERO, &by, changes[*at].clone()).unwrap() {
                    site.apply(&change);
                    applied += 1;
                    passed.push(site.clone());
                }
            }
            assert_eq!((applied, taking.held_bytes()), (changes.len(), 0));
            states.insert(format!("{:?}", site.cells));
            for before in &mut passed {
                before.merge(&site);
                assert_eq!(before.known, site.known);
                assert_eq!(before.read(WallTime(0)), site.read(WallTime(0)), "{order:?}");
            }
        }
        assert_eq!(states.len(), 1, "{changes:#?}");
    }
}

#[test]
fn two_that_each_took_some_come_to_the_same_by_merging() {
    for changes in [registers(), counters(), runs(), members()] {
        let of = |which: u32| {
            let mut site = Site::default();
            for (_, change) in changes.iter().enumerate().filter(|(at, _)| which >> at & 1 == 1) {
                if change.turn(&site.known) == Turn::Next {
                    site.apply(change);
                }
            }
            site
        };
        let whole = of(u32::MAX);
        let sites: Vec<Site> = (0..1 << changes.len()).map(of).collect();
        let mut merged = 0;
        for (one, other) in sites.iter().flat_map(|one| sites.iter().map(move |two| (one, two))) {
            let mut both = one.clone();
            both.merge(other);
            if both.known == whole.known {
                assert_eq!(both.read(WallTime(0)), whole.read(WallTime(0)), "{one:?} {other:?}");
                merged += 1;
            }
        }
        assert!(merged > 50, "{merged}");
    }
}

/// A counter that is set loses what the setter has seen, and nothing else.
#[test]
fn a_counter_that_is_set_or_removed_keeps_what_was_added_meanwhile() {
    let mut site = Site::default();
    counters().iter().for_each(|change| site.apply(change));
    let read = site.read(WallTime(0));
    // 7 was set over 1,000; 1, 40 and -3 were added without it, and the removal had seen 1,001.
    let (values, sum) = &read[&key("count")];
    assert_eq!((values.as_slice(), *sum), ([value("7")].as_slice(), 37));
}

#[test]
fn what_expires_goes_and_what_is_concurrent_stays() {
    let mut site = Site::default();
    let content = |text: &'static str, at| Content::Value {
        value: Bytes::from_static(text.as_bytes()),
        expiry: at,
    };
    let lasting = site.write(ActorId(1), Hlc(1), vec![("k".into(), Act::Put(content("a", None)))]);
    let short = content("b", Some(WallTime(9)));
    let short = site.write(ActorId(2), Hlc(2), vec![("k".into(), Act::Put(short))]);
    [lasting, short].iter().for_each(|change| site.apply(change));
    assert_eq!(site.read(WallTime(8))[&key("k")].0.len(), 2);
    assert_eq!(site.read(WallTime(9))[&key("k")].0, [content("a", None)]);
}

/// The textbook's case: the update comes first.
#[test]
fn an_update_waits_for_its_insert() {
    let [insert, update, ..] = &registers()[..] else { panic!("they are there") };
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
    let [insert, update, other, _, removed] = &registers()[..] else { panic!("all five") };
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
    let [insert, update, ..] = &counters()[..] else { panic!("they are there") };
    let nothing = VersionVector::default();
    for wrong in [
        Change { after: nothing, ..update.clone() },
        Change { first: 0, ..insert.clone() },
        Change { first: u64::MAX, ..insert.clone() },
        Change { writes: Vec::new(), ..insert.clone() },
        Change { after: [insert.through()].into_iter().collect(), ..insert.clone() },
    ] {
        assert!(!wrong.is_well_formed(), "{wrong:?}");
    }
}
