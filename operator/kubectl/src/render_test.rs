//! The screen of a store whose one node is silent.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::admin::{
    Acknowledgement, CatchUpPhase, FollowerReport, HintsReport, NodeReport, ReplicaReport, Role,
    ShardReport, Standing,
};
use quorate_model::{
    Addresses, Durability, Epoch, GroupId, Leaderless, Leaving, LogIndex, Member, Mode, Moved,
    MultiLeader, MultiLeaderPolicy, Name, NodeId, ShardId, ShardPlacement, Step, StoreId, Term,
    Topology,
};

use crate::fetch::Seen;
use crate::render::screen;

fn addresses(node: u128) -> Addresses {
    let at = |port: u16| format!("10.0.0.{node}:{port}");
    Addresses { peer: at(7400), plain: at(6379), cluster: at(6380), admin: at(7480) }
}

fn member(node: u128) -> Member {
    Member {
        id: NodeId(node),
        name: format!("orders-dc-{node}-0"),
        datacenter: Name::new(format!("dc-{node}")).unwrap(),
        zone: Name::new("z").unwrap(),
        addresses: addresses(node),
    }
}

fn topology() -> Topology {
    let nodes = BTreeSet::from([NodeId(1), NodeId(2)]);
    let placement =
        ShardPlacement { genesis: nodes.clone(), voters: nodes.clone(), preferred_leader: None };
    Topology {
        store: StoreId(9),
        epoch: Epoch(4),
        members: [1, 2].map(|node| (NodeId(node), member(node))).into(),
        meta_voters: nodes,
        shards: vec![placement],
        policy: Default::default(),
        mode: Mode::SingleLeader,
    }
}

fn report() -> NodeReport {
    let follower = FollowerReport {
        matched: LogIndex(90),
        phase: CatchUpPhase::Log { entries_behind: 10 },
        last_answer_ms: Some(4),
        catch_up: Default::default(),
    };
    let replica = ReplicaReport {
        group: GroupId::Shard(ShardId(0)),
        role: Role::Leader,
        term: Term(3),
        leader: Some(NodeId(1)),
        last: LogIndex(100),
        committed: LogIndex(99),
        applied: LogIndex(99),
        voters: BTreeSet::from([NodeId(1), NodeId(2)]),
        learners: BTreeSet::new(),
        followers: BTreeMap::from([(NodeId(2), follower)]),
        keys: 12,
        acknowledgement: Default::default(),
        log_format: Default::default(),
        log_format_held_back: None,
        failovers: Vec::new(),
        swaps: Vec::new(),
        quarantined: None,
        exchange: None,
    };
    NodeReport {
        node: NodeId(1),
        name: "orders-dc-1-0".to_owned(),
        store: StoreId(9),
        datacenter: Name::new("dc-1").unwrap(),
        zone: None,
        version: "0.1.0".to_owned(),
        addresses: addresses(1),
        uptime_ms: 3_600_000,
        topology: Some(topology()),
        replicas: vec![replica],
        not_serving: Vec::new(),
        corrupt: None,
        rollbacks: Vec::new(),
        engine_format: 1,
        shards: Vec::new(),
        hints: Vec::new(),
    }
}

fn seen() -> Seen {
    let node = |node: u128, state: &str| {
        serde_json::json!({
            "name": format!("orders-dc-{node}-0"), "datacenter": format!("dc-{node}"), "state": state,
        })
    };
    let store = serde_json::json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "ReplicatedStore",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": { "nodes": 2, "datacenters": [{ "name": "dc-1" }, { "name": "dc-2" }], "shards": 1 },
        "status": {
            "phase": "Degraded", "ready": "1/2", "replicas": 2, "selector": "x",
            "nodes": [node(1, "CaughtUp"), node(2, "Unknown")],
        },
    });
    Seen {
        store: serde_json::from_value(store).unwrap(),
        pods: BTreeMap::new(),
        reports: BTreeMap::from([
            ("orders-dc-1-0".to_owned(), Ok(report())),
            ("orders-dc-2-0".to_owned(), Err("no answer within 3 s".to_owned())),
        ]),
    }
}

fn line<'t>(screen: &'t str, of: &str) -> Vec<&'t str> {
    let line = screen.lines().find(|line| line.starts_with(of)).unwrap();
    line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn shard_shows_leader_term_and_lag() {
    let screen = screen(&seen());
    let shard = [
        "0",
        "0-16383",
        "orders-dc-1-0",
        "3",
        "Quorum",
        "-",
        "99",
        "12",
        "orders-dc-2-0 (10 behind)",
    ];
    assert_eq!(line(&screen, "0 "), shard, "{screen}");
}

#[test]
fn follower_that_is_slower_than_the_writes_is_said_to_be() {
    let mut seen = seen();
    let report = seen.reports.get_mut("orders-dc-1-0").unwrap().as_mut().unwrap();
    let follower = report.replicas[0].followers.get_mut(&NodeId(2)).unwrap();
    follower.catch_up.slower_than_writes = true;
    let screen = screen(&seen);
    assert!(screen.contains("orders-dc-2-0 (10 behind, slower than the writes)"), "{screen}");
}

#[test]
fn shard_shows_its_in_sync_set_and_who_keeps_writes_waiting() {
    let mut seen = seen();
    let report = seen.reports.get_mut("orders-dc-1-0").unwrap().as_mut().unwrap();
    report.replicas[0].acknowledgement = Acknowledgement {
        durability: Durability::SemiSync,
        in_sync: BTreeSet::from([NodeId(1), NodeId(2)]),
        settled: true,
        waiting_for: BTreeSet::from([NodeId(2)]),
        shrunk: false,
    };
    let screen = screen(&seen);
    let shard = line(&screen, "0 ");
    assert_eq!(shard[4..6], ["SemiSync", "orders-dc-2-0 (waited for)"], "{screen}");
}

