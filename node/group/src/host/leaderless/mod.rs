//! The shards of a store without a leader, on this node: each a replica of the leaderless protocol over the same log and the same
//! state store as everything else.
//!
//! What a replica wants durable in one turn is one entry of its shard's log, and goes to the rows once it is. Entries carry whole
//! cells, so replaying one that the rows hold already does no harm; but for those that say what the node is to the shard from there
//! on. Nothing of the log is kept for others: they compare cells.

mod applied;
mod copies;
mod following;
mod gathering;
mod moving;
mod requests;
mod standing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_model::{Demand, GroupId, LogIndex, NodeId, ShardId, Time};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{
    self, CellKey, Cells, Input, Mark, NodeAt, Output, PersistId, Replica, Standing,
};
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, Change, StateStore};

use super::retention::Purpose;
use super::rows::Prefix;
use super::timers::Timer;
use super::{Host, RequestId};
use crate::Operation;
use crate::cells::Finish;

pub use copies::Age;
pub(super) use requests::Coordinated;
pub(super) use standing::{Role, ShardStanding, recovered};

use applied::{Applied, Last, cell_row, put_cell};
use gathering::Gathered;

/// All shards of this node.
#[derive(Debug, Default)]
pub(super) struct Shards {
    hosted: BTreeMap<ShardId, Shard>,
    /// Why a shard's rows were given up, until it is filled again.
    given_up: BTreeMap<ShardId, String>,
    /// Those that begin once it is durable that they are hosted, or once the damaged log is gone.
    beginning: BTreeMap<ShardId, ShardStanding>,
    /// Requests of sessions of which it is known by now what they have seen.
    known: Vec<(RequestId, ShardId, Coordinated)>,
    /// Those with something to be carried out at the end of the turn.
    gathering: BTreeSet<ShardId>,
    reports: moving::Reports,
    ages: copies::Ages,
}

#[derive(Debug)]
struct Shard {
    replica: Replica,
    standing: ShardStanding,
    last: Last,
    gathered: Gathered,
    unapplied: VecDeque<Entry>,
    /// Drawn when it began; then it was whole or not, with this applied.
    process: u64,
    began: (bool, LogIndex),
    /// What the others were told last.
    told: Option<Age>,
    /// What the requests that are open are answered as.
    finishes: BTreeMap<RequestId, Asked>,
}

/// Of the log, with the last persist that is in it.
#[derive(Debug)]
struct Entry {
    through: PersistId,
    index: LogIndex,
    /// Encoded.
    cells: Vec<(CellKey, Bytes)>,
}

/// Whose requests are answered with what they see.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Of these no replica knows any more what it had seen.
    gone: Vec<CellKey>,
}

/// What follows when a request's replicas have answered.
#[derive(Debug)]
enum Asked {
    /// The client's answer, with what its session sees by it.
    Answer { finish: Finish, writes: bool, session: Option<Session> },
    /// What its session has seen was to be known first.
    First(Operation, Demand),
}

impl Asked {
    /// Whether it may have changed something already.
    const fn writes(&self) -> bool {
        matches!(self, Self::Answer { writes: true, .. })
    }
}

/// What a shard shows of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardStatus {
    pub shard: ShardId,
    pub standing: Standing,
    /// Why its rows were given up, until it is filled again.
    pub given_up: Option<String>,
    pub counts: leaderless::Counts,
    /// The hash of all its cells.
    pub root: u64,
    pub open_requests: usize,
    /// How far other datacenters are behind what this replica coordinated.
    pub relayed: Vec<leaderless::Relayed>,
}

/// What a node holds in place of replicas that did not answer.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HintsStatus {
    pub held: BTreeMap<NodeId, HeldHints>,
    /// Since the start: of replicas and of nodes that stand in for them.
    pub taken: u64,
    pub refused: u64,
    pub delivered: u64,
    pub dropped: u64,
}

