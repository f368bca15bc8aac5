//! What one connection is promised: its options over its store's defaults, what it knows, and what follows for a read.
//!
//! Keeps INV-70 to INV-74 together with `quorate_group::session`, which decides what a read needs, and the store behind
//! the connection, which finds a replica that has it. Nothing here waits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_group::host::{Failure, Floor};
use quorate_group::session::{Exported, Knowledge, Source, Vectors};
use quorate_group::{Operation, Read};
use quorate_model::{
    GroupId, LogIndex, Position, ReadPreference, SessionPolicy, ShardId, Time, VersionVector,
};
use quorate_replication::leaderless::Seen;

use super::options::Options;
use super::token::{Crossing, Refusal, Token};
use super::{By, Routing, SessionRead, Sight};
use crate::resp::Reply;
use crate::resp::commands::SessionOption;

/// Of several leaders: what a session brings, for all shards together. More than that no store has.
const ORIGINS_MAX: usize = 1 << 16;

#[derive(Clone, Debug, Default)]
pub(super) struct Promises {
    pub(super) options: Options,
    pub(super) knowledge: Knowledge,
    /// Without leaders.
    vectors: Vectors,
    /// Of several leaders: what the session wrote or saw in other datacenters and has not found in this one yet.
    floors: BTreeMap<ShardId, VersionVector>,
}

/// What an answer taught the session.
#[derive(Clone, Debug)]
pub(super) enum Learnt {
    Wrote {
        shard: ShardId,
        /// `None` when it changed nothing.
        position: Option<Position>,
        /// Its answer said more than that it is done.
        told: bool,
    },
    ReadAtLeader {
        shard: ShardId,
    },
    /// As the one before, by a session that reads at leaders anyway.
    Read,
    ReadAtReplica {
        shard: ShardId,
        floor: Floor,
        position: Position,
    },
    Lost {
        shard: ShardId,
        position: Position,
    },
    /// Of several leaders: it wrote in another datacenter, which has this.
    Elsewhere {
        shard: ShardId,
        known: VersionVector,
    },
    /// Without leaders.
    Saw(Sight),
    /// Of several leaders: this datacenter has all of this, from the state at this index on.
    Arrived {
        shard: ShardId,
        floor: VersionVector,
        index: LogIndex,
    },
}

/// The time as sessions know it: since their node began to serve.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionClock {
    pub(super) origin: Instant,
}

impl SessionClock {
    pub(super) fn now(self) -> Time {
        Time::ZERO.after(self.origin.elapsed())
    }

    fn instant(self, time: Time) -> Instant {
        self.origin + Duration::from_nanos(time.0)
    }
}

impl Promises {
    pub(super) fn set(&mut self, options: Vec<SessionOption>) {
        for option in options {
            self.options.set(option);
        }
    }

    pub(super) fn policy(&self, routing: &Routing, reads: ReadPreference) -> SessionPolicy {
        self.options.over(&routing.policy.sessions, reads)
    }

    /// Where a read of a session that reads at replicas goes; `None`: to the leader.
    pub(super) fn at_replica(
        &self,
        routing: &Routing,
        shard: ShardId,
        read: &Read,
        clock: SessionClock,
    ) -> Option<SessionRead> {
        let policy = self.policy(routing, ReadPreference::Replica);
        let keys = read.keys();
        let keys = keys.iter().map(|key: &&Bytes| &key[..]);
        match self.knowledge.source(shard, keys, &policy, clock.now()) {
            Source::Leader(_) => None,
            Source::Replica(needs) => Some(SessionRead {
                shard,
                read: read.clone(),
                floor: needs.floor,
                after: needs.after.map(|after| clock.instant(after)),
                wait: Duration::from_millis(policy.wait_ms),
                affinity: self.options.affinity(),
            }),
        }
    }

    /// Without leaders: what an operation's answer is not to go back behind; `None` where nothing is promised.
    pub(super) fn seen(&self, operation: &Operation) -> Option<Seen> {
        let remembers = self.options.remembers();
        remembers.any().then(|| self.vectors.of(operation))
    }

    pub(super) fn learn(&mut self, learnt: Learnt, now: Time) {
        let knowledge = &mut self.knowledge;
        match learnt {
            Learnt::Wrote { shard, position, told } => {
                knowledge.wrote(shard, position, now);
                if let Some(position) = position.filter(|_| told) {
                    knowledge.told(shard, position, now);
                }
            }
            Learnt::ReadAtLeader { shard } => knowledge.read_at_leader(shard, now),
            Learnt::Read => knowledge.read_at_leaders(now),
            Learnt::ReadAtReplica { shard, floor, position } => {
                knowledge.read_at_replica(shard, &floor, position, now);
            }
            Learnt::Lost { shard, position } => knowledge.lost(shard, position),
            Learnt::Elsewhere { shard, known } => self.saw(shard, &known),
            Learnt::Saw(Sight { seen, gone }) => {
                self.vectors.forget(&gone);
                self.vectors.learn(seen);
            }
            Learnt::Arrived { shard, floor, index } => {
                if self.floors.get(&shard).is_some_and(|known| floor.covers_all(known)) {
                    self.floors.remove(&shard);
                }
                knowledge.arrived(shard, index);
            }
        }
    }

