//! Following the topology: which groups this node hosts, and the membership that each should have.
//!
//! Keeps INV-51 (a topology is announced once it is flushed, so that a restart does not go back) and INV-52 (a group is
//! started from its genesis only by a node that never hosted it; everybody else begins blank, when its leader calls).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{
    Addresses, Durability, Epoch, GroupId, InSyncPolicy, NodeId, Position, Term, Topology,
};
use quorate_replication::single_leader::{Configuration, Input, Replica, Restored};
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, StateStore};

use super::group::{Group, Proposal, Task};
use super::persisting::describe;
use super::retention::{Points, Purpose};
use super::retiring::Doubt;
use super::rows::{Health, Standing, empty_generation};
use super::timers::Timer;
use super::topology::{self, SetTopology};
use super::{Host, Output, RequestId, Turn};

/// How many peers' addresses are remembered that the topology may not know yet.
const ADDRESSES_MAX: usize = 4096;
/// How long a proposal of new addresses may take before it is made again.
const ADDRESSES_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Following {
    topology: Option<Topology>,
    /// The newest one that is durable here: what the node routes by.
    announced: Option<Topology>,
    /// The topology changed and is not followed yet.
    fresh: bool,
    /// Groups that this node hosted and forgot, and the term in which it did.
    pub(super) retired: BTreeMap<GroupId, Term>,
    /// Groups that begin here, or are on their way into or out of `retired`, until that is durable.
    pub(super) settling: BTreeMap<GroupId, Settling>,
    /// What peers said of themselves when they connected last.
    addresses: BTreeMap<NodeId, Addresses>,
}

#[derive(Debug)]
pub(super) enum Settling {
    Beginning {
        standing: Standing,
        /// Requests that wait for it.
        queued: Vec<RequestId>,
    },
    Retiring,
    Reviving(Standing),
}

impl Following {
    pub(super) fn recovered(topology: Option<Topology>, retired: BTreeMap<GroupId, Term>) -> Self {
        let fresh = topology.is_some();
        Self { announced: topology.clone(), topology, fresh, retired, ..Self::default() }
    }

    pub(super) const fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    pub(super) const fn announced(&self) -> Option<&Topology> {
        self.announced.as_ref()
    }

    /// Whether the topology in force is durable here.
    pub(super) fn is_announced(&self) -> bool {
        self.announced == self.topology
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.topology.as_ref().map_or(Epoch::ZERO, |topology| topology.epoch)
    }

    /// What the topology asks for is looked at once more.
    pub(super) const fn refresh(&mut self) {
        self.fresh = self.topology.is_some();
    }

    pub(super) fn set(&mut self, topology: Topology) {
        // INV-50, INV-51: epochs rise; a snapshot may skip some.
        assert!(topology.epoch > self.epoch() || planted::is(Bug::IgnoreEpoch));
        self.topology = Some(topology);
        self.fresh = true;
    }

    /// Whether the topology wants this node to have a replica of the group.
    pub(super) fn names(&self, node: NodeId, group: GroupId) -> bool {
        let Some(topology) = &self.topology else { return true };
        match group {
            GroupId::Meta => topology.members.contains_key(&node),
            GroupId::Shard(shard) => topology
                .group_at(shard, node)
                .is_some_and(|placement| placement.voters.contains(&node)),
        }
    }

    /// Whom a replica in doubt asks beside its own configuration.
    pub(super) fn voters(&self, node: NodeId, group: GroupId) -> BTreeSet<NodeId> {
        let Some(topology) = &self.topology else { return BTreeSet::new() };
        match group {
            GroupId::Meta => topology.meta_voters.clone(),
            GroupId::Shard(shard) => {
                topology.group_at(shard, node).map(|placement| placement.voters).unwrap_or_default()
            }
        }
    }

