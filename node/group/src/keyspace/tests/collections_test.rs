//! Hashes, sets, and what becomes of their rows.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes fails the test")]

use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;
use crate::{
    CollectionKind, Combination, Comparison, DeleteCondition, FloatText, Operation, Part,
    ValueError,
};

const HASH: CollectionKind = CollectionKind::Hash;
const SET: CollectionKind = CollectionKind::Set;

fn texts(list: &[&'static str]) -> Vec<Bytes> {
    list.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

fn hset(key: &'static str, pairs: &[(&'static str, &'static str)]) -> Write {
    let pairs = pairs.iter().map(|(field, value)| ((*field).into(), (*value).into())).collect();
    Write::SetFields { key: key.into(), pairs }
}

fn hget(key: &'static str, field: &'static str) -> Read {
    Read::Field { key: key.into(), field: field.into() }
}

fn sadd(key: &'static str, members: &[&'static str]) -> Write {
    Write::AddMembers { key: key.into(), members: texts(members) }
}

fn remove(key: &'static str, kind: CollectionKind, fields: &[&'static str]) -> Write {
    Write::RemoveFields { key: key.into(), kind, fields: texts(fields) }
}

fn delete(key: &'static str) -> Write {
    Write::Delete { keys: vec![key.into()] }
}

fn all(key: &'static str, kind: CollectionKind, part: Part) -> Read {
    Read::AllFields { key: key.into(), kind, part }
}

fn integers(numbers: &[i64]) -> Value {
    Value::List(numbers.iter().copied().map(Value::Integer).collect())
}

/// The elements of a list without their order.
fn unordered(value: Value) -> BTreeSet<Bytes> {
    let Value::List(items) = value else { panic!("{value:?}") };
    let items = items.into_iter().map(|item| match item {
        Value::Bulk(bytes) => bytes,
        other => panic!("{other:?}"),
    });
    items.collect()
}

fn set_of(list: &[&'static str]) -> BTreeSet<Bytes> {
    texts(list).into_iter().collect()
}

/// A set of so many members.
fn large(shard: &mut Shard, key: &'static str, count: u32) {
    let members = (0..count).map(|number| Bytes::from(format!("member-{number}"))).collect();
    let added = shard.write(&Write::AddMembers { key: key.into(), members });
    assert_eq!(added, Value::Integer(i64::from(count)));
}

#[test]
fn a_hash_is_written_and_read_field_by_field() {
    let mut shard = Shard::new();
    assert_eq!(shard.read(&hget("h", "a")), Value::Nil);
    assert_eq!(shard.write(&hset("h", &[("a", "1"), ("b", "2"), ("a", "3")])), Value::Integer(2));
    assert_eq!(shard.write(&hset("h", &[("a", "4"), ("c", "")])), Value::Integer(1));
    assert_eq!(shard.read(&hget("h", "a")), bulk("4"));
    assert_eq!(
        shard.read(&Read::FieldsNamed { key: "h".into(), fields: texts(&["c", "x", "b"]) }),
        Value::List(vec![bulk(""), Value::Nil, bulk("2")])
    );
    let count = Read::CountFields { key: "h".into(), kind: HASH };
    assert_eq!(shard.read(&count), Value::Integer(3));
    assert_eq!(unordered(shard.read(&all("h", HASH, Part::Fields))), set_of(&["a", "b", "c"]));
    assert_eq!(unordered(shard.read(&all("h", HASH, Part::Values))), set_of(&["4", "2", ""]));
    let Value::List(both) = shard.read(&all("h", HASH, Part::Both)) else { panic!("a list") };
    assert_eq!(both.len(), 6);
    assert_eq!(
        shard.read(&Read::FieldLength { key: "h".into(), field: "a".into() }),
        Value::Integer(1)
    );
    let has = |fields: &[&'static str], many| Read::HasFields {
        key: "h".into(),
        kind: HASH,
        fields: texts(fields),
        many,
    };
    assert_eq!(shard.read(&has(&["a"], false)), Value::Integer(1));
    assert_eq!(shard.read(&has(&["a", "x"], true)), integers(&[1, 0]));
    assert_eq!(shard.write(&remove("h", HASH, &["a", "a", "x"])), Value::Integer(1));
    assert_eq!(shard.read(&count), Value::Integer(2));
    assert_eq!(shard.keys, 1);
    assert_eq!(shard.write(&remove("h", HASH, &["b", "c"])), Value::Integer(2));
    assert_eq!(shard.keys, 0);
    assert!(shard.is_empty());
}

#[test]
fn a_field_is_set_once_with_hsetnx() {
    let mut shard = Shard::new();
    let setnx = |value: &'static str| Write::SetFieldIfNone {
        key: "h".into(),
        field: "f".into(),
        value: value.into(),
    };
    assert_eq!(shard.write(&setnx("1")), Value::Integer(1));
    assert_eq!(shard.write(&setnx("2")), Value::Integer(0));
    assert_eq!(shard.read(&hget("h", "f")), bulk("1"));
}