    /// Of several leaders: whether it is promised to find what it writes in other datacenters.
    pub(super) fn finds_its_writes(&self, routing: &Routing) -> bool {
        let finds = || {
            let policy = self.policy(routing, routing.policy.sessions.reads);
            policy.read_your_writes != quorate_model::ReadYourWrites::Off
        };
        routing.has_homes() && finds()
    }

    /// Of several leaders: the session has seen this in another datacenter, and is answered nothing in this one from less.
    pub(super) fn saw(&mut self, shard: ShardId, known: &VersionVector) {
        self.floors.entry(shard).or_default().join(known);
    }

    /// What this datacenter's group of the shard must have before it does anything for the session.
    pub(super) fn floor(&self, shard: ShardId) -> Option<&VersionVector> {
        self.floors.get(&shard)
    }

    pub(super) fn floors(&self) -> Vec<(ShardId, VersionVector)> {
        self.floors.iter().map(|(shard, floor)| (*shard, floor.clone())).collect()
    }

    /// Of several leaders: the shards of which another datacenter must have what this one has.
    pub(super) fn carried(&self, routing: &Routing) -> Vec<ShardId> {
        // Where reads go makes no difference to what they are promised.
        let policy = self.policy(routing, ReadPreference::Leader);
        let shards = u16::try_from(routing.shards.len()).unwrap_or(u16::MAX);
        self.knowledge.carried(&policy, shards)
    }

    /// SESSION TOKEN. Of several leaders, with what this datacenter has.
    pub(super) fn token(
        &self,
        routing: &Routing,
        known: Option<Vec<(ShardId, VersionVector)>>,
        now: Time,
    ) -> Reply {
        let knowledge = self.knowledge.export(now);
        let (options, seen) = (self.options.clone(), self.vectors.export());
        let (from, floors) = (routing.datacenter.clone(), self.floors());
        let crossing = known.map(|known| Crossing { from, known, floors });
        let token = Token { store: routing.store, knowledge, options, seen, crossing };
        let text = token.encode().map(Reply::text);
        text.unwrap_or_else(|| Reply::error("ERR the session knows more than a token holds"))
    }

    /// SESSION RESUME: adds what another connection knew, and takes over what it had asked for.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn resume(
        &mut self,
        text: &[u8],
        routing: &Routing,
        now: Time,
    ) -> Result<(), Refusal> {
        let token = Token::decode(text, routing.store, routing.shards.len())?;
        let Token { knowledge, options, seen, crossing, store: _ } = token;
        if crossing.is_some() != routing.multi_leader.is_some() {
            return Err(Refusal::OtherMode);
        }
        let vectors = crossing.iter().flat_map(|one| one.known.iter().chain(&one.floors));
        let vectors = vectors.map(|(_, vector)| vector).chain(self.floors.values());
        if vectors.map(VersionVector::len).sum::<usize>() > ORIGINS_MAX {
            return Err(Refusal::TooMuch);
        }
        let far = crossing.as_ref().is_some_and(|crossing| crossing.from != routing.datacenter);
        if let Some(Crossing { known, floors, .. }) = crossing {
            // Where the token is from, positions say the same.
            let known = known.iter().filter(|_| far);
            known.chain(&floors).for_each(|(shard, known)| self.saw(*shard, known));
        }
        let knowledge = match far {
            // Positions are of one datacenter's logs.
            true => Exported { wrote_ago: knowledge.wrote_ago, ..Exported::default() },
            false => knowledge,
        };
        self.knowledge.import(&knowledge, now);
        self.vectors.import(seen);
        self.options = options;
        Ok(())
    }
}

impl Learnt {
    pub(super) const fn by(shard: ShardId, by: By) -> Self {
        match by {
            By::Leader => Self::ReadAtLeader { shard },
            By::Replica { floor, position } => Self::ReadAtReplica { shard, floor, position },
        }
    }

    /// What a failure says of the session's own writes.
    pub(super) const fn of(failure: &Failure) -> Option<Self> {
        if let Failure::PositionLost { group: GroupId::Shard(shard), position } = failure {
            return Some(Self::Lost { shard: *shard, position: *position });
        }
        None
    }
}
