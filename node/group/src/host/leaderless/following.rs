//! Which shards this node hosts, and how one comes into being, is filled again, or found.

use std::collections::BTreeMap;
use std::mem;

use quorate_model::{Datacenter, GroupId, LogIndex, NodeId, ShardId, Topology};
use quorate_replication::leaderless::{Input, Replica, Span, Standing};
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, StateStore};

use super::super::persisting::describe;
use super::super::retention::Purpose;
use super::super::rows::empty_generation;
use super::super::timers::Timer;
use super::super::{Failure, Host, Output};
use super::applied::Applied;
use super::standing::Found;
use super::{Shard, ShardStanding};

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Does what a new topology asks for.
    pub(in super::super) fn follow_shards(&mut self) {
        let Some(topology) = self.shared.following.topology().cloned() else { return };
        if topology.mode.leaderless().is_none() {
            return;
        }
        let node = self.shared.node();
        for (shard, placement) in topology.placements() {
            if !placement.voters.contains(&node) || self.shared.damaged.is_some() {
                continue;
            }
            let shards = &self.shards;
            if shards.hosted.contains_key(&shard) {
                self.tell_owners(shard, &topology);
            } else if !shards.beginning.contains_key(&shard) {
                // INV-52: whoever is in the genesis and never hosted it has acknowledged nothing.
                self.begin_shard(shard, placement.genesis.contains(&node));
            }
        }
    }

    /// What was found at the start. With a damaged log the shards wait for another one, and are filled then: what they acknowledged
    /// may be lost.
    pub(in super::super) fn restore_shards(&mut self, found: Found) {
        let damaged = self.shared.damaged.is_some();
        for (shard, mut standing) in found.standings {
            if damaged {
                standing.whole = false;
                standing.applied = LogIndex::ZERO;
                self.shared.state.apply(Batch { changes: vec![standing.put(shard)] });
                self.shards.beginning.insert(shard, standing);
            } else {
                self.host_shard(shard, standing);
            }
        }
    }

    /// The damaged log is gone.
    pub(in super::super) fn begin_shards_again(&mut self) {
        for (shard, standing) in mem::take(&mut self.shards.beginning) {
            self.host_shard(shard, standing);
        }
    }

    /// It is durable that the shard is hosted.
    pub(in super::super) fn shard_begun(&mut self, group: GroupId) -> bool {
        let GroupId::Shard(shard) = group else { return false };
        let Some(standing) = self.shards.beginning.remove(&shard) else { return false };
        // Not before the rows stand for it no more: they would be ahead of their log (INV-42). Entries that come back with the
        // log are cells, and do no harm.
        self.shared.persisting.forget(group);
        self.host_shard(shard, standing);
        true
    }

    /// The rows cannot be read: others have them.
    pub(super) fn refill(&mut self, shard: ShardId, why: String) {
        let group = GroupId::Shard(shard);
        let Some(Shard { finishes, standing, .. }) = self.shards.hosted.remove(&shard) else {
            return;
        };
        self.shared.quarantines += 1;
        self.shards.given_up.insert(shard, why);
        self.shared.status_changed = true;
        self.shared.timers.set(Timer::Replica(group), None);
        for (id, asked) in finishes {
            let failure = if asked.writes { Failure::Unknown } else { Failure::TimedOut { group } };
            self.shared.outputs.push_back(Output::Reply { id, reply: Err(failure) });
        }
        self.shared.persisting.disown(group);
        let next = standing.generation + 1;
        self.begin_generation(shard, next, false);
    }

    fn begin_shard(&mut self, shard: ShardId, whole: bool) {
        self.begin_generation(shard, 0, whole);
    }

    fn begin_generation(&mut self, shard: ShardId, from: u32, whole: bool) {
        let group = GroupId::Shard(shard);
        let generation = match empty_generation(&self.shared.state, group, from) {
            Ok(generation) => generation,
            Err(error) => return self.shared.fatal(describe(&error)),
        };
        let standing = ShardStanding { generation, applied: LogIndex::ZERO, whole };
        let mut changes = super::super::rows::clear_others(&self.shared.state, group, generation);
        changes.push(standing.put(shard));
        self.shared.state.apply(Batch { changes });
        self.shards.beginning.insert(shard, standing);
        self.shared.flush_for(Purpose::Begin(group));
    }

    fn host_shard(&mut self, shard: ShardId, standing: ShardStanding) {
        let Some(topology) = self.shared.following.topology().cloned() else {
            // It was hosted, so there was a topology, and the meta group gets it again.
            self.shards.beginning.insert(shard, standing);
            return;
        };
        let (id, now) = (self.shared.node(), self.shared.now);
        let seed = self.shared.nonce();
        let settings = self.shared.settings.leaderless.clone();
        let whole = if standing.whole { Standing::Whole } else { Standing::Filling };
        let span = Span::of(topology.slots(shard));
        let cells = Applied::new(&self.shared.state, standing.prefix(shard));
        let replica = Replica::new(id, settings, span, seed, whole, now, &cells);
        let failure = cells.failure();
        let hosted =
            Shard { replica, standing, entries: Default::default(), finishes: BTreeMap::new() };
        self.shards.hosted.insert(shard, hosted);
        self.shared.status_changed = true;
        match failure {
            Some(why) => self.refill(shard, why),
            None => self.tell_owners(shard, &topology),
        }
    }

    fn tell_owners(&mut self, shard: ShardId, topology: &Topology) {
        let Some(placement) = topology.placement(shard) else { return };
        let Some(policy) = topology.mode.leaderless().cloned() else { return };
        let owners: BTreeMap<NodeId, Datacenter> = placement
            .voters
            .iter()
            .filter_map(|node| Some((*node, topology.members.get(node)?.datacenter.clone())))
            .collect();
        self.drive(shard, Input::Owners { owners, policy });
    }
}
