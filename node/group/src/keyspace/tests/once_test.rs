//! Writes with a token.

use super::*;
use crate::keyspace::tokens::{BOUNDS_ROW, Bounds};
use crate::keyspace::{KEPT_ANSWER_BYTES_MAX, TOKEN_BYTES_MAX, TOKENS_MAX};
use crate::{Operation, ValueError, Version};

fn once(token: &str, fingerprint: u64, write: Write) -> Write {
    let token = Bytes::copy_from_slice(token.as_bytes());
    Write::Once { token, fingerprint, write: Box::new(write), answer: None }
}

fn increment(key: &'static str) -> Write {
    Write::Increment { key: key.into(), by: 1 }
}

#[test]
fn the_same_token_is_answered_the_same_and_done_once() {
    let mut shard = Shard::new();
    // Asked twice before anything is applied, and once after.
    for _ in 0..2 {
        assert_eq!(shard.propose(&once("t", 7, increment("a"))), Value::Integer(1));
    }
    assert_eq!(shard.under_way.len(), 1);
    shard.apply_all();
    shard.write(&set("a", "100"));
    assert_eq!(shard.write(&once("t", 7, increment("a"))), Value::Integer(1));
    assert_eq!(shard.get("a"), bulk("100"));
    assert_eq!(shard.write(&once("u", 7, increment("a"))), Value::Integer(101));
}

#[test]
fn a_token_is_of_one_command_and_one_slot() {
    let mut shard = Shard::new();
    shard.write(&once("t", 7, increment("{s}a")));
    let other = shard.write(&once("t", 8, increment("{s}b")));
    assert_eq!(other, Value::Error(ValueError::TokenUsed));
    assert_eq!(shard.get("{s}b"), Value::Nil);
    assert_eq!(shard.write(&once("t", 8, increment("elsewhere"))), Value::Integer(1));
}

#[test]
fn an_answer_that_says_no_is_kept_and_an_error_is_not() {
    let mut shard = Shard::new();
    shard.write(&set("a", "text"));
    let absent = |key| set_with(key, "v", SetCondition::IfAbsent, Expiry::Never, false);
    assert_eq!(shard.write(&once("no", 1, absent("a"))), Value::Nil);
    assert_eq!(
        shard.write(&once("error", 1, increment("a"))),
        Value::Error(ValueError::NotInteger)
    );
    shard.write(&Write::Delete { keys: vec!["a".into()] });
    assert_eq!(shard.write(&once("no", 1, absent("a"))), Value::Nil);
    assert_eq!(shard.write(&once("error", 1, increment("a"))), Value::Integer(1));
}

#[test]
fn a_transaction_is_done_once_and_one_that_was_touched_may_be_tried_again() {
    let mut shard = Shard::new();
    let exec = |watched| Write::Transaction {
        watched,
        operations: vec![Operation::Write(increment("a")), Operation::Write(increment("a"))],
    };
    let touched = vec![(Bytes::from_static(b"a"), Version(12345))];
    assert_eq!(shard.write(&once("t", 1, exec(touched))), Value::Nil);
    for _ in 0..2 {
        let both = Value::List(vec![Value::Integer(1), Value::Integer(2)]);
        assert_eq!(shard.write(&once("t", 1, exec(vec![]))), both);
    }
}

#[test]
fn what_could_not_be_kept_is_not_done() {
    let mut shard = Shard::new();
    let long: Bytes = vec![b'x'; KEPT_ANSWER_BYTES_MAX].into();
    shard.write(&Write::Append { key: "a".into(), suffix: long });
    let value = shard.write(&once("t", 1, Write::GetDelete { key: "a".into() }));
    assert_eq!(value, Value::Error(ValueError::AnswerNotKept(KEPT_ANSWER_BYTES_MAX as u64)));
    assert_eq!(shard.read(&Read::CountExisting { keys: vec!["a".into()] }), Value::Integer(1));
    for token in ["", &"t".repeat(TOKEN_BYTES_MAX + 1)] {
        let value = shard.write(&once(token, 1, increment("b")));
        assert_eq!(value, Value::Error(ValueError::TokenLength(TOKEN_BYTES_MAX as u64)));
    }
    assert_eq!(shard.get("b"), Value::Nil);
}

/// As if so many tokens had come since the first ones.
fn with_newest(shard: &mut Shard, newest: u64) {
    let row = Bytes::from([PREFIX, BOUNDS_ROW].concat());
    let bounds = Bounds::decode(&shard.rows[&row]).unwrap();
    shard.rows.insert(row, Bounds { newest, ..bounds }.encode());
}

#[test]
fn the_oldest_token_goes_when_there_are_too_many() {
    let mut shard = Shard::new();
    for token in ["first", "second", "third"] {
        shard.write(&once(token, 1, increment("a")));
    }
    with_newest(&mut shard, TOKENS_MAX - 1);
    shard.write(&once("last that fits", 1, increment("a")));
    assert_eq!(shard.write(&once("first", 1, increment("a"))), Value::Integer(1));
    shard.write(&once("one too many", 1, increment("a")));
    assert_eq!(shard.write(&once("second", 1, increment("a"))), Value::Integer(2), "still kept");
    assert_eq!(shard.write(&once("first", 1, increment("a"))), Value::Integer(6), "gone");
    assert_eq!(shard.write(&once("second", 1, increment("a"))), Value::Integer(7), "gone by that");
}

#[test]
fn the_oldest_tokens_go_when_they_take_too_many_bytes() {
    let mut shard = Shard::new();
    for number in 0..50 {
        shard.write(&once(&format!("short-{number}"), 1, increment("a")));
    }
    let long: Bytes = vec![b'x'; KEPT_ANSWER_BYTES_MAX - 64].into();
    shard.write(&Write::Append { key: "long".into(), suffix: long });
    for number in 0..600 {
        let get = Write::GetExpire { key: "long".into(), expiry: Expiry::Never };
        shard.write(&once(&format!("long-{number}"), 1, get));
    }
    let kept = shard.rows_of(b'q');
    assert!((500..513).contains(&kept), "{kept}");
    // One row more says which they are.
    assert_eq!(shard.rows_of(b'o'), kept + 1);
    shard.write(&Write::Flush);
    assert_eq!(shard.rows_of(b'o') + shard.rows_of(b'q'), 0, "FLUSHALL takes them");
    assert_eq!(shard.write(&once("long-599", 1, increment("a"))), Value::Integer(1));
}