#[test]
fn fields_count_as_numbers_do() {
    let mut shard = Shard::new();
    let increment = |field: &'static str, by| Write::IncrementField {
        key: "h".into(),
        field: field.into(),
        by,
    };
    assert_eq!(shard.write(&increment("n", -5)), Value::Integer(-5));
    assert_eq!(shard.write(&increment("n", 2)), Value::Integer(-3));
    shard.write(&hset("h", &[("t", "x"), ("m", "9223372036854775807")]));
    assert_eq!(shard.write(&increment("t", 1)), Value::Error(ValueError::FieldNotInteger));
    assert_eq!(shard.write(&increment("m", 1)), Value::Error(ValueError::Overflow));
    let float = |field: &'static str, by: &str| Write::IncrementFieldFloat {
        key: "h".into(),
        field: field.into(),
        by: FloatText(by.to_owned()),
    };
    assert_eq!(shard.write(&float("n", "0.5")), bulk("-2.5"));
    assert_eq!(shard.write(&float("t", "1")), Value::Error(ValueError::FieldNotFloat));
    assert_eq!(shard.write(&float("new", "1e1")), bulk("10"));
}

#[test]
fn a_set_holds_each_member_once() {
    let mut shard = Shard::new();
    assert_eq!(shard.write(&sadd("s", &["a", "b", "a"])), Value::Integer(2));
    assert_eq!(shard.propose(&sadd("s", &["a"])), Value::Integer(0));
    assert!(shard.under_way.is_empty(), "nothing new is no entry");
    assert_eq!(unordered(shard.read(&all("s", SET, Part::Fields))), set_of(&["a", "b"]));
    let move_b = Write::MoveMember { from: "s".into(), to: "t".into(), member: "b".into() };
    assert_eq!(shard.write(&move_b), Value::Integer(1));
    assert_eq!(shard.write(&move_b), Value::Integer(0));
    let move_a = Write::MoveMember { from: "s".into(), to: "s".into(), member: "a".into() };
    assert_eq!(shard.write(&move_a), Value::Integer(1));
    assert_eq!(unordered(shard.read(&all("t", SET, Part::Fields))), set_of(&["b"]));
    assert_eq!(shard.write(&remove("s", SET, &["a"])), Value::Integer(1));
    assert_eq!((shard.keys, shard.rows_of(b'f')), (1, 1));
}

#[test]
fn a_proposed_element_is_seen_before_it_is_applied() {
    let mut shard = Shard::new();
    shard.write(&hset("h", &[("a", "1"), ("b", "2")]));
    shard.propose(&hset("h", &[("c", "3")]));
    shard.propose(&remove("h", HASH, &["a"]));
    let reads =
        |read| Write::Transaction { watched: vec![], operations: vec![Operation::Read(read)] };
    let Value::List(mut answers) = shard.propose(&reads(all("h", HASH, Part::Fields))) else {
        panic!("a list")
    };
    assert_eq!(unordered(answers.remove(0)), set_of(&["b", "c"]));
    // Gone with everything, and come again.
    shard.propose(&delete("h"));
    shard.propose(&hset("h", &[("d", "4")]));
    let Value::List(mut answers) = shard.propose(&reads(all("h", HASH, Part::Fields))) else {
        panic!("a list")
    };
    assert_eq!(unordered(answers.remove(0)), set_of(&["d"]));
    shard.apply_all();
    assert_eq!(unordered(shard.read(&all("h", HASH, Part::Fields))), set_of(&["d"]));
    assert_eq!(shard.rows_of(b'f'), 1);
}

