//! All systems, running side by side and filled with the same keys: whoever is not under load has nothing to do.

use anyhow::Result;
use quorate_model::{Mode, Policy};

use super::Bench;
use crate::load::{Target, keys, preload};
use crate::progress;
use crate::system::etcd::Etcd;
use crate::system::quorate::{self, Quorate};
use crate::system::redis::Redis;

/// Keys that a load draws from.
pub(super) const KEYS: u64 = 100_000;

#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) quorate: Quorate,
    pub(super) etcd: Option<Etcd>,
    /// Redis and Valkey, by name.
    pub(super) redis: Vec<(&'static str, Redis)>,
    pub(super) skipped: Vec<String>,
}

/// Which peers take part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peers {
    Etcd,
    Redis,
    Both,
}

impl Fleet {
    pub(super) fn start(bench: &Bench, peers: Peers, policy: Policy) -> Result<Self> {
        let directory = bench.data.join("fleet");
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        progress("starting the systems");
        let quorate = Quorate::start(quorate::Options {
            binary: bench.node.clone(),
            directory: directory.join("quorate"),
            nodes: 3,
            shards: bench.shards,
            policy,
            mode: Mode::SingleLeader,
            namespaces: None,
            settings: String::new(),
        })?;
        let mut fleet = Self { quorate, etcd: None, redis: Vec::new(), skipped: Vec::new() };
        if peers != Peers::Redis {
            match &bench.etcd {
                Ok(binary) => fleet.etcd = Some(Etcd::start(binary, &directory.join("etcd"))?),
                Err(why) => fleet.skipped.push(format!("etcd: {why}")),
            }
        }
        if peers != Peers::Etcd {
            for (name, found) in [("Redis", &bench.redis), ("Valkey", &bench.valkey)] {
                match found {
                    Ok(binary) => {
                        let redis = Redis::start(binary, &directory.join(name))?;
                        fleet.redis.push((name, redis));
                    }
                    Err(why) => fleet.skipped.push(format!("{name}: {why}")),
                }
            }
        }
        progress("filling them");
        for target in fleet.targets()? {
            preload(&target)?;
        }
        Ok(fleet)
    }

    fn targets(&self) -> Result<Vec<Target>> {
        let mut targets = vec![self.quorate.target(keys::keys(KEYS))?];
        if let Some(etcd) = &self.etcd {
            targets.push(etcd.target(keys::keys(KEYS))?);
        }
        targets.extend(self.redis.iter().map(|(_, redis)| redis.target(keys::keys(KEYS))));
        Ok(targets)
    }
}
