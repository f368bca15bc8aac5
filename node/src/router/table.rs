//! What this node knows of the topology and of who leads. Readers load a pointer; writers replace the whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quorate_group::host::Status;
use quorate_model::{Datacenter, Epoch, GroupId, NodeId, Policy, ShardId, StoreId, Term, Topology};
use quorate_replication::leaderless::Standing;
use tokio::sync::watch;

use crate::peer::{Hear, Leaders};
use crate::session::{Routing, ShardRoute};

/// Who this node is, as clients are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub node: NodeId,
    pub name: String,
    pub datacenter: Datacenter,
    pub store: StoreId,
}

#[derive(Debug)]
pub struct Table {
    view: ArcSwap<View>,
    /// Held while the view is replaced.
    change: Mutex<()>,
    changed: watch::Sender<()>,
}

/// The table at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub routing: Arc<Routing>,
    /// The newest topology that the node holds; `None` on a blank node.
    pub topology: Option<Arc<Topology>>,
    /// The meta group's route, beside the shards' in `routing`.
    pub meta: ShardRoute,
}

impl Table {
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let Identity { node, name, datacenter, store } = identity;
        let routing = Routing {
            node,
            name,
            datacenter,
            store,
            epoch: Epoch::ZERO,
            members: BTreeMap::new(),
            shards: Vec::new(),
            policy: Policy::default(),
            leaderless: None,
            multi_leader: None,
        };
        let view = View { routing: Arc::new(routing), topology: None, meta: unknown(Vec::new()) };
        let (changed, _) = watch::channel(());
        Self { view: ArcSwap::from_pointee(view), change: Mutex::new(()), changed }
    }

    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// A pointer load: for every request.
    #[must_use]
    pub fn routing(&self) -> Arc<Routing> {
        Arc::clone(&self.view.load().routing)
    }

    /// Sees every later change of the table.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// A newer topology is in force.
    pub fn follow(&self, topology: Topology) {
        self.change(|view| {
            if view.topology.as_ref().is_some_and(|held| held.epoch >= topology.epoch) {
                return false;
            }
            let routing = Arc::make_mut(&mut view.routing);
            routing.epoch = topology.epoch;
            routing.members.clone_from(&topology.members);
            routing.policy.clone_from(&topology.policy);
            routing.leaderless =
                topology.mode.leaderless().map(|leaderless| leaderless.policy.clone());
            routing.multi_leader =
                topology.mode.multi_leader().map(|multi_leader| multi_leader.policy.clone());
            routing.shards.resize_with(topology.shards.len(), || unknown(Vec::new()));
            let node = routing.node;
            for (route, (shard, _)) in routing.shards.iter_mut().zip(topology.placements()) {
                let group = topology.group_at(shard, node);
                route.voters = group.into_iter().flat_map(|group| group.voters).collect();
            }
            if routing.is_leaderless() {
                // Where a node without a replica sends clients: to each its share.
                for at in 0..routing.shards.len() {
                    let voters = routing.asked_of(&routing.shards[at].voters);
                    routing.shards[at].leader = voters.get(at % voters.len().max(1)).copied();
                }
            }
            view.meta.voters = topology.meta_voters.iter().copied().collect();
            view.topology = Some(Arc::new(topology));
            true
        });
    }

    /// What the node's own replicas know.
    pub fn observe(&self, status: &Status) {
        self.change(|view| {
            let mut changed = false;
            let mut hosted = std::collections::BTreeSet::new();
            // One that is being filled sends clients on.
            let whole = status.shards.iter().filter(|one| one.standing == Standing::Whole);
            hosted.extend(whole.map(|one| GroupId::Shard(one.shard)));
            for replica in &status.replicas {
                hosted.insert(replica.group);
                if let Some(mut route) = view.route_mut(replica.group) {
                    changed |= route.learn(replica.term, replica.leader);
                }
            }
            let count = view.routing.shards.len();
            for (shard, at) in (0..).map(ShardId).zip(0..count) {
                let here = hosted.contains(&GroupId::Shard(shard));
                if view.routing.shards[at].hosted != here {
                    Arc::make_mut(&mut view.routing).shards[at].hosted = here;
                    changed = true;
                }
            }
            changed
        });
    }

    /// `node` was asked and does not lead; it may know who does.
    pub fn contradict(&self, group: GroupId, node: NodeId, leader: Option<NodeId>) {
        self.change(|view| {
            if view.is_leaderless(group) {
                return false;
            }
            let Some(mut route) = view.route_mut(group) else { return false };
            let leader = leader.filter(|leader| *leader != node);
            if route.leader != Some(node) && (route.leader.is_some() || leader.is_none()) {
                return false;
            }
            route.leader = leader;
            route.leader_last = leader.or(route.leader_last);
            true
        });
    }

    fn change(&self, how: impl FnOnce(&mut View) -> bool) {
        let _held = self.change.lock();
        let mut view = View::clone(&self.view.load());
        if how(&mut view) {
            self.view.store(Arc::new(view));
            self.changed.send_replace(());
        }
    }
}

