//! Commands one after the other, as Redis answers them.

use super::*;
use crate::{Combination, Comparison, TtlUnit};

type Row = (Operation, Value);

fn status(name: &str) -> Value {
    Value::Status(name.into())
}

fn wrong_type() -> Value {
    error(ValueError::WrongType)
}

fn has(key: &str, kind: CollectionKind, fields: &[&str], many: bool) -> Read {
    Read::HasFields { key: text(key), kind, fields: texts(fields), many }
}

fn existing(keys: &[&str]) -> Read {
    Read::CountExisting { keys: texts(keys) }
}

fn is(key: &str) -> Read {
    Read::Type { key: text(key) }
}

fn ttl(key: &str) -> Read {
    Read::TimeToLive { key: text(key), unit: TtlUnit::Seconds }
}

fn encoding(key: &str) -> Read {
    Read::Encoding { key: text(key) }
}

fn combined(keys: &[&str], combination: Combination) -> Read {
    Read::CombineSets { keys: texts(keys), combination }
}

fn scanned(key: &str, kind: CollectionKind, pattern: &str) -> Read {
    let (key, pattern) = (text(key), Some(text(pattern)));
    Read::ScanFields { key, kind, cursor: 0, pattern, count: 10, part: Part::Both }
}

fn expire(key: &str) -> Write {
    let (expiry, comparison) = (Expiry::In { ms: 5_000 }, Comparison::Always);
    Write::Expire { key: text(key), expiry, comparison }
}

fn hashes() -> Vec<Row> {
    let hash = CollectionKind::Hash;
    let pairs = vec![(text("a"), text("1")), (text("b"), text("22")), (text("a"), text("3"))];
    vec![
        (Write::SetFields { key: text("h"), pairs }.into(), Value::Integer(2)),
        (hset("h", "b", "22").into(), Value::Integer(0)),
        (hget("h", "a").into(), bulk("3")),
        (hget("h", "c").into(), Value::Nil),
        (hget("none", "a").into(), Value::Nil),
        (
            Read::FieldsNamed { key: text("h"), fields: texts(&["b", "x", "a"]) }.into(),
            Value::List(vec![bulk("22"), Value::Nil, bulk("3")]),
        ),
        (Read::CountFields { key: text("h"), kind: hash }.into(), Value::Integer(2)),
        (Read::FieldLength { key: text("h"), field: text("b") }.into(), Value::Integer(2)),
        (has("h", hash, &["a"], false).into(), Value::Integer(1)),
        (scanned("h", hash, "a*").into(), Value::List(vec![Value::Integer(0), list(&["a", "3"])])),
        (hincrby("h", "a", 4).into(), Value::Integer(7)),
        (hincrby("h", "n", -2).into(), Value::Integer(-2)),
        (hset("h", "t", "text").into(), Value::Integer(1)),
        (hincrby("h", "t", 1).into(), error(ValueError::FieldNotInteger)),
        (hincrby("h", "a", i64::MAX).into(), error(ValueError::Overflow)),
        (hdel("h", &["t", "n", "none"]).into(), Value::Integer(2)),
        (is("h").into(), status("hash")),
        (encoding("h").into(), bulk("listpack")),
        (ttl("h").into(), Value::Integer(-1)),
        (expire("h").into(), error(ValueError::NotOffered)),
        (get("h").into(), wrong_type()),
        (increment("h", 1).into(), wrong_type()),
        (sadd("h", &["a"]).into(), wrong_type()),
    ]
}

fn sets() -> Vec<Row> {
    vec![
        (sadd("s", &["1", "2", "2"]).into(), Value::Integer(2)),
        (sadd("s", &["2", "3"]).into(), Value::Integer(1)),
        (
            has("s", CollectionKind::Set, &["1", "9"], true).into(),
            Value::List(vec![Value::Integer(1), Value::Integer(0)]),
        ),
        (Read::CountFields { key: text("s"), kind: CollectionKind::Set }.into(), Value::Integer(3)),
        (encoding("s").into(), bulk("intset")),
        (srem("s", &["1", "9"]).into(), Value::Integer(1)),
        (sadd("{s}other", &["3", "4"]).into(), Value::Integer(2)),
        (combined(&["s", "{s}other"], Combination::Intersection).into(), list(&["3"])),
        (combined(&["s", "{s}other"], Combination::Difference).into(), list(&["2"])),
        (combined(&["s", "{s}other", "s"], Combination::Union).into(), list(&["2", "3", "4"])),
        (combined(&["s", "{s}none"], Combination::Intersection).into(), list(&[])),
        (Read::CountIntersection { keys: texts(&["s", "s"]), limit: 1 }.into(), Value::Integer(1)),
        (hget("s", "a").into(), wrong_type()),
        (existing(&["s", "h", "h", "none"]).into(), Value::Integer(3)),
    ]
}

