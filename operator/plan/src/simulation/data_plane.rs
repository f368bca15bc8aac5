//! Nodes as `docs/contracts.md` describes them: leaders move their groups' configurations towards the topology.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::{
    Addresses, Datacenter, Durability, GroupId, LogIndex, Name, NodeId, Policy, ShardPlacement,
    Topology,
    admin::{Acknowledgement, CatchUpPhase, FollowerReport, NodeReport, ReplicaReport, Role},
    majority,
};

use super::kubernetes::has_engine_2;
use super::world::{Group, View, World};
use crate::{GroupAt, Reported, names};

impl World {
    pub(super) fn data_plane(&mut self) {
        let Some(topology) = self.topology.clone() else { return };
        let alive = self.alive();
        self.begin_and_end(&topology);
        for group in self.groups.keys().cloned().collect::<Vec<_>>() {
            let mut state = self.groups[&group].clone();
            let leaderless = topology.mode.leaderless().is_some();
            if let Some(shard) = group.shard().filter(|_| leaderless) {
                let meta_is_led = self.groups[&GroupAt::META].leader.is_some();
                self.own(shard, &mut state, &alive, meta_is_led);
                self.groups.insert(group, state);
                continue;
            }
            self.elect(&mut state, &alive);
            if state.leader.is_some() {
                self.catch_up(&mut state, &alive);
                let wanted = wanted(&topology, &group);
                if self.random.percent(70) {
                    reconfigure(group.id, &mut state, &wanted, &alive);
                }
                if let Some(shard) = group.shard() {
                    self.prefer(&mut state, topology.placement(shard).unwrap(), &alive);
                    self.keep_policy(&mut state, &topology.policy, &alive);
                }
                if group == GroupAt::META {
                    let members = topology.members.keys().copied();
                    state.learners = members.filter(|node| !state.voters.contains(node)).collect();
                }
            }
            self.groups.insert(group, state);
        }
        // A shard's step may have moved the epoch on.
        let topology = self.topology.clone().unwrap_or(topology);
        self.spread_views(&topology, &alive);
    }

    fn elect(&mut self, group: &mut Group, alive: &BTreeSet<NodeId>) {
        let voting = group.voters.iter().filter(|node| alive.contains(node)).count();
        let electable: Vec<NodeId> = group
            .voters
            .iter()
            .filter(|node| alive.contains(node) && group.caught_up.contains(node))
            .copied()
            .collect();
        if voting < majority(group.voters.len()) || electable.is_empty() {
            group.leader = None;
            return;
        }
        let stays = group.leader.is_some_and(|leader| electable.contains(&leader));
        if !stays || self.random.percent(2) {
            group.leader = Some(electable[self.random.below(electable.len())]);
            group.term = group.term.next();
        }
    }

    /// A leader that is not the preferred one hands over to it once that is caught up.
    fn prefer(&mut self, group: &mut Group, placed: &ShardPlacement, alive: &BTreeSet<NodeId>) {
        let Some(preferred) = placed.preferred_leader else { return };
        let able = alive.contains(&preferred)
            && group.caught_up.contains(&preferred)
            && group.voters.contains(&preferred);
        if able && group.leader != Some(preferred) && self.random.percent(20) {
            group.leader = Some(preferred);
            group.term = group.term.next();
        }
    }

    /// The leader moves its rule towards the declared one, and a majority holds it a while later.
    fn keep_policy(&mut self, group: &mut Group, policy: &Policy, alive: &BTreeSet<NodeId>) {
        let leader = group.leader.expect("called for a group that is led");
        let others = group
            .voters
            .iter()
            .filter(|n| **n != leader && alive.contains(n) && group.caught_up.contains(n));
        let followers = match policy.durability {
            Durability::Async | Durability::Quorum => 0,
            Durability::SemiSync => usize::from(policy.in_sync.count),
            Durability::Sync => group.voters.len() - 1,
        };
        let mut in_sync: BTreeSet<NodeId> = others.copied().take(followers).collect();
        let shrunk = in_sync.len() < followers;
        if matches!(policy.durability, Durability::SemiSync | Durability::Sync) {
            in_sync.insert(leader);
        }
        let now = &mut group.acknowledgement;
        if (now.durability, &now.in_sync) != (policy.durability, &in_sync) {
            if self.random.percent(50) {
                *now = Acknowledgement {
                    durability: policy.durability,
                    in_sync,
                    settled: false,
                    waiting_for: BTreeSet::new(),
                    shrunk,
                };
            }
        } else if self.random.percent(50) {
            now.settled = true;
        }
        if self.random.percent(50) {
            group.log_format = policy.log_format;
        }
    }