impl Hear for Table {
    fn leaders(&self, from: NodeId, leaders: Leaders) {
        self.change(|view| {
            let mut changed = false;
            // Another datacenter's leader leads another group.
            let theirs = view.routing.multi_leader.is_some() && !view.routing.is_near(from);
            for (group, term) in leaders.leads {
                if theirs && group != GroupId::Meta {
                    continue;
                }
                if let Some(mut route) = view.route_mut(group) {
                    changed |= route.learn(term, Some(from));
                }
            }
            changed
        });
    }
}

impl View {
    #[must_use]
    pub fn route(&self, group: GroupId) -> Option<&ShardRoute> {
        match group {
            GroupId::Meta => Some(&self.meta),
            GroupId::Shard(shard) => self.routing.shard(shard),
        }
    }

    /// Whom to ask: the leader where one is known, else one voter after the other. Without leaders this node comes first, then those
    /// of its datacenter.
    #[must_use]
    pub fn target(&self, group: GroupId, attempt: usize) -> Option<NodeId> {
        let route = self.route(group)?;
        if self.is_leaderless(group) {
            let mut voters = self.routing.asked_of(&route.voters);
            voters.sort_by_key(|node| {
                (*node != self.routing.node, !self.routing.is_near(*node), *node)
            });
            return voters.get(attempt % voters.len().max(1)).copied();
        }
        route.leader.or_else(|| {
            let count = route.voters.len();
            if count == 0 { None } else { route.voters.get(attempt % count).copied() }
        })
    }

    /// Every replica of the group takes its requests.
    pub(super) fn is_leaderless(&self, group: GroupId) -> bool {
        self.routing.is_leaderless() && group != GroupId::Meta
    }

    /// Copies the routes only when one of them is there to be changed.
    fn route_mut(&mut self, group: GroupId) -> Option<RouteMut<'_>> {
        match group {
            GroupId::Meta => Some(RouteMut::Meta(&mut self.meta)),
            GroupId::Shard(shard) => {
                self.routing.shard(shard)?;
                Some(RouteMut::Shard(&mut self.routing, usize::from(shard.0)))
            }
        }
    }
}

/// A route that is copied when it is written, not when it is looked at: most news is none.
enum RouteMut<'a> {
    Meta(&'a mut ShardRoute),
    Shard(&'a mut Arc<Routing>, usize),
}

impl RouteMut<'_> {
    /// Someone says that `leader` leads in `term`. Answers whether that is news.
    fn learn(&mut self, term: Term, leader: Option<NodeId>) -> bool {
        let newer = term > self.term;
        let first = term == self.term && self.leader.is_none() && leader.is_some();
        if !newer && !first {
            return false;
        }
        self.term = term;
        self.leader = leader;
        self.leader_last = leader.or(self.leader_last);
        true
    }
}

impl std::ops::Deref for RouteMut<'_> {
    type Target = ShardRoute;

    fn deref(&self) -> &ShardRoute {
        match self {
            Self::Meta(route) => route,
            Self::Shard(routing, at) => &routing.shards[*at],
        }
    }
}

impl std::ops::DerefMut for RouteMut<'_> {
    fn deref_mut(&mut self) -> &mut ShardRoute {
        match self {
            Self::Meta(route) => route,
            Self::Shard(routing, at) => &mut Arc::make_mut(routing).shards[*at],
        }
    }
}

const fn unknown(voters: Vec<NodeId>) -> ShardRoute {
    ShardRoute { leader: None, leader_last: None, term: Term::ZERO, voters, hosted: false }
}

