//! From what the resource declares of a store with a leader in every datacenter to the policy that the topology carries.

use std::collections::{BTreeMap, BTreeSet};

use quorate_api::{
    self as api, HomeUnreachable, HomesSpec, LinksType, MergeRule, MultiLeaderSpec,
    SingleLeaderSpec,
};
use quorate_model::{
    Conflicts, Datacenter, Homes, KeyHome, KeyResolution, Links, Merge, MultiLeaderPolicy,
    Resolution, Topology, Unreachable,
};

use quorate_script::Script;

use crate::{SpecError, ValidDatacenter, ValidStore};

const CONFLICTS: &str = "spec.multiLeader.conflicts";

/// What its groups keep to, as the block of the other mode with leaders says it.
pub(crate) fn of_groups(declared: &MultiLeaderSpec) -> SingleLeaderSpec {
    SingleLeaderSpec {
        durability: declared.durability,
        in_sync: declared.in_sync.clone(),
        replicas: declared.replicas,
        preferred_leader: None,
        log_format: api::LogFormat::Logical,
        sessions: declared.sessions.clone(),
    }
}

/// # Errors
/// The first thing that is wrong, as a sentence for users.
pub(crate) fn of(
    declared: &MultiLeaderSpec,
    datacenters: &[ValidDatacenter],
) -> Result<MultiLeaderPolicy, SpecError> {
    let conflicts = &declared.conflicts;
    let of_all = Declared {
        field: CONFLICTS.to_owned(),
        resolution: conflicts.resolution,
        priority: conflicts.priority.as_deref(),
        merge: conflicts.merge,
        script: conflicts.script.as_deref(),
    };
    let resolution = of_all.resolution(datacenters)?;
    let keys = conflicts.keys.iter().enumerate().map(|(at, of)| {
        let of_these = Declared {
            field: format!("{CONFLICTS}.keys[{at}]"),
            resolution: of.resolution,
            priority: of.priority.as_deref(),
            merge: of.merge,
            script: of.script.as_deref(),
        };
        let resolution = of_these.resolution(datacenters)?;
        Ok(KeyResolution { pattern: of.pattern.clone(), resolution })
    });
    Ok(MultiLeaderPolicy {
        links: links(declared, datacenters)?,
        reroute: declared.reroute,
        conflicts: Conflicts { resolution, keys: keys.collect::<Result<_, SpecError>>()? },
        homes: homes(&declared.homes, datacenters)?,
    })
}

fn homes(declared: &HomesSpec, datacenters: &[ValidDatacenter]) -> Result<Homes, SpecError> {
    let keys = declared.keys.iter().map(|of| {
        let field = "spec.multiLeader.homes.keys";
        let home = known(field, &of.datacenter, datacenters)?;
        Ok(KeyHome { pattern: of.pattern.clone(), home, first: None, since: 0 })
    });
    let keys: Vec<KeyHome> = keys.collect::<Result<_, SpecError>>()?;
    let each: BTreeSet<&String> = keys.iter().map(|one| &one.pattern).collect();
    if each.len() != keys.len() {
        let problem = " names a pattern twice: keep one of them";
        return Err(SpecError::Policy { field: "spec.multiLeader.homes.keys".to_owned(), problem });
    }
    let field = "spec.multiLeader.homes.evacuate";
    let pairs = declared
        .evacuate
        .iter()
        .map(|of| Ok((known(field, &of.from, datacenters)?, known(field, &of.to, datacenters)?)));
    let pairs: Vec<(Datacenter, Datacenter)> = pairs.collect::<Result<_, SpecError>>()?;
    let evacuated: BTreeMap<_, _> = pairs.iter().cloned().collect();
    if evacuated.len() != pairs.len() || evacuated.values().any(|to| evacuated.contains_key(to)) {
        let problem = ": each datacenter is evacuated once, and to one that is not: correct it";
        return Err(SpecError::Policy { field: field.to_owned(), problem });
    }
    let unreachable = match declared.unreachable {
        HomeUnreachable::Reject => Unreachable::Reject,
        HomeUnreachable::Accept => Unreachable::Accept,
    };
    Ok(Homes { keys, unreachable, evacuated })
}

