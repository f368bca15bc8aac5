//! Where replicas go: over datacenters first, then zones, then nodes, evenly, with as little movement as possible.
//!
//! One step at a time, from where replicas are: the next step is a function of the present placement, so a planner that
//! forgets everything between steps still arrives. Each step lowers (replicas on leaving nodes, missing, superfluous,
//! spread, sum of squared loads) in that order, so the walk ends; it ends where a step back would begin, so it stays.

mod augment;
mod leaders;
#[cfg(test)]
mod placement_test;

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{Datacenter, NodeId, Zone};

pub use leaders::{Preference, preferred_leaders};

/// How many paths are followed for one balancing step before giving up: a bound, not a tuning value.
const BALANCE_SOURCES_MAX: usize = 64;

/// A member as a place for replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The pod's name: ties are broken by it, so that equal stores are laid out equally.
    pub name: String,
    pub datacenter: Datacenter,
    pub zone: Zone,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// May keep and receive replicas.
    Open,
    /// Keeps what it has and receives nothing: it cannot be reached at present.
    Holds,
    /// Must be emptied: it is to be removed, or lost.
    Leaves,
}

pub type Sites = BTreeMap<NodeId, Site>;

/// One replica of one group (by its index in the slice of placements).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub group: usize,
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To be made at once. At most one replica of each group moves.
    Moves(Vec<Move>),
    /// A group needs a node that there is not.
    Short {
        wanted: usize,
        usable: usize,
    },
    Done,
}

/// How many replicas each group has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// Spread over all sites.
    Over(usize),
    /// So many in each of these datacenters, and none elsewhere.
    InEach(BTreeMap<Datacenter, usize>),
}

/// How much of the work may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Only what redundancy asks for: leaving, missing and superfluous replicas.
    Repair,
    /// Also spread and balance.
    Full,
}

/// The next step from `current` towards a placement with so many voters per group. Groups in `frozen` are not touched.
#[must_use]
pub fn next_step(
    sites: &Sites,
    replicas: &Replicas,
    current: &[BTreeSet<NodeId>],
    frozen: &BTreeSet<usize>,
    extent: Extent,
) -> Step {
    match replicas {
        Replicas::Over(count) => step_over(sites, *count, current, frozen, extent),
        Replicas::InEach(counts) => step_in_each(sites, counts, current, frozen, extent),
    }
}

/// Each datacenter is laid out as if it were alone. What is missing somewhere comes before what is in the way elsewhere.
fn step_in_each(
    sites: &Sites,
    counts: &BTreeMap<Datacenter, usize>,
    current: &[BTreeSet<NodeId>],
    frozen: &BTreeSet<usize>,
    extent: Extent,
) -> Step {
    let within = |datacenter: &Datacenter, extent| {
        let there = |node: &NodeId| sites.get(node).is_some_and(|s| s.datacenter == *datacenter);
        let sites = sites.iter().filter(|(node, _)| there(node));
        let sites: Sites = sites.map(|(node, site)| (*node, site.clone())).collect();
        let voters = current.iter().map(|voters| voters.iter().copied().filter(there).collect());
        let voters: Vec<BTreeSet<NodeId>> = voters.collect();
        step_over(&sites, counts.get(datacenter).copied().unwrap_or(0), &voters, frozen, extent)
    };
    let declared = counts.keys();
    let others: BTreeSet<&Datacenter> = sites.values().map(|site| &site.datacenter).collect();
    let others = others.into_iter().filter(|datacenter| !counts.contains_key(datacenter));
    let mut short = None;
    for datacenter in declared.chain(others) {
        match within(datacenter, Extent::Repair) {
            Step::Done => {}
            found @ Step::Moves(_) => return found,
            found @ Step::Short { .. } => short = short.or(Some(found)),
        }
    }
    let full = counts.keys().filter(|_| short.is_none() && extent == Extent::Full);
    let mut better = full.map(|datacenter| within(datacenter, Extent::Full));
    let better = better.find(|step| *step != Step::Done);
    short.or(better).unwrap_or(Step::Done)
}