/// For one node.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HeldHints {
    pub count: u64,
    pub bytes: u64,
    pub oldest: Duration,
}

impl Shards {
    pub(super) fn is_hosted(&self, group: GroupId) -> bool {
        matches!(group, GroupId::Shard(shard) if self.hosted.contains_key(&shard))
    }

    /// What is applied of each of these, for the log to start there.
    pub(super) fn points(&self, groups: impl Iterator<Item = GroupId>) -> Vec<(GroupId, LogIndex)> {
        let of = |group: GroupId| match group {
            GroupId::Shard(shard) => Some((group, self.hosted.get(&shard)?.standing.applied)),
            GroupId::Meta => None,
        };
        groups.filter_map(of).collect()
    }

    /// Of replicas.
    pub(super) fn status(&self, now: Time) -> Vec<ShardStatus> {
        let of = |(shard, hosted): (&ShardId, &Shard)| ShardStatus {
            shard: *shard,
            standing: hosted.replica.standing(),
            given_up: self.given_up.get(shard).cloned(),
            counts: hosted.replica.counts(),
            root: hosted.replica.tree().hash(NodeAt::ROOT),
            open_requests: hosted.finishes.len(),
            relayed: hosted.replica.relayed(now).collect(),
        };
        self.hosted.iter().filter(|(_, hosted)| hosted.replica.is_owner()).map(of).collect()
    }

    /// What is held for others' replicas.
    pub(super) fn hints(&self) -> HintsStatus {
        let mut status = HintsStatus::default();
        for Shard { replica, .. } in self.hosted.values() {
            let counts = replica.counts();
            status.taken += counts.hints_taken;
            status.refused += counts.hints_refused;
            status.delivered += counts.hints_delivered;
            status.dropped += counts.hints_dropped;
            for hints in replica.hints() {
                let all = status.held.entry(hints.target).or_default();
                all.count += hints.count;
                all.bytes += hints.bytes;
                all.oldest = all.oldest.max(hints.oldest);
            }
        }
        status
    }

    /// Where a shard's rows are.
    pub(super) fn prefix(&self, group: GroupId) -> Option<Prefix> {
        let GroupId::Shard(shard) = group else { return None };
        self.hosted.get(&shard).map(|hosted| hosted.standing.prefix(shard))
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// The shards without a leader of which this node hosts a replica.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.shards.hosted.keys().copied()
    }

