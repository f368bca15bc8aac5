//! The keyspace: 16,384 slots by CRC16 with `{hash tags}` as in the Redis Cluster specification, split evenly into shards.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many slots the keyspace has.
pub const SLOTS: u16 = 16_384;

/// One of the 16,384 slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Slot(u16);

/// One of a store's shards: a contiguous range of slots with one replication group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u16);

/// A contiguous range of slots, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "Ends")]
pub struct SlotRange {
    pub first: Slot,
    pub last: Slot,
}

/// A range as it is read, before it is known to be one.
#[derive(Deserialize)]
struct Ends {
    first: Slot,
    last: Slot,
}

impl TryFrom<u16> for Slot {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("there is no slot of this number")
    }
}

impl From<Slot> for u16 {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

impl TryFrom<Ends> for SlotRange {
    type Error = &'static str;

    fn try_from(Ends { first, last }: Ends) -> Result<Self, Self::Error> {
        if first <= last {
            Ok(Self { first, last })
        } else {
            Err("the range ends before it begins")
        }
    }
}

impl Slot {
    /// The slot with this number, when there is one.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// The slot of a key: CRC16/XMODEM of the key, or of its hash tag where it has a non-empty one.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Self {
        Self(crc16(hash_tag(key).unwrap_or(key)) % SLOTS)
    }

    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The shard that holds this slot when the keyspace is split evenly over `shards`.
    ///
    /// # Panics
    /// When `shards` is 0 or over 16,384: a topology never has such a count.
    #[must_use]
    pub fn shard(self, shards: u16) -> ShardId {
        assert!(shards > 0 && shards <= SLOTS);
        // The shard whose first slot is the last one at or below this slot; `SlotRange::of_shard` is the inverse.
        let guess = u32::from(self.0) * u32::from(shards) / u32::from(SLOTS);
        let mut shard = u16::try_from(guess).expect("below the number of shards");
        while shard + 1 < shards && first_slot(shard + 1, shards) <= self.0 {
            shard += 1;
        }
        ShardId(shard)
    }
}

impl SlotRange {
    /// The slots of a shard when the keyspace is split evenly over `shards`.
    ///
    /// # Panics
    /// When `shard` is not one of `shards`.
    #[must_use]
    pub fn of_shard(shard: ShardId, shards: u16) -> Self {
        assert!(shard.0 < shards);
        let first = first_slot(shard.0, shards);
        let end = if shard.0 + 1 == shards { SLOTS } else { first_slot(shard.0 + 1, shards) };
        assert!(end > first);
        Self { first: Slot(first), last: Slot(end - 1) }
    }

    #[must_use]
    pub const fn contains(self, slot: Slot) -> bool {
        self.first.0 <= slot.0 && slot.0 <= self.last.0
    }

    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (self.first.0..=self.last.0).map(Slot)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn first_slot(shard: u16, shards: u16) -> u16 {
    let first = u32::from(shard) * u32::from(SLOTS) / u32::from(shards);
    u16::try_from(first).expect("a slot number is below 16,384")
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|b| *b == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|b| *b == b'}')?;
    if close == 0 { None } else { Some(&rest[..close]) }
}

/// CRC16/XMODEM: polynomial 0x1021, initial value 0, as the Redis Cluster specification, appendix A.
const fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut at = 0;
    while at < bytes.len() {
        let index = ((crc >> 8) ^ bytes[at] as u16) & 0xff;
        crc = (crc << 8) ^ CRC16[index as usize];
        at += 1;
    }
    crc
}

const CRC16: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_matches_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(Slot::of_key(b"foo").number(), 12182);
    }

    #[test]
    fn hash_tag_decides_the_slot() {
        assert_eq!(Slot::of_key(b"{user1000}.following"), Slot::of_key(b"{user1000}.followers"));
        assert_eq!(Slot::of_key(b"foo{}{bar}").number(), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(Slot::of_key(b"foo{{bar}}zap"), Slot::of_key(b"{bar"));
    }

    #[test]
    fn every_slot_is_in_the_range_of_its_shard() {
        for shards in [1, 2, 3, 5, 7, 16, 1000, 16_383, 16_384] {
            for number in 0..SLOTS {
                let slot = Slot::new(number).unwrap();
                assert!(SlotRange::of_shard(slot.shard(shards), shards).contains(slot));
            }
        }
        assert_eq!(Slot::new(SLOTS), None);
    }
}
