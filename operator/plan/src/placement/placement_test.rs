//! Properties of placement, over random shapes of stores.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_model::{Datacenter, Name, NodeId};

use super::{
    Extent, Move, Preference, Replicas, Site, Sites, Standing, Step, next_step, place,
    preferred_leaders, settle,
};

/// `shape[d][z]` nodes in zone z of datacenter d.
fn sites(shape: &[Vec<usize>]) -> Sites {
    let mut sites = Sites::new();
    for (d, zones) in shape.iter().enumerate() {
        let mut ordinal = 0;
        for (z, nodes) in zones.iter().enumerate() {
            for _ in 0..*nodes {
                // Identities are random in life, so their order must not agree with the names'.
                let id = NodeId(u128::try_from((d * 1000 + ordinal) * 7919 % 10_007).unwrap());
                let site = Site {
                    name: format!("s-dc-{d}-{ordinal}"),
                    datacenter: Name::new(format!("dc-{d}")).unwrap(),
                    zone: Name::new(format!("z-{z}")).unwrap(),
                    standing: Standing::Open,
                };
                assert!(sites.insert(id, site).is_none());
                ordinal += 1;
            }
        }
    }
    sites
}

fn loads(sites: &Sites, placement: &[BTreeSet<NodeId>]) -> BTreeMap<NodeId, usize> {
    sites
        .keys()
        .map(|node| (*node, placement.iter().filter(|voters| voters.contains(node)).count()))
        .collect()
}

fn counts<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

fn moved(before: &[BTreeSet<NodeId>], after: &[BTreeSet<NodeId>]) -> usize {
    before.iter().zip(after).map(|(before, after)| after.difference(before).count()).sum()
}

/// Steps until done; each step must be small, and there must be an end.
fn walk(
    sites: &Sites,
    replicas: usize,
    mut current: Vec<BTreeSet<NodeId>>,
) -> Vec<BTreeSet<NodeId>> {
    for _ in 0..2000 {
        match next_step(sites, &Replicas::Over(replicas), &current, &BTreeSet::new(), Extent::Full)
        {
            Step::Moves(moves) => {
                let groups: BTreeSet<usize> = moves.iter().map(|change| change.group).collect();
                assert_eq!(groups.len(), moves.len(), "one replica of each group at a time");
                moves.iter().for_each(|change| change.apply(&mut current));
            }
            Step::Done => return current,
            Step::Short { wanted, usable } => panic!("{wanted} of {usable}"),
        }
    }
    panic!("placement does not settle");
}

fn shape() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(1..4usize, 1..3), 1..6)
}

fn even_shape() -> impl Strategy<Value = (Vec<Vec<usize>>, usize)> {
    (1..4usize, prop::sample::select(vec![1, 3, 5])).prop_flat_map(|(nodes, replicas)| {
        (replicas..=6).prop_map(move |d| (vec![vec![nodes]; d], replicas))
    })
}

