//! The simulated operator: bootstraps, replaces lost nodes, and moves replicas about at random.
//!
//! It proposes topologies as the real one does, by compare-and-set, from what it can see; it may see an old epoch.

use std::collections::{BTreeMap, BTreeSet};

use quorate_group::host::Request;
use quorate_model::{
    Epoch, Mode, MultiLeader, MultiLeaderPolicy, NodeId, ShardPlacement, Topology,
};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::checkers::cell_convergence;
use crate::cluster::{Cluster, Event};
use crate::machine::{Machine, MachineId, datacenter};
use crate::options::{any_links, any_policy};
use crate::verdict::Verdict;

impl Cluster {
    pub(crate) fn first_topology(&mut self) -> Topology {
        let nodes: Vec<NodeId> = self.machines.iter().map(|machine| machine.node).collect();
        let replicas = self.options.replicas;
        let machines = &self.machines;
        let random = &mut self.random;
        let shards = (0..self.options.shards)
            .map(|_| {
                let voters: BTreeSet<NodeId> = match self.options.in_each {
                    None => nodes.sample(random, replicas).copied().collect(),
                    Some(count) => {
                        let all = 0..self.options.datacenters;
                        all.flat_map(|at| there(machines, at, count, random)).collect()
                    }
                };
                ShardPlacement { genesis: voters.clone(), voters, preferred_leader: None }
            })
            .collect();
        let mut topology = Topology {
            store: self.store,
            epoch: Epoch(1),
            members: self.machines.iter().map(|machine| (machine.node, machine.member())).collect(),
            meta_voters: nodes.iter().take(replicas).copied().collect(),
            shards,
            policy: self.options.policy.clone(),
            mode: self.options.mode.clone(),
        };
        if let Some(multi_leader) = topology.mode.multi_leader() {
            let multi_leader = MultiLeader::new(multi_leader.policy.clone(), &topology);
            topology.mode = Mode::MultiLeader(multi_leader);
        }
        topology
    }

    pub(crate) fn bootstrap(&mut self) -> Verdict {
        for machine in 0..self.machines.len() {
            self.restart(MachineId(machine))?;
        }
        let topology = self.first_topology();
        self.ask(MachineId(0), Request::Bootstrap { topology: Box::new(topology) })
    }

    /// The machine may have lost its power before anything of it was durable.
    fn bootstrap_again(&mut self) -> Verdict {
        let first = &self.machines[0];
        let seen_before = self.outdated.is_some();
        if seen_before || !first.is_running() || first.paused_until.is_some() {
            return Ok(());
        }
        let topology = self.first_topology();
        self.ask(MachineId(0), Request::Bootstrap { topology: Box::new(topology) })
    }

    /// One step: repair what is lost, else move something.
    pub(crate) fn change_topology(&mut self) -> Verdict {
        let pause = self.options.topology_every.unwrap_or(std::time::Duration::from_secs(1));
        self.schedule_in(pause, Event::ChangeTopology);
        let Some(newest) = self.newest_topology() else { return self.bootstrap_again() };
        // Another operator may act at the same moment, on this or on what was in force a while ago. INV-50.
        let outdated = self.outdated.replace(newest.clone());
        self.propose_after(newest.clone())?;
        if self.stormy && self.random.random_bool(0.3) {
            let seen = if self.random.random_bool(0.5) { Some(newest) } else { outdated };
            seen.map_or(Ok(()), |seen| self.propose_after(seen))?;
        }
        Ok(())
    }

    fn propose_after(&mut self, current: Topology) -> Verdict {
        let expected = current.epoch;
        let Some(mut topology) = self.next_topology(current) else { return Ok(()) };
        topology.epoch = expected.next();
        let up: Vec<MachineId> = self
            .machines
            .iter()
            .filter(|machine| machine.is_running() && machine.paused_until.is_none())
            .map(|machine| machine.id)
            .collect();
        self.mark(|| format!("operator proposes epoch {}", topology.epoch));
        // Whoever leads the meta group takes it; the others refuse.
        for machine in up {
            self.ask(
                machine,
                Request::ProposeTopology { expected, topology: Box::new(topology.clone()) },
            )?;
        }
        Ok(())
    }

