//! What a lost entry would have done, and doing it again.

use super::*;
use crate::{CollectionKind, Comparison, Operation, Part};

fn add(key: &'static str, members: &[&'static str]) -> Write {
    let members = members.iter().map(|member| Bytes::from_static(member.as_bytes())).collect();
    Write::AddMembers { key: key.into(), members }
}

fn members(shard: &Shard, key: &'static str) -> Value {
    shard.read(&Read::AllFields { key: key.into(), kind: CollectionKind::Set, part: Part::Fields })
}

/// Two shards that stood alike when `lost` was written to the one; its entry, done again in the other, leaves the same.
fn is_done_again(before: &[Write], lost: &Write) -> (Shard, Vec<LostWrite>) {
    let (mut one, mut other) = (Shard::new(), Shard::new());
    for write in before {
        one.write(write);
        other.write(write);
    }
    one.propose(lost);
    let entry = one.under_way[0].1.clone();
    let writes = lost_writes(entry).unwrap();
    for lost in &writes {
        let value = other.write(&lost.again());
        assert!(!matches!(value, Value::Error(_)), "{lost:?}: {value:?}");
    }
    one.apply_all();
    for key in one.scan_all(100) {
        let key: &'static str = String::from_utf8(key.to_vec()).unwrap().leak();
        let kind = one.read(&Read::Type { key: key.into() });
        assert_eq!(other.read(&Read::Type { key: key.into() }), kind, "{key}");
        if kind == Value::Status("set".into()) {
            assert_eq!(members(&one, key), members(&other, key), "{key}");
        }
    }
    assert_eq!(one.scan_all(100), other.scan_all(100));
    (other, writes)
}

#[test]
fn a_renamed_set_is_renamed_again_and_not_deleted() {
    let rename =
        |only_if_none| Write::Rename { from: "{s}a".into(), to: "{s}b".into(), only_if_none };
    let (shard, writes) = is_done_again(&[add("{s}a", &["1", "2"])], &rename(true));
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].outcome, LostOutcome::Renamed { from: "{s}a".into() });
    assert_eq!(members(&shard, "{s}b"), Value::List(vec![bulk("1"), bulk("2")]));
    is_done_again(&[add("{s}a", &["1"]), add("{s}b", &["3"])], &rename(false));
}

#[test]
fn a_deletion_beside_a_new_expiry_is_no_renaming() {
    let expire = Write::Expire {
        key: "{s}b".into(),
        expiry: Expiry::In { ms: 60_000 },
        comparison: Comparison::Always,
    };
    let operations = [Write::Delete { keys: vec!["{s}a".into()] }, expire];
    let operations = operations.map(Operation::Write).to_vec();
    let both = Write::Transaction { watched: Vec::new(), operations };
    let (shard, writes) = is_done_again(&[add("{s}a", &["1"]), add("{s}b", &["2"])], &both);
    assert_eq!(writes.len(), 2);
    assert!(writes.iter().any(|write| write.outcome == LostOutcome::Deleted));
    assert_eq!(members(&shard, "{s}b"), Value::List(vec![bulk("2")]));
}

#[test]
fn elements_are_put_and_removed_again() {
    let before = [add("{s}a", &["1", "2", "3"]), add("{s}b", &["3"])];
    let smove = Write::MoveMember { from: "{s}a".into(), to: "{s}b".into(), member: "1".into() };
    let (shard, _) = is_done_again(&before, &smove);
    assert_eq!(members(&shard, "{s}a"), Value::List(vec![bulk("3"), bulk("2")]));
    let copy = Write::Copy { from: "{s}a".into(), to: "{s}c".into(), replace: false };
    is_done_again(&before, &copy);
    is_done_again(&before, &Write::PopMembers { key: "{s}a".into(), count: Some(2) });
    let pairs = vec![("f".into(), "v".into())];
    is_done_again(&before, &Write::SetFields { key: "{s}h".into(), pairs });
}
