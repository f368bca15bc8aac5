//! Which shards this node hosts, and how one comes into being, is filled again, or found.
//!
//! Where there are hints it hosts all: those of which it has no replica, to stand in for replicas.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use quorate_model::{Epoch, GroupId, Hints, LogIndex, Member, NodeId, ShardId, Topology};
use quorate_replication::leaderless::{
    Collected, Input, Owners, Replica, Span, StandIns, Standing, Start,
};
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, StateStore};

use super::super::persisting::describe;
use super::super::retention::Purpose;
use super::super::rows::{clear_all, empty_generation};
use super::super::timers::Timer;
use super::super::{Failure, Host, Output};
use super::applied::{Applied, Last};
use super::standing::{Found, Part, Role};
use super::{Shard, ShardStanding};

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Does what a new topology asks for.
    pub(in super::super) fn follow_shards(&mut self) {
        let Some(topology) = self.shared.following.topology().cloned() else { return };
        let Some(leaderless) = topology.mode.leaderless() else { return };
        let node = self.shared.node();
        self.watch_moves(&topology);
        self.forget_ages(&topology);
        for (shard, placement) in topology.placements() {
            if self.shared.damaged.is_some() {
                continue;
            }
            let owns = topology.holds(shard, node);
            let hosted = self.shards.hosted.get(&shard);
            let begins = self.shards.beginning.contains_key(&shard);
            match (owns || stands_in(&topology, node), hosted) {
                (true, Some(hosted)) if !owns && hosted.was_replica() => self.empty(shard),
                (true, Some(_)) => self.tell_owners(shard, &topology),
                (true, None) if !begins => {
                    // INV-52: whoever is in the genesis and never hosted it has acknowledged nothing.
                    let unmoved = !leaderless.moved.contains_key(&shard);
                    let whole = owns && placement.genesis.contains(&node) && unmoved;
                    self.begin_generation(shard, ShardStanding { whole, ..Default::default() });
                }
                (true | false, None) => {}
                (false, Some(_)) => self.leave_shard(shard),
            }
        }
    }

    /// What was found at the start. With a damaged log the shards wait for another one, and are filled then: what they acknowledged
    /// may be lost.
    pub(in super::super) fn restore_shards(&mut self, found: Found) {
        let damaged = self.shared.damaged.is_some();
        let node = self.shared.node();
        for (shard, mut standing) in found.standings {
            let topology = self.shared.following.topology();
            let stands_in =
                topology.is_some_and(|one| stands_in(one, node) && !one.holds(shard, node));
            if damaged {
                standing.whole = false;
                standing.applied = LogIndex::ZERO;
                self.shared.state.apply(Batch { changes: vec![standing.put(shard)] });
                self.shards.beginning.insert(shard, standing);
            } else {
                if standing.whole && stands_in {
                    // Among the rows of the replica that it was there may be hints: all of them are taken for some.
                    standing.whole = false;
                    self.shared.state.apply(Batch { changes: vec![standing.put(shard)] });
                }
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
        // It may have gone elsewhere meanwhile.
        self.shared.following.refresh();
        true
    }

    /// What the replica wants to be known after a restart is.
    pub(in super::super) fn shard_closed(&mut self, shard: ShardId, collected: Collected) {
        self.drive(shard, [Input::Closed { collected }]);
    }

    /// The rows cannot be read: others have them.
    pub(super) fn refill(&mut self, shard: ShardId, why: String) {
        let group = GroupId::Shard(shard);
        let owns = self.shards.hosted.get(&shard).is_some_and(|one| one.replica.is_owner());
        let Some(standing) = self.stop_shard(shard, Failure::TimedOut { group }) else { return };
        self.shared.quarantines += 1;
        // Whoever stands in for replicas is not filled again.
        if owns {
            self.shards.given_up.insert(shard, why);
        }
        let next = ShardStanding { generation: standing.generation + 1, whole: false, ..standing };
        self.begin_generation(shard, next);
    }

    /// Others have what its replica held: it stands in for them from now on, or begins anew.
    fn empty(&mut self, shard: ShardId) {
        let group = GroupId::Shard(shard);
        let Some(standing) = self.stop_shard(shard, Failure::NotHosted { group }) else { return };
        let generation = standing.generation + 1;
        let next = ShardStanding { generation, whole: false, role: None, ..standing };
        self.begin_generation(shard, next);
    }

    /// Others have it.
    fn leave_shard(&mut self, shard: ShardId) {
        let group = GroupId::Shard(shard);
        self.stop_shard(shard, Failure::NotHosted { group });
        let mut changes = clear_all(group);
        changes.push(ShardStanding::remove(shard));
        self.shared.state.apply(Batch { changes });
        self.shared.flush_for(Purpose::Leave(shard));
    }

    /// Nothing of it comes back: its records may go.
    pub(in super::super) fn shard_left(&mut self, shard: ShardId) {
        let shards = &self.shards;
        if !shards.hosted.contains_key(&shard) && !shards.beginning.contains_key(&shard) {
            self.shared.persisting.forget(GroupId::Shard(shard));
        }
    }

    /// Its requests end, those that write without anybody knowing how.
    fn stop_shard(&mut self, shard: ShardId, failure: Failure) -> Option<ShardStanding> {
        let group = GroupId::Shard(shard);
        let Shard { finishes, standing, .. } = self.shards.hosted.remove(&shard)?;
        self.shared.status_changed = true;
        self.shared.timers.set(Timer::Replica(group), None);
        for (id, asked) in finishes {
            let failure = if asked.writes() { Failure::Unknown } else { failure.clone() };
            self.shared.outputs.push_back(Output::Reply { id, reply: Err(failure) });
        }
        self.shared.persisting.disown(group);
        Some(standing)
    }

    /// In the first generation from the one that `standing` names that is empty.
    fn begin_generation(&mut self, shard: ShardId, standing: ShardStanding) {
        let group = GroupId::Shard(shard);
        let generation = match empty_generation(&self.shared.state, group, standing.generation) {
            Ok(generation) => generation,
            Err(error) => return self.shared.fatal(describe(&error)),
        };
        let standing = ShardStanding { generation, applied: LogIndex::ZERO, ..standing };
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
        let start = Start {
            id: self.shared.node(),
            span: Span::of(topology.slots(shard)),
            seed: self.shared.nonce(),
            standing: if standing.whole { Standing::Whole } else { Standing::Filling },
            collected: standing.collected,
        };
        let settings = self.shared.settings.leaderless.clone();
        let last = Last::default();
        let cells = Applied::new(&self.shared.state, standing.prefix(shard), &last);
        let replica = Replica::new(start, settings, self.shared.now, &cells);
        let failure = cells.failure();
        let hosted = Shard {
            replica,
            process: self.shared.nonce(),
            began: (standing.whole, standing.applied),
            standing,
            told: None,
            last,
            gathered: Default::default(),
            unapplied: Default::default(),
            finishes: BTreeMap::new(),
        };
        self.shards.hosted.insert(shard, hosted);
        self.tell_ages_again();
        self.shared.status_changed = true;
        match failure {
            Some(why) => self.refill(shard, why),
            None => self.tell_owners(shard, &topology),
        }
    }

    fn tell_owners(&mut self, shard: ShardId, topology: &Topology) {
        let Some(placement) = topology.placement(shard) else { return };
        let Some(leaderless) = topology.mode.leaderless() else { return };
        let Some(hosted) = self.shards.hosted.get_mut(&shard) else { return };
        let node = self.shared.node();
        let (known, mut role) = (hosted.standing.role, role(topology, shard, node));
        if has_left(known, role, topology.joins(shard, node)) {
            if known.is_some_and(|known| known.part == Part::Owns) {
                return self.empty(shard);
            }
            role.part = Part::OwnsAgain;
        }
        let lacks = hosted.standing.whole && !role.part.keeps_whole();
        if lacks {
            hosted.standing.whole = false;
            hosted.gathered.fall_silent();
        }
        // After a restart the topology may be an older one for a while.
        if known != Some(role) && known.is_none_or(|known| known.since <= role.since) {
            let group = GroupId::Shard(shard);
            hosted.standing.role = Some(role);
            let put = hosted.standing.put(shard);
            // Before it acknowledges anything as what it is now.
            self.shared.persisting.persist_role(group, role);
            self.shared.state.apply(Batch { changes: vec![put] });
            self.shared.note_unflushed(group);
        }
        let place = |node: &NodeId| Some((*node, topology.members.get(node)?.datacenter.clone()));
        let leaves = leaderless.leaving(shard).cloned();
        let leaving = leaves.iter().flat_map(|leaving| leaving.owners.keys());
        let lost = leaving.filter(|node| !topology.members.contains_key(node)).copied();
        let owners = Owners {
            since: role.since,
            nodes: placement.voters.iter().filter_map(place).collect(),
            lost: lost.collect(),
            leaves,
            stand_ins: stand_ins(topology, shard),
        };
        let policy = leaderless.policy.clone();
        let lacks = lacks.then_some(Input::Lacks);
        let inputs = lacks.into_iter().chain([Input::Owners { owners, policy }]);
        self.drive(shard, inputs);
    }
}

impl Shard {
    /// It held what others have by now, and nothing for others.
    fn was_replica(&self) -> bool {
        self.standing.whole && !self.replica.holds_hints()
    }
}

fn role(topology: &Topology, shard: ShardId, node: NodeId) -> Role {
    let moved = topology.mode.leaderless().and_then(|leaderless| leaderless.moved.get(&shard));
    let since = moved.map_or(Epoch::ZERO, |moved| moved.since);
    let part = match (topology.holds(shard, node), hints(topology)) {
        (false, _) => Part::StandsIn,
        (true, None) => Part::Owns,
        (true, Some(_)) => Part::OwnsAmongStandIns,
    };
    Role { since, part }
}

/// INV-99: the node is to have a replica that it has not, and was one before: it did not hear that it had left. It lacks what was
/// written since, and of what it holds the others may have collected what it never heard of. Not where there were stand-ins
/// when it was one: no round was without it, and what it holds for others it keeps (INV-104).
fn has_left(known: Option<Role>, now: Role, joins: bool) -> bool {
    joins && known.is_some_and(|known| known.part != Part::StandsIn && known.since < now.since)
}

fn hints(topology: &Topology) -> Option<Hints> {
    topology.mode.leaderless()?.policy.hints
}

/// Whether the node stands in for the replicas of all shards of which it has none.
fn stands_in(topology: &Topology, node: NodeId) -> bool {
    hints(topology).is_some() && topology.members.contains_key(&node)
}

/// Who stands in for the replicas of a shard: beginning with another node for each shard.
fn stand_ins(topology: &Topology, shard: ShardId) -> StandIns {
    let Some(hints) = hints(topology) else { return StandIns::default() };
    let members = topology.members.keys().copied();
    let mut nodes: Vec<NodeId> = members.filter(|node| !topology.holds(shard, *node)).collect();
    let count = nodes.len().max(1);
    nodes.rotate_left(usize::from(shard.0) % count);
    let place = |member: &Member| (member.datacenter.clone(), member.zone.clone());
    let shards = u64::try_from(topology.shards.len()).unwrap_or(u64::MAX).max(1);
    StandIns {
        nodes,
        zones: topology.members.iter().map(|(node, member)| (*node, place(member))).collect(),
        window: Duration::from_secs(hints.window_seconds),
        bytes_max: hints.max_bytes / shards,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quorate_model::{
        Datacenter, Leaderless, Leaving, Mode, Moved, Policy, ShardPlacement, Step, StoreId,
    };

    use super::*;

    const SHARD: ShardId = ShardId(0);
    const HERE: NodeId = NodeId(1);

    /// The replicas of the only shard, and those that it leaves in which step.
    fn topology(since: u64, voters: &[u128], leaves: Option<(&[u128], Step)>) -> Topology {
        let leaves = leaves.map(|(owners, step)| {
            let place = |node: &u128| (NodeId(*node), Datacenter::new("dc").unwrap());
            Leaving { owners: owners.iter().map(place).collect(), step }
        });
        let moved = [(SHARD, Moved { since: Epoch(since), leaves })].into();
        let voters: BTreeSet<NodeId> = voters.iter().copied().map(NodeId).collect();
        let placement = ShardPlacement { genesis: voters.clone(), voters, preferred_leader: None };
        Topology {
            store: StoreId(1),
            epoch: Epoch(since),
            members: BTreeMap::new(),
            meta_voters: BTreeSet::new(),
            shards: vec![placement],
            policy: Policy::default(),
            mode: Mode::Leaderless(Leaderless { moved, ..Leaderless::default() }),
        }
    }

    #[test]
    fn a_replica_that_is_to_join_and_was_one_before_has_left_meanwhile() {
        let has_left = |known: Option<(u64, Part)>, topology: &Topology| {
            let role = known.map(|(since, part)| Role { since: Epoch(since), part });
            has_left(role, super::role(topology, SHARD, HERE), topology.joins(SHARD, HERE))
        };
        let joins = topology(6, &[1, 2, 3], Some((&[2, 3, 4], Step::Filling)));
        assert!(has_left(Some((3, Part::Owns)), &joins));
        assert!(has_left(Some((3, Part::OwnsAgain)), &joins));
        assert!(!has_left(Some((6, Part::Owns)), &joins), "it knows");
        assert!(!has_left(Some((7, Part::Owns)), &joins), "this topology is an older one");
        assert!(!has_left(Some((3, Part::StandsIn)), &joins), "what it holds are hints");
        assert!(!has_left(None, &joins), "it is new");
        for stays in [
            topology(6, &[1, 2, 3], Some((&[1, 2, 4], Step::Filling))),
            topology(6, &[2, 3, 4], Some((&[1, 2, 3], Step::Filling))),
            topology(6, &[1, 2, 3], Some((&[2, 3, 4], Step::Draining))),
            topology(6, &[1, 2, 3], None),
        ] {
            assert!(!has_left(Some((3, Part::Owns)), &stays), "{stays:?}");
        }
    }
}