#[test]
fn another_type_is_refused_and_nothing_changes() {
    let mut shard = Shard::new();
    shard.write(&set("string", "1"));
    shard.write(&hset("hash", &[("f", "v")]));
    shard.write(&sadd("set", &["m"]));
    let rows = shard.rows.clone();
    let member = |key: &'static str| Write::MoveMember {
        from: "set".into(),
        to: key.into(),
        member: "m".into(),
    };
    let store = Write::StoreSets {
        to: "string".into(),
        keys: texts(&["hash"]),
        combination: Combination::Union,
    };
    for write in [
        hset("string", &[("f", "v")]),
        hset("set", &[("f", "v")]),
        sadd("hash", &["m"]),
        sadd("string", &["m"]),
        remove("set", HASH, &["m"]),
        remove("hash", SET, &["f"]),
        member("hash"),
        store,
        Write::PopMembers { key: "hash".into(), count: None },
        Write::IncrementField { key: "set".into(), field: "f".into(), by: 1 },
        Write::Append { key: "hash".into(), suffix: "x".into() },
        Write::Increment { key: "set".into(), by: 1 },
        Write::GetDelete { key: "hash".into() },
        Write::GetExpire { key: "hash".into(), expiry: Expiry::Never },
        Write::DeleteIf {
            key: "set".into(),
            condition: DeleteCondition::Value { value: "m".into(), equal: false },
        },
        set_with("hash", "v", SetCondition::Always, Expiry::Never, true),
    ] {
        assert_eq!(shard.write(&write), Value::Error(ValueError::WrongType), "{write:?}");
    }
    for read in [
        Read::Get { key: "hash".into() },
        Read::StringLength { key: "set".into() },
        Read::Digest { key: "set".into() },
        hget("set", "m"),
        all("set", HASH, Part::Both),
        all("hash", SET, Part::Fields),
        Read::CountFields { key: "string".into(), kind: SET },
        Read::CombineSets { keys: texts(&["set", "hash"]), combination: Combination::Union },
        Read::RandomFields { key: "hash".into(), kind: SET, count: None, part: Part::Fields },
    ] {
        assert_eq!(shard.read(&read), Value::Error(ValueError::WrongType), "{read:?}");
    }
    assert_eq!(shard.rows, rows);
    // MGET hides it, a plain SET overwrites it.
    let mget = Read::GetMany { keys: texts(&["hash", "string"]) };
    assert_eq!(shard.read(&mget), Value::List(vec![Value::Nil, bulk("1")]));
    assert_eq!(shard.write(&set("hash", "now a string")), Value::Ok);
    assert_eq!((shard.keys, shard.rows_of(b'f')), (3, 1));
}

#[test]
fn sets_are_combined() {
    let mut shard = Shard::new();
    shard.write(&sadd("a", &["1", "2", "3", "4"]));
    shard.write(&sadd("b", &["3", "4", "5"]));
    shard.write(&sadd("c", &["4", "6"]));
    for (combination, keys, expected) in [
        (Combination::Intersection, vec!["a", "b"], vec!["3", "4"]),
        (Combination::Intersection, vec!["a", "b", "c"], vec!["4"]),
        (Combination::Intersection, vec!["a", "none"], vec![]),
        (Combination::Union, vec!["b", "none", "c"], vec!["3", "4", "5", "6"]),
        (Combination::Difference, vec!["a", "b", "none"], vec!["1", "2"]),
        (Combination::Difference, vec!["none", "a"], vec![]),
        (Combination::Difference, vec!["a", "a"], vec![]),
    ] {
        let read = Read::CombineSets { keys: texts(&keys), combination };
        assert_eq!(unordered(shard.read(&read)), set_of(&expected), "{read:?}");
        // Into one of its own sources.
        let store = Write::StoreSets { to: "b".into(), keys: texts(&keys), combination };
        let mut copy = Shard::new();
        for (row, cell) in &shard.rows {
            copy.rows.insert(row.clone(), cell.clone());
        }
        copy.keys = shard.keys;
        let count = i64::try_from(expected.len()).unwrap();
        assert_eq!(copy.write(&store), Value::Integer(count));
        assert_eq!(unordered(copy.read(&all("b", SET, Part::Fields))), set_of(&expected));
        assert_eq!(copy.keys, if expected.is_empty() { 2 } else { 3 });
    }
    let limited = |limit| Read::CountIntersection { keys: texts(&["a", "b"]), limit };
    assert_eq!(shard.read(&limited(0)), Value::Integer(2));
    assert_eq!(shard.read(&limited(1)), Value::Integer(1));
}

