//! Who should lead which shard: where somebody asked for it, and evenly over nodes among the rest, changing little.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{Datacenter, NodeId};

use super::{Sites, Standing, augment};

/// Where the leader of a group was asked to be. The pod counts before the datacenter; neither is a reason to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    pub pod: Option<String>,
    pub datacenter: Option<Datacenter>,
}

impl Preference {
    /// Somebody asked for something.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        self.pod.is_some() || self.datacenter.is_some()
    }

    /// Whether a leader on `site` is what was asked for, by as much of it as one of `voters` can fulfil.
    #[must_use]
    pub fn is_met_by(&self, sites: &Sites, voters: &BTreeSet<NodeId>, node: NodeId) -> bool {
        self.is_given() && candidates(sites, self, voters).contains(&node)
    }
}

/// The preferred leader of each group, given who is preferred now. `None` where every voter is leaving.
#[must_use]
pub fn preferred_leaders(
    sites: &Sites,
    asked: &[&Preference],
    voters: &[BTreeSet<NodeId>],
    current: &[Option<NodeId>],
) -> Vec<Option<NodeId>> {
    assert_eq!(voters.len(), current.len(), "one preference per group");
    assert_eq!(voters.len(), asked.len(), "one wish per group, if an empty one");
    let choices: Vec<BTreeSet<NodeId>> =
        voters.iter().zip(asked).map(|(voters, asked)| candidates(sites, asked, voters)).collect();
    let mut chosen: Vec<Option<NodeId>> = current
        .iter()
        .zip(&choices)
        .map(|(node, choices)| node.filter(|node| choices.contains(node)))
        .collect();
    for group in 0..chosen.len() {
        if chosen[group].is_none() {
            chosen[group] = least_loaded(sites, &choices[group], &chosen);
        }
    }
    while let Some(path) = improvement(&choices, &chosen) {
        for hop in path {
            chosen[hop.token] = Some(hop.to);
        }
    }
    chosen
}

fn candidates(sites: &Sites, asked: &Preference, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let staying = || {
        voters.iter().filter_map(|node| {
            let site = sites.get(node)?;
            (site.standing != Standing::Leaves).then_some((*node, site))
        })
    };
    let named: BTreeSet<NodeId> = staying()
        .filter(|(_, site)| asked.pod.as_ref() == Some(&site.name))
        .map(|(node, _)| node)
        .collect();
    if !named.is_empty() {
        return named;
    }
    let at_home: BTreeSet<NodeId> = staying()
        .filter(|(_, site)| asked.datacenter.as_ref() == Some(&site.datacenter))
        .map(|(node, _)| node)
        .collect();
    if at_home.is_empty() { staying().map(|(node, _)| node).collect() } else { at_home }
}

fn least_loaded(
    sites: &Sites,
    choices: &BTreeSet<NodeId>,
    chosen: &[Option<NodeId>],
) -> Option<NodeId> {
    let datacenter_load = |datacenter: &Datacenter| {
        let leaders = chosen.iter().flatten().filter_map(|node| sites.get(node));
        leaders.filter(|site| site.datacenter == *datacenter).count()
    };
    choices.iter().copied().min_by_key(|node| {
        let site = &sites[node];
        let load = chosen.iter().flatten().filter(|leader| *leader == node).count();
        (site.standing, load, datacenter_load(&site.datacenter), &site.name, *node)
    })
}

fn improvement(
    choices: &[BTreeSet<NodeId>],
    chosen: &[Option<NodeId>],
) -> Option<Vec<augment::Hop>> {
    let mut loads: BTreeMap<NodeId, usize> =
        choices.iter().flatten().map(|node| (*node, 0)).collect();
    let mut edges = augment::Edges::new();
    for (group, leader) in chosen.iter().enumerate() {
        let Some(leader) = leader else { continue };
        *loads.entry(*leader).or_default() += 1;
        for to in choices[group].iter().filter(|to| *to != leader) {
            edges.entry(*leader).or_default().entry(*to).or_insert(group);
        }
    }
    augment::paths(&loads, &edges, usize::MAX).next()
}
