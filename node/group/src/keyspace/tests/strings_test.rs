//! Strings and keys: what commands answer, what they leave, what a scan meets.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::{Slot, WallTime};

use super::*;
use crate::{Comparison, FloatText, TtlUnit, ValueError};

#[test]
fn a_written_value_is_read() {
    let mut shard = Shard::new();
    assert_eq!(shard.get("k"), Value::Nil);
    assert_eq!(shard.write(&set("k", "v")), Value::Ok);
    assert_eq!(shard.get("k"), bulk("v"));
    assert_eq!(shard.read(&Read::CountKeys), Value::Integer(1));
    assert_eq!(shard.write(&set("k", "w")), Value::Ok);
    assert_eq!(shard.read(&Read::CountKeys), Value::Integer(1));
    assert_eq!(
        shard.write(&Write::Delete { keys: vec!["k".into(), "k".into(), "x".into()] }),
        Value::Integer(1)
    );
    assert_eq!(shard.read(&Read::CountKeys), Value::Integer(0));
    assert!(shard.is_empty());
}

#[test]
fn a_proposal_sees_those_before_it() {
    let mut shard = Shard::new();
    assert_eq!(shard.propose(&Write::Increment { key: "n".into(), by: 1 }), Value::Integer(1));
    assert_eq!(shard.propose(&Write::Increment { key: "n".into(), by: 1 }), Value::Integer(2));
    assert_eq!(shard.get("n"), Value::Nil);
    shard.apply_all();
    assert_eq!(shard.get("n"), bulk("2"));
    assert_eq!(shard.propose(&Write::Flush), Value::Ok);
    assert_eq!(shard.propose(&Write::Increment { key: "n".into(), by: 5 }), Value::Integer(5));
    shard.apply_all();
    assert_eq!(shard.get("n"), bulk("5"));
    assert_eq!(shard.read(&Read::CountKeys), Value::Integer(1));
}

#[test]
fn set_conditions_hold_as_in_redis() {
    let mut shard = Shard::new();
    let keep = Expiry::Never;
    assert_eq!(shard.write(&set_with("k", "1", SetCondition::IfPresent, keep, false)), Value::Nil);
    assert_eq!(shard.write(&set_with("k", "1", SetCondition::IfAbsent, keep, false)), Value::Ok);
    assert_eq!(shard.write(&set_with("k", "2", SetCondition::IfAbsent, keep, true)), bulk("1"));
    assert_eq!(
        shard.write(&set_with("k", "2", SetCondition::IfEqual("x".into()), keep, false)),
        Value::Nil
    );
    assert_eq!(
        shard.write(&set_with("k", "2", SetCondition::IfEqual("1".into()), keep, false)),
        Value::Ok
    );
    assert_eq!(shard.get("k"), bulk("2"));
    let pairs = vec![("k".into(), "3".into()), ("j".into(), "3".into())];
    assert_eq!(
        shard.write(&Write::SetMany { pairs: pairs.clone(), only_if_none: true }),
        Value::Integer(0)
    );
    assert_eq!(shard.write(&Write::SetMany { pairs, only_if_none: false }), Value::Ok);
    assert_eq!(
        shard.read(&Read::GetMany { keys: vec!["k".into(), "j".into(), "no".into()] }),
        Value::List(vec![bulk("3"), bulk("3"), Value::Nil])
    );
}

#[test]
fn expiry_is_decided_through_the_log() {
    let mut shard = Shard::new();
    let expiry = Expiry::In { ms: 1_000 };
    shard.write(&set_with("k", "v", SetCondition::Always, expiry, false));
    assert_eq!(
        shard.read(&Read::TimeToLive { key: "k".into(), unit: TtlUnit::Milliseconds }),
        Value::Integer(1_000)
    );
    shard.now.0 += 1_000;
    let get = Read::Get { key: "k".into() };
    assert_eq!(shard.outcome(&get, Expired::Report), ReadOutcome::Expired(vec!["k".into()]));
    assert_eq!(shard.outcome(&get, Expired::Hide), ReadOutcome::Value(Value::Nil));
    // A leader whose clock is behind still finds the key: nothing was answered as gone before the log says so.
    shard.now.0 -= 500;
    assert_eq!(shard.get("k"), bulk("v"));
    shard.now.0 += 500;
    assert_eq!(shard.write(&Write::RemoveIfExpired { keys: vec!["k".into()] }), Value::Ok);
    assert!(shard.is_empty());
    assert_eq!(shard.keys, 0);
}