    fn catch_up(&mut self, group: &mut Group, alive: &BTreeSet<NodeId>) {
        for node in group.voters.iter().chain(&group.learners).copied().collect::<Vec<_>>() {
            if alive.contains(&node) && self.random.percent(50) {
                group.caught_up.insert(node);
            }
        }
    }

    /// Nodes learn the topology and their groups' states, followers with delay. A replica that was let go forgets.
    fn spread_views(&mut self, topology: &Topology, alive: &BTreeSet<NodeId>) {
        let meta_leader = self.groups[&GroupAt::META].leader;
        for claim in self.volumes.keys().cloned().collect::<Vec<_>>() {
            let node = self.volumes[&claim].node;
            if !alive.contains(&node) {
                continue;
            }
            let meta = &self.groups[&GroupAt::META];
            let reached = meta.voters.contains(&node) || meta.learners.contains(&node);
            if meta_leader.is_some()
                && reached
                && (self.random.percent(80) || meta_leader == Some(node))
            {
                self.volumes.get_mut(&claim).unwrap().topology = Some(topology.clone());
            }
            for (group, state) in self.groups.clone() {
                if group != GroupAt::META && topology.mode.leaderless().is_some() {
                    continue;
                }
                if !group.reaches(&datacenter(names::pod_of_claim(&claim).unwrap())) {
                    continue;
                }
                let part = state.voters.contains(&node) || state.learners.contains(&node);
                if state.leader != Some(node) && self.random.percent(20) {
                    continue;
                }
                let forgets = self.random.percent(10);
                let views = &mut self.volumes.get_mut(&claim).unwrap().views;
                if part && state.leader.is_some() {
                    let view = View {
                        term: state.term,
                        leader: state.leader,
                        voters: state.voters.clone(),
                        learners: state.learners.clone(),
                    };
                    views.insert(group.id, view);
                } else if !part && forgets {
                    views.remove(&group.id);
                }
            }
        }
    }

    /// What the operator hears, silence included.
    pub(super) fn reports(&mut self) -> BTreeMap<String, Reported> {
        let mut reports = BTreeMap::new();
        for pod in self.objects.pods.keys().cloned().collect::<Vec<_>>() {
            let silent = self.random.percent(self.silence);
            let reported = match self.running.get(&pod) {
                Some(_) if !silent => {
                    let age = if self.silence > 0 && self.random.percent(5) { 60 } else { 0 };
                    let report = Box::new(self.report_of(&pod));
                    Reported::Known { report, age: Duration::from_secs(age) }
                }
                Some(_) | None => Reported::Unknown { reason: "no answer".to_owned() },
            };
            reports.insert(pod, reported);
        }
        reports
    }

    fn report_of(&self, pod: &str) -> NodeReport {
        let volume = &self.volumes[&names::claim(pod)];
        let datacenter = datacenter(pod);
        let named = |id| GroupAt::seen_from(&datacenter, id, self.topology.as_ref());
        let member = self.topology.as_ref().is_some_and(|t| t.members.contains_key(&volume.node));
        let led = volume
            .views
            .keys()
            .all(|id| self.groups.get(&named(*id)).is_some_and(|group| group.leader.is_some()));
        let healthy = volume.topology.is_some() && member && led;
        NodeReport {
            node: volume.node,
            name: pod.to_owned(),
            store: crate::fixtures::UID.parse().unwrap(),
            datacenter: datacenter.clone(),
            zone: None,
            version: "1".to_owned(),
            addresses: addresses(pod),
            uptime_ms: 1,
            topology: volume.topology.clone(),
            replicas: volume
                .views
                .iter()
                .filter_map(|(id, view)| Some((self.groups.get(&named(*id))?, *id, view)))
                .map(|(state, id, view)| self.replica(volume.node, (id, state), view, &datacenter))
                .collect(),
            not_serving: if healthy { vec![] } else { vec!["waits for the store".to_owned()] },
            corrupt: volume.corrupt.then(|| "bad record".to_owned()),
            rollbacks: Vec::new(),
            engine_format: if has_engine_2(&self.objects.pods[pod]) { 2 } else { 1 },
            shards: self.shards_of(volume),
            hints: vec![],
        }
    }