    /// The protocol's state of a shard without a leader, to look at.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&Replica> {
        self.shards.hosted.get(&shard).map(|hosted| &hosted.replica)
    }

    /// What its replica knows of a cell, durable or not, to look at.
    #[must_use]
    pub fn cell(&self, shard: ShardId, key: &CellKey) -> Option<Cell> {
        let hosted = self.shards.hosted.get(&shard)?;
        let cells = Applied::new(&self.shared.state, hosted.standing.prefix(shard), &hosted.last);
        Some(hosted.replica.cell(key, &cells))
    }

    /// The same of what is durable.
    ///
    /// # Errors
    /// Why its row cannot be read.
    pub fn durable_cell(&self, shard: ShardId, key: &CellKey) -> Result<Option<Cell>, String> {
        let Some(hosted) = self.shards.hosted.get(&shard) else { return Ok(None) };
        let cells = Applied::new(&self.shared.state, hosted.standing.prefix(shard), &hosted.last);
        let cell = cells.cell(key);
        cells.failure().map_or(Ok(cell), Err)
    }

    pub(super) fn shard_messages(
        &mut self,
        from: NodeId,
        shard: ShardId,
        mark: Mark,
        messages: Vec<leaderless::Message>,
    ) {
        let input = |message| Input::Message { from, mark, message };
        self.drive(shard, messages.into_iter().map(input));
    }

    pub(super) fn shard_persisted(&mut self, group: GroupId, id: PersistId) {
        if let GroupId::Shard(shard) = group {
            self.drive(shard, [Input::Persisted { id }]);
        }
    }

    pub(super) fn shard_due(&mut self, group: GroupId) {
        if let GroupId::Shard(shard) = group {
            self.drive(shard, [Input::Tick]);
        }
    }

    /// Gives a shard's replica one input after the other and carries out all that it says, and what follows from it.
    pub(super) fn drive(&mut self, id: ShardId, inputs: impl IntoIterator<Item = Input>) {
        self.drive_replica(id, inputs);
        for (request, id, coordinated) in std::mem::take(&mut self.shards.known) {
            self.coordinate(request, id, coordinated);
        }
    }

    fn drive_replica(&mut self, id: ShardId, inputs: impl IntoIterator<Item = Input>) {
        let (now, wall) = (self.shared.now, self.shared.wall);
        for input in inputs {
            let Some(shard) = self.shards.hosted.get_mut(&id) else { return };
            let prefix = shard.standing.prefix(id);
            let cells = Applied::new(&self.shared.state, prefix, &shard.last);
            shard.replica.step(now, wall, input, &cells);
            if let Some(why) = cells.failure() {
                // What it made of cells that it could not read goes with it.
                return self.refill(id, why);
            }
            while let Some(output) =
                self.shards.hosted.get_mut(&id).and_then(|one| one.replica.pop_output())
            {
                if !self.shared.stopped {
                    self.carry_out(id, output);
                }
            }
        }
        let deadline = self.shards.hosted.get(&id).map(|shard| shard.replica.deadline());
        self.shared.timers.set(Timer::Replica(GroupId::Shard(id)), deadline);
    }

    fn carry_out(&mut self, id: ShardId, output: Output) {
        let group = GroupId::Shard(id);
        let Some(shard) = self.shards.hosted.get_mut(&id) else { return };
        match output {
            Output::Persist { id: persist, cells } => {
                shard.gathered.persist(persist, cells);
                self.shards.gathering.insert(id);
            }
            Output::Apply { through } => {
                let prefix = shard.standing.prefix(id);
                let mut changes = Vec::new();
                while let Some(Entry { index, cells, .. }) =
                    shard.unapplied.pop_front_if(|entry| entry.through <= through)
                {
                    assert!(index > shard.standing.applied, "entries are applied in their order");
                    shard.standing.applied = index;
                    let put = |(key, cell): (CellKey, Bytes)| put_cell(prefix, &key, cell);
                    changes.extend(cells.into_iter().map(put));
                }
                changes.push(shard.standing.put(id));
                shard.last.forget();
                self.shared.state.apply(Batch { changes });
                self.shared.note_unflushed(group);
                self.tell_ages_soon();
            }
            Output::Send { to, mark, message } => {
                shard.gathered.send(to, mark, message);
                self.shards.gathering.insert(id);
            }
            Output::Filled => {
                shard.standing.whole = true;
                let put = shard.standing.put(id);
                self.shards.given_up.remove(&id);
                self.shared.state.apply(Batch { changes: vec![put] });
                self.shared.note_unflushed(group);
                self.shared.status_changed = true;
            }
            Output::Close { collected } => {
                shard.standing.collected = collected;
                let put = shard.standing.put(id);
                self.shared.state.apply(Batch { changes: vec![put] });
                self.shared.flush_for(Purpose::Close(id, collected));
            }
            Output::Drop { cells, collected } => {
                shard.standing.collected = collected;
                shard.last.forget();
                let prefix = shard.standing.prefix(id);
                let delete = |key: &CellKey| Change::Delete { row: cell_row(prefix, key.bytes()) };
                let mut changes: Vec<Change> = cells.iter().map(delete).collect();
                changes.push(shard.standing.put(id));
                self.shared.state.apply(Batch { changes });
                self.shared.note_unflushed(group);
            }
            Output::Damaged { why } => self.refill(id, why),
            Output::Answer { id: request, result, gone } => {
                self.shard_answered(id, RequestId(request.0), result, gone);
            }
        }
    }
}