#[test]
fn due_keys_are_removed_in_bounded_steps() {
    let mut shard = Shard::new();
    for key in ["a", "b", "c"] {
        shard.write(&set_with(key, "v", SetCondition::Always, Expiry::In { ms: 10 }, false));
    }
    shard.write(&set("stays", "v"));
    assert_eq!(shard.expiry_rows(), 3);
    shard.now.0 += 10;
    for left in [1, 0] {
        shard.write(&Write::RemoveExpired { count_max: 2 });
        assert_eq!(shard.expiry_rows(), left);
    }
    let view = View::applied(&shard.rows, PREFIX, 1);
    assert!(next_due(&view).unwrap().is_none_or(|at| at > shard.now));
    assert_eq!(shard.keys, 1);
}

#[test]
fn expire_compares_as_in_redis() {
    let mut shard = Shard::new();
    let expire = |at, comparison| Write::Expire {
        key: "k".into(),
        expiry: Expiry::At(WallTime(at)),
        comparison,
    };
    assert_eq!(shard.write(&expire(2_000_000, Comparison::Always)), Value::Integer(0));
    shard.write(&set("k", "v"));
    assert_eq!(shard.write(&expire(2_000_000, Comparison::IfGreater)), Value::Integer(0));
    assert_eq!(shard.write(&expire(2_000_000, Comparison::IfAny)), Value::Integer(0));
    assert_eq!(shard.write(&expire(2_000_000, Comparison::IfAnyAndLess)), Value::Integer(0));
    assert_eq!(shard.write(&expire(2_000_000, Comparison::IfLess)), Value::Integer(1));
    assert_eq!(shard.write(&expire(3_000_000, Comparison::IfNone)), Value::Integer(0));
    assert_eq!(shard.write(&expire(3_000_000, Comparison::IfAnyAndLess)), Value::Integer(0));
    assert_eq!(shard.write(&expire(1_900_000, Comparison::IfAnyAndLess)), Value::Integer(1));
    assert_eq!(shard.write(&expire(3_000_000, Comparison::IfGreater)), Value::Integer(1));
    assert_eq!(shard.expiry_rows(), 1);
    assert_eq!(shard.write(&Write::Persist { key: "k".into() }), Value::Integer(1));
    assert_eq!(shard.write(&Write::Persist { key: "k".into() }), Value::Integer(0));
    assert_eq!(shard.write(&expire(1, Comparison::Always)), Value::Integer(1));
    assert!(shard.is_empty());
    assert_eq!(shard.keys, 0);
}

#[test]
fn an_overwritten_expiry_leaves_no_row() {
    let mut shard = Shard::new();
    let expiring = set_with("k", "v", SetCondition::Always, Expiry::In { ms: 5 }, false);
    shard.write(&expiring);
    shard.write(&set_with("k", "w", SetCondition::Always, Expiry::Keep, false));
    assert_eq!(shard.expiry_rows(), 1);
    shard.write(&set("k", "x"));
    assert_eq!(shard.expiry_rows(), 0);
    shard.write(&expiring);
    shard.now.0 += 5;
    // The key's time has come, its row is still there: the count of keys must not grow.
    assert_eq!(
        shard.write(&set_with("k", "y", SetCondition::IfPresent, Expiry::Never, false)),
        Value::Nil
    );
    assert!(shard.is_empty());
    shard.write(&expiring);
    shard.now.0 += 5;
    assert_eq!(shard.write(&Write::Increment { key: "k".into(), by: 1 }), Value::Integer(1));
    assert_eq!((shard.keys, shard.expiry_rows()), (1, 0));
}

#[test]
fn arithmetic_refuses_what_is_no_number() {
    let mut shard = Shard::new();
    shard.write(&set("k", "10.50"));
    assert_eq!(
        shard.write(&Write::Increment { key: "k".into(), by: 1 }),
        Value::Error(ValueError::NotInteger)
    );
    assert_eq!(
        shard.write(&Write::IncrementFloat { key: "k".into(), by: FloatText("0.1".into()) }),
        bulk("10.6")
    );
    shard.write(&set("k", "9223372036854775807"));
    assert_eq!(
        shard.write(&Write::Increment { key: "k".into(), by: 1 }),
        Value::Error(ValueError::Overflow)
    );
    shard.write(&set("k", " 1"));
    assert_eq!(
        shard.write(&Write::Increment { key: "k".into(), by: 1 }),
        Value::Error(ValueError::NotInteger)
    );
}

#[test]
fn ranges_follow_redis() {
    let mut shard = Shard::new();
    shard.write(&set("k", "This is a string"));
    let range = |start, end| Read::GetRange { key: "k".into(), start, end };
    assert_eq!(shard.read(&range(0, 3)), bulk("This"));
    assert_eq!(shard.read(&range(-3, -1)), bulk("ing"));
    assert_eq!(shard.read(&range(0, -1)), bulk("This is a string"));
    assert_eq!(shard.read(&range(10, 100)), bulk("string"));
    assert_eq!(shard.read(&range(-1, -3)), bulk(""));
    assert_eq!(shard.read(&range(5, 3)), bulk(""));
    let write = Write::SetRange { key: "p".into(), offset: 3, bytes: "ab".into() };
    assert_eq!(shard.write(&write), Value::Integer(5));
    assert_eq!(shard.get("p"), bulk("\0\0\0ab"));
    assert_eq!(
        shard.write(&Write::Append { key: "p".into(), suffix: "!".into() }),
        Value::Integer(6)
    );
}