    pub(crate) fn newest_topology(&self) -> Option<Topology> {
        self.machines
            .iter()
            .filter_map(|machine| machine.topology())
            .max_by_key(|topology| topology.epoch)
            .cloned()
    }

    /// A volume may be lost when every group would still have a majority of whole replicas besides it, by what
    /// the groups themselves say: each configuration in use, at any running machine, must consist of nodes that exist.
    pub(crate) fn may_wipe(&self, id: MachineId) -> bool {
        let existing: BTreeSet<NodeId> = self.machines.iter().map(|machine| machine.node).collect();
        let whole = |voters: &BTreeSet<NodeId>| {
            voters.iter().all(|voter| existing.contains(voter)) && voters.len() >= 3
        };
        // What it holds for others may be on few others.
        if cell_convergence::whole(self).is_err() || self.machines[id.0].holds_hints() {
            return false;
        }
        // Where the meta group is about to be as small, the one that is lost may be of the two that stay.
        if self.newest_topology().is_none_or(|topology| topology.meta_voters.len() < 3) {
            return false;
        }
        // A spoiled row costs its replica when it is found, which may be much later.
        if self.checkers.divergence.is_spoiled() {
            return false;
        }
        let (mut seen, mut led) = (BTreeSet::new(), BTreeSet::new());
        for machine in &self.machines {
            let Some(status) = machine.status() else { return false };
            if status.damaged.is_some() {
                return false;
            }
            for replica in &status.replicas {
                // Its node's log may be whole again before it is.
                if replica.damaged || replica.quarantined.is_some() {
                    return false;
                }
                if !replica.configuration.voters.is_empty() && !whole(&replica.configuration.voters)
                {
                    return false;
                }
                // INV-62: nobody can be elected without a member of the set, so its only member is never lost.
                let set = replica.configuration.rule.in_sync();
                if set
                    .is_some_and(|set| set.iter().all(|member| *member == self.machines[id.0].node))
                {
                    return false;
                }
                seen.insert(replica.group);
                if replica.leading {
                    led.insert(replica.group);
                }
            }
        }
        // Without a leader nobody knows how close the others are.
        let close = !seen.is_empty() && seen == led && self.every_follower_is_close();
        close && self.machines[id.0].paused_until.is_none()
    }

    /// The topology that the operator wants after `topology`; `None` when nothing is to be done.
    fn next_topology(&mut self, mut topology: Topology) -> Option<Topology> {
        let alive: BTreeMap<NodeId, MachineId> =
            self.machines.iter().map(|machine| (machine.node, machine.id)).collect();
        let members: Vec<_> = self
            .machines
            .iter()
            .filter(|machine| !topology.members.contains_key(&machine.node))
            .map(Machine::member)
            .collect();
        let mut changed = !members.is_empty();
        topology.members.extend(members.into_iter().map(|member| (member.id, member)));
        changed |= replace_lost(&mut topology.meta_voters, &alive, |_, _| true);
        let places = topology.members.clone();
        let apart = self.options.in_each.is_some();
        let fits = |lost: NodeId, joins: NodeId| {
            let place = |node| places.get(&node).map(|member| &member.datacenter);
            !apart || place(lost) == place(joins)
        };
        for placement in &mut topology.shards {
            changed |= replace_lost(&mut placement.voters, &alive, fits);
        }
        if changed {
            return Some(topology);
        }
        changed |= self.forget_lost_members(&mut topology, &alive);
        if !changed && self.stormy && self.options.topology_every.is_some() {
            if let Mode::MultiLeader(multi_leader) = &mut topology.mode
                && self.random.random_ratio(1, 4)
            {
                let MultiLeaderPolicy { links, homes, .. } = &mut multi_leader.policy;
                if homes.keys.is_empty() || self.random.random_bool(0.3) {
                    *links = any_links(self.options.datacenters, &mut self.random);
                } else {
                    let before = homes.clone();
                    let to = datacenter(self.random.random_range(0..self.options.datacenters));
                    let which = self.random.random_range(0..homes.keys.len());
                    homes.keys[which].home = to;
                    *homes = homes.declared_after(&before, topology.epoch.next());
                }
                changed = true;
            } else if self.random.random_ratio(self.options.policy_changes, 10) {
                topology.policy = any_policy(&mut self.random);
                changed = true;
            } else {
                changed |= self.move_a_voter(&mut topology);
            }
        }
        changed.then_some(topology)
    }