fn step_over(
    sites: &Sites,
    replicas: usize,
    current: &[BTreeSet<NodeId>],
    frozen: &BTreeSet<usize>,
    extent: Extent,
) -> Step {
    let layout = Layout { sites, current };
    let mut short = None;
    for (group, voters) in current.iter().enumerate().filter(|(group, _)| !frozen.contains(group)) {
        match layout.repair(group, voters, replicas) {
            Repair::Move(change) => return Step::Moves(vec![change]),
            Repair::Short => short = Some(()),
            Repair::Nothing => {}
        }
    }
    if short.is_some() {
        return Step::Short { wanted: replicas, usable: layout.usable() };
    }
    match extent {
        Extent::Repair => Step::Done,
        Extent::Full => layout
            .improve_spread(frozen)
            .map(|change| vec![change])
            .or_else(|| layout.balance(frozen))
            .map_or(Step::Done, Step::Moves),
    }
}

/// A whole placement from nothing.
///
/// # Errors
/// [`Step::Short`]'s numbers, when there are too few nodes.
pub fn place(
    sites: &Sites,
    replicas: &Replicas,
    groups: usize,
) -> Result<Vec<BTreeSet<NodeId>>, (usize, usize)> {
    settle(sites, replicas, vec![BTreeSet::new(); groups])
}

/// Steps from `current` until nothing is left to do.
///
/// # Errors
/// [`Step::Short`]'s numbers, when there are too few nodes.
pub fn settle(
    sites: &Sites,
    replicas: &Replicas,
    mut current: Vec<BTreeSet<NodeId>>,
) -> Result<Vec<BTreeSet<NodeId>>, (usize, usize)> {
    loop {
        match next_step(sites, replicas, &current, &BTreeSet::new(), Extent::Full) {
            Step::Moves(moves) => moves.iter().for_each(|change| change.apply(&mut current)),
            Step::Short { wanted, usable } => return Err((wanted, usable)),
            Step::Done => return Ok(current),
        }
    }
}

impl Move {
    /// Makes the move in a slice of placements.
    pub fn apply(&self, placements: &mut [BTreeSet<NodeId>]) {
        let voters = &mut placements[self.group];
        if let Some(from) = self.from {
            let there = voters.remove(&from);
            assert!(there, "a replica moves from where it is");
        }
        if let Some(to) = self.to {
            let new = voters.insert(to);
            assert!(new, "a replica moves to where none is");
        }
    }
}

/// How concentrated the replicas of one group are: squared counts per datacenter, then per zone. Lower is wider.
type Spread = (usize, usize);

enum Repair {
    Move(Move),
    Short,
    Nothing,
}

struct Layout<'a> {
    sites: &'a Sites,
    current: &'a [BTreeSet<NodeId>],
}

