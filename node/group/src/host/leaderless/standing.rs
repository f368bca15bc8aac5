//! Where a shard without a leader stands on this node, and how it is found again after a restart.
//!
//! | row | value |
//! | --- | --- |
//! | `0xfd` group number(4) | [`ShardStanding`] |

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{GroupId, LogIndex, ShardId};
use quorate_replication::leaderless::Collected;
use quorate_storage::disk::Disk;
use quorate_storage::log::{Log, RecoveredGroup};
use quorate_storage::state::{Batch, Change, StateStore};
use serde::{Deserialize, Serialize};

use super::super::StartError;
use super::super::persisting::read_cells;
use super::super::rows::{self, Prefix, clear_others};
use super::applied::cell_row;

/// How much of a shard's log one read brings, and how many standings.
const READ_BYTES: usize = 4 << 20;
const PAGE: usize = 1024;

/// Written with every batch that is applied, in the batch.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(in super::super) struct ShardStanding {
    pub(super) generation: u32,
    /// Every entry of the shard's log through here is in the rows.
    pub(super) applied: LogIndex,
    /// It holds what it may have acknowledged.
    pub(super) whole: bool,
    pub(super) collected: Collected,
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
    let mut row = BytesMut::with_capacity(5);
    row.put_u8(rows::SHARD_STANDINGS);
    row.put_u32(GroupId::Shard(shard).number());
    row.freeze()
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
        let entries = read_cells(log, group, from, READ_BYTES)
            .map_err(|what| StartError::Format { group, what })?;
        if entries.is_empty() {
            return Ok(());
        }
        let prefix = standing.prefix(shard);
        for (index, cells) in entries {
            standing.applied = index;
            let put = |(key, cell): &(quorate_replication::leaderless::CellKey, _)| Change::Put {
                row: cell_row(prefix, key.bytes()),
                value: rows::encode::<quorate_replication::causal::Cell>(cell),
            };
            let changes = cells.iter().map(put).chain([standing.put(shard)]).collect();
            state.apply(Batch { changes });
        }
    }
}

fn standings<S: StateStore>(state: &S) -> Result<BTreeMap<ShardId, ShardStanding>, StartError> {
    let mut from = Bytes::from_static(&[rows::SHARD_STANDINGS]);
    let to = Bytes::from_static(&[rows::SHARD_STANDINGS + 1]);
    let mut standings = BTreeMap::new();
    loop {
        let page = state.range(&from, &to, PAGE)?;
        for (row, value) in &page {
            let group = rows::group_of_standing_row(row).ok_or(StartError::Row)?;
            let GroupId::Shard(shard) = group else { return Err(StartError::Row) };
            let standing = rows::decode(value).map_err(|what| StartError::Format {
                group,
                what: format!("its standing {what}"),
            })?;
            standings.insert(shard, standing);
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => from = [last.as_ref(), &[0]].concat().into(),
            Some(_) | None => return Ok(standings),
        }
    }
}
