//! Nodes of a store without leaders: its shards move in the two steps that `model::Step` describes, as whoever leads the meta
//! group proposes them.

use std::collections::BTreeSet;

use quorate_model::{
    Leaderless, Leaving, Mode, Moved, NodeId, ShardId, Step, Topology,
    admin::{ShardReport, Standing},
    majority,
};

use super::world::{Group, Volume, World};

impl World {
    /// What the meta group makes of a proposal: a placement that differs is the first step of a move. `None`: it refuses.
    pub(super) fn agreed(&self, proposed: &Topology) -> Option<Topology> {
        let current = self.topology.as_ref().unwrap();
        let mut next = proposed.clone();
        let Mode::Leaderless(leaderless) = &mut next.mode else { return Some(next) };
        let known = current.mode.leaderless().unwrap();
        assert_eq!(leaderless.moved, known.moved, "moves are the store's own");
        let moves = known.moved.values().any(|moved| moved.leaves.is_some());
        let (now, then) = (&known.policy, &leaderless.policy);
        if moves && (now.read, now.write) != (then.read, then.write) {
            return None;
        }
        for (shard, placement) in proposed.placements() {
            let before = current.placement(shard).unwrap();
            if before.voters == placement.voters {
                continue;
            }
            let leaves = known.moved.get(&shard).and_then(|moved| moved.leaves.clone());
            let owners = match leaves {
                Some(Leaving { step: Step::Draining, .. }) => return None,
                Some(Leaving { owners, step: Step::Filling }) => owners,
                None => {
                    let place = |node: &NodeId| (*node, current.members[node].datacenter.clone());
                    before.voters.iter().map(place).collect()
                }
            };
            let back = owners.keys().eq(&placement.voters);
            let leaves = (!back).then_some(Leaving { owners, step: Step::Filling });
            leaderless.moved.insert(shard, Moved { since: proposed.epoch, leaves });
        }
        Some(next)
    }

    /// A shard's replicas fill, and the shard takes its next step when it may.
    pub(super) fn own(
        &mut self,
        shard: ShardId,
        group: &mut Group,
        alive: &BTreeSet<NodeId>,
        meta_is_led: bool,
    ) {
        let topology = self.topology.clone().unwrap();
        let leaderless = topology.mode.leaderless().unwrap();
        let placed = &topology.placement(shard).unwrap().voters;
        let leaves = leaderless.moved.get(&shard).and_then(|moved| moved.leaves.clone());
        let sources =
            group.voters.iter().filter(|n| alive.contains(n) && group.caught_up.contains(n));
        if sources.count() >= majority(group.voters.len()) {
            for node in placed.iter().filter(|node| alive.contains(node)) {
                if self.random.percent(50) {
                    group.caught_up.insert(*node);
                }
            }
        }
        let next = leaves.clone().and_then(|leaving| match leaving.step {
            Step::Filling => {
                let ready = placed.iter().all(|n| alive.contains(n) && group.caught_up.contains(n));
                ready.then_some(Some(Leaving { step: Step::Draining, ..leaving }))
            }
            Step::Draining => {
                let mut left = leaving.owners.keys().filter(|node| !placed.contains(node));
                let drained =
                    left.all(|node| alive.contains(node) || !topology.members.contains_key(node));
                drained.then_some(None)
            }
        });
        let stands = match next.filter(|_| meta_is_led && self.random.percent(50)) {
            Some(next) => {
                self.step(shard, next.clone());
                next
            }
            None => leaves,
        };
        group.voters = match stands {
            Some(Leaving { owners, step: Step::Filling }) => owners.into_keys().collect(),
            Some(Leaving { step: Step::Draining, .. }) => placed.clone(),
            None => {
                group.caught_up.retain(|node| placed.contains(node));
                placed.clone()
            }
        };
    }

    fn step(&mut self, shard: ShardId, leaves: Option<Leaving>) {
        let topology = self.topology.as_mut().unwrap();
        topology.epoch = topology.epoch.next();
        let since = topology.epoch;
        let Mode::Leaderless(Leaderless { moved, .. }) = &mut topology.mode else { return };
        moved.insert(shard, Moved { since, leaves });
    }

    /// What a node says of the shards that it hosts, as far as it has heard.
    pub(super) fn shards_of(&self, volume: &Volume) -> Vec<ShardReport> {
        let Some(topology) = &volume.topology else { return vec![] };
        let Some(leaderless) = topology.mode.leaderless() else { return vec![] };
        let hosted = topology.placements().filter(|(shard, placement)| {
            let leaves = leaderless.moved.get(shard).and_then(|moved| moved.leaves.as_ref());
            placement.voters.contains(&volume.node)
                || leaves.is_some_and(|leaving| leaving.owners.contains_key(&volume.node))
        });
        hosted
            .map(|(shard, _)| {
                let group = &self.groups[&quorate_model::GroupId::Shard(shard)];
                let whole = group.caught_up.contains(&volume.node);
                ShardReport {
                    shard,
                    standing: if whole { Standing::Whole } else { Standing::Filling },
                    given_up: None,
                    discarded: 0,
                    read_repairs: 0,
                }
            })
            .collect()
    }

    /// Every shard has arrived, is whole, and keeps what is declared.
    pub(super) fn assert_owned_as_asked_for(&self) {
        let store = self.valid();
        let topology = self.topology.as_ref().unwrap();
        let Leaderless { policy, moved } = topology.mode.leaderless().unwrap();
        assert_eq!(Some(policy), store.leaderless().map(|leaderless| &leaderless.policy));
        assert!(moved.values().all(|moved| moved.leaves.is_none()), "nothing moves any more");
        for (shard, placement) in topology.placements() {
            let group = &self.groups[&quorate_model::GroupId::Shard(shard)];
            assert_eq!(group.caught_up, placement.voters, "shard {shard} is whole");
            assert_eq!(placement.preferred_leader, None);
        }
    }
}
