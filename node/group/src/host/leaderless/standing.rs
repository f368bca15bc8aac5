//! Where a shard without a leader stands on this node, and how it is found again after a restart.
//!
//! | row | value |
//! | --- | --- |
//! | `0xfd` group number(4) | [`ShardStanding`] |

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{Epoch, GroupId, LogIndex, ShardId};
use quorate_replication::leaderless::Collected;
use quorate_storage::disk::Disk;
use quorate_storage::log::{Log, RecoveredGroup};
use quorate_storage::state::{Batch, Change, StateStore};
use serde::{Deserialize, Serialize};

use super::super::persisting::{ShardEntry, read_shard};
use super::super::rows::{self, Prefix, clear_others};
use super::super::{StartError, recovery};
use super::applied::{encode_cell, put_cell};

/// What a standing lacks that was written before rounds were reached for: [`Collected::reached`], and [`ShardStanding::role`].
const BEFORE_REACHED: &[u8] = &[0, 0];
/// How much of a shard's log one read brings.
const READ_BYTES: usize = 4 << 20;

/// Written with every batch that is applied, in the batch.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(in super::super) struct ShardStanding {
    pub(super) generation: u32,
    /// Every entry of the shard's log through here is in the rows.
    pub(super) applied: LogIndex,
    /// It holds what it may have acknowledged.
    pub(super) whole: bool,
    pub(super) collected: Collected,
    /// What the node is by the newest step that it knows; `None` before it knows any.
    pub(super) role: Option<Role>,
}

/// What a node is to a shard since one of its steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in super::super) struct Role {
    pub(super) since: Epoch,
    pub(super) part: Part,
}

/// Its place in the enum is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Part {
    /// It has no replica.
    StandsIn,
    /// It has one, or is to have one, and nobody stands in for replicas.
    Owns,
    /// The same where there are stand-ins: from then on no round is without this node, whatever it is (INV-100).
    OwnsAmongStandIns,
    /// It is to have one, was that before, and did not hear what it was in between: it may lack what was written then.
    OwnsAgain,
}

impl Part {
    /// Whether what it may have acknowledged as a replica it still holds.
    pub(super) const fn keeps_whole(self) -> bool {
        match self {
            Self::Owns | Self::OwnsAmongStandIns => true,
            Self::StandsIn | Self::OwnsAgain => false,
        }
    }
}

impl ShardStanding {
    pub(super) fn prefix(&self, shard: ShardId) -> Prefix {
        Prefix::new(GroupId::Shard(shard), self.generation)
    }

    pub(super) fn put(&self, shard: ShardId) -> Change {
        Change::Put { row: standing_row(shard), value: rows::encode(self) }
    }

    pub(super) fn remove(shard: ShardId) -> Change {
        Change::Delete { row: standing_row(shard) }
    }
}

fn standing_row(shard: ShardId) -> Bytes {
    rows::standing_row(rows::SHARD_STANDINGS, GroupId::Shard(shard))
}

/// What was found of all shards.
pub(in super::super) struct Found {
    pub(super) standings: BTreeMap<ShardId, ShardStanding>,
    /// INV-42: what the log should hold and does not.
    pub(in super::super) missing: Option<String>,
}

impl Found {
    pub(in super::super) fn has(&self, group: GroupId) -> bool {
        matches!(group, GroupId::Shard(shard) if self.standings.contains_key(&shard))
    }
}

/// Joins the log and the rows of every shard again: what the log holds above the rows goes to the rows. With a damaged log it
/// does not, and the shards wait until there is another one.
///
/// # Errors
/// [`StartError`].
pub(in super::super) fn recovered<D: Disk, S: StateStore>(
    log: &Log<D>,
    in_log: &BTreeMap<GroupId, RecoveredGroup>,
    state: &S,
    damaged: bool,
) -> Result<Found, StartError> {
    let mut found = Found { standings: standings(state)?, missing: None };
    for (shard, standing) in &mut found.standings {
        let group = GroupId::Shard(*shard);
        let changes = clear_others(state, group, standing.generation);
        if !changes.is_empty() {
            state.apply(Batch { changes });
        }
        let last = in_log.get(&group).map_or(LogIndex::ZERO, |_| log.last(group).index);
        if standing.applied > last {
            let applied = standing.applied;
            found.missing = Some(format!(
                "{group}: the state store holds entry {applied}, the log ends at {last}"
            ));
        }
        if !damaged && found.missing.is_none() {
            replay(log, *shard, standing, state)?;
        }
    }
    Ok(found)
}

fn replay<D: Disk, S: StateStore>(
    log: &Log<D>,
    shard: ShardId,
    standing: &mut ShardStanding,
    state: &S,
) -> Result<(), StartError> {
    let group = GroupId::Shard(shard);
    let first = log.start(group).index.max(standing.applied);
    loop {
        let from = first.max(standing.applied).next();
        let entries = read_shard(log, group, from, READ_BYTES)
            .map_err(|what| StartError::Format { group, what })?;
        if entries.is_empty() {
            return Ok(());
        }
        let prefix = standing.prefix(shard);
        for (index, entry) in entries {
            standing.applied = index;
            let cells = match entry {
                ShardEntry::Cells(cells) => cells,
                ShardEntry::Role(role) => {
                    standing.role = Some(role);
                    standing.whole &= role.part.keeps_whole();
                    Vec::new()
                }
            };
            let put = cells.iter().map(|(key, cell)| put_cell(prefix, key, encode_cell(cell)));
            let changes = put.chain([standing.put(shard)]).collect();
            state.apply(Batch { changes });
        }
    }
}

fn standings<S: StateStore>(state: &S) -> Result<BTreeMap<ShardId, ShardStanding>, StartError> {
    let of_shard = |(group, standing)| match group {
        GroupId::Shard(shard) => Ok((shard, standing)),
        GroupId::Meta => Err(StartError::Row),
    };
    recovery::standings(state, rows::SHARD_STANDINGS, BEFORE_REACHED)?
        .into_iter()
        .map(of_shard)
        .collect()
}