proptest! {
    #[test]
    fn replicas_of_a_shard_are_spread_over_datacenters_then_zones(
        shape in shape(), shards in 1..9usize, replicas in prop::sample::select(vec![1, 3, 5]),
    ) {
        let sites = sites(&shape);
        prop_assume!(sites.len() >= replicas);
        let placement = place(&sites, &Replicas::Over(replicas), shards).unwrap();
        for voters in &placement {
            prop_assert_eq!(voters.len(), replicas);
            let datacenters = counts(voters.iter().map(|node| &sites[node].datacenter));
            if shape.len() >= replicas {
                prop_assert!(datacenters.values().all(|count| *count == 1));
            }
            // A datacenter holds one more than another only where the other has no node left.
            for (d, zones) in shape.iter().enumerate() {
                let name = Name::new(format!("dc-{d}")).unwrap();
                let here = datacenters.get(&name).copied().unwrap_or(0);
                let most = datacenters.values().max().copied().unwrap_or(0);
                prop_assert!(here + 1 >= most || here == zones.iter().sum::<usize>());
                let in_zone = |z: usize| voters.iter().filter(|node| {
                    sites[*node].datacenter == name && sites[*node].zone.as_str() == format!("z-{z}")
                }).count();
                let most_in_zone = (0..zones.len()).map(in_zone).max().unwrap_or(0);
                for (z, nodes) in zones.iter().enumerate() {
                    prop_assert!(in_zone(z) + 1 >= most_in_zone || in_zone(z) == *nodes);
                }
            }
        }
    }

    #[test]
    fn a_settled_placement_stays((shape, replicas) in even_shape(), shards in 1..9usize) {
        let sites = sites(&shape);
        let placement = place(&sites, &Replicas::Over(replicas), shards).unwrap();
        prop_assert_eq!(
            next_step(&sites, &Replicas::Over(replicas), &placement, &BTreeSet::new(), Extent::Full),
            Step::Done
        );
        prop_assert_eq!(place(&sites, &Replicas::Over(replicas), shards).unwrap(), placement);
    }

    #[test]
    fn loads_differ_by_at_most_one_where_datacenters_are_equal(
        (shape, replicas) in even_shape(), shards in 1..9usize,
    ) {
        let sites = sites(&shape);
        let loads = loads(&sites, &place(&sites, &Replicas::Over(replicas), shards).unwrap());
        prop_assert!(loads.values().max().unwrap() - loads.values().min().unwrap() <= 1, "{:?}", loads);
    }

    #[test]
    fn a_new_node_takes_its_share_and_nothing_else_moves(
        nodes in 1..4usize, replicas in prop::sample::select(vec![1, 3, 5]), shards in 1..12usize,
    ) {
        // As many datacenters as replicas: the share of a datacenter is all shards, whatever its size.
        let mut shape = vec![vec![nodes]; replicas];
        let before = place(&sites(&shape), &Replicas::Over(replicas), shards).unwrap();
        shape[0][0] += 1;
        let grown = sites(&shape);
        let after = walk(&grown, replicas, before.clone());
        let new = loads(&grown, &after).into_iter()
            .find(|(node, _)| grown[node].name == format!("s-dc-0-{nodes}")).unwrap();
        prop_assert_eq!(new.1, shards / (nodes + 1));
        prop_assert_eq!(moved(&before, &after), new.1);
    }

    #[test]
    fn only_the_replicas_of_a_leaving_node_move(
        nodes in 2..4usize, replicas in prop::sample::select(vec![1, 3, 5]), shards in 1..12usize,
        leaver in 0..20usize,
    ) {
        let mut sites = sites(&vec![vec![nodes]; replicas]);
        let before = place(&sites, &Replicas::Over(replicas), shards).unwrap();
        let node = *sites.keys().nth(leaver % sites.len()).unwrap();
        let had = loads(&sites, &before)[&node];
        sites.get_mut(&node).unwrap().standing = Standing::Leaves;
        let after = walk(&sites, replicas, before.clone());
        prop_assert!(after.iter().all(|voters| !voters.contains(&node) && voters.len() == replicas));
        prop_assert_eq!(moved(&before, &after), had);
    }

    #[test]
    fn any_change_of_shape_settles(
        from in shape(), to in shape(), shards in 1..7usize, replicas in prop::sample::select(vec![1, 3, 5]),
        holding in prop::collection::vec(any::<bool>(), 64),
    ) {
        let (old, mut new) = (sites(&from), sites(&to));
        prop_assume!(old.len() >= replicas);
        let before = place(&old, &Replicas::Over(replicas), shards).unwrap();
        for (site, holds) in new.values_mut().zip(holding) {
            if holds {
                site.standing = Standing::Holds;
            }
        }
        if new.values().filter(|site| site.standing == Standing::Open).count() >= replicas {
            let after = walk(&new, replicas, before.clone());
            for (before, after) in before.iter().zip(&after) {
                prop_assert_eq!(after.len(), replicas);
                for node in after.difference(before) {
                    prop_assert_eq!(new[node].standing, Standing::Open);
                }
            }
        }
    }

    #[test]
    fn preferred_leaders_are_even_and_stay(shards in 1..12usize, nodes in 1..4usize) {
        let sites = sites(&vec![vec![nodes]; 3]);
        let placement = place(&sites, &Replicas::Over(3), shards).unwrap();
        let nothing = Preference::default();
        let nothing = vec![&nothing; shards];
        let leaders = preferred_leaders(&sites, &nothing, &placement, &vec![None; shards]);
        let mut load = counts(leaders.iter().flatten().copied());
        for node in sites.keys().filter(|node| placement.iter().any(|voters| voters.contains(node))) {
            load.entry(*node).or_default();
        }
        prop_assert!(load.values().max().unwrap() - load.values().min().unwrap() <= 1);
        prop_assert_eq!(preferred_leaders(&sites, &nothing, &placement, &leaders), leaders.clone());
        let home = Name::new("dc-1").unwrap();
        let asked = Preference { datacenter: Some(home.clone()), pod: None };
        let at_home = preferred_leaders(&sites, &vec![&asked; shards], &placement, &leaders);
        for (leader, voters) in at_home.iter().zip(&placement) {
            let leader = leader.unwrap();
            prop_assert!(voters.contains(&leader) && sites[&leader].datacenter == home);
        }
    }
}

