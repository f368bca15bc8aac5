//! Nodes of a store with a leader of each shard in every datacenter: groups begin and end with their datacenter, and what one takes
//! comes to the others a while later.

use std::collections::BTreeSet;

use quorate_model::{
    ActorId, Datacenter, GroupId, ShardId, ShardPlacement, Topology,
    admin::{ExchangeReport, LinkReport, Role},
};

use super::world::{Group, World};
use crate::{GroupAt, multi_leader, names};

impl World {
    /// Groups as the topology has them. One that ends has given its writes to another, or lost its volumes.
    pub(super) fn begin_and_end(&mut self, topology: &Topology) {
        if topology.mode.multi_leader().is_none() {
            return;
        }
        let places = multi_leader::places(topology);
        for group in self.groups.keys().cloned().collect::<Vec<_>>() {
            let Some(place) = group.datacenter.clone().filter(|place| !places.contains(place))
            else {
                continue;
            };
            let taken = places.iter().any(|to| self.lacking(&group, to) == 0);
            let prefix = format!("orders-{place}-");
            let volumes = self.objects.claims.iter().filter(|(claim, object)| {
                let pod = names::pod_of_claim(claim).unwrap();
                pod.starts_with(&prefix) && object.metadata.deletion_timestamp.is_none()
            });
            assert!(taken || volumes.count() == 0, "{group} ends with writes of its own");
            self.groups.remove(&group);
            self.lacking.retain(|(from, to), _| *from != group && *to != place);
        }
        for (shard, _) in topology.placements() {
            for place in &places {
                let datacenter = Some(place.clone());
                let group = GroupAt { id: GroupId::Shard(shard), datacenter };
                if !self.groups.contains_key(&group) {
                    let first = topology.group_at(shard, first_in(topology, place)).unwrap();
                    assert_eq!(first.voters, first.genesis, "{group} begins as it says");
                    let hosts =
                        self.volumes.values().filter(|one| one.views.contains_key(&group.id));
                    let hosted =
                        hosts.map(|volume| volume.node).find(|n| first.genesis.contains(n));
                    assert_eq!(hosted, None, "who had a replica of {group} never begins it");
                    self.groups.insert(group, Group::begun(first.genesis));
                }
            }
        }
        self.write_and_exchange(&places);
    }

    fn write_and_exchange(&mut self, places: &BTreeSet<Datacenter>) {
        for from in self.groups.keys().cloned().collect::<Vec<_>>() {
            let Some(own) = from.datacenter.clone() else { continue };
            let led = self.groups[&from].leader.is_some();
            let written = u64::from(led && self.random.percent(10));
            for to in places.iter().filter(|to| **to != own) {
                let other = GroupAt { id: from.id, datacenter: Some(to.clone()) };
                let takes = led && self.groups[&other].leader.is_some() && self.random.percent(60);
                let lacking = self.lacking.entry((from.clone(), to.clone())).or_default();
                *lacking = if takes { 0 } else { *lacking + written };
            }
        }
    }

    /// What a user does before a datacenter comes back.
    pub(super) fn delete_volumes(&mut self, place: &str) {
        let prefix = format!("orders-{place}-");
        let pods = self.objects.pods.keys().filter(|pod| pod.starts_with(&prefix));
        let claims = self.objects.claims.keys();
        let claims = claims.filter(|c| names::pod_of_claim(c).unwrap().starts_with(&prefix));
        let (pods, claims): (Vec<_>, Vec<_>) = (pods.cloned().collect(), claims.cloned().collect());
        pods.iter().for_each(|pod| self.delete_pod(pod));
        for claim in claims {
            let at = crate::fixtures::time(self.clock);
            let metadata = &mut self.objects.claims.get_mut(&claim).unwrap().metadata;
            metadata.deletion_timestamp.get_or_insert(at);
        }
    }

    fn lacking(&self, from: &GroupAt, to: &Datacenter) -> u64 {
        self.lacking.get(&(from.clone(), to.clone())).copied().unwrap_or(0)
    }

    pub(super) fn exchange(
        &self,
        id: GroupId,
        role: Role,
        here: &Datacenter,
    ) -> Option<ExchangeReport> {
        let topology = self.topology.as_ref().filter(|t| t.mode.multi_leader().is_some())?;
        if role != Role::Leader || id == GroupId::Meta {
            return None;
        }
        let others = multi_leader::places(topology).into_iter().filter(|place| place != here);
        let link = |from: Datacenter| {
            let group = GroupAt { id, datacenter: Some(from.clone()) };
            let silent = self.groups.get(&group).is_none_or(|group| group.leader.is_none());
            let lacking = self.lacking(&group, here);
            let lag_ms = if lacking == 0 { 0 } else { 100 };
            LinkReport { silent, lacking, lag_ms, ..LinkReport::caught_up(from) }
        };
        Some(ExchangeReport::of_links(ActorId(1), others.map(link).collect()))
    }

    /// Each datacenter has so many replicas of the shard, and its group has arrived.
    pub(super) fn assert_in_each_as_asked_for(&self, shard: ShardId, placement: &ShardPlacement) {
        let store = self.valid();
        let topology = self.topology.as_ref().unwrap();
        let multi_leader = topology.mode.multi_leader().unwrap();
        let mut told = multi_leader.policy.clone();
        for home in &mut told.homes.keys {
            assert!(home.first.take().is_some() && home.since > 0);
            home.since = 0;
        }
        assert_eq!(told, store.multi_leader().unwrap().policy);
        assert_eq!(placement.preferred_leader, None);
        for datacenter in &store.datacenters {
            let place = &datacenter.name;
            let placed = topology.group_at(shard, first_in(topology, place)).unwrap();
            assert_eq!(placed.voters.len(), store.replicas());
            let group = GroupAt { id: GroupId::Shard(shard), datacenter: Some(place.clone()) };
            assert_eq!(self.groups[&group].voters, placed.voters);
        }
    }
}

fn first_in(topology: &Topology, place: &Datacenter) -> quorate_model::NodeId {
    topology.members.values().find(|member| member.datacenter == *place).unwrap().id
}