fn links(declared: &MultiLeaderSpec, datacenters: &[ValidDatacenter]) -> Result<Links, SpecError> {
    let links = &declared.links;
    match (links.kind, &links.ring, &links.hub) {
        (LinksType::AllToAll, None, None) => Ok(Links::AllToAll),
        (LinksType::Circular, None, None) => {
            Ok(Links::Circular(datacenters.iter().map(|one| one.name.clone()).collect()))
        }
        (LinksType::Circular, Some(ring), None) => {
            let field = "spec.multiLeader.links.ring";
            let ring = ring.iter().map(|name| known(field, name, datacenters));
            let ring: Vec<Datacenter> = ring.collect::<Result<_, _>>()?;
            let each: BTreeSet<&Datacenter> = ring.iter().collect();
            if each.len() != ring.len() || ring.len() != datacenters.len() {
                let problem = " does not name each of spec.datacenters once: correct it";
                return Err(SpecError::Policy { field: field.to_owned(), problem });
            }
            Ok(Links::Circular(ring))
        }
        (LinksType::Star, None, Some(hub)) => {
            Ok(Links::Star { hub: known("spec.multiLeader.links.hub", hub, datacenters)? })
        }
        (LinksType::AllToAll | LinksType::Circular | LinksType::Star, _, _) => {
            let problem = ": hub goes with type Star, ring with Circular, and neither with another";
            Err(SpecError::Policy { field: "spec.multiLeader.links".to_owned(), problem })
        }
    }
}

/// A resolution and what goes with some of them.
struct Declared<'a> {
    field: String,
    resolution: api::Resolution,
    priority: Option<&'a [String]>,
    merge: Option<MergeRule>,
    script: Option<&'a str>,
}

impl Declared<'_> {
    fn resolution(self, datacenters: &[ValidDatacenter]) -> Result<Resolution, SpecError> {
        let Self { field, resolution, priority, merge, script } = self;
        match (resolution, priority, merge, script) {
            (api::Resolution::LastWriterWins, None, None, None) => Ok(Resolution::LastWriterWins),
            (api::Resolution::Siblings, None, None, None) => Ok(Resolution::Siblings),
            (api::Resolution::Merge, None, rule, None) => {
                Ok(Resolution::Merge(match rule.unwrap_or_default() {
                    MergeRule::Join => Merge::Join,
                    MergeRule::Max => Merge::Max,
                    MergeRule::Min => Merge::Min,
                    MergeRule::Union => Merge::Union,
                }))
            }
            (api::Resolution::ReplicaPriority, Some(first), None, None) => {
                let field = "spec.multiLeader.conflicts.priority";
                let places = first.iter().map(|name| known(field, name, datacenters));
                Ok(Resolution::ReplicaPriority(places.collect::<Result<_, _>>()?))
            }
            (api::Resolution::Custom, None, None, Some(script)) => match Script::compile(script) {
                Ok(_) => Ok(Resolution::Custom { script: script.to_owned() }),
                Err(problem) => Err(SpecError::Script { field, problem }),
            },
            (
                api::Resolution::LastWriterWins
                | api::Resolution::Siblings
                | api::Resolution::Merge
                | api::Resolution::ReplicaPriority
                | api::Resolution::Custom,
                _,
                _,
                _,
            ) => {
                let problem = ": priority goes with ReplicaPriority, merge with Merge, script with Custom, and none with another";
                Err(SpecError::Policy { field, problem })
            }
        }
    }
}

fn known(
    field: &'static str,
    name: &str,
    datacenters: &[ValidDatacenter],
) -> Result<Datacenter, SpecError> {
    let found = datacenters.iter().find(|one| one.name.as_str() == name);
    let unknown = || SpecError::NoSuchDatacenter { field, name: name.to_owned() };
    found.map(|one| one.name.clone()).ok_or_else(unknown)
}

