//! Chains of moves that even out loads: shortest augmenting paths, as in bipartite matching.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_model::NodeId;

/// From a node to a node, and what could move along.
pub(super) type Edges = BTreeMap<NodeId, BTreeMap<NodeId, usize>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) token: usize,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
}

/// For each of the most loaded nodes, the shortest path to a node with at least two less, the most loaded first.
pub(super) fn paths<'a>(
    loads: &'a BTreeMap<NodeId, usize>,
    edges: &'a Edges,
    sources_max: usize,
) -> impl Iterator<Item = Vec<Hop>> + 'a {
    let mut sources: Vec<NodeId> = loads.keys().copied().collect();
    sources.sort_by_key(|node| std::cmp::Reverse(loads[node]));
    sources.truncate(sources_max);
    sources.into_iter().filter_map(move |source| shortest(source, loads, edges))
}

fn shortest(source: NodeId, loads: &BTreeMap<NodeId, usize>, edges: &Edges) -> Option<Vec<Hop>> {
    let wanted = loads[&source].checked_sub(2)?;
    let mut reached: BTreeMap<NodeId, Hop> = BTreeMap::new();
    let mut seen = BTreeSet::from([source]);
    let mut queue = VecDeque::from([source]);
    while let Some(from) = queue.pop_front() {
        let mut neighbours: Vec<(NodeId, usize)> = edges
            .get(&from)
            .into_iter()
            .flatten()
            .map(|(to, token)| (*to, *token))
            .filter(|(to, _)| loads.contains_key(to))
            .collect();
        neighbours.sort_by_key(|(to, _)| (loads[to], *to));
        for (to, token) in neighbours {
            if !seen.insert(to) {
                continue;
            }
            reached.insert(to, Hop { token, from, to });
            if loads[&to] <= wanted {
                return Some(walk_back(to, source, &reached));
            }
            queue.push_back(to);
        }
    }
    None
}

fn walk_back(mut at: NodeId, source: NodeId, reached: &BTreeMap<NodeId, Hop>) -> Vec<Hop> {
    let mut path = vec![];
    while at != source {
        let hop = reached[&at];
        path.push(hop);
        at = hop.from;
    }
    path.reverse();
    path
}