    /// A lost node stops being a member once no group counts on it.
    fn forget_lost_members(
        &self,
        topology: &mut Topology,
        alive: &BTreeMap<NodeId, MachineId>,
    ) -> bool {
        let mut used = BTreeSet::new();
        for machine in &self.machines {
            let Some(status) = machine.status() else { return false };
            for replica in status.replicas {
                // Every member follows the meta group as a learner: that alone keeps nobody.
                used.extend(replica.configuration.voters);
            }
        }
        let before = topology.members.len();
        topology.members.retain(|node, _| alive.contains_key(node) || used.contains(node));
        topology.members.len() != before
    }

    fn move_a_voter(&mut self, topology: &mut Topology) -> bool {
        let nodes: Vec<NodeId> = topology.members.keys().copied().collect();
        let shards = topology.shards.len();
        let group = self.random.random_range(0..=shards);
        let in_each = self.options.in_each.filter(|_| group < shards);
        let voters = if group == shards {
            &mut topology.meta_voters
        } else {
            &mut topology.shards[group].voters
        };
        let stays = topology.mode.leaderless().is_none();
        if let Some(count) = in_each.filter(|_| !stays && self.random.random_ratio(1, 5)) {
            return self.come_or_go(voters, count);
        }
        let outside: Vec<NodeId> =
            nodes.into_iter().filter(|node| !voters.contains(node)).collect();
        let Some(joins) = outside.choose(&mut self.random).copied() else { return false };
        let place = |node: NodeId| topology.members.get(&node).map(|member| &member.datacenter);
        let near = |node: &NodeId| in_each.is_none() || place(*node) == place(joins);
        let inside: Vec<NodeId> = voters.iter().copied().filter(near).collect();
        let Some(leaves) = inside.choose(&mut self.random) else { return false };
        voters.remove(leaves);
        voters.insert(joins);
        true
    }

    /// The shard comes to a datacenter, or leaves one.
    fn come_or_go(&mut self, voters: &mut BTreeSet<NodeId>, count: usize) -> bool {
        let at = self.random.random_range(0..self.options.datacenters);
        let nodes: BTreeSet<NodeId> =
            there(&self.machines, at, usize::MAX, &mut self.random).into_iter().collect();
        if voters.is_disjoint(&nodes) {
            voters.extend(there(&self.machines, at, count, &mut self.random));
            return true;
        }
        let leaves = !voters.is_subset(&nodes);
        if leaves {
            voters.retain(|node| !nodes.contains(node));
        }
        leaves
    }

    fn every_follower_is_close(&self) -> bool {
        self.machines.iter().filter_map(|machine| machine.status()).all(|status| {
            status.replicas.iter().all(|replica| {
                replica.followers.values().all(|follower| {
                    matches!(follower.phase, quorate_model::admin::CatchUpPhase::CaughtUp)
                })
            })
        })
    }
}

/// Voters that no machine has any more give way to nodes that exist.
fn replace_lost(
    voters: &mut BTreeSet<NodeId>,
    alive: &BTreeMap<NodeId, MachineId>,
    fits: impl Fn(NodeId, NodeId) -> bool,
) -> bool {
    let Some(lost) = voters.iter().find(|voter| !alive.contains_key(voter)).copied() else {
        return false;
    };
    let takes = |node: &&NodeId| !voters.contains(node) && fits(lost, **node);
    let Some(joins) = alive.keys().find(takes).copied() else {
        return false;
    };
    voters.remove(&lost);
    voters.insert(joins);
    true
}

/// So many nodes of a datacenter.
fn there(
    machines: &[Machine],
    datacenter: usize,
    count: usize,
    random: &mut ChaCha8Rng,
) -> Vec<NodeId> {
    let place = crate::machine::datacenter(datacenter);
    let there = machines.iter().filter(|machine| *machine.datacenter() == place);
    let nodes: Vec<NodeId> = there.map(|machine| machine.node).collect();
    nodes.sample(random, count).copied().collect()
}