/// Where shards have replicas.
pub(crate) fn places(topology: &Topology) -> BTreeSet<Datacenter> {
    let voters = topology.shards.iter().flat_map(|shard| &shard.voters);
    voters.filter_map(|node| topology.datacenter_of(*node).cloned()).collect()
}

/// The policy that the next topology has with replicas in those datacenters, on the way to those that are declared: a ring closes over
/// who is missing and who is to go stands at its end; without its hub each takes from each; homes leave who is to go, and come to
/// who is missing when it is there.
pub(crate) fn next(
    store: &ValidStore,
    declared: &MultiLeaderPolicy,
    now: &Topology,
    places: &BTreeSet<Datacenter>,
) -> MultiLeaderPolicy {
    let before = now.mode.multi_leader().map(|now| &now.policy.homes);
    let going = |place: &&Datacenter| store.datacenter(place).is_none();
    let mut homes = homes_among(&declared.homes, before, places);
    let stays = store.datacenters.iter().map(|one| &one.name);
    let mut stays =
        stays.filter(|name| places.contains(*name) && !homes.evacuated.contains_key(*name));
    if let Some(to) = stays.next().cloned() {
        homes
            .evacuated
            .extend(places.iter().filter(going).map(|place| (place.clone(), to.clone())));
    }
    let homes = homes.declared_after(before.unwrap_or(&Homes::default()), now.epoch.next());
    MultiLeaderPolicy { homes, ..among(declared, places) }
}

fn homes_among(declared: &Homes, before: Option<&Homes>, places: &BTreeSet<Datacenter>) -> Homes {
    let keys = declared.keys.iter().filter_map(|one| {
        if places.contains(&one.home) {
            return Some(one.clone());
        }
        before?.of_pattern(&one.pattern).cloned()
    });
    let evacuated = declared.evacuated.iter().filter(|(_, to)| places.contains(*to));
    let evacuated = evacuated.map(|(from, to)| (from.clone(), to.clone())).collect();
    Homes { keys: keys.collect(), unreachable: declared.unreachable, evacuated }
}