#[test]
fn many_fields_are_swept_in_bounded_entries_and_never_come_back() {
    let mut shard = Shard::new();
    large(&mut shard, "s", 3_000);
    assert_eq!(shard.rows_of(b'f'), 3_000);
    assert_eq!(shard.write(&delete("s")), Value::Integer(1));
    assert_eq!((shard.keys, shard.rows_of(b'f'), shard.rows_of(b'e')), (0, 3_000, 1));
    // The key comes again while the old rows are still there.
    assert_eq!(shard.write(&sadd("s", &["member-1"])), Value::Integer(1));
    assert_eq!(unordered(shard.read(&all("s", SET, Part::Fields))), set_of(&["member-1"]));
    let view = View::applied(&shard.rows, PREFIX, 1);
    assert!(next_due(&view).unwrap().is_some_and(|at| at <= shard.now));
    let mut entries = 0;
    let sweep = Write::RemoveExpired { count_max: 16 };
    while shard.propose(&sweep) == Value::Ok && !shard.under_way.is_empty() {
        let effects = Effects::decode(shard.under_way[0].1.clone()).unwrap();
        assert!(effects.changes.len() <= 1_025, "{}", effects.changes.len());
        shard.apply_all();
        entries += 1;
        // Interrupted at any point, nothing of it is seen.
        assert_eq!(unordered(shard.read(&all("s", SET, Part::Fields))), set_of(&["member-1"]));
    }
    assert_eq!(entries, 3);
    assert_eq!((shard.rows_of(b'f'), shard.rows_of(b'e')), (1, 0));
}

