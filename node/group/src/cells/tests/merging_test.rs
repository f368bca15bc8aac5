//! What concurrent commands come to.

use quorate_model::ConflictPolicy;

use super::*;

/// Numbers from a seed (SplitMix64).
fn random(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    usize::try_from((mixed ^ (mixed >> 27)) >> 33).unwrap() % below
}

/// One of a few that meet in one cell, or in one key.
fn any_write(subject: u64, dice: &mut u64) -> Write {
    let value = &dice.to_string();
    let writes = match subject % 5 {
        0 => [set("k", value), increment("k", 1), delete(&["k"])],
        1 => [hset("k", "f", value), hdel("k", &["f"]), delete(&["k"])],
        2 => [hincrby("k", "f", 3), hset("k", "f", "7"), hdel("k", &["f"])],
        3 => [sadd("k", &["m"]), srem("k", &["m"]), sadd("k", &["m", "n"])],
        _ => [sadd("k", &["m"]), set("k", value), delete(&["k"])],
    };
    let [first, second, third] = writes;
    match random(dice, 4) {
        0 | 1 => first,
        2 => second,
        _ => third,
    }
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let longer = |order: Vec<usize>| {
        (0..count).map(move |at| {
            let mut order = order.clone();
            order.insert(at, count - 1);
            order
        })
    };
    permutations(count - 1).into_iter().flat_map(longer).collect()
}

#[test]
fn every_order_of_arrival_gives_one_state() {
    const WRITES: usize = 5;
    let orders = permutations(WRITES);
    assert_eq!(orders.len(), 120);
    for conflicts in POLICIES {
        for seed in 0..500 {
            let mut dice = seed;
            let mut replicas = Replicas::new(conflicts);
            let mut told: Vec<Known> = Vec::new();
            while told.len() < WRITES {
                let at = random(&mut dice, REPLICAS);
                if random(&mut dice, 3) == 0 {
                    replicas.tell(at, (at + 1) % REPLICAS);
                }
                let before = replicas.known[at].clone();
                replicas.run(&[at], any_write(seed, &mut dice));
                let mut changed = replicas.known[at].clone();
                changed.retain(|key, cell| before.get(key) != Some(cell));
                if !changed.is_empty() {
                    told.push(changed);
                }
            }
            let states = orders.iter().map(|order| {
                let mut known = Known::new();
                for at in order {
                    merge(&mut known, told[*at].iter(), conflicts);
                }
                known
            });
            let states: Vec<Known> = states.collect();
            for (state, order) in states.iter().zip(&orders) {
                assert_eq!(*state, states[0], "{conflicts:?}, seed {seed}: {order:?} of {told:?}");
            }
        }
    }
}

#[test]
fn a_member_that_is_added_while_it_is_removed_stays() {
    for conflicts in POLICIES {
        for removed_first in [true, false] {
            let mut replicas = Replicas::new(conflicts);
            replicas.run(&[0, 1, 2], sadd("set", &["a", "b"]));
            if removed_first {
                assert_eq!(replicas.run(&[0], srem("set", &["a", "b"])), Value::Integer(2));
                assert_eq!(replicas.run(&[1], sadd("set", &["a"])), Value::Integer(0));
            } else {
                replicas.run(&[1], sadd("set", &["a"]));
                replicas.run(&[0], delete(&["set"]));
            }
            for named in [[0, 1], [1, 0]] {
                assert_eq!(replicas.run(&named, smembers("set")), list(&["a"]), "{conflicts:?}");
            }
        }
    }
}

#[test]
fn two_additions_of_a_member_go_only_by_a_removal_that_has_seen_both() {
    for conflicts in POLICIES {
        let mut replicas = Replicas::new(conflicts);
        replicas.run(&[0], sadd("set", &["a"]));
        replicas.run(&[1], sadd("set", &["a"]));
        // It discards neither, though one is later.
        replicas.tell(2, 0);
        replicas.tell(2, 1);
        replicas.run(&[1], srem("set", &["a"]));
        assert_eq!(replicas.run(&[1, 2], smembers("set")), list(&["a"]));
        replicas.run(&[2, 1], srem("set", &["a"]));
        assert_eq!(replicas.run(&[0, 2], smembers("set")), list(&[]));
    }
}

#[test]
fn concurrent_amounts_of_a_field_all_count() {
    for conflicts in POLICIES {
        let mut replicas = Replicas::new(conflicts);
        replicas.run(&[0, 1, 2], hset("hash", "f", "100"));
        for (at, by) in [(0, 1), (1, 20), (2, 300), (0, -4)] {
            replicas.run(&[at], hincrby("hash", "f", by));
        }
        assert_eq!(replicas.run(&[0, 1, 2], hget("hash", "f")), bulk("417"), "{conflicts:?}");
        assert_eq!(replicas.run(&[1, 2], hget("hash", "f")), bulk("420"), "without the first");
    }
}

#[test]
fn a_field_that_is_set_concurrently_is_read_by_the_policy() {
    use ConflictPolicy::{LastWriterWins, Merge, Siblings};
    let expected = [
        (LastWriterWins, bulk("two")),
        (Merge, bulk("one/two")),
        (Siblings, error(ValueError::FieldSiblings(2))),
    ];
    for (conflicts, expected) in expected {
        let mut replicas = Replicas::new(conflicts);
        replicas.run(&[0], hset("hash", "f", "one"));
        replicas.run(&[1], hset("hash", "f", "two"));
        let read = |replicas: &mut Replicas, read: Read| replicas.run(&[0, 1], read);
        assert_eq!(read(&mut replicas, hget("hash", "f")), expected);
        let fields = all("hash", CollectionKind::Hash, Part::Fields);
        assert_eq!(read(&mut replicas, fields), list(&["f"]), "names have no siblings");
        let both = read(&mut replicas, all("hash", CollectionKind::Hash, Part::Both));
        assert_eq!(both == error(ValueError::FieldSiblings(2)), conflicts == Siblings);
        // A later write, by whoever knows both, ends it.
        replicas.tell(0, 1);
        assert_eq!(replicas.run(&[0, 1], hset("hash", "f", "three")), Value::Integer(0));
        assert_eq!(read(&mut replicas, hget("hash", "f")), bulk("three"));
    }
}

#[test]
fn a_key_may_be_of_two_types_until_it_is_deleted() {
    for conflicts in POLICIES {
        let mut replicas = Replicas::new(conflicts);
        replicas.run(&[0], set("k", "text"));
        replicas.run(&[1], hset("k", "f", "value"));
        replicas.tell(0, 1);
        assert_eq!(replicas.run(&[0, 1], get("k")), bulk("text"));
        assert_eq!(replicas.run(&[0, 1], hget("k", "f")), bulk("value"));
        assert_eq!(replicas.run(&[0, 1], smembers("k")), error(ValueError::WrongType));
        assert_eq!(replicas.run(&[0, 1], delete(&["k"])), Value::Integer(1));
        assert_eq!(
            replicas.run(&[1, 0], Read::Type { key: text("k") }),
            Value::Status("none".into())
        );
    }
}
