//! Sessions of a store without leaders, which read and write at one replica for the most part: none may be answered from less than
//! it has written and seen (INV-106).
//!
//! Each client is a session.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_group::host::{Reply, Request};
use quorate_group::session::Vectors;
use quorate_group::{CollectionKind, Operation, Read, Value, Write};
use quorate_model::{Demand, Level, ShardId, Slot, Time};
use quorate_replication::leaderless::Seen;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Attempt, ClientId, Lost, Workload, number};
use crate::checkers::remembered::{self, Call};
use crate::options::pick;
use crate::verdict::{By, Verdict};

#[derive(Default)]
pub(crate) struct Remembered {
    sessions: BTreeMap<ClientId, Session>,
    /// What no session may have been answered.
    violation: Option<String>,
    answered: u64,
    ends: bool,
}

#[derive(Default)]
struct Session {
    vectors: Vectors,
    under_way: Option<UnderWay>,
    knows: remembered::Session,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    level: Level,
    doing: Call,
}

impl UnderWay {
    const fn reads(self) -> bool {
        matches!(self.doing, Call::Count | Call::CountAll | Call::Members)
    }
}

impl Remembered {
    fn session(&mut self, client: ClientId) -> &mut Session {
        self.sessions.entry(client).or_default()
    }

    fn doing(&self, client: ClientId) -> Option<(&Session, UnderWay)> {
        let session = self.sessions.get(&client)?;
        Some((session, session.under_way?))
    }

    /// A call has come to its end, or nobody knows.
    fn end(&mut self, client: ClientId, answer: Option<Value>) {
        let session = self.session(client);
        let Some(UnderWay { doing, .. }) = session.under_way.take() else { return };
        if let Err(why) = session.knows.note(doing, answer.as_ref().map(number_of)) {
            self.violation.get_or_insert(format!("session {}: {why}", client.0));
        }
    }
}

impl Workload for Remembered {
    fn begin(&mut self, client: ClientId, _now: Time, random: &mut ChaCha8Rng) {
        if self.ends {
            return;
        }
        let session = self.session(client);
        assert!(session.under_way.is_none(), "one call at a time");
        if random.random_ratio(1, 32) {
            // As if it had seen too much to remember.
            session.vectors = Vectors::default();
            session.vectors.import(Seen { cells: Vec::new(), more: true });
        }
        let levels = [Level::Count(1), Level::Count(1), Level::Quorum];
        let (doing, level) = (any_call(random), *pick(random, &levels));
        session.under_way = Some(UnderWay { level, doing });
    }

    fn begin_read(&mut self, client: ClientId, now: Time, random: &mut ChaCha8Rng) {
        self.begin(client, now, random);
    }

    fn reads(&self, client: ClientId) -> bool {
        self.doing(client).is_some_and(|(_, under_way)| under_way.reads())
    }

    fn request(&self, client: ClientId, shards: u16) -> Option<Request> {
        let (session, UnderWay { level, doing }) = self.doing(client)?;
        let (shard, operation) =
            (self.shard(client, shards)?, operation(client, session.knows.set, doing));
        let seen = Some(session.vectors.of(&operation));
        Some(Request::Coordinate { shard, operation, demand: Demand::Level(level), seen })
    }

    fn shard(&self, client: ClientId, shards: u16) -> Option<ShardId> {
        let (session, UnderWay { doing, .. }) = self.doing(client)?;
        Some(Slot::of_key(&key(client, session.knows.set, doing)).shard(shards))
    }

    fn answered_with(&mut self, client: ClientId, _now: Time, reply: Reply) -> Attempt {
        let Reply::Seen { value, seen, gone } = reply else {
            panic!("{reply:?} is no answer to a session")
        };
        let vectors = &mut self.session(client).vectors;
        vectors.forget(&gone);
        vectors.learn(seen);
        self.end(client, Some(value));
        self.answered += 1;
        Attempt::Done
    }

    fn give_up(&mut self, client: ClientId) -> Attempt {
        self.end(client, None);
        Attempt::Done
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

    /// What one replica alone held may be lost with it.
    fn check(&self, _shards: u16, lost: &Lost) -> Verdict {
        match &self.violation {
            Some(why) if !lost.replicas => Err(why.clone()).by("remembered"),
            Some(_) | None => Ok(()),
        }
    }
}

pub(super) fn any_call(random: &mut ChaCha8Rng) -> Call {
    let calls = [
        Call::Add,
        Call::Count,
        Call::AddToAll,
        Call::CountAll,
        Call::Join,
        Call::Clear,
        Call::Members,
    ];
    *pick(random, &calls)
}

/// Of a session whose own set is that one.
pub(super) fn key(client: ClientId, set: u64, doing: Call) -> Bytes {
    let client = client.0;
    Bytes::from(match doing {
        Call::Add | Call::Count => format!("own-{client}"),
        Call::AddToAll | Call::CountAll => "of-all".to_owned(),
        Call::Join | Call::Clear | Call::Members => format!("set-{client}-{set}"),
    })
}

pub(super) fn operation(client: ClientId, set: u64, doing: Call) -> Operation {
    let key = key(client, set, doing);
    let kind = CollectionKind::Set;
    Operation::Write(match doing {
        Call::Count | Call::CountAll => return Operation::Read(Read::Get { key }),
        Call::Members => return Operation::Read(Read::CountFields { key, kind }),
        Call::Add | Call::AddToAll => Write::Increment { key, by: 1 },
        Call::Join => Write::AddMembers { key, members: vec![Bytes::from_static(b"member")] },
        Call::Clear => Write::Delete { keys: vec![key] },
    })
}

/// What a write answers, or a counter or the size of a set is read as.
pub(super) fn number_of(value: &Value) -> i64 {
    if let Value::Integer(number) = value { *number } else { number(value) }
}
