//! Homes: however they move and whatever is declared when, one datacenter at most writes a key, and no two writes conflict.

use bytes::Bytes;
use quorate_model::{Datacenter, KeyHome, Resolution};
use quorate_replication::multi_leader::{Change, Turn};

use super::super::causal::{Away, away, hand_over};
use super::super::random::Random;
use super::leaders_test::{fill_part, finish, leaders, place, read_part};
use super::*;
use crate::{HomeOf, SetCondition, ValueError};

fn declared(pattern: &str, home: usize) -> KeyHome {
    let home = place(home);
    KeyHome { pattern: pattern.to_owned(), first: Some(place(0)), home, since: 1 }
}

fn sites() -> Vec<Shard> {
    let mut all: Vec<Shard> = (0..3)
        .map(|at| Shard { leaders: Some(leaders(at, Resolution::LastWriterWins)), ..Shard::new() })
        .collect();
    for site in &mut all {
        declare(site, vec![declared("home:*", 0)]);
    }
    all
}

fn declare(site: &mut Shard, keys: Vec<KeyHome>) {
    site.leaders.as_mut().unwrap().homes.keys = keys;
}

fn away_of(site: &Shard, write: &Write) -> Option<Away> {
    let view = View::proposed(&site.rows, PREFIX, 0, &site.overlay);
    let leaders = site.leaders.as_ref().unwrap();
    away(write, leaders, &view.among(Some(leaders))).unwrap()
}

fn set(key: &str, value: u64) -> Write {
    Write::Set {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.to_string().into(),
        condition: SetCondition::Always,
        expiry: Expiry::Never,
        get: false,
    }
}

fn move_to(key: &str, home: Option<&Datacenter>) -> Write {
    let home = home.map(|home| Bytes::copy_from_slice(home.as_str().as_bytes()));
    Write::SetHome { of: HomeOf::Key(Bytes::copy_from_slice(key.as_bytes())), home }
}

/// Hands over what is to be handed over.
fn look(site: &mut Shard) {
    let view = View::proposed(&site.rows, PREFIX, 0, &site.overlay);
    let leaders = site.leaders.clone().unwrap();
    let found = hand_over(&view.among(Some(&leaders)), &leaders, None).unwrap();
    for write in found.writes {
        assert_eq!(site.write(&write), Value::Ok);
    }
}

/// The next change of one of the others that this one lacks.
fn hear(sites: &mut [Shard], at: usize, from: usize) -> Vec<Conflict> {
    let view = View::proposed(&sites[at].rows, PREFIX, 0, &sites[at].overlay);
    let vector = Known::of(&view).unwrap().vector;
    let next = sites[from].changes.iter().find(|change| change.turn(&vector) == Turn::Next);
    let Some(next): Option<Change> = next.cloned() else { return Vec::new() };
    let conflicts = sites[at].take(vec![next]);
    sites[at].apply_all();
    conflicts
}

#[test]
fn a_home_is_handed_over_and_nobody_writes_before_it_has_come() {
    let mut sites = sites();
    let write = set("home:k", 1);
    assert_eq!(away_of(&sites[0], &write), None);
    assert_eq!(away_of(&sites[1], &write), Some(Away::Home(place(0))));
    assert_eq!(away_of(&sites[1], &set("free", 1)), None);
    sites[0].write(&write);
    sites[0].write(&move_to("home:k", Some(&place(1))));
    assert_eq!(away_of(&sites[0], &write), Some(Away::Home(place(1))));
    // What was written before has to come first.
    hear(&mut sites, 1, 0);
    assert_eq!(away_of(&sites[1], &write), Some(Away::Home(place(0))));
    hear(&mut sites, 1, 0);
    assert_eq!(away_of(&sites[1], &write), None);
    assert_eq!(away_of(&sites[1], &set("home:other", 1)), Some(Away::Home(place(0))));
    let home = Read::Home { key: "home:k".into() };
    assert_eq!(sites[1].read(&home), Value::Bulk("dc-b".into()));
    assert_eq!(sites[1].read(&Read::Home { key: "free".into() }), Value::Nil);
    sites[1].write(&move_to("home:k", None));
    assert_eq!(sites[1].read(&home), Value::Bulk("dc-a".into()));
}