#[test]
fn too_long_is_refused_before_anything_changes() {
    let mut shard = Shard::new();
    let long = Bytes::from(vec![b'k'; KEY_BYTES_MAX + 1]);
    let pairs = vec![("a".into(), "1".into()), (long.clone(), "2".into())];
    assert_eq!(
        shard.write(&Write::SetMany { pairs, only_if_none: false }),
        Value::Error(ValueError::KeyTooLong(KEY_BYTES_MAX as u64))
    );
    assert!(shard.is_empty());
    assert_eq!(shard.read(&Read::Get { key: long }), Value::Nil);
    let offset = u32::try_from(STRING_BYTES_MAX).unwrap();
    assert!(matches!(
        shard.write(&Write::SetRange { key: "k".into(), offset, bytes: "x".into() }),
        Value::Error(ValueError::TooLong(_))
    ));
}

#[test]
fn a_scan_meets_every_key_once_whatever_the_step() {
    let mut shard = Shard::new();
    let mut expected = BTreeSet::new();
    for number in 0..2_000 {
        let key = Bytes::from(format!("key:{number}"));
        expected.insert(key.clone());
        shard.write(&Write::SetMany { pairs: vec![(key, "v".into())], only_if_none: false });
    }
    // All in one slot as well.
    for number in 0..500 {
        let key = Bytes::from(format!("{{tag}}{number}"));
        expected.insert(key.clone());
        shard.write(&Write::SetMany { pairs: vec![(key, "v".into())], only_if_none: false });
    }
    for count in [1, 7, 10, 1_000, 100_000] {
        let keys = shard.scan_all(count);
        assert_eq!(keys.len(), expected.len(), "count {count}");
        assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    let slot = Slot::of_key(b"{tag}");
    assert_eq!(shard.read(&Read::CountKeysInSlot { slot }), Value::Integer(500));
    assert!(
        matches!(shard.read(&Read::KeysInSlot { slot, count: 3 }), Value::List(keys) if keys.len() == 3)
    );
    let keys = |pattern: &'static str, count_max| Read::Keys { pattern: pattern.into(), count_max };
    assert!(matches!(shard.read(&keys("key:1??", 1_000)), Value::List(keys) if keys.len() == 100));
    assert_eq!(shard.read(&keys("*", 10)), Value::Error(ValueError::TooManyKeys(10)));
}

#[test]
fn keys_of_one_hash_are_met_in_one_step() {
    // Two keys of one slot and one hash, found by search: FNV-1a folded to 32 bits.
    let mut shard = Shard::new();
    let mut seen = BTreeMap::new();
    let mut pair = None;
    for number in 0..400_000u32 {
        let key = format!("{{t}}{number}");
        let position = layout::ScanPosition::of_key(key.as_bytes());
        if let Some(other) = seen.insert(position, key.clone()) {
            pair = Some((other, key));
            break;
        }
    }
    let (one, other) = pair.expect("400,000 keys have a collision of 32 bits");
    for key in [&one, &other] {
        let pairs = vec![(Bytes::from(key.clone()), "v".into())];
        shard.write(&Write::SetMany { pairs, only_if_none: false });
    }
    assert_eq!(shard.scan_all(1).len(), 2);
}

#[test]
fn effects_survive_their_encoding() {
    let effects = Effects {
        time: WallTime(7),
        clear: true,
        keys: -3,
        changes: vec![
            RowChange { row: "r".into(), value: None },
            RowChange { row: "s".into(), value: Some(Bytes::new()) },
            RowChange { row: "t".into(), value: Some("v".into()) },
        ],
        writes: Vec::new(),
    };
    let encoded = effects.encode();
    assert_eq!(Effects::decode(encoded.clone()), Ok(effects));
    for cut in 0..encoded.len() {
        assert_eq!(Effects::decode(encoded.slice(..cut)), Err(DecodeError::Length));
    }
    let mut other = encoded.to_vec();
    other[0] = 9;
    assert_eq!(Effects::decode(other.into()), Err(DecodeError::Version(9)));
}

#[test]
fn time_never_goes_back_within_the_proposals() {
    let mut shard = Shard::new();
    shard.propose(&set("a", "1"));
    shard.now = WallTime(10);
    shard.propose(&set("b", "1"));
    let times: Vec<_> = shard
        .under_way
        .iter()
        .map(|(_, command)| Effects::decode(command.clone()).unwrap().time)
        .collect();
    assert_eq!(times, [WallTime(1_000_000), WallTime(1_000_000)]);
}