#[test]
fn failovers_say_how_long_and_what_was_lost() {
    let mut seen = seen();
    let failover = serde_json::json!({
        "shard": 0, "term": 3, "newLeader": "orders-dc-1-0", "oldLeader": "orders-dc-2-0", "oldTerm": 2,
        "planned": false, "detected": "2026-11-25T10:00:00.000000Z",
        "elected": "2026-11-25T10:00:00.020000Z", "pauseMs": 45, "lostWrites": 3,
        "firstAcknowledgedWrite": "2026-11-25T10:00:00.045000Z",
        "rollbackFiles": ["orders-dc-2-0/f"],
    });
    let status = seen.store.status.as_mut().unwrap();
    status.failovers = vec![serde_json::from_value(failover).unwrap()];
    let table = crate::failovers::table(&seen);
    let shown = line(&table, "0 ");
    let expected = [
        "0",
        "failover",
        "2 > 3",
        "orders-dc-2-0",
        "orders-dc-1-0",
        "2026-11-25T10:00:00.000Z",
        "20 ms",
        "45 ms",
        "3 writes, kept in orders-dc-2-0/f",
    ];
    assert_eq!(shown, expected, "{table}");
}

#[test]
fn silent_node_is_unknown_and_says_why() {
    let screen = screen(&seen());
    let node = line(&screen, "orders-dc-2-0");
    assert_eq!(node[3], "Unknown", "{screen}");
    assert_eq!(node.last(), Some(&"unknown: no answer within 3 s"));
    assert_eq!(line(&screen, "dc-2"), ["dc-2", "1", "0", "0"]);
}

#[test]
fn every_datacenters_leader_is_shown_with_what_it_takes_from_others() {
    let mut seen = seen();
    seen.store.spec.mode = quorate_api::ReplicationMode::MultiLeader;
    let status = seen.store.status.as_mut().unwrap();
    let link = serde_json::json!({
        "datacenter": "dc-1", "from": "dc-2", "lagSeconds": 12, "lacking": 40, "silent": true,
        "rerouted": true,
    });
    status.links = vec![serde_json::from_value(link).unwrap()];
    let conflicts = serde_json::json!({"datacenter": "dc-1", "conflicts": 7, "discarded": 5, "failed": 2, "refused": 0});
    status.conflicts = vec![serde_json::from_value(conflicts).unwrap()];
    let report = seen.reports.get_mut("orders-dc-1-0").unwrap().as_mut().unwrap();
    let topology = report.topology.as_mut().unwrap();
    topology.mode = Mode::MultiLeader(MultiLeader::new(MultiLeaderPolicy::default(), topology));
    let screen = screen(&seen);
    let mode = "multi-leader, durability Quorum (not in force everywhere), 3 replicas in each datacenter, links AllToAll, conflicts LastWriterWins";
    assert!(screen.contains(mode), "{screen}");
    assert_eq!(line(&screen, "0 in dc-1")[2], "orders-dc-1-0");
    assert_eq!(line(&screen, "0 in dc-2")[2], "none seen");
    let link = screen.lines().rev().find(|line| line.starts_with("dc-1 < dc-2")).unwrap();
    let link: Vec<&str> = link.split("   ").map(str::trim).filter(|c| !c.is_empty()).collect();
    assert_eq!(link, ["dc-1 < dc-2", "12 s", "40", "silent, rerouted"], "{screen}");
    let sums: Vec<&str> = screen.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(sums, ["dc-1", "7", "5", "2", "0"], "{screen}");
}

#[test]
fn leaderless_store_shows_its_levels_and_where_its_replicas_stand() {
    let mut seen = seen();
    seen.store.spec.mode = quorate_api::ReplicationMode::Leaderless;
    seen.store.status.as_mut().unwrap().quorums = Some("w=QUORUM r=QUORUM n=2".to_owned());
    let report = seen.reports.get_mut("orders-dc-1-0").unwrap().as_mut().unwrap();
    report.replicas.clear();
    report.shards = vec![ShardReport {
        shard: ShardId(0),
        standing: Standing::Filling,
        given_up: None,
        discarded: 4,
        read_repairs: 2,
        relays: Vec::new(),
        compared: Default::default(),
    }];
    report.hints = vec![HintsReport { target: NodeId(2), count: 3, bytes: 40, oldest_seconds: 5 }];
    let topology = report.topology.as_mut().unwrap();
    let owners = [(NodeId(1), Name::new("dc-1").unwrap()), (NodeId(7), Name::new("dc-3").unwrap())];
    let leaves = Some(Leaving { owners: owners.into(), step: Step::Filling });
    let moved = [(ShardId(0), Moved { since: Epoch(4), leaves })].into();
    topology.mode = Mode::Leaderless(Leaderless { moved, ..Leaderless::default() });
    let screen = screen(&seen);
    let mode = "leaderless, 3 replicas, writes at QUORUM, reads at QUORUM (in force: w=QUORUM r=QUORUM n=2), conflicts LastWriterWins";
    assert!(screen.contains(mode), "{screen}");
    let left = NodeId(7).to_string();
    let replicas = "orders-dc-1-0 (filling), orders-dc-2-0 (silent)";
    assert_eq!(line(&screen, "0 "), ["0", "0-16383", replicas, &left, "filling", "4", "2"]);
    assert_eq!(line(&screen, "dc-2"), ["dc-2", "1", "0", "-"]);
    let hints = screen.lines().rev().find(|line| line.starts_with("orders-dc-1-0")).unwrap();
    let hints: Vec<&str> = hints.split_whitespace().collect();
    assert_eq!(hints, ["orders-dc-1-0", "orders-dc-2-0", "3", "40", "5", "s"]);
}