#[test]
fn a_preferred_pod_counts_before_its_datacenter_and_only_where_it_has_a_replica() {
    let sites = sites(&[vec![2], vec![2], vec![2]]);
    let placement = place(&sites, &Replicas::Over(3), 6).unwrap();
    let (pod, name) = sites.iter().map(|(node, site)| (*node, site.name.clone())).next().unwrap();
    let elsewhere = sites.values().find(|site| site.datacenter != sites[&pod].datacenter).unwrap();
    let home = elsewhere.datacenter.clone();
    let asked = Preference { pod: Some(name), datacenter: Some(home.clone()) };
    let leaders = preferred_leaders(&sites, &[&asked; 6], &placement, &[None; 6]);
    assert!(placement.iter().any(|voters| !voters.contains(&pod)), "it does not have them all");
    for (voters, leader) in placement.iter().zip(leaders) {
        let leader = leader.unwrap();
        if voters.contains(&pod) {
            assert_eq!(leader, pod);
        } else {
            assert_eq!(sites[&leader].datacenter, home);
        }
    }
}

#[test]
fn replicas_stay_on_a_node_that_cannot_be_reached() {
    let mut sites = sites(&[vec![2], vec![2], vec![2]]);
    let placement = place(&sites, &Replicas::Over(3), 4).unwrap();
    let silent = *placement[0].first().unwrap();
    sites.get_mut(&silent).unwrap().standing = Standing::Holds;
    assert_eq!(
        next_step(&sites, &Replicas::Over(3), &placement, &BTreeSet::new(), Extent::Full),
        Step::Done
    );
}

#[test]
fn a_lost_node_without_a_successor_is_waited_for() {
    let mut sites = sites(&[vec![1], vec![1], vec![1]]);
    let placement = place(&sites, &Replicas::Over(3), 2).unwrap();
    let lost = *placement[0].first().unwrap();
    sites.get_mut(&lost).unwrap().standing = Standing::Leaves;
    let step = next_step(&sites, &Replicas::Over(3), &placement, &BTreeSet::new(), Extent::Full);
    assert_eq!(step, Step::Short { wanted: 3, usable: 2 });
    assert_eq!(settle(&sites, &Replicas::Over(3), placement), Err((3, 2)));
}

#[test]
fn replicas_in_each_datacenter_are_laid_out_on_their_own() {
    let shape = [("a", 3), ("b", 4), ("c", 3)];
    let sites: Sites = shape
        .iter()
        .flat_map(|(datacenter, count)| (0..*count).map(move |at| (*datacenter, at)))
        .zip(1..)
        .map(|((datacenter, at), id)| {
            let datacenter = Datacenter::new(datacenter).unwrap();
            let (name, zone) = (format!("{datacenter}-{at}"), datacenter.clone());
            (NodeId(id), Site { name, datacenter, zone, standing: Standing::Open })
        })
        .collect();
    let of = |voters: &BTreeSet<NodeId>, name: &str| {
        voters.iter().filter(|node| sites[*node].datacenter.as_str() == name).count()
    };
    let each = |names: &[&str]| {
        Replicas::InEach(names.iter().map(|name| (Datacenter::new(*name).unwrap(), 2)).collect())
    };
    let two = place(&sites, &each(&["a", "b"]), 4).unwrap();
    assert!(two.iter().all(|voters| ["a", "b", "c"].map(|name| of(voters, name)) == [2, 2, 0]));
    // A datacenter comes before another one goes.
    let other = each(&["b", "c"]);
    let step = next_step(&sites, &other, &two, &BTreeSet::new(), Extent::Full);
    let Step::Moves(moves) = step else { panic!("{step:?}") };
    let [Move { from: None, to: Some(to), .. }] = moves[..] else { panic!("{moves:?}") };
    assert_eq!(sites[&to].datacenter.as_str(), "c");
    let after = settle(&sites, &other, two).unwrap();
    assert!(after.iter().all(|voters| ["a", "b", "c"].map(|name| of(voters, name)) == [0, 2, 2]));
    assert_eq!(
        place(&sites, &Replicas::InEach([(Datacenter::new("a").unwrap(), 4)].into()), 1),
        Err((4, 3))
    );
}
