//! A store without leaders in three datacenters, each with replicas of its own: one of them is cut off, and both sides write on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quorate_e2e::cluster::progress::Probe;

use crate::leaderless::nothing_failed;
use crate::scenario::{STORE, Scenario, condition, in_a_namespace};

const DATACENTERS: [&str; 3] = ["dc-a", "dc-b", "dc-c"];
const CUT: Duration = Duration::from_secs(8);
const EQUAL_IN: Duration = Duration::from_secs(60);

#[test]
fn datacenters_go_on_without_each_other_and_come_together_again() {
    in_a_namespace("leaderless-datacenters", |given| {
        given.apply(&manifest())?;
        given.await_ready(6)?;
        let store = given.store()?;
        ensure!(condition(&store, "WeakQuorums") == Some("False"), "{}", store["status"]);
        // A pod's address cannot be asked for from within a datacenter that is cut off.
        let hosts: Vec<Vec<String>> =
            DATACENTERS.iter().map(|name| given.hosts_within(name)).collect::<Result<_>>()?;
        let hosts: Vec<&str> =
            hosts.iter().filter_map(|hosts| hosts.first().map(String::as_str)).collect();
        let say = |at: usize, words: &[&str]| {
            let host = *hosts.get(at).context("each datacenter has a node")?;
            given.redis_within(DATACENTERS[at], host, words)
        };
        let within = given.start_load_within("dc-a")?;
        let without = given.start_load_within("dc-b")?;
        given.faults()?.cut_datacenter("dc-a")?;
        say(0, &["VSET", "cart", "apples"])?;
        say(1, &["VSET", "cart", "pears"])?;
        within.go_on(CUT);
        ensure!(values(&say(0, &["VGET", "cart"])?) == ["apples"], "dc-a knows of no pears");
        ensure!(values(&say(2, &["VGET", "cart"])?) == ["pears"], "dc-c has them from dc-b");
        given.faults()?.heal_datacenter("dc-a")?;
        within.go_on(Duration::from_secs(2));
        nothing_failed(&within.finish("leaderless: within the datacenter that was cut off")?)?;
        nothing_failed(&without.finish("leaderless: in another datacenter")?)?;
        all_are_equal(given, say)?;
        for (at, name) in DATACENTERS.iter().enumerate() {
            let both = say(at, &["VGET", "cart"])?;
            ensure!(values(&both) == ["apples", "pears"], "{name}: {both}");
        }
        given.await_ready(6)
    });
}

fn manifest() -> String {
    format!(
        "apiVersion: quorate.dev/v1alpha1
kind: ReplicatedStore
metadata: {{name: {STORE}}}
spec:
  mode: Leaderless
  leaderless:
    replicas: 2
    datacenters: Local
    read: LOCAL_QUORUM
    write: LOCAL_QUORUM
    conflicts: Siblings
  nodes: 6
  shards: 3
  datacenters: [{{name: dc-a}}, {{name: dc-b}}, {{name: dc-c}}]
  storage: {{size: 256Mi, reclaimPolicy: Delete}}
  image: localhost/quorate-node:dev
"
    )
}

/// Every datacenter comes to answer the same of every key. Reads do not leave theirs, so none of them repairs another's.
fn all_are_equal(given: &Scenario, say: impl Fn(usize, &[&str]) -> Result<String>) -> Result<()> {
    given.wait_for("all datacenters equal", EQUAL_IN, || {
        let mut found = Vec::new();
        for at in 0..DATACENTERS.len() {
            let names = say(at, &["KEYS", "*"])?;
            let mut names: Vec<&str> = names.lines().map(str::trim).collect();
            names.sort_unstable();
            let of = |name: &str| Ok((name.to_owned(), values(&say(at, &["VGET", name])?)));
            found.push(names.into_iter().map(of).collect::<Result<Vec<_>>>()?);
        }
        let equal = found.windows(2).all(|two| two[0] == two[1]);
        ensure!(!equal || found[0].len() == 49, "24 keys of each load and the cart: {found:?}");
        Ok(if equal { Probe::Ready(()) } else { Probe::Waiting(format!("{found:?}")) })
    })
}

/// Of what `VGET` said, without the context.
fn values(said: &str) -> Vec<String> {
    let mut values: Vec<String> = said.lines().skip(1).map(|line| line.trim().to_owned()).collect();
    values.sort_unstable();
    values
}