/// One shard on these nodes.
#[cfg(test)]
pub(super) fn test_topology(nodes: &[NodeId]) -> Topology {
    let voters: std::collections::BTreeSet<NodeId> = nodes.iter().copied().collect();
    Topology {
        store: StoreId(1),
        epoch: Epoch(1),
        members: BTreeMap::new(),
        meta_voters: voters.clone(),
        shards: vec![quorate_model::ShardPlacement {
            genesis: voters.clone(),
            voters,
            preferred_leader: None,
        }],
        policy: Default::default(),
        mode: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use quorate_group::host::ShardStatus;
    use quorate_model::{Addresses, Datacenters, LeaderlessPolicy, Member, Mode};

    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const SHARD: GroupId = GroupId::Shard(ShardId(0));

    fn table() -> Table {
        let table = Table::new(Identity {
            node: A,
            name: "a".to_owned(),
            datacenter: Datacenter::new("dc-a").unwrap(),
            store: StoreId(1),
        });
        table.follow(test_topology(&[A, B]));
        table
    }

    fn leads(term: u64) -> Leaders {
        Leaders { leads: vec![(SHARD, Term(term))], moved: Vec::new() }
    }

    #[test]
    fn a_newer_term_wins_and_an_older_one_is_no_news() {
        let table = table();
        table.leaders(B, leads(2));
        table.leaders(A, leads(1));
        assert_eq!(table.routing().shards[0].leader, Some(B));
        table.leaders(A, leads(3));
        assert_eq!(table.routing().shards[0].leader, Some(A));
    }

    #[test]
    fn a_contradicted_leader_is_remembered_as_the_last_one() {
        let table = table();
        table.leaders(B, leads(2));
        table.contradict(SHARD, B, None);
        let route = table.routing().shards[0].clone();
        assert_eq!((route.leader, route.leader_last), (None, Some(B)));
        table.contradict(SHARD, B, Some(A));
        assert_eq!(table.routing().shards[0].leader, Some(A));
    }

    #[test]
    fn without_a_leader_the_voters_are_asked_in_turn() {
        let view = table().view();
        assert_eq!(view.target(SHARD, 0), Some(A));
        assert_eq!(view.target(SHARD, 1), Some(B));
        assert_eq!(view.target(SHARD, 2), Some(A));
        assert_eq!(view.target(GroupId::Shard(ShardId(9)), 0), None);
    }

    #[test]
    fn without_leaders_a_replica_that_is_being_filled_sends_clients_on() {
        let table = table();
        let leaderless = Mode::Leaderless(LeaderlessPolicy::default().into());
        table.follow(Topology { epoch: Epoch(2), mode: leaderless, ..test_topology(&[A, B]) });
        let hosted = |standing| {
            let shards = vec![ShardStatus {
                shard: ShardId(0),
                standing,
                given_up: None,
                counts: Default::default(),
                root: 0,
                open_requests: 0,
                relayed: Vec::new(),
            }];
            table.observe(&Status { shards, ..Status::default() });
            table.routing().leads(ShardId(0))
        };
        assert!(!hosted(Standing::Filling));
        assert_eq!(table.routing().elsewhere(ShardId(0)), Some(B));
        assert!(hosted(Standing::Whole));
    }

    #[test]
    fn where_levels_count_within_a_datacenter_only_replicas_there_are_asked() {
        let table = table();
        let policy =
            LeaderlessPolicy { datacenters: Datacenters::Local, ..LeaderlessPolicy::default() };
        let address = String::new;
        let addresses =
            Addresses { peer: address(), plain: address(), cluster: address(), admin: address() };
        let member = |id: NodeId, datacenter: &str| Member {
            id,
            name: id.to_string(),
            datacenter: Datacenter::new(datacenter).unwrap(),
            zone: Datacenter::new("zone").unwrap(),
            addresses: addresses.clone(),
        };
        let topology = |epoch, places: &[(NodeId, &str)]| Topology {
            epoch: Epoch(epoch),
            members: places.iter().map(|(node, place)| (*node, member(*node, place))).collect(),
            mode: Mode::Leaderless(policy.clone().into()),
            ..test_topology(&[A, B])
        };
        table.follow(topology(2, &[(A, "dc-a"), (B, "dc-b")]));
        assert_eq!([0, 1].map(|attempt| table.view().target(SHARD, attempt)), [Some(A); 2]);
        table.follow(topology(3, &[(A, "dc-b"), (B, "dc-b")]));
        let far = [0, 1].map(|attempt| table.view().target(SHARD, attempt));
        assert_eq!(far, [Some(A), Some(B)], "else whoever there is");
    }

    #[test]
    fn news_wakes_who_waits_and_no_news_does_not() {
        let table = table();
        let changes = table.changes();
        table.leaders(B, leads(2));
        assert!(changes.has_changed().unwrap());
        let mut changes = table.changes();
        changes.mark_unchanged();
        table.leaders(B, leads(2));
        assert!(!changes.has_changed().unwrap());
    }
}