/// What replaces and removes hashes and sets.
fn replaced() -> Vec<Row> {
    vec![
        (set("s", "value").into(), Value::Ok),
        (smembers("s").into(), wrong_type()),
        (Read::GetRange { key: text("s"), start: -3, end: -1 }.into(), bulk("lue")),
        (is("s").into(), status("string")),
        (delete(&["s", "h", "h", "none"]).into(), Value::Integer(2)),
        (existing(&["s", "h"]).into(), Value::Integer(0)),
        (ttl("h").into(), Value::Integer(-2)),
        (hset("s", "f", "v").into(), Value::Integer(1)),
        (hdel("s", &["f"]).into(), Value::Integer(1)),
        (is("s").into(), status("none")),
        (sadd("s", &["m"]).into(), Value::Integer(1)),
        (smembers("s").into(), list(&["m"])),
        // What no replica can know.
        (Write::PopMembers { key: text("s"), count: None }.into(), error(ValueError::NeedsLeader)),
        (
            Write::Append { key: text("s"), suffix: text("x") }.into(),
            error(ValueError::NeedsLeader),
        ),
        (Write::Flush.into(), Value::Ok),
        (existing(&["s", "{s}other"]).into(), Value::Integer(0)),
    ]
}

#[test]
fn commands_are_answered_as_by_redis() {
    for conflicts in POLICIES {
        let mut replicas = Replicas::new(conflicts);
        for (operation, expected) in hashes().into_iter().chain(sets()).chain(replaced()) {
            let shown = format!("{conflicts:?}: {operation:?}");
            assert_eq!(replicas.run(&[0, 1], operation), expected, "{shown}");
        }
    }
}

#[test]
fn picks_are_of_what_is_there() {
    let mut replicas = Replicas::new(ConflictPolicy::Siblings);
    replicas.run(&[0], sadd("s", &["a", "b", "c"]));
    let mut pick = |count| {
        let (key, kind, part) = (text("s"), CollectionKind::Set, Part::Fields);
        replicas.run(&[0], Read::RandomFields { key, kind, count, part })
    };
    assert!(matches!(pick(None), Value::Bulk(_)));
    assert_eq!(sorted(pick(Some(9))), texts(&["a", "b", "c"]));
    assert_eq!(sorted(pick(Some(2))).len(), 2);
    assert_eq!(sorted(pick(Some(-7))).len(), 7);
}

#[test]
fn a_scan_of_a_collection_meets_every_field_in_small_steps() {
    let mut replicas = Replicas::new(ConflictPolicy::LastWriterWins);
    let members: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    replicas.run(&[0], sadd("s", &members[..60]));
    // The coordinator knows nothing of these, and scans them, too.
    replicas.run(&[1], sadd("s", &members[60..]));
    let (mut cursor, mut found, mut steps) = (0, Vec::new(), 0);
    loop {
        let (key, kind, part) = (text("s"), CollectionKind::Set, Part::Fields);
        let step = Read::ScanFields { key, kind, cursor, pattern: None, count: 7, part };
        let Value::List(answer) = replicas.run(&[0, 1], step) else { panic!("no list") };
        let [Value::Integer(next), values] = &answer[..] else { panic!("no step") };
        found.extend(sorted(values.clone()));
        assert!(replicas.answered_from <= 60, "a step is a part");
        (cursor, steps) = (u32::try_from(*next).unwrap(), steps + 1);
        if cursor == 0 {
            break;
        }
    }
    found.sort();
    let mut expected = texts(&members);
    expected.sort();
    assert_eq!((found, steps), (expected, 9));
}
