//! Where a group's rows are in the shared state store, and the one row that says where the group stands.
//!
//! | row | value |
//! | --- | --- |
//! | group number(4) generation(4) row of the group | its value |
//! | `0xfd` group number(4) | a shard's without a leader: `leaderless::standing` |
//! | `0xfe` group number(4) | [`Standing`] |
//!
//! Numbers are big-endian. A generation is switched by writing the standing, so that a whole group's rows change at once:
//! FLUSHALL and an installed snapshot do. Rows of other generations than the standing's are rubbish.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{GroupId, LogFormat, Position, Term, WallTime};
use quorate_replication::single_leader::Configuration;
use quorate_storage::state::{self, Change, Rows, StateError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The last byte that is not the engines' own.
pub(super) const STANDINGS: u8 = state::RESERVED - 1;
/// Before them, those of shards without a leader.
pub(super) const SHARD_STANDINGS: u8 = STANDINGS - 1;
const VERSION: u8 = 1;
/// Group numbers are small, so no group's rows begin like a standing.
const GROUP_NUMBER_MAX: u32 = 0xfcff_ffff;

/// What stands in front of every row of one generation of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Prefix([u8; 8]);

/// Where a group stands on this node: written with every batch that is applied, in the batch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Whose rows count. Only rises while there is a standing.
    pub(super) generation: u32,
    /// Everything through here is in the rows, and nothing after it.
    pub(super) applied: Position,
    /// The group's configuration at `applied`.
    pub(super) configuration: Configuration,
    pub(super) keys: u64,
    /// The newest time that an applied entry carries.
    pub(super) time: WallTime,
    pub(super) health: Health,
    /// The rows came by a snapshot, and nothing was applied since: the log may still be the one before.
    pub(super) installed: bool,
    /// No vote is given in this term or an earlier one by a replica whose log says nothing of votes.
    pub(super) term_floor: Term,
    /// What the newest applied switch set.
    pub(super) format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Health {
    Sound,
    /// No vote before a snapshot replaced these rows: the log above them is damaged (found at start, not stored), or the
    /// node forgot this group once and is called again (stored).
    Damaged,
    /// The replica is gone from this node; the row stays so that it never starts from its genesis again.
    Retired,
    /// These rows were found wrong; the log above them is whole. Nothing is read from them before a snapshot replaced them.
    Quarantined,
}

impl Prefix {
    pub(super) fn new(group: GroupId, generation: u32) -> Self {
        assert!(group.number() <= GROUP_NUMBER_MAX);
        Self((u64::from(group.number()) << 32 | u64::from(generation)).to_be_bytes())
    }

    pub(super) const fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) const fn as_array(&self) -> &[u8; 8] {
        &self.0
    }

    /// `row` of this generation, as the state store knows it.
    pub(super) fn row(&self, row: &[u8]) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.0.len() + row.len());
        whole.put_slice(&self.0);
        whole.put_slice(row);
        whole.freeze()
    }

    /// The first row after this generation's.
    pub(super) fn end(&self) -> Bytes {
        let next = u64::from_be_bytes(self.0).checked_add(1).expect("below the standings");
        Bytes::copy_from_slice(&next.to_be_bytes())
    }

    /// Removes every row of this generation.
    pub(super) fn clear(&self) -> Change {
        Change::DeleteRange { from: self.row(&[]), to: self.end() }
    }
}

impl Standing {
    /// Before the log, with the voters of the genesis or with nobody.
    pub(super) fn begin(generation: u32, configuration: Configuration) -> Self {
        Self {
            generation,
            applied: Position::ZERO,
            configuration,
            keys: 0,
            time: WallTime(0),
            health: Health::Sound,
            installed: false,
            term_floor: Term::ZERO,
            format: LogFormat::default(),
        }
    }

    pub(super) fn put(&self, group: GroupId) -> Change {
        Change::Put { row: standing_row(STANDINGS, group), value: encode(self) }
    }
}

