//! The keys that a load works on: a fixed number, drawn at random, and values of 100 bytes.

use bytes::Bytes;
use quorate_model::{ShardId, Slot};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// What the issue asks for: 100 bytes.
pub(crate) const VALUE_BYTES: usize = 100;

/// One key by its number; all have the same length.
pub(crate) fn key(number: u64) -> Bytes {
    Bytes::from(format!("key:{number:012}"))
}

/// The length of every key.
pub(crate) const KEY_BYTES: usize = 16;

/// The first `count` keys.
pub(crate) fn keys(count: u64) -> Vec<Bytes> {
    (0..count).map(key).collect()
}

/// The keys, split by the shard that holds each.
pub(crate) fn by_shard(keys: Vec<Bytes>, shards: u16) -> Vec<Vec<Bytes>> {
    let mut split = vec![Vec::new(); usize::from(shards)];
    for key in keys {
        let ShardId(shard) = Slot::of_key(&key).shard(shards);
        split[usize::from(shard)].push(key);
    }
    split
}

/// Printable bytes that no engine compresses away.
pub(crate) fn value(random: &mut ChaCha8Rng) -> Bytes {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..VALUE_BYTES).map(|_| LETTERS[random.random_range(0..LETTERS.len())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_shard_of_its_slot() {
        let split = by_shard(keys(1000), 3);
        assert_eq!(split.iter().map(Vec::len).sum::<usize>(), 1000);
        for (shard, keys) in (0..).zip(&split) {
            assert!(keys.len() > 250, "even enough");
            assert!(keys.iter().all(|key| Slot::of_key(key).shard(3) == ShardId(shard)));
        }
    }

    #[test]
    fn keys_have_one_length() {
        assert!([0, 7, 99_999_999].iter().all(|number| key(*number).len() == KEY_BYTES));
    }
}
