//! What clients of a store with a leader in every datacenter do: most write and read where they come; in some runs every third one is a
//! session that goes from datacenter to datacenter.

use quorate_group::host::{Reply, Request};
use quorate_model::{Datacenter, ShardId, Time};
use rand_chacha::ChaCha8Rng;

use super::crossing::Crossing;
use super::several_leaders::SeveralLeaders;
use super::{Attempt, ClientId, Lost, Workload};
use crate::options::Options;
use crate::verdict::Verdict;

pub(crate) struct LeadersEverywhere {
    several: SeveralLeaders,
    /// In some runs.
    crossing: Option<Crossing>,
}

impl LeadersEverywhere {
    pub(crate) fn new(options: &Options, sessions: bool) -> Self {
        let crossing = sessions.then(|| Crossing::new(options.shards));
        Self { several: SeveralLeaders::new(options), crossing }
    }

    fn of(&self, client: ClientId) -> &dyn Workload {
        match &self.crossing {
            Some(crossing) if client.0 % 3 == 2 => crossing,
            Some(_) | None => &self.several,
        }
    }

    fn of_mut(&mut self, client: ClientId) -> &mut dyn Workload {
        match &mut self.crossing {
            Some(crossing) if client.0 % 3 == 2 => crossing,
            Some(_) | None => &mut self.several,
        }
    }
}

impl Workload for LeadersEverywhere {
    fn begin(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        self.of_mut(client).begin(client, now, random);
    }

    fn begin_read(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        self.of_mut(client).begin_read(client, now, random);
    }

    fn reads(&self, client: ClientId) -> bool {
        self.of(client).reads(client)
    }

    fn place(&self, client: ClientId) -> Option<Datacenter> {
        self.of(client).place(client)
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
        self.several.answered() + self.crossing.as_ref().map_or(0, Workload::answered)
    }

    fn read_all(&mut self, now: Time) -> u64 {
        let sessions = self.crossing.as_mut().map_or(0, |crossing| crossing.read_all(now));
        self.several.read_all(now) + sessions
    }

    fn check(&self, shards: u16, lost: &Lost) -> Verdict {
        self.several.check(shards, lost)?;
        self.crossing.as_ref().map_or(Ok(()), |crossing| crossing.check(shards, lost))
    }
}
