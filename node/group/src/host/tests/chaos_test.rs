//! Everything at once, from a seed: crashes, cuts, loss, damage, moving voters. Then all heals, and nothing that was
//! acknowledged is missing. A first net; the simulation of whole clusters is a crate of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_model::{GroupId, NodeId, ShardId};

use super::super::{Failure, ReadLevel, Reply, Request, RequestId};
use super::cluster::{Cluster, bulk, get, node, set, topology};
use crate::Value;

const NODES: u128 = 5;
const SHARDS: u16 = 2;
const ROUNDS: u32 = 60;

struct Chaos {
    cluster: Cluster,
    /// Keys of writes under way.
    pending: BTreeMap<RequestId, (ShardId, String)>,
    acknowledged: BTreeMap<String, ShardId>,
    refused: BTreeMap<String, ShardId>,
    keys: u32,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut cluster = Cluster::new(seed, NODES);
        cluster.settings.flush_bytes = 4 << 10;
        cluster.settings.segment_bytes = 8 << 10;
        cluster.settings.log_kept_bytes = 16 << 10;
        cluster.settings.snapshot_chunk_bytes = 512;
        cluster.settings.replication.cache_bytes_max = 2 << 10;
        cluster.settings.request_timeout = Duration::from_secs(2);
        cluster.settings.retire_after = Duration::from_millis(500);
        for id in 1..=NODES {
            cluster.restart(node(id));
        }
        cluster.bootstrap(topology(&[1, 2, 3, 4, 5], usize::from(SHARDS), &[1, 2, 3]));
        Self {
            cluster,
            pending: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            refused: BTreeMap::new(),
            keys: 0,
        }
    }

    fn pick(&mut self) -> NodeId {
        node(1 + u128::from(self.cluster.roll()) % NODES)
    }

    fn down(&self) -> Vec<NodeId> {
        let machines = self.cluster.machines.iter();
        machines.filter(|(_, machine)| machine.host.is_none()).map(|(id, _)| *id).collect()
    }

    fn damaged(&self) -> bool {
        let mut hosts = self.cluster.machines.values().filter_map(|machine| machine.host.as_ref());
        hosts.any(|host| {
            let status = host.status();
            status.damaged.is_some() || status.replicas.iter().any(|replica| replica.damaged)
        })
    }

    fn disturb(&mut self) {
        let id = self.pick();
        match self.cluster.roll() % 12 {
            0 | 1 if self.down().len() < 2 && !self.down().contains(&id) => self.cluster.crash(id),
            2..=4 => {
                if let Some(id) = self.down().first().copied() {
                    self.cluster.start(id);
                }
            }
            5 => self.cluster.isolate(id),
            6 => {
                let other = self.pick();
                self.cluster.cut.insert((id, other));
            }
            7 | 8 => self.cluster.heal(),
            9 => self.cluster.loss = self.cluster.roll() % 150,
            10 => self.move_voters(),
            11 if self.down().is_empty()
                && !self.damaged()
                && self.cluster.roll().is_multiple_of(4) =>
            {
                self.damage(id);
            }
            _ => {}
        }
    }

    /// Of one node at a time: what two of three voters lost is lost.
    fn damage(&mut self, id: NodeId) {
        self.cluster.crash(id);
        let disk = self.cluster.machines[&id].disk.clone();
        if let Some((file, _)) = disk.lengths().into_iter().next() {
            let _flipped = disk.flip_bit(&file, 600, 2);
        }
        self.cluster.start(id);
    }

    fn move_voters(&mut self) {
        let leaving = self.pick();
        let Some(meta) = self.cluster.leader(GroupId::Meta) else { return };
        let Some(mut topology) = self.cluster.machines[&meta].topology.clone() else { return };
        let voters: BTreeSet<NodeId> =
            (1..=NODES).map(node).filter(|id| *id != leaving).take(3).collect();
        let shard = usize::try_from(self.cluster.roll()).unwrap() % topology.shards.len();
        topology.shards[shard].voters = voters;
        let expected = topology.epoch;
        topology.epoch = expected.next();
        self.cluster
            .request(meta, Request::ProposeTopology { expected, topology: Box::new(topology) });
    }

    fn write(&mut self) {
        let shard = ShardId(u16::try_from(self.cluster.roll() % u64::from(SHARDS)).unwrap());
        let group = GroupId::Shard(shard);
        let to = self.cluster.leader(group).unwrap_or(node(1));
        if self.cluster.machines[&to].host.is_none() {
            return;
        }
        let key = format!("key-{}-{}", self.keys, "k".repeat(100));
        self.keys += 1;
        let operation = set(&key, &"v".repeat(200));
        let request = Request::Execute { shard, operation, level: ReadLevel::Linearizable };
        let id = self.cluster.request(to, request);
        self.pending.insert(id, (shard, key));
    }

    fn collect(&mut self) {
        let done: Vec<RequestId> = self
            .pending
            .keys()
            .filter(|id| self.cluster.replies.contains_key(id))
            .copied()
            .collect();
        for id in done {
            let Some((shard, key)) = self.pending.remove(&id) else { continue };
            match &self.cluster.replies[&id] {
                Ok(Reply::Value { value, .. }) => {
                    assert_eq!(*value, Value::Ok);
                    self.acknowledged.insert(key, shard);
                }
                Ok(other) => panic!("{other:?}"),
                Err(Failure::Unknown) => {}
                Err(_) => {
                    self.refused.insert(key, shard);
                }
            }
        }
    }

    fn settle(&mut self) {
        self.cluster.heal();
        self.cluster.loss = 0;
        for id in self.down() {
            self.cluster.start(id);
        }
        self.cluster.run_for(Duration::from_secs(5));
        self.collect();
        let keys: Vec<(String, ShardId, bool)> = self
            .acknowledged
            .iter()
            .map(|(key, shard)| (key.clone(), *shard, true))
            .chain(self.refused.iter().map(|(key, shard)| (key.clone(), *shard, false)))
            .collect();
        for (key, shard, there) in keys {
            let expected = if there { bulk(&"v".repeat(200)) } else { Value::Nil };
            assert_eq!(self.cluster.run(shard, &get(&key)).0, expected, "{key}");
        }
        for shard in (0..SHARDS).map(ShardId) {
            self.converge(GroupId::Shard(shard));
        }
        self.converge(GroupId::Meta);
        self.cluster.until("nothing is damaged", |cluster| {
            cluster.machines.values().all(|machine| {
                machine.host.as_ref().is_some_and(|host| host.status().damaged.is_none())
            })
        });
        assert!(self.cluster.machines.values().all(|machine| machine.fatal.is_none()));
    }

    fn converge(&mut self, group: GroupId) {
        self.cluster.until("all replicas are as the topology says and equal", |cluster| {
            let Some(leader) = cluster.leader(group) else { return false };
            let topology = cluster.machines[&leader].topology.clone().unwrap();
            let voters = match group {
                GroupId::Meta => topology.meta_voters.clone(),
                GroupId::Shard(shard) => topology.placement(shard).unwrap().voters.clone(),
            };
            let leading = cluster.replica(leader, group).unwrap();
            let epoch = topology.epoch;
            leading.configuration.voters == voters
                && cluster.machines.iter().all(|(id, machine)| {
                    let replica = cluster.replica(*id, group);
                    let wanted = leading.configuration.contains(*id);
                    machine.topology.as_ref().is_some_and(|topology| topology.epoch == epoch)
                        && wanted == replica.is_some()
                        && replica.is_none_or(|replica| {
                            replica.applied == leading.applied && replica.keys == leading.keys
                        })
                })
        });
    }
}

fn chaos(seed: u64) {
    let mut chaos = Chaos::new(seed);
    for _ in 0..ROUNDS {
        chaos.disturb();
        for _ in 0..chaos.cluster.roll() % 8 {
            chaos.write();
        }
        let pause = chaos.cluster.roll() % 400;
        chaos.cluster.run_for(Duration::from_millis(pause));
        chaos.collect();
    }
    chaos.settle();
    assert!(!chaos.acknowledged.is_empty());
}

/// `CHAOS_SEEDS=1000+50` runs fifty seeds from 1000 on.
#[test]
pub(super) fn nothing_acknowledged_is_lost_in_chaos() {
    let (from, count) = match std::env::var("CHAOS_SEEDS") {
        Ok(text) => {
            let (from, count) = text.split_once('+').unwrap();
            (from.parse().unwrap(), count.parse().unwrap())
        }
        Err(_) => (1, 10),
    };
    for seed in from..from + count {
        println!("seed {seed}");
        chaos(seed);
    }
}
