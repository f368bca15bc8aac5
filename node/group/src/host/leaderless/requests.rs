//! Clients' requests: what they are to the protocol, and what its answers are to them.

use quorate_model::{Demand, GroupId, Level, ShardId, VersionVector};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{
    self, After, CellKey, Input, ReadRepair, Refused, Seen, Standing,
};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::super::{Failure, Host, Output, Reply, RequestId};
use super::applied::Applied;
use super::{Asked, Session, Shard, Shards};
use crate::cells::{self, Begun, Finish, Local};
use crate::{Operation, Value, ValueError};

/// See `Request::Coordinate`.
#[derive(Debug)]
pub(in super::super) struct Coordinated {
    operation: Operation,
    demand: Demand,
    /// What is still to be known.
    seen: Seen,
    session: Option<Session>,
}

impl Coordinated {
    pub(in super::super) fn new(operation: Operation, demand: Demand, seen: Option<Seen>) -> Self {
        let session = seen.as_ref().map(|_| Session::default());
        Self { operation, demand, seen: seen.unwrap_or_default(), session }
    }
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// This replica coordinates an operation.
    pub(in super::super) fn coordinate(
        &mut self,
        id: RequestId,
        shard: ShardId,
        Coordinated { operation, demand, seen, session }: Coordinated,
    ) {
        let hosted = match self.shards.coordinator(shard, &operation, demand, session.is_some()) {
            Ok(hosted) => hosted,
            Err(failure) => return self.refuse(id, failure),
        };
        let request = leaderless::RequestId(id.0);
        let seed = self.shared.nonce();
        let prefix = hosted.standing.prefix(shard);
        let applied = Applied::new(&self.shared.state, prefix, &hosted.last).keeping();
        let policy = hosted.replica.policy().clone();
        let may = match demand {
            Demand::Declared | Demand::Level(_) => Ok(()),
            Demand::Linearizable => cells::check_linearizable(&operation, &policy),
        };
        let local = Local {
            cell: &|key| hosted.replica.cell(key, &applied),
            range: &|from, to, count_max| hosted.replica.range(from, to, count_max, &applied),
            conflicts: policy.conflicts,
            now: self.shared.wall,
            seed,
        };
        // What a write changes, and which type a key has, follows from what is known here. INV-106
        let knows = |(key, seen): &&(CellKey, VersionVector)| {
            hosted.replica.cell(key, &applied).known().covers_all(seen)
        };
        let unknown = seen.cells.iter().filter(|one| !knows(one)).map(|(key, _)| key.clone());
        let first = may.and_then(|()| cells::to_know(&operation, &seen, unknown.collect()));
        let begun = match first {
            Ok(asked) if !asked.is_empty() => {
                let (level, repair) = (Level::Count(1), ReadRepair::Background);
                let input = Input::Read { id: request, asked, level, repair, seen };
                return self.ask(shard, id, Asked::First(operation, demand), input);
            }
            Ok(_) => cells::begin(&operation, &local),
            Err(error) => Err(error),
        };
        if let Some(why) = applied.failure() {
            self.refuse(id, Failure::TimedOut { group: GroupId::Shard(shard) });
            return self.refill(shard, why);
        }
        let (asked, input) = match begun {
            Err(error) => return self.answer_value(id, Value::Error(error)),
            Ok(Begun::Answered(value)) => match answered(&operation, session.is_some()) {
                None => return self.answer_value(id, value),
                // That there is nothing to be written its session has seen, too.
                Some(asked) => {
                    let (level, repair) = (Level::Count(1), ReadRepair::Blocking);
                    let input = Input::Read { id: request, asked, level, repair, seen };
                    let finish = Finish::Fixed(value);
                    (Asked::Answer { finish, writes: false, session }, input)
                }
            },
            Ok(Begun::Read { asked, finish }) => {
                let (level, repair) = (demand.level(policy.read), ReadRepair::Blocking);
                let input = Input::Read { id: request, asked, level, repair, seen };
                (Asked::Answer { finish, writes: false, session }, input)
            }
            Ok(Begun::Write { changes, finish }) => {
                let level = demand.level(policy.write);
                let after = match demand {
                    Demand::Declared | Demand::Level(_) => After::Nothing,
                    // INV-105
                    Demand::Linearizable => After::Level(Level::LINEARIZABLE),
                };
                let input = Input::Write { id: request, changes, level, after };
                (Asked::Answer { finish, writes: true, session }, input)
            }
        };
        self.ask(shard, id, asked, input);
    }

    fn ask(&mut self, shard: ShardId, id: RequestId, asked: Asked, input: Input) {
        if let Some(hosted) = self.shards.hosted.get_mut(&shard) {
            let before = hosted.finishes.insert(id, asked);
            assert!(before.is_none(), "a request's id is unique while the process lives");
        }
        self.drive(shard, [input]);
    }

