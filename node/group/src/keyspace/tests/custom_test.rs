//! The policy `Custom`: what a script makes of concurrent values, and what is read where it does not.

use bytes::Bytes;
use quorate_model::{Resolution, WallTime};

use super::leaders_test::{custom, exchange, leaders, policies, sites};
use super::*;

const LONGEST: &str = "
    let longest = siblings[0];
    for one in siblings {
        if one.value.len >= longest.value.len { longest = one; }
    }
    longest.value";

fn script(source: &str) -> Resolution {
    Resolution::Custom { script: source.to_owned() }
}

/// Three places that give a key these values, one after the other by their clocks, before they hear of each other.
fn concurrently(resolution: &Resolution, key: &str, values: [&[u8]; 3]) -> Vec<Shard> {
    let mut sites = sites(resolution);
    for (at, value) in values.into_iter().enumerate() {
        sites[at].now.0 += at as u64;
        let pairs = vec![(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value))];
        sites[at].write(&Write::SetMany { pairs, only_if_none: false });
    }
    sites
}

/// What all read of it when they have heard of each other, and what the last of them says became of it.
fn read_by_all(source: &str, values: [&[u8]; 3]) -> (Value, String) {
    let mut sites = concurrently(&script(source), "title", values);
    exchange(&mut sites);
    let read = sites[0].get("title");
    assert!(sites.iter().all(|site| site.get("title") == read));
    let Value::List(log) = sites[2].read(&Read::Conflicts { count: 10 }) else { panic!("a list") };
    (read, format!("{:?}", log.last().unwrap()))
}

fn count(log: &str, stands: u8) -> usize {
    log.matches(&format!("Bulk(b\"stands\"), Integer({stands})")).count()
}

#[test]
fn every_order_of_arrival_reads_the_same_under_every_policy() {
    const ORDERS: [[usize; 3]; 6] =
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let longest = script(LONGEST);
    let failing = script("throw `${siblings.len} values`");
    for resolution in policies().iter().chain([&longest, &failing]) {
        let writers = concurrently(resolution, "title", [b"one", b"three", b"five!"]);
        let mut seen = Vec::new();
        for order in ORDERS {
            let mut taker = Shard { leaders: Some(leaders(0, resolution.clone())), ..Shard::new() };
            for from in order {
                taker.take(writers[from].changes.clone());
                taker.apply_all();
            }
            let siblings = Read::Siblings { key: "title".into() };
            seen.push((taker.get("title"), taker.read(&siblings)));
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{resolution:?}: {seen:?}");
    }
}

#[test]
fn a_script_chooses_and_what_it_does_not_choose_is_counted_and_told() {
    let (read, log) = read_by_all(LONGEST, [b"the longest", b"short", b"last"]);
    assert_eq!(read, bulk("the longest"));
    assert!(log.contains("\"Custom\"") && log.contains("Bulk(b\"failed\"), Nil"), "{log}");
    assert_eq!((count(&log, 1), count(&log, 0)), (1, 2), "{log}");
    let mut writers = concurrently(&script(LONGEST), "title", [b"the longest", b"short", b"last"]);
    let changes = writers[1].changes.clone();
    let conflicts = writers[0].take(changes);
    assert_eq!(conflicts.iter().map(Conflict::discarded).sum::<usize>(), 1);
}

#[test]
fn a_script_makes_one_of_all_and_a_number_counts_on() {
    let sum = "let sum = 0; for one in siblings { sum += parse_int(one.value); } sum";
    let (read, log) = read_by_all(sum, [b"1", b"20", b"300"]);
    assert_eq!(read, bulk("321"));
    assert_eq!((count(&log, 1), count(&log, 0)), (3, 0), "{log}");
    let mut sites = concurrently(&script(sum), "title", [b"1", b"20", b"300"]);
    sites[0].write(&Write::Increment { key: "title".into(), by: 4_000 });
    exchange(&mut sites);
    assert!(sites.iter().all(|site| site.get("title") == bulk("4321")));
}

#[test]
fn where_a_script_answers_nothing_the_last_writers_is_read() {
    let (read, log) = read_by_all("()", [b"one", b"two", b"three"]);
    assert_eq!(read, bulk("three"));
    assert!(log.contains("Bulk(b\"failed\"), Nil"), "{log}");
    assert_eq!((count(&log, 1), count(&log, 0)), (1, 2), "{log}");
}

#[test]
fn where_a_script_fails_the_last_writers_is_read_and_why_is_told() {
    for (source, why) in [
        ("loop {}", "Too many operations"),
        ("let a = \"x\"; loop { a += a; }", "Length of string too large"),
        ("siblings", "the answer is a array"),
        ("throw \"no idea\"", "no idea"),
        ("let a = [;", "(line 1"),
    ] {
        let (read, log) = read_by_all(source, [b"one", b"two", b"three"]);
        assert_eq!(read, bulk("three"), "{source}");
        assert!(log.contains("\"Custom\"") && log.contains(why), "{log}");
        assert_eq!((count(&log, 1), count(&log, 0)), (1, 2), "{log}");
    }
}

#[test]
fn values_that_are_no_text_are_chosen_too() {
    let most = "let most = siblings[0].value; for one in siblings {
        if type_of(one.value) == \"bytes\" { most = one.value; } } most";
    let (read, _) = read_by_all(most, [b"text", b"\xff\x00", b"last"]);
    assert_eq!(read, Value::Bulk(Bytes::from_static(b"\xff\x00")));
}

#[test]
fn fields_are_made_by_the_script_and_members_are_not() {
    let mut sites = sites(&script(LONGEST));
    for (at, value) in ["the longest", "short", "last"].into_iter().enumerate() {
        sites[at].now.0 += at as u64;
        let pairs = vec![("field".into(), value.into())];
        sites[at].write(&Write::SetFields { key: "hash".into(), pairs });
        sites[at].write(&Write::AddMembers { key: "set".into(), members: vec![value.into()] });
    }
    exchange(&mut sites);
    for site in &sites {
        let field = Read::Field { key: "hash".into(), field: "field".into() };
        assert_eq!(site.read(&field), bulk("the longest"));
        let kind = crate::CollectionKind::Set;
        assert_eq!(site.read(&Read::CountFields { key: "set".into(), kind }), Value::Integer(3));
    }
}

/// What a script made of a value that is gone may not stay in one place and not come to be in another.
#[test]
fn what_is_made_of_a_value_that_expires_is_made_anew_without_it() {
    for resolution in [script(LONGEST), custom(), script("throw \"never\"")] {
        let mut sites = concurrently(&resolution, "title", [b"the longest", b"short", b"last"]);
        let expiry = Expiry::In { ms: 10 };
        let value = Bytes::from_static(b"longer than the longest");
        let key = Bytes::from_static(b"title");
        let condition = SetCondition::Always;
        sites[0].write(&Write::Set { key, value, condition, expiry, get: false });
        let changes: Vec<Change> = sites.iter().flat_map(|site| site.changes.clone()).collect();
        exchange(&mut sites[..2]);
        for site in &mut sites {
            site.now = WallTime(site.now.0 + 100);
        }
        sites[0].write(&Write::RemoveExpired { count_max: 10 });
        sites[1].write(&Write::RemoveExpired { count_max: 10 });
        // One hears of it afterwards.
        for change in changes {
            sites.iter_mut().for_each(|site| {
                site.take(vec![change.clone()]);
                site.apply_all();
            });
        }
        exchange(&mut sites);
        let read = sites[0].get("title");
        assert!(sites.iter().all(|site| site.get("title") == read), "{resolution:?}: {read:?}");
    }
}
