//! What clients of a store without leaders do: values and counters for the most part, and hashes and sets.

use std::collections::BTreeSet;

use quorate_group::host::{Failure, Reply, Request};
use quorate_model::{Datacenter, LeaderlessPolicy, ShardId, Time};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::collections::Collections;
use super::versions::Versions;
use super::{Attempt, ClientId, Lost, Workload};
use crate::verdict::Verdict;

pub(crate) struct WithoutLeaders {
    versions: Versions,
    collections: Collections,
    /// The clients whose call is about a collection.
    collect: BTreeSet<ClientId>,
    /// How many elements of collections are still to be read in the end.
    unread: Option<u64>,
}

impl WithoutLeaders {
    pub(crate) fn new(keys: usize, policy: &LeaderlessPolicy, replicas: usize) -> Self {
        Self {
            versions: Versions::new(keys, policy.clone(), replicas),
            collections: Collections::new(policy.clone(), replicas),
            collect: BTreeSet::new(),
            unread: None,
        }
    }

    fn of(&self, client: ClientId) -> &dyn Workload {
        if self.collect.contains(&client) { &self.collections } else { &self.versions }
    }

    fn of_mut(&mut self, client: ClientId) -> &mut dyn Workload {
        if self.collect.contains(&client) { &mut self.collections } else { &mut self.versions }
    }
}

impl Workload for WithoutLeaders {
    fn begin(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        if self.of(client).request(client, 1).is_some() {
            return;
        }
        let collects = match &mut self.unread {
            Some(unread) if *unread > 0 => {
                *unread -= 1;
                true
            }
            Some(_) => false,
            None => random.random_ratio(1, 3),
        };
        if collects {
            self.collect.insert(client);
        } else {
            self.collect.remove(&client);
        }
        self.of_mut(client).begin(client, now, random);
    }

    fn begin_read(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        self.begin(client, now, random);
    }

    fn reads(&self, client: ClientId) -> bool {
        self.of(client).reads(client)
    }

    fn arrives(&mut self, client: ClientId, at: Datacenter) {
        self.of_mut(client).arrives(client, at);
    }

    fn request(&self, client: ClientId, shards: u16) -> Option<Request> {
        self.of(client).request(client, shards)
    }

    fn shard(&self, client: ClientId, shards: u16) -> Option<ShardId> {
        self.of(client).shard(client, shards)
    }

    fn answer(&mut self, client: ClientId, now: Time, reply: Result<Reply, Failure>) -> Attempt {
        self.of_mut(client).answer(client, now, reply)
    }

    fn give_up(&mut self, client: ClientId) -> Attempt {
        self.of_mut(client).give_up(client)
    }

    fn answered(&self) -> u64 {
        self.versions.answered() + self.collections.answered()
    }

    fn read_all(&mut self, now: Time) -> u64 {
        let collections = self.collections.read_all(now);
        self.unread = Some(collections);
        self.versions.read_all(now) + collections
    }

    fn check(&self, shards: u16, lost: &Lost) -> Verdict {
        self.versions.check(shards, lost)?;
        self.collections.check(shards, lost)
    }
}