fn among(declared: &MultiLeaderPolicy, places: &BTreeSet<Datacenter>) -> MultiLeaderPolicy {
    let links = match &declared.links {
        Links::Circular(ring) => {
            let here = ring.iter().filter(|place| places.contains(place));
            let others = places.iter().filter(|place| !ring.contains(place));
            Links::Circular(here.chain(others).cloned().collect())
        }
        Links::Star { hub } if !places.contains(hub) => Links::AllToAll,
        Links::Star { .. } | Links::AllToAll => declared.links.clone(),
    };
    MultiLeaderPolicy { links, ..declared.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{multi_leader, valid};

    fn refused(block: Value) -> String {
        let resource = crate::fixtures::resource(multi_leader(9, block));
        let errors = crate::validate(&resource).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    fn places(names: &[&str]) -> BTreeSet<Datacenter> {
        names.iter().map(|name| Datacenter::new(*name).unwrap()).collect()
    }

    fn home(datacenter: &str) -> Value {
        json!({"homes": {"keys": [{"pattern": "u:*", "datacenter": datacenter}]}})
    }

    #[test]
    fn what_is_not_said_is_the_models_default() {
        let store = valid(multi_leader(9, json!({})));
        assert_eq!(store.multi_leader().unwrap().policy, MultiLeaderPolicy::default());
        assert_eq!(store.policy(), Some(&quorate_model::Policy::default()));
    }

    #[test]
    fn resolutions_are_carried_over() {
        let store = valid(multi_leader(
            9,
            json!({"conflicts": {
                "resolution": "ReplicaPriority", "priority": ["dc-b", "dc-a"],
                "keys": [
                    {"pattern": "n:*", "resolution": "Merge", "merge": "Max"},
                    {"pattern": "s:*", "resolution": "Siblings"},
                    {"pattern": "c:*", "resolution": "Custom", "script": "siblings[0].value"},
                ],
            }}),
        ));
        let conflicts = &store.multi_leader().unwrap().policy.conflicts;
        let named = |name: &str| Datacenter::new(name).unwrap();
        let priority = vec![named("dc-b"), named("dc-a")];
        assert_eq!(conflicts.resolution, Resolution::ReplicaPriority(priority));
        let keys: Vec<_> = conflicts.keys.iter().map(|of| of.resolution.clone()).collect();
        let custom = Resolution::Custom { script: "siblings[0].value".to_owned() };
        assert_eq!(keys, [Resolution::Merge(Merge::Max), Resolution::Siblings, custom]);
    }

    #[test]
    fn what_the_schema_should_have_refused_is_refused_with_its_field() {
        for (block, fragment) in [
            (json!({"replicas": 2}), "spec.multiLeader.replicas is 2"),
            (json!({"replicas": 5}), "spec.multiLeader.replicas puts there"),
            (json!({"links": {"type": "Star"}}), "spec.multiLeader.links: hub goes with"),
            (json!({"links": {"type": "Star", "hub": "dc-x"}}), "links.hub names \"dc-x\""),
            (json!({"links": {"type": "Circular", "ring": ["dc-a", "dc-b"]}}), "links.ring does"),
            (json!({"conflicts": {"merge": "Max"}}), "spec.multiLeader.conflicts: priority goes"),
            (
                json!({"conflicts": {"resolution": "Custom"}}),
                "spec.multiLeader.conflicts: priority goes",
            ),
            (json!({"inSync": {"count": 1}}), "spec.multiLeader.inSync belongs"),
            (home("dc-x"), "homes.keys names \"dc-x\""),
            (
                json!({"homes": {"keys": [
                    {"pattern": "u:*", "datacenter": "dc-a"}, {"pattern": "u:*", "datacenter": "dc-b"},
                ]}}),
                "homes.keys names a pattern twice",
            ),
            (
                json!({"homes": {"evacuate": [
                    {"from": "dc-a", "to": "dc-b"}, {"from": "dc-b", "to": "dc-c"},
                ]}}),
                "homes.evacuate: each datacenter",
            ),
        ] {
            let refused = refused(block.clone());
            assert!(refused.contains(fragment), "{block}: {refused}");
        }
    }

    #[test]
    fn a_script_that_cannot_be_read_is_refused_with_its_line() {
        let custom = |script: &str| json!({"resolution": "Custom", "script": script});
        let mut of_keys = custom("let a = [;");
        of_keys["pattern"] = json!("cart:*");
        let refused_all = refused(json!({"conflicts": custom("1;\nsibling[0].value")}));
        let expected = "spec.multiLeader.conflicts.script cannot be read: ";
        assert!(refused_all.starts_with(expected), "{refused_all}");
        assert!(refused_all.contains("sibling (line 2, position 1)"), "{refused_all}");
        let refused_keys = refused(json!({"conflicts": {"keys": [of_keys]}}));
        assert!(refused_keys.contains("conflicts.keys[0].script cannot"), "{refused_keys}");
    }

    #[test]
    fn links_are_over_the_datacenters_that_there_are() {
        let named = |names: &[&str]| {
            names.iter().map(|name| Datacenter::new(*name).unwrap()).collect::<Vec<_>>()
        };
        let ring = MultiLeaderPolicy {
            links: Links::Circular(named(&["dc-c", "dc-b", "dc-a"])),
            ..MultiLeaderPolicy::default()
        };
        let over = |names: &[&str]| among(&ring, &places(names)).links;
        assert_eq!(over(&["dc-a", "dc-c"]), Links::Circular(named(&["dc-c", "dc-a"])));
        assert_eq!(
            over(&["dc-a", "dc-b", "dc-c", "dc-d"]),
            Links::Circular(named(&["dc-c", "dc-b", "dc-a", "dc-d"]))
        );
        let star = MultiLeaderPolicy {
            links: Links::Star { hub: Datacenter::new("dc-b").unwrap() },
            ..MultiLeaderPolicy::default()
        };
        assert_eq!(among(&star, &places(&["dc-a", "dc-c"])).links, Links::AllToAll);
        assert_eq!(among(&star, &places(&["dc-a", "dc-b"])).links, star.links);
    }
}