/// Removes every row of a group.
pub(super) fn clear_all(group: GroupId) -> Vec<Change> {
    let (from, to) = (Prefix::new(group, 0).row(&[]), Prefix::new(group, u32::MAX).end());
    vec![Change::DeleteRange { from, to }]
}

/// Removes every row of a group but those of `kept`: what a crash may have left, and what could not be read and was replaced. That
/// it cannot be read yet must not keep the node from starting.
pub(super) fn clear_others(rows: &impl Rows, group: GroupId, kept: u32) -> Vec<Change> {
    let kept = Prefix::new(group, kept);
    let first = Prefix::new(group, 0).row(&[]);
    let end = Prefix::new(group, u32::MAX).end();
    let mut changes = Vec::new();
    for (from, to) in [(first, kept.row(&[])), (kept.end(), end)] {
        let nothing = || rows.range(&from, &to, 1).is_ok_and(|rows| rows.is_empty());
        if from < to && !nothing() {
            changes.push(Change::DeleteRange { from, to });
        }
    }
    changes
}

/// The first generation from `from` on without rows. Rows are removed in the background, so a generation that
/// was left may still show some. One that cannot be read has some, too: a bad block that nobody needs must not keep a group from
/// beginning, or from being repaired.
///
/// # Errors
/// [`StateError::Read`]: so many in a row cannot be read that it is not them.
pub(super) fn empty_generation(
    rows: &impl Rows,
    group: GroupId,
    from: u32,
) -> Result<u32, StateError> {
    const UNREADABLE_MAX: u32 = 64;
    let mut generation = from;
    let mut unreadable = 0;
    loop {
        let prefix = Prefix::new(group, generation);
        match rows.range(&prefix.row(&[]), &prefix.end(), 1) {
            Ok(rows) if rows.is_empty() => return Ok(generation),
            Ok(_) => unreadable = 0,
            Err(_) if unreadable < UNREADABLE_MAX => unreadable += 1,
            Err(error) => return Err(error),
        }
        generation = generation.checked_add(1).expect("far fewer generations than numbers");
    }
}

/// The row of a group's standing: of those that begin with `kind`.
pub(super) fn standing_row(kind: u8, group: GroupId) -> Bytes {
    let mut row = BytesMut::with_capacity(5);
    row.put_u8(kind);
    row.put_u32(group.number());
    row.freeze()
}

/// All standings of a kind: from the first row to the second, which is excluded.
pub(super) fn standings_range(kind: u8) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(&[kind]), Bytes::copy_from_slice(&[kind + 1]))
}

pub(super) fn group_of_standing_row(row: &[u8]) -> Option<GroupId> {
    let (kind, number) = row.split_first()?;
    if ![SHARD_STANDINGS, STANDINGS].contains(kind) {
        return None;
    }
    let number: [u8; 4] = number.try_into().ok()?;
    GroupId::from_number(u32::from_be_bytes(number))
}

/// A version byte and postcard: for what this room alone writes and reads.
pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    encode_sized(value, 0)
}

/// As [`encode`], for a value of which it is known about how long it will be: to grow with it costs more than to encode it.
pub(super) fn encode_sized<T: Serialize>(value: &T, bytes: usize) -> Bytes {
    let mut encoded = Vec::with_capacity(1 + bytes);
    encoded.push(VERSION);
    Bytes::from(extended(encoded, value))
}

/// As [`encode`] of a list of pairs, the second of each encoded already.
pub(super) fn encode_pairs<T: Serialize>(pairs: &[(T, Bytes)]) -> Bytes {
    const FIRST_BYTES: usize = 64;
    let bytes = pairs.iter().map(|(_, second)| FIRST_BYTES + second.len()).sum::<usize>();
    let mut encoded = Vec::with_capacity(FIRST_BYTES + bytes);
    encoded.push(VERSION);
    encoded = extended(encoded, &pairs.len());
    for (first, second) in pairs {
        encoded = extended(encoded, first);
        encoded.extend_from_slice(&second[1..]);
    }
    Bytes::from(encoded)
}

