//! Sessions of a store with a leader in every datacenter, which go from one to another with what they have written and seen: none may be
//! answered from less (INV-106 to 108).
//!
//! Each client is a session. One call of it is three requests to one datacenter, as a connection makes them that comes with a token
//! and leaves with one: what it brings is waited for, then it reads or writes, then it asks what it takes along.

use std::collections::BTreeMap;

use quorate_group::host::{ReadLevel, Reply, Request};
use quorate_model::{Datacenter, ShardId, Slot, Time, VersionVector};
use rand_chacha::ChaCha8Rng;

use super::remembered::{any_call, key, number_of, operation};
use super::{Attempt, ClientId, Lost, Workload};
use crate::checkers::remembered::{self, Call};
use crate::verdict::{By, Verdict};

const WAIT_MS: u64 = 300;

pub(crate) struct Crossing {
    shards: u16,
    sessions: BTreeMap<ClientId, Session>,
    /// What no session may have been answered.
    violation: Option<String>,
    answered: u64,
    ends: bool,
}

#[derive(Default)]
struct Session {
    /// What it takes along, of each shard.
    floors: BTreeMap<ShardId, VersionVector>,
    under_way: Option<UnderWay>,
    knows: remembered::Session,
}

struct UnderWay {
    doing: Call,
    stage: Stage,
    /// Where the call is made, once what the session brings has come there.
    place: Option<Datacenter>,
    /// Where its last attempt came to.
    at: Option<Datacenter>,
}

enum Stage {
    Comes,
    Does,
    /// It has been answered with this.
    Leaves(i64),
}

impl Crossing {
    pub(crate) const fn new(shards: u16) -> Self {
        Self { shards, sessions: BTreeMap::new(), violation: None, answered: 0, ends: false }
    }

    fn doing(&self, client: ClientId) -> Option<(&Session, &UnderWay)> {
        let session = self.sessions.get(&client)?;
        Some((session, session.under_way.as_ref()?))
    }

    /// A call has come to its end, or nobody knows.
    fn end(&mut self, client: ClientId, answer: Option<i64>) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let Some(UnderWay { doing, .. }) = session.under_way.take() else { return };
        if let Err(why) = session.knows.note(doing, answer) {
            self.violation.get_or_insert(format!("session {}: {why}", client.0));
        }
    }
}

impl Workload for Crossing {
    fn begin(&mut self, client: ClientId, _now: Time, random: &mut ChaCha8Rng) {
        if self.ends {
            return;
        }
        let session = self.sessions.entry(client).or_default();
        assert!(session.under_way.is_none(), "one call at a time");
        let doing = any_call(random);
        session.under_way = Some(UnderWay { doing, stage: Stage::Comes, place: None, at: None });
    }

    fn begin_read(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        self.begin(client, now, random);
    }

    /// Nothing that could be asked anywhere else.
    fn reads(&self, _client: ClientId) -> bool {
        false
    }

    fn place(&self, client: ClientId) -> Option<Datacenter> {
        self.doing(client)?.1.place.clone()
    }

    fn arrives(&mut self, client: ClientId, at: Datacenter) {
        let under_way = self.sessions.get_mut(&client).and_then(|one| one.under_way.as_mut());
        if let Some(under_way) = under_way {
            under_way.at = Some(at);
        }
    }

    fn request(&self, client: ClientId, shards: u16) -> Option<Request> {
        let (session, under_way) = self.doing(client)?;
        let shard = self.shard(client, shards)?;
        Some(match under_way.stage {
            Stage::Comes => Request::AwaitKnown {
                shard,
                floor: session.floors.get(&shard).cloned().unwrap_or_default(),
                wait_ms: WAIT_MS,
            },
            Stage::Does => {
                let operation = operation(client, session.knows.set, under_way.doing);
                Request::Execute { shard, operation, level: ReadLevel::Linearizable }
            }
            Stage::Leaves(_) => Request::ReadKnown { shard },
        })
    }

    fn shard(&self, client: ClientId, shards: u16) -> Option<ShardId> {
        let (session, under_way) = self.doing(client)?;
        Some(Slot::of_key(&key(client, session.knows.set, under_way.doing)).shard(shards))
    }

    fn answered_with(&mut self, client: ClientId, _now: Time, reply: Reply) -> Attempt {
        let shard = self.shard(client, self.shards);
        let session = self.sessions.entry(client).or_default();
        let Some(under_way) = &mut session.under_way else { return Attempt::Done };
        match (&under_way.stage, reply) {
            (Stage::Comes, Reply::Index(_)) => {
                under_way.place = under_way.at.clone();
                under_way.stage = Stage::Does;
                Attempt::Again
            }
            (Stage::Does, Reply::Value { value, .. }) => {
                under_way.stage = Stage::Leaves(number_of(&value));
                Attempt::Again
            }
            (Stage::Leaves(found), Reply::Known(known)) => {
                let found = *found;
                session.floors.entry(shard.expect("of its call")).or_default().join(&known);
                self.end(client, Some(found));
                self.answered += 1;
                Attempt::Done
            }
            (Stage::Comes | Stage::Does | Stage::Leaves(_), reply) => {
                panic!("{reply:?} is no answer to a session")
            }
        }
    }

    fn give_up(&mut self, client: ClientId) -> Attempt {
        match self.doing(client).map(|(_, under_way)| &under_way.stage) {
            // What it has done it must not forget.
            Some(Stage::Comes | Stage::Leaves(_)) => Attempt::Again,
            Some(Stage::Does) | None => {
                self.end(client, None);
                Attempt::Done
            }
        }
    }

    fn answered(&self) -> u64 {
        self.answered
    }

    fn read_all(&mut self, _now: Time) -> u64 {
        for client in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.end(client, None);
        }
        self.ends = true;
        0
    }

    fn check(&self, _shards: u16, _: &Lost) -> Verdict {
        self.violation.as_ref().map_or(Ok(()), |why| Err(why.clone()).by("remembered"))
    }
}
