//! What clients of a store without leaders do: values and counters for the most part, and hashes and sets; in some runs sessions.

use std::collections::BTreeMap;

use quorate_group::host::{Reply, Request};
use quorate_model::{Datacenter, LeaderlessPolicy, ShardId, Time};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::collections::Collections;
use super::remembered::Remembered;
use super::versions::Versions;
use super::{Attempt, ClientId, Lost, Workload};
use crate::verdict::Verdict;

pub(crate) struct WithoutLeaders {
    versions: Versions,
    collections: Collections,
    /// In some runs.
    remembered: Option<Remembered>,
    /// What the clients' calls are about; where nothing is said, values.
    about: BTreeMap<ClientId, About>,
    /// How many elements of collections are still to be read in the end.
    unread: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Values,
    Collections,
    Sessions,
}

impl WithoutLeaders {
    pub(crate) fn new(
        keys: usize,
        policy: &LeaderlessPolicy,
        replicas: usize,
        sessions: bool,
    ) -> Self {
        Self {
            versions: Versions::new(keys, policy.clone(), replicas),
            collections: Collections::new(policy.clone(), replicas),
            remembered: sessions.then(Remembered::default),
            about: BTreeMap::new(),
            unread: None,
        }
    }

    fn of(&self, client: ClientId) -> &dyn Workload {
        match (self.about.get(&client), &self.remembered) {
            (Some(About::Collections), _) => &self.collections,
            (Some(About::Sessions), Some(remembered)) => remembered,
            (Some(About::Values | About::Sessions) | None, _) => &self.versions,
        }
    }

    fn of_mut(&mut self, client: ClientId) -> &mut dyn Workload {
        match (self.about.get(&client), &mut self.remembered) {
            (Some(About::Collections), _) => &mut self.collections,
            (Some(About::Sessions), Some(remembered)) => remembered,
            (Some(About::Values | About::Sessions) | None, _) => &mut self.versions,
        }
    }
}

impl Workload for WithoutLeaders {
    fn begin(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        if self.of(client).request(client, 1).is_some() {
            return;
        }
        let about = match &mut self.unread {
            Some(unread) if *unread > 0 => {
                *unread -= 1;
                About::Collections
            }
            Some(_) => About::Values,
            None if self.remembered.is_some() && random.random_ratio(1, 3) => About::Sessions,
            None if random.random_ratio(1, 3) => About::Collections,
            None => About::Values,
        };
        self.about.insert(client, about);
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

    fn answered_with(&mut self, client: ClientId, now: Time, reply: Reply) -> Attempt {
        self.of_mut(client).answered_with(client, now, reply)
    }

    fn give_up(&mut self, client: ClientId) -> Attempt {
        self.of_mut(client).give_up(client)
    }

    fn answered(&self) -> u64 {
        let remembered = self.remembered.as_ref().map_or(0, Workload::answered);
        self.versions.answered() + self.collections.answered() + remembered
    }

    fn read_all(&mut self, now: Time) -> u64 {
        let collections = self.collections.read_all(now);
        self.unread = Some(collections);
        let remembered = self.remembered.as_mut().map_or(0, |remembered| remembered.read_all(now));
        self.versions.read_all(now) + collections + remembered
    }

    fn check(&self, shards: u16, lost: &Lost) -> Verdict {
        self.versions.check(shards, lost)?;
        self.collections.check(shards, lost)?;
        self.remembered.as_ref().map_or(Ok(()), |remembered| remembered.check(shards, lost))
    }
}