    /// The client went away.
    pub(in super::super) fn forget_coordinated(&mut self, id: RequestId) {
        for hosted in self.shards.hosted.values_mut() {
            hosted.finishes.remove(&id);
        }
    }

    pub(super) fn shard_answered(
        &mut self,
        shard: ShardId,
        id: RequestId,
        result: Result<Vec<(CellKey, Cell)>, Refused>,
        mut gone: Vec<CellKey>,
    ) {
        let (group, now) = (GroupId::Shard(shard), self.shared.wall);
        let Some(hosted) = self.shards.hosted.get_mut(&shard) else { return };
        let Some(asked) = hosted.finishes.remove(&id) else { return };
        let writes = asked.writes();
        match (result, asked) {
            (Ok(_), Asked::First(operation, demand)) => {
                let (seen, session) = (Seen::default(), Some(Session { gone }));
                let coordinated = Coordinated { operation, demand, seen, session };
                self.shards.known.push((id, shard, coordinated));
            }
            (Ok(cells), Asked::Answer { finish, session, .. }) => {
                let conflicts = hosted.replica.policy().conflicts;
                let value = finish.finish(&cells, conflicts, now);
                let Some(session) = session else { return self.answer_value(id, value) };
                gone.extend(session.gone);
                let seen = cells.iter().map(known).collect();
                self.answer(id, Reply::Seen { value, seen, gone });
            }
            (Err(refused), _) => match refusal(refused, group, writes) {
                Ok(value) => self.answer_value(id, value),
                Err(failure) => self.refuse(id, failure),
            },
        }
    }

    fn answer_value(&mut self, id: RequestId, value: Value) {
        self.answer(id, Reply::Value { value, position: None });
    }

    fn answer(&mut self, id: RequestId, reply: Reply) {
        self.shared.outputs.push_back(Output::Reply { id, reply: Ok(reply) });
    }
}

impl Shards {
    /// The replica that coordinates it, or at the level `ANY` this node in place of all replicas, of which it knows nothing.
    fn coordinator(
        &self,
        shard: ShardId,
        operation: &Operation,
        demand: Demand,
        remembers: bool,
    ) -> Result<&Shard, Failure> {
        let group = GroupId::Shard(shard);
        let Some(hosted) = self.hosted.get(&shard) else {
            return Err(Failure::NotHosted { group });
        };
        let (replica, policy) = (&hosted.replica, hosted.replica.policy());
        let blind = demand.level(policy.write) == Level::Any && operation.is_blind();
        match replica.is_owner() {
            // INV-98: not even what it would answer without asking anybody.
            true if replica.standing() == Standing::Filling => Err(Failure::Filling { group }),
            true => Ok(hosted),
            false if replica.stands_in() && blind && !remembers => Ok(hosted),
            false => Err(Failure::NotHosted { group }),
        }
    }
}

/// The cells by which a write was found to change nothing, where its session is to remember them.
fn answered(operation: &Operation, remembers: bool) -> Option<Vec<leaderless::Asked>> {
    let writes = matches!(operation, Operation::Write(_));
    if remembers && writes { cells::named(operation).ok() } else { None }
}

fn known((key, cell): &(CellKey, Cell)) -> (CellKey, VersionVector) {
    (key.clone(), cell.known().clone())
}

/// INV-23: only a write without its quorum leaves open whether it takes effect.
fn refusal(refused: Refused, group: GroupId, writes: bool) -> Result<Value, Failure> {
    let no_quorum = |answered, needed, writes| {
        let [answered, needed] =
            [answered, needed].map(|count| u16::try_from(count).unwrap_or(u16::MAX));
        Failure::NoQuorum { answered, needed, writes }
    };
    match refused {
        Refused::NoQuorum { answered, needed } => Err(no_quorum(answered, needed, writes)),
        Refused::NotBegun { answered, needed } => Err(no_quorum(answered, needed, false)),
        Refused::TooFewReplicas | Refused::WritesOnly | Refused::NoHints => {
            Err(Failure::Invalid(refused.to_string()))
        }
        Refused::NotAReplica => Err(Failure::NotHosted { group }),
        Refused::Filling => Err(Failure::Filling { group }),
        Refused::Overloaded => Err(Failure::Overloaded),
        Refused::Behind => Err(Failure::Behind { group }),
        Refused::TooMuch { cells_max } => {
            Ok(Value::Error(ValueError::TooManyElements(cells_max as u64)))
        }
        Refused::UnknownContext => Ok(Value::Error(ValueError::UnknownContext)),
        Refused::TooManySiblings { max } => {
            Ok(Value::Error(ValueError::TooManySiblings(max as u64)))
        }
    }
}