    fn target(&self, node: NodeId, group: GroupId) -> Option<Input> {
        let topology = self.topology.as_ref()?;
        Some(match group {
            GroupId::Meta => Input::Target {
                voters: topology.meta_voters.clone(),
                learners: topology
                    .members
                    .keys()
                    .filter(|node| !topology.meta_voters.contains(node))
                    .copied()
                    .collect(),
                preferred_leader: None,
                durability: Durability::Quorum,
                in_sync: InSyncPolicy::default(),
            },
            GroupId::Shard(shard) => {
                let placement = topology.group_at(shard, node)?;
                Input::Target {
                    voters: placement.voters,
                    learners: BTreeSet::new(),
                    preferred_leader: placement.preferred_leader,
                    durability: topology.policy.durability,
                    in_sync: topology.policy.in_sync,
                }
            }
        })
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Does what a new topology asks for. Answers whether there was one.
    pub(super) fn follow_topology(&mut self) -> bool {
        if !std::mem::take(&mut self.shared.following.fresh) {
            return false;
        }
        self.shared.flush_for(Purpose::Announce);
        self.start_genesis_groups();
        self.follow_shards();
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in groups {
            self.with_group(id, |turn| {
                turn.aim();
                turn.consider_retiring();
                turn.conform_format();
                turn.tell_routes();
            });
        }
        self.shared.timers.set_at_latest(Timer::Addresses, self.shared.now);
        true
    }

    /// The topology in force is durable here.
    pub(super) fn announce(&mut self) {
        let following = &mut self.shared.following;
        if let Some(topology) = &following.topology
            && following.announced.as_ref() != Some(topology)
        {
            following.announced = Some(topology.clone());
            self.shared.outputs.push_back(Output::Topology(Box::new(topology.clone())));
            self.shared.status_changed = true;
        }
    }

    /// INV-52: never hosted, named in the genesis.
    fn start_genesis_groups(&mut self) {
        if self.shared.damaged.is_some() {
            return;
        }
        let node = self.shared.node();
        let Some(topology) = &self.shared.following.topology else { return };
        if topology.mode.leaderless().is_some() {
            return;
        }
        let begins: Vec<(GroupId, Configuration)> = topology
            .placements()
            .filter_map(|(shard, _)| Some((shard, topology.group_at(shard, node)?)))
            .filter(|(_, placement)| placement.genesis.contains(&node))
            .map(|(shard, placement)| (GroupId::Shard(shard), placement.genesis))
            .filter(|(group, _)| !self.hosted_ever(*group))
            .map(|(group, genesis)| (group, Configuration::of(genesis)))
            .collect();
        for (group, configuration) in begins {
            self.begin_group(group, configuration);
        }
    }

    fn hosted_ever(&self, group: GroupId) -> bool {
        let following = &self.shared.following;
        self.groups.contains_key(&group)
            || following.retired.contains_key(&group)
            || following.settling.contains_key(&group)
    }

    /// A leader calls a group that this node does not host. Its message is lost; it calls again.
    pub(super) fn called(&mut self, group: GroupId) {
        let following = &self.shared.following;
        if self.shared.damaged.is_some() || following.settling.contains_key(&group) {
            return;
        }
        if let Some(term) = following.retired.get(&group).copied() {
            return self.revive(group, term);
        }
        let blank = match group {
            GroupId::Meta => true,
            // Before it knows the topology, it does not know whether it is in the genesis.
            GroupId::Shard(shard) => following.topology().is_some_and(|topology| {
                topology
                    .placement(shard)
                    .is_some_and(|placement| !placement.genesis.contains(&self.shared.node()))
            }),
        };
        if blank {
            self.begin_group(group, Configuration::default());
        }
    }

    /// A replica with an empty log: the genesis voters', or a blank one. It begins when it is durable in the state store that this
    /// node hosts the group (INV-41): what it promises then cannot be forgotten with the log.
    pub(super) fn begin_group(&mut self, id: GroupId, configuration: Configuration) {
        assert!(!self.hosted_ever(id), "a group is hosted once");
        let Some(generation) = self.fresh_generation(id) else { return };
        let standing = Standing::begin(generation, configuration);
        self.shared.state.apply(Batch { changes: vec![standing.put(id)] });
        let beginning = Settling::Beginning { standing, queued: Vec::new() };
        self.shared.following.settling.insert(id, beginning);
        self.shared.flush_for(Purpose::Begin(id));
    }

    /// It is durable that the group is hosted.
    pub(super) fn begun(&mut self, id: GroupId) {
        if self.shard_begun(id) {
            return;
        }
        let settling = self.shared.following.settling.remove(&id);
        let Some(Settling::Beginning { standing, queued }) = settling else {
            unreachable!("only what begins waits for that")
        };
        let configuration = standing.configuration.clone();
        if !configuration.voters.is_empty() {
            // It goes to the log before anything that the replica makes durable.
            self.shared.persisting.start_log(id, Position::ZERO, &configuration);
        }
        let restored = Restored { base_configuration: configuration, ..Restored::default() };
        self.host_group(id, restored, standing, Points::default());
        let runs = queued.into_iter().map(Task::Run);
        self.with_group(id, |turn| turn.group.tasks.extend(runs));
    }

    /// A generation without rows for a group that begins. `None` when the host stops.
    pub(super) fn fresh_generation(&mut self, id: GroupId) -> Option<u32> {
        match empty_generation(&self.shared.state, id, 0) {
            Ok(generation) => Some(generation),
            Err(error) => {
                self.shared.fatal(describe(&error));
                None
            }
        }
    }

    pub(super) fn host_group(
        &mut self,
        id: GroupId,
        restored: Restored,
        standing: Standing,
        points: Points,
    ) {
        let shared = &mut self.shared;
        let seed = shared.start.seed ^ u64::from(id.number()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let settings = shared.settings.replication.clone();
        let replica = Replica::new(shared.node(), settings, seed, restored, shared.now);
        self.groups.insert(id, Group::new(id, replica, standing, points));
        self.shared.status_changed = true;
        self.with_group(id, |turn| {
            turn.begin_among_leaders();
            turn.aim();
            turn.consider_retiring();
        });
    }

    /// The meta leader puts what peers said of themselves into the topology.
    pub(super) fn update_addresses(&mut self) {
        self.with_group(GroupId::Meta, |turn| turn.update_addresses());
    }

    pub(super) fn addresses_told(&mut self, peer: NodeId, addresses: Addresses) {
        let known = &mut self.shared.following.addresses;
        if known.contains_key(&peer) || known.len() < ADDRESSES_MAX {
            known.insert(peer, addresses);
            self.shared.timers.set_at_latest(Timer::Addresses, self.shared.now);
        }
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Tells the replica the membership that the group should have.
    pub(super) fn aim(&mut self) {
        if let Some(target) = self.shared.following.target(self.shared.node(), self.group.id) {
            self.group.tasks.push_back(Task::Step(target));
        }
    }

    /// A replica that the topology does not name asks, after a while, whether it may go. So does one that waits for its
    /// repair: its node may hold an old topology, and nobody repairs a replica that its group is done with.
    pub(super) fn consider_retiring(&mut self) {
        let group = self.group.id;
        let timer = Timer::Retire(group);
        let repairing =
            self.shared.damaged.is_some() && self.group.standing.health == Health::Damaged;
        if self.shared.following.names(self.shared.node(), group) && !repairing {
            self.group.doubt = None;
            self.shared.timers.set(timer, None);
        } else if self.group.doubt.is_none() {
            self.group.doubt = Some(Doubt::default());
            let at = self.shared.now.after(self.shared.settings.retire_after);
            self.timer(timer, at);
        }
    }

    fn update_addresses(&mut self) {
        let following = &self.shared.following;
        if !self.group.leadership.leading {
            return;
        }
        let Some(topology) = following.topology() else { return };
        let mut next = topology.clone();
        for (node, addresses) in &following.addresses {
            if let Some(member) = next.members.get_mut(node)
                && member.addresses != *addresses
            {
                member.addresses = addresses.clone();
            }
        }
        if next == *topology {
            return;
        }
        next.epoch = topology.epoch.next();
        let command = SetTopology { expected: topology.epoch, topology: next };
        self.propose_topology(&command);
        // Lost with the leadership, or against another change: then it is still due.
        let retry = self.shared.now.after(ADDRESSES_RETRY);
        self.timer(Timer::Addresses, retry);
    }
}

impl<D: Disk, S: StateStore> Turn<'_, D, S> {
    /// Nobody waits for it: who proposes it looks again.
    pub(super) fn propose_topology(&mut self, command: &SetTopology) {
        self.propose(command.encode(), Proposal { request: None, effects: None, taken: false });
    }

    /// A snapshot brought the meta group's rows: the topology in them, where it is news.
    pub(super) fn reload_topology(&mut self) {
        if self.group.id != GroupId::Meta {
            return;
        }
        match topology::load(&self.shared.state, self.group.prefix()) {
            Ok(Some(topology)) if topology.epoch > self.shared.following.epoch() => {
                self.shared.following.set(topology);
            }
            Ok(_) => {}
            Err(error) => self.shared.fatal(describe(&error)),
        }
    }
}