/// What moved while a snapshot was read is neither where it was nor where it is to be, before what was written there has come.
#[test]
fn a_home_that_moves_while_another_datacenter_is_filled_has_come_when_all_before_it_has() {
    for back in [None, Some(place(0))] {
        let mut sites = sites();
        let write = set("home:k", 1);
        sites[0].write(&write);
        sites[0].write(&move_to("home:k", Some(&place(1))));
        (0..2).for_each(|_| drop(hear(&mut sites, 1, 0)));
        // That is what the snapshot brings; the home is read later.
        let first = read_part(&sites[1], &Bytes::new(), 1);
        let (known, next) = (first.known.clone(), first.next.clone().unwrap());
        fill_part(&mut sites[0], first, &Bytes::new(), (&known, 1));
        sites[1].write(&set("home:k", 2));
        sites[1].write(&move_to("home:k", back.as_ref()));
        let last = read_part(&sites[1], &next, 9);
        assert_eq!(fill_part(&mut sites[0], last, &next, (&known, 9)), None);
        finish(&mut sites[0], &known);
        for _ in 0..2 {
            assert_eq!(away_of(&sites[0], &write), Some(Away::Home(place(0))), "on its way");
            hear(&mut sites, 0, 1);
        }
        assert_eq!(away_of(&sites[0], &write), None);
        assert_eq!(sites[0].get("home:k"), Value::Bulk("2".into()));
    }
}

#[test]
fn what_cannot_be_done_with_homes_is_refused() {
    let mut sites = sites();
    let refused = |site: &Shard, write: &Write| match away_of(site, write) {
        Some(Away::Refused(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&sites[0], &Write::Flush), ValueError::NotWithHomes);
    let nobody = move_to("home:k", Some(&Datacenter::new("dc-x").unwrap()));
    assert_eq!(sites[0].write(&nobody), Value::Error(ValueError::NoDatacenter("dc-x".into())));
    let free = move_to("free", Some(&place(1)));
    assert_eq!(sites[0].write(&free), Value::Error(ValueError::NoHome));
    sites[0].write(&move_to("home:{k}1", Some(&place(1))));
    let both = Write::Delete { keys: vec!["home:{k}1".into(), "home:{k}2".into()] };
    assert_eq!(refused(&sites[0], &both), ValueError::HomesApart);
    let watched = Read::Versions { keys: vec!["home:{k}1".into()] };
    assert_eq!(sites[0].read(&watched), Value::Error(ValueError::WatchedAway("dc-b".into())));
}

#[test]
fn an_evacuated_datacenter_hands_over_everything() {
    let mut sites = sites();
    for key in 0..200 {
        sites[0].write(&move_to(&format!("home:{key}"), Some(&place(key % 3))));
    }
    for site in &mut sites {
        let homes = &mut site.leaders.as_mut().unwrap().homes;
        homes.evacuated.insert(place(0), place(2));
    }
    let mut from = None;
    loop {
        let leaders = sites[0].leaders.clone().unwrap();
        let view = View::proposed(&sites[0].rows, PREFIX, 0, &sites[0].overlay);
        let found = hand_over(&view.among(Some(&leaders)), &leaders, from.as_ref()).unwrap();
        for write in &found.writes {
            assert_eq!(sites[0].write(write), Value::Ok);
        }
        from = found.next;
        if from.is_none() && found.writes.is_empty() {
            break;
        }
    }
    for key in (0..200).map(|key| format!("home:{key}")).chain(["home:x".to_owned()]) {
        let found = sites[0].read(&Read::Home { key: key.clone().into() });
        assert_ne!(found, Value::Bulk("dc-a".into()), "{key}");
    }
}

/// Everything moves all the time, and everybody hears of everything late: of other sites, and of what is declared.
#[test]
fn one_datacenter_at_most_writes_a_key() {
    const KEYS: [&str; 3] = ["home:a", "home:b", "home:c"];
    let (mut written, mut moved) = (0, 0);
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let mut draw = |below| random.below(below);
        let mut sites = sites();
        for step in 0..400 {
            let (at, key) = (draw(3), KEYS[draw(3)]);
            match draw(8) {
                0..3 => {
                    let from = (at + 1 + draw(2)) % 3;
                    let conflicts = hear(&mut sites, at, from);
                    assert!(conflicts.is_empty(), "seed {seed}: {conflicts:?}");
                }
                3 => declare(&mut sites[at], vec![declared("home:*", draw(3))]),
                4 => look(&mut sites[at]),
                5 => {
                    let to = place(draw(4).min(2));
                    let write = move_to(key, Some(&to).filter(|_| step % 3 > 0));
                    if away_of(&sites[at], &write).is_none() {
                        assert_eq!(sites[at].write(&write), Value::Ok);
                        moved += 1;
                    }
                }
                _ => {
                    let write = set(key, step);
                    if away_of(&sites[at], &write).is_none() {
                        sites[at].write(&write);
                        written += 1;
                    }
                }
            }
            for key in KEYS {
                let homes = |site: &&Shard| away_of(site, &set(key, 0)).is_none();
                let count = sites.iter().filter(homes).count();
                assert!(count <= 1, "seed {seed}, step {step}: {count} write {key}");
            }
        }
    }
    assert!(written > 1_000 && moved > 500, "{written} written, {moved} moved");
}
