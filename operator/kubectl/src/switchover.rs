//! Planned switchover: writes `spec.singleLeader.preferredLeader`, and waits until the leaders are there.
//!
//! The field is the desired state, not an order: after a failover the leaders come back to it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use quorate_api::{PreferredLeaderSpec, PreferredShardLeader, ReplicatedStore, ReplicationMode};
use serde_json::json;

const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(clap::Args)]
pub(crate) struct Args {
    store: String,
    /// The pod or the datacenter that should lead.
    #[arg(long, required_unless_present = "clear")]
    to: Option<String>,
    /// Only this shard.
    #[arg(long)]
    shard: Option<i32>,
    /// Takes the preference back: leaders are spread evenly again.
    #[arg(long, conflicts_with = "to")]
    clear: bool,
    /// How many seconds to wait for the leaders to be there; 0 does not wait.
    #[arg(long, default_value_t = 60)]
    wait: u64,
}

pub(crate) async fn run(client: &Client, namespace: &str, args: &Args) -> anyhow::Result<String> {
    let stores: Api<ReplicatedStore> = Api::namespaced(client.clone(), namespace);
    let Some(store) = stores.get_opt(&args.store).await.context("cannot read the store")? else {
        bail!("there is no ReplicatedStore {} in namespace {namespace}", args.store);
    };
    match store.spec.mode {
        ReplicationMode::SingleLeader => {}
        ReplicationMode::Leaderless => bail!(
            "{} is leaderless: every replica takes writes, and there is no leader to move",
            args.store
        ),
        ReplicationMode::MultiLeader => bail!(
            "every datacenter of {} has leaders of its own: there is no one leader to move",
            args.store
        ),
    }
    let preferred = preferred(&store, args)?;
    let version = store.metadata.resource_version.as_deref();
    // With its nulls: a merge would keep what the new preference leaves out.
    let preferred = preferred.map(|preferred| {
        json!({
            "datacenter": preferred.datacenter,
            "pod": preferred.pod,
            "shards": preferred.shards,
        })
    });
    let whole = json!({
        "metadata": { "resourceVersion": version },
        "spec": { "singleLeader": { "preferredLeader": preferred } },
    });
    let params =
        PatchParams { field_manager: Some("kubectl-quorate".into()), ..Default::default() };
    let patched = stores.patch(&args.store, &params, &Patch::Merge(whole)).await;
    let patched = patched.context("cannot change spec.singleLeader.preferredLeader")?;
    let Some(to) = args.to.as_ref().filter(|_| args.wait > 0) else {
        return Ok("preferredLeader is set\n".to_owned());
    };
    let generation = patched.metadata.generation.unwrap_or_default();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(args.wait);
    loop {
        let store = stores.get(&args.store).await.context("cannot read the store")?;
        let missing = missing(&store, to, args.shard);
        let looked = store.status.as_ref().and_then(|status| status.observed_generation);
        if looked >= Some(generation) && missing.is_empty() {
            return Ok(arrived(&store, to, args.shard));
        }
        if tokio::time::Instant::now() > deadline {
            let shards = missing.into_iter().map(|(shard, leader)| {
                format!("shard {shard} is led by {}", leader.unwrap_or("nobody that is known"))
            });
            bail!("after {} s: {}", args.wait, shards.collect::<Vec<_>>().join(", "));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The new preference: of one shard as an exception, or of all, which ends the exceptions.
fn preferred(store: &ReplicatedStore, args: &Args) -> anyhow::Result<Option<PreferredLeaderSpec>> {
    let spec = &store.spec;
    let single = spec.single_leader.clone().unwrap_or_default();
    let now = single.preferred_leader.unwrap_or_default();
    let target = args.to.as_ref().map(|to| target(store, to)).transpose()?;
    if let Some(shard) = args.shard.filter(|shard| !(0..spec.shards).contains(shard)) {
        bail!("there is no shard {shard}: the store has 0 to {}", spec.shards - 1);
    }
    Ok(match (args.shard, target) {
        (None, None) => None,
        (None, Some((datacenter, pod))) => {
            Some(PreferredLeaderSpec { datacenter, pod, shards: vec![] })
        }
        (Some(shard), target) => {
            let mut shards: BTreeMap<i32, PreferredShardLeader> =
                now.shards.into_iter().map(|one| (one.shard, one)).collect();
            shards.remove(&shard);
            if let Some((datacenter, pod)) = target {
                shards.insert(shard, PreferredShardLeader { shard, datacenter, pod });
            }
            Some(PreferredLeaderSpec { shards: shards.into_values().collect(), ..now })
        }
    })
}

/// The datacenter or the pod that is called so.
fn target(store: &ReplicatedStore, to: &str) -> anyhow::Result<(Option<String>, Option<String>)> {
    if store.spec.datacenters.iter().any(|datacenter| datacenter.name == to) {
        return Ok((Some(to.to_owned()), None));
    }
    let nodes = || store.status.iter().flat_map(|status| &status.nodes);
    if nodes().any(|node| node.name == to) {
        return Ok((None, Some(to.to_owned())));
    }
    let datacenters = store.spec.datacenters.iter().map(|datacenter| datacenter.name.as_str());
    let known: Vec<&str> = datacenters.chain(nodes().map(|node| node.name.as_str())).collect();
    bail!("{to} is neither a datacenter nor a pod of the store: {}", known.join(", "))
}

/// The shards that `to` should lead and does not, with who leads them.
fn missing<'s>(
    store: &'s ReplicatedStore,
    to: &str,
    only: Option<i32>,
) -> Vec<(i32, Option<&'s str>)> {
    let Some(status) = &store.status else { return vec![] };
    let is_there = |pod: &str| {
        let datacenter = status.nodes.iter().find(|node| node.name == pod).map(|n| &n.datacenter);
        pod == to || datacenter.is_some_and(|datacenter| datacenter == to)
    };
    let shards = status.shards.iter().filter(|shard| only.is_none_or(|only| only == shard.shard));
    shards
        .filter(|shard| shard.voters.iter().any(|voter| is_there(voter)))
        .filter(|shard| !shard.leader.as_deref().is_some_and(is_there))
        .map(|shard| (shard.shard, shard.leader.as_deref()))
        .collect()
}

fn arrived(store: &ReplicatedStore, to: &str, only: Option<i32>) -> String {
    let mut text = format!("{to} leads\n");
    let failovers = store.status.iter().flat_map(|status| &status.failovers);
    let shards = || store.status.iter().flat_map(|status| &status.shards);
    for failover in failovers.filter(|f| f.planned && only.is_none_or(|only| only == f.shard)) {
        // Older ones have been told.
        let current = shards().any(|s| (s.shard, s.term) == (failover.shard, failover.term));
        if let (true, Some(pause), Some(old)) = (current, failover.pause_ms, &failover.old_leader) {
            text.push_str(&format!(
                "shard {}: {} after {old} in term {}, writes paused for {pause} ms\n",
                failover.shard, failover.new_leader, failover.term
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn store(preferred: Value) -> ReplicatedStore {
        let node = |name: &str, datacenter: &str| json!({ "name": name, "datacenter": datacenter, "state": "CaughtUp" });
        serde_json::from_value(json!({
            "apiVersion": "quorate.dev/v1alpha1", "kind": "ReplicatedStore",
            "metadata": { "name": "orders", "namespace": "shop" },
            "spec": {
                "shards": 2, "datacenters": [{ "name": "dc-a" }, { "name": "dc-b" }],
                "singleLeader": { "preferredLeader": preferred },
            },
            "status": {
                "replicas": 2, "selector": "x",
                "nodes": [node("orders-dc-a-0", "dc-a"), node("orders-dc-b-0", "dc-b")],
                "shards": [
                    { "shard": 0, "health": "Healthy", "term": 1, "leader": "orders-dc-a-0",
                      "voters": ["orders-dc-a-0", "orders-dc-b-0"] },
                    { "shard": 1, "health": "Healthy", "term": 1, "leader": "orders-dc-a-0",
                      "voters": ["orders-dc-a-0"] },
                ],
            },
        }))
        .unwrap()
    }

    fn args(to: Option<&str>, shard: Option<i32>) -> Args {
        let to = to.map(str::to_owned);
        Args { store: "orders".to_owned(), clear: to.is_none(), to, shard, wait: 0 }
    }

    #[test]
    fn all_shards_end_the_exceptions_and_one_shard_is_an_exception() {
        let now =
            json!({ "datacenter": "dc-a", "shards": [{ "shard": 1, "pod": "orders-dc-a-0" }] });
        let all = preferred(&store(now.clone()), &args(Some("orders-dc-b-0"), None)).unwrap();
        let pod = Some("orders-dc-b-0".to_owned());
        assert_eq!(all, Some(PreferredLeaderSpec { pod, ..Default::default() }));
        let one = preferred(&store(now.clone()), &args(Some("dc-b"), Some(1))).unwrap().unwrap();
        assert_eq!(one.datacenter.as_deref(), Some("dc-a"));
        assert_eq!(one.shards.len(), 1);
        assert_eq!(one.shards[0].datacenter.as_deref(), Some("dc-b"));
        let cleared = preferred(&store(now.clone()), &args(None, Some(1))).unwrap().unwrap();
        assert_eq!(cleared.shards, vec![]);
        assert_eq!(preferred(&store(now), &args(None, None)).unwrap(), None);
    }

    #[test]
    fn unknown_targets_and_shards_are_refused() {
        assert!(preferred(&store(json!({})), &args(Some("dc-x"), None)).is_err());
        assert!(preferred(&store(json!({})), &args(Some("dc-a"), Some(2))).is_err());
    }

    #[test]
    fn a_shard_without_a_replica_there_is_not_waited_for() {
        let store = store(json!({}));
        assert_eq!(missing(&store, "dc-b", None), [(0, Some("orders-dc-a-0"))]);
        assert_eq!(missing(&store, "dc-a", None), []);
    }
}