fn extended<T: Serialize>(bytes: Vec<u8>, value: &T) -> Vec<u8> {
    postcard::to_extend(value, bytes).expect("these types always serialize to memory")
}

/// # Errors
/// A sentence for bytes that no version so far wrote.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&VERSION, body)) => {
            postcard::from_bytes(body).map_err(|error| format!("cannot be decoded: {error}"))
        }
        Some((version, _)) => {
            Err(format!("has format version {version}, this node knows {VERSION}"))
        }
        None => Err("is empty".to_owned()),
    }
}

/// As [`decode`], also for what ends before fields that were added later: `added` is what they are then.
///
/// # Errors
/// A sentence for bytes that no version so far wrote.
pub(super) fn decode_shorter<T: DeserializeOwned>(bytes: &[u8], added: &[u8]) -> Result<T, String> {
    decode(bytes).or_else(|what| decode(&[bytes, added].concat()).map_err(|_| what))
}

#[cfg(test)]
mod tests {
    use quorate_model::{LogIndex, ShardId};
    use quorate_storage::state::model::Store;
    use quorate_storage::state::{Batch, StateStore};

    use super::*;

    #[test]
    fn generations_and_groups_do_not_overlap() {
        let group = GroupId::Shard(ShardId(3));
        let this = Prefix::new(group, 7);
        assert_eq!(this.end(), Prefix::new(group, 8).row(&[]));
        assert!(this.row(&[0xff; 9]) < this.end());
        let next = GroupId::Shard(ShardId(4));
        assert_eq!(Prefix::new(group, u32::MAX).end(), Prefix::new(next, 0).row(&[]));
        assert!(
            Prefix::new(GroupId::Shard(ShardId(u16::MAX)), u32::MAX).end()
                < standings_range(STANDINGS).0
        );
    }

    #[test]
    fn a_generation_that_cannot_be_read_is_not_empty() {
        let group = GroupId::Shard(ShardId(3));
        let store = Store::default();
        let row = Prefix::new(group, 1).row(b"r");
        store.apply(Batch { changes: vec![Change::Put { row: row.clone(), value: row.clone() }] });
        store.fail_row(row);
        assert_eq!(empty_generation(&store, group, 1).unwrap(), 2);
        for generation in 1..=65 {
            let row = Prefix::new(group, generation).row(b"r");
            let put = Change::Put { row: row.clone(), value: row.clone() };
            store.apply(Batch { changes: vec![put] });
            store.fail_row(row);
        }
        assert!(empty_generation(&store, group, 1).is_err(), "then it is the store");
    }

    #[test]
    fn pairs_are_encoded_as_a_list_of_them() {
        for count in [0, 1, 200] {
            let pairs: Vec<(Bytes, Position)> = (0..count)
                .map(|at| {
                    (Bytes::from(vec![7; at]), Position { term: Term(1), index: LogIndex(9) })
                })
                .collect();
            let halves: Vec<(Bytes, Bytes)> =
                pairs.iter().map(|(first, second)| (first.clone(), encode(second))).collect();
            assert_eq!(encode_pairs(&halves), encode(&pairs));
        }
    }

    #[test]
    fn standing_survives_its_row() {
        let standing = Standing::begin(0, Configuration::default());
        let group = GroupId::Shard(ShardId(9));
        let Change::Put { row, value } = standing.put(group) else { panic!("a put") };
        assert_eq!(group_of_standing_row(&row), Some(group));
        assert_eq!(decode::<Standing>(&value).unwrap(), standing);
        let (from, to) = standings_range(STANDINGS);
        assert!(from <= row && row < to);
        assert!(decode::<Standing>(&[9, 9]).unwrap_err().contains("format version 9"));
    }
}