impl Layout<'_> {
    fn repair(&self, group: usize, voters: &BTreeSet<NodeId>, replicas: usize) -> Repair {
        let leaving = voters.iter().copied().find(|node| self.leaves(*node));
        if voters.len() > replicas {
            let from = leaving.or_else(|| self.worst(voters));
            return Repair::Move(Move { group, from, to: None });
        }
        if leaving.is_none() && voters.len() == replicas {
            return Repair::Nothing;
        }
        // A group that is short grows before it lets a replica go.
        let from = if voters.len() < replicas { None } else { leaving };
        match self.best_target(voters) {
            Some(to) => Repair::Move(Move { group, from, to: Some(to) }),
            None => Repair::Short,
        }
    }

    fn leaves(&self, node: NodeId) -> bool {
        self.sites.get(&node).is_none_or(|site| site.standing == Standing::Leaves)
    }

    fn open(&self) -> impl Iterator<Item = (NodeId, &Site)> {
        self.sites
            .iter()
            .filter(|(_, site)| site.standing == Standing::Open)
            .map(|(node, site)| (*node, site))
    }

    fn usable(&self) -> usize {
        self.sites.values().filter(|site| site.standing != Standing::Leaves).count()
    }

    fn load(&self, node: NodeId) -> usize {
        self.current.iter().filter(|voters| voters.contains(&node)).count()
    }

    /// The open node that keeps a group with these voters widest, the least loaded of several.
    fn best_target(&self, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
        self.open()
            .filter(|(node, _)| !voters.contains(node))
            .min_by_key(|(node, site)| {
                (self.spread_with(voters, None, Some(*node)), self.load(*node), &site.name, *node)
            })
            .map(|(node, _)| node)
    }

    /// The voter without which the group stays widest, the most loaded of several.
    fn worst(&self, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
        voters.iter().copied().min_by_key(|node| {
            let load = std::cmp::Reverse(self.load(*node));
            (self.spread_with(voters, Some(*node), None), load, std::cmp::Reverse(*node))
        })
    }

    /// Replicas on leaving nodes do not count: they are on their way out.
    fn spread_with(
        &self,
        voters: &BTreeSet<NodeId>,
        without: Option<NodeId>,
        with: Option<NodeId>,
    ) -> Spread {
        let mut datacenters: BTreeMap<&Datacenter, usize> = BTreeMap::new();
        let mut zones: BTreeMap<(&Datacenter, &Zone), usize> = BTreeMap::new();
        let nodes = voters.iter().copied().filter(|node| Some(*node) != without).chain(with);
        for site in nodes.filter(|node| !self.leaves(*node)).filter_map(|n| self.sites.get(&n)) {
            *datacenters.entry(&site.datacenter).or_default() += 1;
            *zones.entry((&site.datacenter, &site.zone)).or_default() += 1;
        }
        let squares = |counts: &mut dyn Iterator<Item = usize>| counts.map(|n| n * n).sum();
        (squares(&mut datacenters.into_values()), squares(&mut zones.into_values()))
    }

    /// Moves one replica where that makes its group wider.
    fn improve_spread(&self, frozen: &BTreeSet<usize>) -> Option<Move> {
        for (group, voters) in self.current.iter().enumerate().filter(|(g, _)| !frozen.contains(g))
        {
            let spread = self.spread_with(voters, None, None);
            let better = self
                .movable(voters)
                .map(|(from, to)| (self.spread_with(voters, Some(from), Some(to)), from, to))
                .filter(|(after, _, _)| *after < spread)
                .min_by_key(|(after, from, to)| {
                    let from_load = std::cmp::Reverse(self.load(*from));
                    (*after, self.load(*to), from_load, *to, *from)
                });
            if let Some((_, from, to)) = better {
                return Some(Move { group, from: Some(from), to: Some(to) });
            }
        }
        None
    }

    /// Pairs of a voter that can be asked to leave and an open node that can take its place.
    fn movable(&self, voters: &BTreeSet<NodeId>) -> impl Iterator<Item = (NodeId, NodeId)> {
        let sources = voters
            .iter()
            .copied()
            .filter(|node| self.sites.get(node).is_some_and(|s| s.standing == Standing::Open));
        sources.flat_map(move |from| {
            self.open()
                .map(|(to, _)| to)
                .filter(|to| !voters.contains(to))
                .map(move |to| (from, to))
        })
    }

    /// Evens out the number of replicas per node without making any group narrower. Where no single move can, a chain
    /// of moves through other nodes does.
    fn balance(&self, frozen: &BTreeSet<usize>) -> Option<Vec<Move>> {
        let loads: BTreeMap<NodeId, usize> =
            self.open().map(|(node, _)| (node, self.load(node))).collect();
        let lowest = *loads.values().min()?;
        let highest = *loads.values().max()?;
        if highest < lowest + 2 {
            return None;
        }
        let mut edges = augment::Edges::new();
        for (group, voters) in self.current.iter().enumerate().filter(|(g, _)| !frozen.contains(g))
        {
            let spread = self.spread_with(voters, None, None);
            for (from, to) in self.movable(voters) {
                if self.spread_with(voters, Some(from), Some(to)) <= spread {
                    edges.entry(from).or_default().entry(to).or_insert(group);
                }
            }
        }
        augment::paths(&loads, &edges, BALANCE_SOURCES_MAX)
            .map(|path| {
                path.into_iter()
                    .map(|hop| Move { group: hop.token, from: Some(hop.from), to: Some(hop.to) })
                    .collect::<Vec<_>>()
            })
            // Moving two replicas of one group at once could undo the spread that each keeps alone.
            .find(|moves| {
                moves.iter().map(|change| change.group).collect::<BTreeSet<_>>().len()
                    == moves.len()
            })
    }
}
