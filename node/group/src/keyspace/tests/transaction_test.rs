//! Transactions and the versions of watched keys.

use bytes::Bytes;

use super::*;
use crate::{Comparison, Operation, Version};

fn exec(watched: Vec<(Bytes, Version)>, operations: Vec<Operation>) -> Write {
    Write::Transaction { watched, operations }
}

fn get(key: &'static str) -> Operation {
    Operation::Read(Read::Get { key: key.into() })
}

fn watch(shard: &Shard, key: &'static str) -> Vec<(Bytes, Version)> {
    let Value::List(versions) = shard.read(&Read::Versions { keys: vec![key.into()] }) else {
        panic!("a list")
    };
    let [Value::Integer(version)] = versions[..] else { panic!("{versions:?}") };
    vec![(key.into(), Version(version.cast_unsigned()))]
}

#[test]
fn operations_of_a_transaction_see_those_before_them_and_are_one_entry() {
    let mut shard = Shard::new();
    let operations = vec![
        Operation::Write(set("a", "1")),
        get("a"),
        Operation::Write(Write::Increment { key: "a".into(), by: 4 }),
        Operation::Write(Write::Append { key: "b".into(), suffix: "x".into() }),
        get("a"),
        Operation::Write(Write::Delete { keys: vec!["b".into()] }),
        Operation::Read(Read::CountKeys),
        Operation::Write(Write::AddMembers { key: "a".into(), members: vec!["m".into()] }),
    ];
    let answer = shard.propose(&exec(vec![], operations));
    assert_eq!(
        answer,
        Value::List(vec![
            Value::Ok,
            bulk("1"),
            Value::Integer(5),
            Value::Integer(1),
            bulk("5"),
            Value::Integer(1),
            Value::Integer(1),
            Value::Error(crate::ValueError::WrongType),
        ])
    );
    assert_eq!(shard.under_way.len(), 1);
    shard.apply_all();
    assert_eq!(shard.get("a"), bulk("5"));
    assert_eq!(shard.keys, 1);
}

#[test]
fn a_transaction_that_only_reads_is_no_entry() {
    let mut shard = Shard::new();
    shard.propose(&set("a", "1"));
    assert_eq!(shard.propose(&exec(vec![], vec![get("a")])), Value::List(vec![bulk("1")]));
    assert_eq!(shard.under_way.len(), 1);
}

#[test]
fn a_transaction_within_a_transaction_is_refused() {
    let mut shard = Shard::new();
    let inner = Operation::Write(exec(vec![], vec![]));
    let answer = shard.propose(&exec(vec![], vec![inner]));
    assert_eq!(answer, Value::List(vec![Value::Error(crate::ValueError::Nested)]));
}

#[test]
fn a_read_within_a_transaction_removes_what_expired() {
    let mut shard = Shard::new();
    shard.write(&set_with("a", "1", SetCondition::Always, Expiry::In { ms: 5 }, false));
    shard.now.0 += 5;
    assert_eq!(shard.write(&exec(vec![], vec![get("a")])), Value::List(vec![Value::Nil]));
    assert!(shard.is_empty());
}

#[test]
fn any_change_of_a_watched_key_fails_the_transaction() {
    let changes: [(&str, Write); 8] = [
        ("the same value again", set("k", "v")),
        ("another value", set("k", "w")),
        ("removal", Write::Delete { keys: vec!["k".into()] }),
        (
            "an expiry",
            Write::Expire {
                key: "k".into(),
                expiry: Expiry::In { ms: 50_000 },
                comparison: Comparison::Always,
            },
        ),
        (
            "renamed away",
            Write::Rename { from: "k".into(), to: "{k}x".into(), only_if_none: false },
        ),
        (
            "renamed onto",
            Write::Rename { from: "{k}y".into(), to: "k".into(), only_if_none: false },
        ),
        ("flushed", Write::Flush),
        (
            "changed within a transaction",
            exec(
                vec![],
                vec![Operation::Write(Write::Append { key: "k".into(), suffix: "x".into() })],
            ),
        ),
    ];
    for (name, change) in changes {
        for applied in [true, false] {
            let mut shard = Shard::new();
            shard.write(&set("k", "v"));
            shard.write(&set("{k}y", "v"));
            let watched = watch(&shard, "k");
            let guarded = exec(watched, vec![Operation::Write(set("z", "1"))]);
            // Without a change it runs, and its own change of another key does not matter.
            assert_eq!(shard.write(&guarded), Value::List(vec![Value::Ok]));
            assert_eq!(shard.write(&guarded), Value::List(vec![Value::Ok]));
            shard.propose(&change);
            if applied {
                shard.apply_all();
            }
            assert_eq!(shard.propose(&guarded), Value::Nil, "{name}, applied: {applied}");
        }
    }
}

#[test]
fn a_watched_element_counts_as_its_key() {
    let mut shard = Shard::new();
    let add =
        |member: &'static str| Write::AddMembers { key: "s".into(), members: vec![member.into()] };
    shard.write(&add("a"));
    let watched = watch(&shard, "s");
    shard.write(&add("a"));
    assert_eq!(shard.write(&exec(watched.clone(), vec![])), Value::List(vec![]));
    shard.write(&add("b"));
    assert_eq!(shard.write(&exec(watched, vec![])), Value::Nil);
}

#[test]
fn a_key_that_came_and_went_is_noticed() {
    let mut shard = Shard::new();
    let watched = watch(&shard, "k");
    assert_eq!(shard.write(&exec(watched.clone(), vec![])), Value::List(vec![]));
    shard.write(&set("k", "v"));
    shard.write(&Write::Delete { keys: vec!["k".into()] });
    assert_eq!(shard.write(&exec(watched, vec![])), Value::Nil);
    let watched = watch(&shard, "k");
    shard.write(&set("k", "v"));
    shard.write(&Write::Flush);
    assert_eq!(shard.write(&exec(watched, vec![])), Value::Nil);
}

#[test]
fn a_watched_key_whose_time_came_fails_the_transaction() {
    let mut shard = Shard::new();
    shard.write(&set_with("k", "v", SetCondition::Always, Expiry::In { ms: 5 }, false));
    let watched = watch(&shard, "k");
    shard.now.0 += 5;
    assert_eq!(shard.write(&exec(watched, vec![])), Value::Nil);
    // Watched when it was gone already: nothing has changed since.
    shard.write(&Write::RemoveIfExpired { keys: vec!["k".into()] });
    let watched = watch(&shard, "k");
    assert_eq!(shard.write(&exec(watched, vec![])), Value::List(vec![]));
}