/// A name for it, and what ends the set `s`.
type End = (&'static str, fn(&mut Shard));

#[test]
fn whatever_ends_a_collection_releases_its_rows() {
    let ends: [End; 5] = [
        ("delete", |shard| {
            shard.write(&delete("s"));
        }),
        ("overwrite", |shard| {
            shard.write(&set("s", "string"));
        }),
        ("expiry", |shard| {
            let expiry = Expiry::In { ms: 5 };
            let comparison = Comparison::Always;
            shard.write(&Write::Expire { key: "s".into(), expiry, comparison });
            shard.now.0 += 5;
            shard.write(&Write::RemoveIfExpired { keys: vec!["s".into()] });
        }),
        ("rename onto it", |shard| {
            shard.write(&set("{s}other", "string"));
            let (from, to) = ("{s}other".into(), "s".into());
            shard.write(&Write::Rename { from, to, only_if_none: false });
        }),
        ("store over it", |shard| {
            let (to, keys) = ("s".into(), texts(&["none"]));
            shard.write(&Write::StoreSets { to, keys, combination: Combination::Union });
        }),
    ];
    for (name, end) in ends {
        for count in [1, 64, 65, 500] {
            let mut shard = Shard::new();
            large(&mut shard, "s", count);
            end(&mut shard);
            assert_eq!(shard.rows_of(b'f') > 0, count > 64, "{name} {count}");
            shard.write(&Write::RemoveExpired { count_max: 16 });
            assert_eq!((shard.rows_of(b'f'), shard.rows_of(b'e')), (0, 0), "{name} {count}");
        }
    }
}

#[test]
fn a_renamed_collection_keeps_its_rows_and_its_expiry() {
    let mut shard = Shard::new();
    large(&mut shard, "{x}s", 100);
    let expiry = Expiry::In { ms: 500 };
    shard.write(&Write::Expire { key: "{x}s".into(), expiry, comparison: Comparison::Always });
    let rename = |from: &'static str, to: &'static str, only_if_none| Write::Rename {
        from: from.into(),
        to: to.into(),
        only_if_none,
    };
    assert_eq!(shard.propose(&rename("{x}s", "{x}t", false)), Value::Ok);
    assert!(Effects::decode(shard.under_way[0].1.clone()).unwrap().changes.len() < 8);
    shard.apply_all();
    assert_eq!((shard.keys, shard.rows_of(b'f'), shard.rows_of(b'e')), (1, 100, 1));
    assert_eq!(unordered(shard.read(&all("{x}t", SET, Part::Fields))).len(), 100);
    let ttl = Read::TimeToLive { key: "{x}t".into(), unit: crate::TtlUnit::Milliseconds };
    assert_eq!(shard.read(&ttl), Value::Integer(500));
    shard.write(&set("{x}u", "1"));
    assert_eq!(shard.write(&rename("{x}t", "{x}u", true)), Value::Integer(0));
    assert_eq!(shard.write(&rename("{x}t", "{x}t", false)), Value::Ok);
    assert_eq!(shard.write(&rename("{x}t", "{x}v", true)), Value::Integer(1));
    assert_eq!(shard.write(&rename("{x}t", "{x}v", false)), Value::Error(ValueError::NoSuchKey));
    assert_eq!(unordered(shard.read(&all("{x}v", SET, Part::Fields))).len(), 100);
}

#[test]
fn a_copy_has_rows_of_its_own() {
    let mut shard = Shard::new();
    shard.write(&hset("h", &[("a", "1"), ("b", "2")]));
    let copy = |to: &'static str, replace| Write::Copy { from: "h".into(), to: to.into(), replace };
    assert_eq!(shard.write(&copy("c", false)), Value::Integer(1));
    assert_eq!(shard.write(&copy("c", false)), Value::Integer(0));
    shard.write(&hset("h", &[("a", "9")]));
    assert_eq!(shard.read(&hget("c", "a")), bulk("1"));
    assert_eq!(shard.write(&copy("c", true)), Value::Integer(1));
    assert_eq!(shard.read(&hget("c", "a")), bulk("9"));
    assert_eq!((shard.keys, shard.rows_of(b'f')), (2, 4));
    let none = Write::Copy { from: "none".into(), to: "c".into(), replace: true };
    assert_eq!(shard.write(&none), Value::Integer(0));
}

#[test]
fn a_scan_of_fields_meets_each_once_whatever_the_step() {
    let mut shard = Shard::new();
    large(&mut shard, "s", 1_000);
    for count in [1, 10, 333, 100_000] {
        let (mut cursor, mut found, mut seen) = (0, 0, BTreeSet::new());
        loop {
            let step = Read::ScanFields {
                key: "s".into(),
                kind: SET,
                cursor,
                pattern: None,
                count,
                part: Part::Fields,
            };
            let Value::List(mut answer) = shard.read(&step) else { panic!("a list") };
            let members = unordered(answer.pop().unwrap());
            found += members.len();
            seen.extend(members);
            let Value::Integer(next) = answer.pop().unwrap() else { panic!("a number") };
            cursor = u32::try_from(next).unwrap();
            if cursor == 0 {
                break;
            }
        }
        assert_eq!((found, seen.len()), (1_000, 1_000), "count {count}");
    }
}

#[test]
fn random_picks_come_from_the_seed_and_are_even() {
    let mut shard = Shard::new();
    large(&mut shard, "s", 4_000);
    let random =
        |count| Read::RandomFields { key: "s".into(), kind: SET, count, part: Part::Fields };
    let (first, again) = (shard.read(&random(Some(20))), shard.read(&random(Some(20))));
    assert_eq!(first, again, "the same seed, the same picks");
    shard.seed += 1;
    assert_ne!(shard.read(&random(Some(20))), first);
    assert_eq!(unordered(first).len(), 20);
    assert_eq!(unordered(shard.read(&random(Some(9_999)))).len(), 4_000);
    let Value::List(repeated) = shard.read(&random(Some(-9_999))) else { panic!("a list") };
    assert_eq!(repeated.len(), 9_999);
    // Over many seeds no tenth of the members is picked much more often than another.
    let mut tenths = [0; 10];
    for _ in 0..2_000 {
        shard.seed += 1;
        let Value::Bulk(member) = shard.read(&random(None)) else { panic!("a member") };
        let number: usize = str::from_utf8(&member[7..]).unwrap().parse().unwrap();
        tenths[number / 400] += 1;
    }
    assert!(tenths.iter().all(|count| (120..290).contains(count)), "{tenths:?}");
}

#[test]
fn popped_members_are_gone() {
    let mut shard = Shard::new();
    let pop = |count| Write::PopMembers { key: "s".into(), count };
    assert_eq!(shard.write(&pop(None)), Value::Nil);
    assert_eq!(shard.write(&pop(Some(3))), Value::List(vec![]));
    for size in [10, 2_000] {
        large(&mut shard, "s", size);
        assert_eq!(shard.write(&pop(Some(0))), Value::List(vec![]));
        let Value::Bulk(one) = shard.write(&pop(None)) else { panic!("a member") };
        let three = unordered(shard.write(&pop(Some(3))));
        assert_eq!(three.len(), 3);
        let left = unordered(shard.read(&all("s", SET, Part::Fields)));
        assert_eq!(left.len(), size as usize - 4);
        assert!(!left.contains(&one) && left.is_disjoint(&three));
        let rest = unordered(shard.write(&pop(Some(100_000))));
        assert_eq!(rest, left);
        assert!(shard.is_empty());
        assert_eq!(shard.keys, 0);
    }
}

#[test]
fn a_command_that_would_look_at_too_much_is_refused() {
    let mut shard = Shard::new();
    let fields = 3;
    let value = Bytes::from(vec![b'x'; 12 << 20]);
    for number in 0..fields {
        let pairs = vec![(Bytes::from(format!("{number}")), value.clone())];
        shard.write(&Write::SetFields { key: "h".into(), pairs });
    }
    let too_long = Value::Error(ValueError::AnswerTooLong(ANSWER_BYTES_MAX));
    assert_eq!(shard.read(&all("h", HASH, Part::Values)), too_long);
    assert_eq!(unordered(shard.read(&all("h", HASH, Part::Fields))).len(), 3);
    let long = Bytes::from(vec![b'f'; FIELD_BYTES_MAX + 1]);
    let pairs = vec![(long.clone(), "v".into())];
    assert_eq!(
        shard.write(&Write::SetFields { key: "h".into(), pairs }),
        Value::Error(ValueError::FieldTooLong(FIELD_BYTES_MAX as u64))
    );
    assert_eq!(shard.read(&Read::Field { key: "h".into(), field: long }), Value::Nil);
    let many = Read::RandomFields {
        key: "h".into(),
        kind: HASH,
        count: Some(-1_000_000_000),
        part: Part::Fields,
    };
    let too_many = Value::Error(ValueError::TooManyElements(ELEMENTS_MAX));
    assert_eq!(shard.read(&many), too_many);
}

#[test]
fn encodings_are_those_that_redis_would_choose() {
    let mut shard = Shard::new();
    let encoding = |key: &'static str| Read::Encoding { key: key.into() };
    shard.write(&set("n", "12"));
    shard.write(&set("t", "text"));
    shard.write(&hset("h", &[("f", "v")]));
    shard.write(&sadd("i", &["1", "-2"]));
    shard.write(&sadd("s", &["1", "x"]));
    large(&mut shard, "l", 600);
    for (key, expected) in [
        ("n", "int"),
        ("t", "embstr"),
        ("h", "listpack"),
        ("i", "intset"),
        ("s", "hashtable"),
        ("l", "hashtable"),
    ] {
        assert_eq!(shard.read(&encoding(key)), bulk(expected), "{key}");
    }
    assert_eq!(shard.read(&encoding("none")), Value::Nil);
    let usage = Read::MemoryUsage { key: "l".into() };
    assert!(matches!(shard.read(&usage), Value::Integer(bytes) if bytes > 600 * 8));
}

#[test]
fn a_string_is_deleted_when_it_is_the_expected_one() {
    let mut shard = Shard::new();
    shard.write(&set("k", "hello"));
    let digest = shard.read(&Read::Digest { key: "k".into() });
    // As the authors of XXH3 give it for these five bytes.
    assert_eq!(digest, bulk("9555e8555c62dcfd"));
    let delete = |condition| Write::DeleteIf { key: "k".into(), condition };
    let value = |value: &'static str, equal| DeleteCondition::Value { value: value.into(), equal };
    assert_eq!(shard.write(&delete(value("other", true))), Value::Integer(0));
    assert_eq!(shard.write(&delete(value("hello", false))), Value::Integer(0));
    let wrong = DeleteCondition::Digest { digest: 1, equal: true };
    assert_eq!(shard.write(&delete(wrong)), Value::Integer(0));
    let right = DeleteCondition::Digest { digest: 0x9555_e855_5c62_dcfd, equal: true };
    assert_eq!(shard.write(&delete(right)), Value::Integer(1));
    assert!(shard.is_empty());
}
