//! Nodes of a store without leaders: its shards move in the two steps that `model::Step` describes, as whoever leads the meta
//! group proposes them.

use std::collections::BTreeSet;

use quorate_model::{
    Leaderless, Leaving, Mode, NodeId, ShardId, Step, Topology,
    admin::{ShardReport, Standing},
    majority,
};

use super::world::{Group, Volume, World};
use crate::GroupAt;

impl World {
    /// What the meta group makes of a proposal: a placement that differs is the first step of a move. `None`: it refuses.
    pub(super) fn agreed(&self, proposed: &Topology) -> Option<Topology> {
        let current = self.topology.as_ref().unwrap();
        let moved = |topology: &Topology| {
            topology.mode.leaderless().map(|leaderless| leaderless.moved.clone())
        };
        assert_eq!(moved(proposed), moved(current), "moves are the store's own");
        proposed.check_moves(current).ok()?;
        assert_eq!(proposed.check_founders(current), Ok(()));
        Some(proposed.clone().moving_from(current))
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
        let sources =
            group.voters.iter().filter(|n| alive.contains(n) && group.caught_up.contains(n));
        if sources.count() >= majority(group.voters.len()) {
            for node in placed.iter().filter(|node| alive.contains(node)) {
                if self.random.percent(50) {
                    group.caught_up.insert(*node);
                }
            }
        }
        let may_go_on = leaderless.leaving(shard).is_some_and(|leaving| match leaving.step {
            Step::Filling => {
                placed.iter().all(|n| alive.contains(n) && group.caught_up.contains(n))
            }
            Step::Draining => {
                let mut left = leaving.owners.keys().filter(|node| !placed.contains(node));
                left.all(|node| alive.contains(node) || !topology.members.contains_key(node))
            }
        });
        if may_go_on && meta_is_led && self.random.percent(50) {
            self.step(shard);
        }
        let stands = self.topology.as_ref().and_then(|topology| topology.mode.leaderless());
        let stands = stands.and_then(|leaderless| leaderless.leaving(shard));
        group.voters = match stands {
            Some(Leaving { owners, step: Step::Filling }) => owners.keys().copied().collect(),
            Some(Leaving { step: Step::Draining, .. }) => placed.clone(),
            None => {
                group.caught_up.retain(|node| placed.contains(node));
                placed.clone()
            }
        };
    }

    fn step(&mut self, shard: ShardId) {
        let topology = self.topology.as_mut().unwrap();
        topology.epoch = topology.epoch.next();
        let since = topology.epoch;
        let Mode::Leaderless(Leaderless { moved, .. }) = &mut topology.mode else { return };
        let next = moved[&shard].next(since).unwrap();
        moved.insert(shard, next);
    }

    /// What a node says of the shards that it hosts, as far as it has heard.
    pub(super) fn shards_of(&self, volume: &Volume) -> Vec<ShardReport> {
        let Some(topology) = &volume.topology else { return vec![] };
        let Some(leaderless) = topology.mode.leaderless() else { return vec![] };
        let hosted = topology.placements().filter(|(shard, placement)| {
            let leaves = leaderless.leaving(*shard);
            placement.voters.contains(&volume.node)
                || leaves.is_some_and(|leaving| leaving.owners.contains_key(&volume.node))
        });
        hosted
            .map(|(shard, _)| {
                let group = &self.groups[&GroupAt::from(quorate_model::GroupId::Shard(shard))];
                let whole = group.caught_up.contains(&volume.node);
                ShardReport {
                    shard,
                    standing: if whole { Standing::Whole } else { Standing::Filling },
                    given_up: None,
                    discarded: 0,
                    read_repairs: 0,
                    relays: Vec::new(),
                    compared: Default::default(),
                }
            })
            .collect()
    }

    /// Every shard has arrived, is whole, and keeps what is declared.
    pub(super) fn assert_owned_as_asked_for(&self) {
        let store = self.valid();
        let topology = self.topology.as_ref().unwrap();
        let leaderless = topology.mode.leaderless().unwrap();
        assert_eq!(
            Some(&leaderless.policy),
            store.leaderless().map(|leaderless| &leaderless.policy)
        );
        assert!(leaderless.moving().next().is_none(), "nothing moves any more");
        for (shard, placement) in topology.placements() {
            let group = &self.groups[&GroupAt::from(quorate_model::GroupId::Shard(shard))];
            assert_eq!(group.caught_up, placement.voters, "shard {shard} is whole");
            assert_eq!(placement.preferred_leader, None);
        }
    }
}
