//! Keys as the coordinator's replica knows them.

use quorate_model::{SLOTS, Slot, SlotRange};

use super::*;
use crate::{KeyType, ScanCursor};

fn replicas() -> Replicas {
    let mut replicas = Replicas::new(ConflictPolicy::LastWriterWins);
    for number in 0..50 {
        replicas.run(&[0], set(&format!("text:{number}"), "value"));
        replicas.run(&[0], hset(&format!("hash:{number}"), "f", "value"));
    }
    let members: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
    replicas
        .run(&[0], sadd("{slot}large", &members.iter().map(String::as_str).collect::<Vec<_>>()));
    replicas.run(&[0], delete(&["text:0", "hash:0"]));
    replicas.run(&[1], set("unknown", "value"));
    replicas
}

fn scan(replicas: &mut Replicas, type_only: Option<KeyType>) -> Vec<Bytes> {
    let (mut cursor, mut found) = (0, Vec::new());
    loop {
        let step = Read::Scan { cursor: ScanCursor(cursor), pattern: None, count: 7, type_only };
        let Value::List(answer) = replicas.run(&[0], step) else { panic!("no list") };
        let [Value::Integer(next), keys] = &answer[..] else { panic!("no step") };
        found.extend(sorted(keys.clone()));
        cursor = u64::try_from(*next).unwrap();
        if cursor == 0 {
            found.sort();
            return found;
        }
    }
}

#[test]
fn every_key_that_lives_is_listed_once() {
    let mut replicas = replicas();
    assert_eq!(replicas.run(&[0], Read::CountKeys), Value::Integer(99));
    let all = sorted(replicas.run(&[0], Read::Keys { pattern: text("*"), count_max: 99 }));
    assert_eq!(all.len(), 99);
    assert_eq!(scan(&mut replicas, None), all);
    assert_eq!(scan(&mut replicas, Some(KeyType::Hash)).len(), 49);
    assert_eq!(scan(&mut replicas, Some(KeyType::Set)), texts(&["{slot}large"]));
    let too_many = replicas.run(&[0], Read::Keys { pattern: text("text*"), count_max: 48 });
    assert_eq!(too_many, error(ValueError::TooManyKeys(48)));
    let slots = SlotRange { first: Slot::new(0).unwrap(), last: Slot::new(SLOTS - 1).unwrap() };
    let Value::Bulk(key) = replicas.run(&[0], Read::RandomKey { slots }) else { panic!("none") };
    assert!(all.contains(&key));
}

#[test]
fn keys_of_a_slot_are_counted_and_listed() {
    let mut replicas = replicas();
    replicas.run(&[0], set("{slot}text", "value"));
    let slot = Slot::of_key(b"{slot}");
    assert_eq!(replicas.run(&[0], Read::CountKeysInSlot { slot }), Value::Integer(2));
    let listed = sorted(replicas.run(&[0], Read::KeysInSlot { slot, count: 9 }));
    assert_eq!(listed, texts(&["{slot}large", "{slot}text"]));
    assert_eq!(sorted(replicas.run(&[0], Read::KeysInSlot { slot, count: 1 })).len(), 1);
    assert_eq!(sorted(replicas.run(&[0], Read::KeysInSlot { slot, count: 0 })).len(), 0);
}

#[test]
fn a_large_set_is_known_by_its_first_members_and_removed_whole() {
    let mut replicas = replicas();
    let key = || text("{slot}large");
    let exists = Read::CountExisting { keys: vec![key(), text("{slot}none"), key()] };
    assert_eq!(replicas.run(&[0], exists.clone()), Value::Integer(2));
    assert_eq!(replicas.answered_from, 1_000);
    assert_eq!(replicas.run(&[0], Read::Encoding { key: key() }), bulk("hashtable"));
    // The coordinator does not know yet that the set is gone.
    replicas.tell(1, 0);
    replicas.run(&[1], delete(&["{slot}large"]));
    assert_eq!(replicas.run(&[0, 1], exists), error(ValueError::TooManyElements(1_000)));
    assert_eq!(replicas.run(&[0], delete(&["{slot}large"])), Value::Integer(1));
    assert_eq!(replicas.run(&[0], smembers("{slot}large")), list(&[]));
}