    fn replica(
        &self,
        node: NodeId,
        (group, state): (GroupId, &Group),
        view: &View,
        datacenter: &Datacenter,
    ) -> ReplicaReport {
        let role = if view.leader == Some(node) {
            Role::Leader
        } else if view.voters.contains(&node) {
            Role::Follower
        } else {
            Role::Learner
        };
        let alive = self.alive();
        let follower = |other: &NodeId| FollowerReport {
            matched: LogIndex::ZERO,
            phase: if state.caught_up.contains(other) {
                CatchUpPhase::CaughtUp
            } else {
                CatchUpPhase::Probing
            },
            last_answer_ms: Some(if alive.contains(other) { 10 } else { 60_000 }),
            catch_up: Default::default(),
        };
        let others = view.voters.iter().chain(&view.learners).filter(|other| **other != node);
        let followers = if role == Role::Leader {
            others.map(|other| (*other, follower(other))).collect()
        } else {
            BTreeMap::new()
        };
        ReplicaReport {
            group,
            role,
            term: view.term,
            leader: view.leader,
            last: LogIndex::ZERO,
            committed: LogIndex::ZERO,
            applied: LogIndex::ZERO,
            voters: view.voters.clone(),
            learners: view.learners.clone(),
            followers,
            keys: 0,
            acknowledgement: state.acknowledgement.clone(),
            log_format: state.log_format,
            log_format_held_back: None,
            failovers: Vec::new(),
            swaps: Vec::new(),
            quarantined: None,
            exchange: self.exchange(group, role, datacenter),
        }
    }
}

fn datacenter(pod: &str) -> Datacenter {
    Name::new(pod.strip_prefix("orders-").unwrap().rsplit_once('-').unwrap().0).unwrap()
}

fn wanted(topology: &Topology, group: &GroupAt) -> BTreeSet<NodeId> {
    let Some(shard) = group.shard() else { return topology.meta_voters.clone() };
    let voters = topology.placement(shard).unwrap().voters.iter();
    let here = |node: &&NodeId| group.reaches(topology.datacenter_of(**node).unwrap());
    voters.filter(here).copied().collect()
}

pub(super) fn addresses(pod: &str) -> Addresses {
    let at = |port: i32| format!("{pod}:{port}");
    Addresses {
        peer: at(names::PORT_PEER),
        plain: at(names::PORT_PLAIN),
        cluster: at(names::PORT_CLUSTER),
        admin: at(names::PORT_ADMIN),
    }
}

/// One change of configuration: a learner joins, or becomes a voter when caught up, or a superfluous voter goes.
fn reconfigure(
    id: GroupId,
    group: &mut Group,
    wanted: &BTreeSet<NodeId>,
    alive: &BTreeSet<NodeId>,
) {
    let working = group.voters.iter().filter(|n| alive.contains(n) && group.caught_up.contains(n));
    if working.count() < majority(group.voters.len()) {
        return;
    }
    let missing = wanted.iter().find(|node| !group.voters.contains(node)).copied();
    if let Some(node) = missing {
        if group.learners.contains(&node)
            && group.caught_up.contains(&node)
            && alive.contains(&node)
        {
            group.learners.remove(&node);
            group.voters.insert(node);
        } else {
            group.learners.insert(node);
        }
        return;
    }
    let learner = group.learners.iter().find(|node| !wanted.contains(node)).copied();
    if let Some(node) = learner.filter(|_| id != GroupId::Meta) {
        group.learners.remove(&node);
        group.caught_up.remove(&node);
        return;
    }
    let superfluous: Vec<NodeId> = group.voters.difference(wanted).copied().collect();
    match superfluous.iter().find(|node| group.leader != Some(**node)) {
        Some(node) => {
            group.voters.remove(node);
            group.caught_up.remove(node);
        }
        None if !superfluous.is_empty() => {
            // The leader itself is superfluous: it hands over first.
            let heir = wanted.iter().find(|n| alive.contains(n) && group.caught_up.contains(n));
            if let Some(heir) = heir {
                group.leader = Some(*heir);
                group.term = group.term.next();
            }
        }
        None => {}
    }
}
