//! Clients' requests: what they are to the protocol, and what its answers are to them.

use quorate_model::{Demand, GroupId, Level, ShardId, VersionVector};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{
    self, After, CellKey, Input, ReadRepair, Refused, Seen, Standing,
};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::super::{Failure, Host, Output, Reply, RequestId};
use super::Asked;
use super::applied::Applied;
use crate::cells::{self, Begun, Local};
use crate::{Operation, Value, ValueError};

/// See `Request::Coordinate`.
#[derive(Debug)]
pub(in super::super) struct Coordinated {
    pub(in super::super) operation: Operation,
    pub(in super::super) demand: Demand,
    pub(in super::super) seen: Option<Seen>,
}

impl<D: Disk, S: StateStore> Host<D, S> {
    /// This replica coordinates an operation.
    pub(in super::super) fn coordinate(
        &mut self,
        id: RequestId,
        shard: ShardId,
        Coordinated { operation, demand, seen }: Coordinated,
    ) {
        let group = GroupId::Shard(shard);
        let hosted = self.shards.hosted.get(&shard).filter(|hosted| hosted.replica.is_owner());
        let Some(hosted) = hosted else {
            return self.refuse(id, Failure::NotHosted { group });
        };
        // INV-98: not even what it would answer without asking anybody.
        if hosted.replica.standing() == Standing::Filling {
            return self.refuse(id, Failure::Filling { group });
        }
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
        // What a write changes, and what it answers, follows from what is known here. INV-106
        let unknown = match (&operation, &seen) {
            (Operation::Write(write), Some(seen)) => {
                let knows = hosted.replica.knows(seen, &applied);
                may.and_then(|()| cells::to_know(write, seen, knows))
            }
            (Operation::Read(_) | Operation::Write(_), _) => may.map(|()| Vec::new()),
        };
        let begun = match unknown {
            Ok(unknown) if !unknown.is_empty() => {
                let (seen, next) = (seen.unwrap_or_default(), Asked::Write(operation, demand));
                let (level, repair) = (Level::Count(1), ReadRepair::Background);
                let input = Input::Read { id: request, asked: unknown, level, repair, seen };
                return self.ask(shard, id, next, input);
            }
            Ok(_) => cells::begin(&operation, &local),
            Err(error) => Err(error),
        };
        let tells = seen.is_some();
        if let Some(why) = applied.failure() {
            self.refuse(id, Failure::TimedOut { group });
            return self.refill(shard, why);
        }
        let (asked, input) = match begun {
            Err(error) => return self.answer_value(id, Value::Error(error)),
            Ok(Begun::Answered(value)) => return self.answer_value(id, value),
            Ok(Begun::Read { asked, finish }) => {
                let (level, repair) = (demand.level(policy.read), ReadRepair::Blocking);
                let seen = seen.unwrap_or_default();
                let input = Input::Read { id: request, asked, level, repair, seen };
                (Asked::Answer { finish, writes: false, tells }, input)
            }
            Ok(Begun::Write { changes, finish }) => {
                let level = demand.level(policy.write);
                let after = match demand {
                    Demand::Declared | Demand::Level(_) => After::Nothing,
                    // INV-105
                    Demand::Linearizable => After::Level(Level::LINEARIZABLE),
                };
                let input = Input::Write { id: request, changes, level, after };
                (Asked::Answer { finish, writes: true, tells }, input)
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
    ) {
        let (group, now) = (GroupId::Shard(shard), self.shared.wall);
        let Some(hosted) = self.shards.hosted.get_mut(&shard) else { return };
        let Some(asked) = hosted.finishes.remove(&id) else { return };
        let writes = asked.writes();
        match (result, asked) {
            (Ok(_), Asked::Write(operation, demand)) => {
                self.shards.known.push_back((id, shard, operation, demand));
            }
            (Ok(cells), Asked::Answer { finish, tells, .. }) => {
                let seen = tells.then(|| cells.iter().map(known).collect());
                let conflicts = hosted.replica.policy().conflicts;
                let value = finish.finish(&cells, conflicts, now);
                match seen {
                    Some(seen) => self.answer(id, Reply::Seen { value, seen }),
                    None => self.answer_value(id, value),
                }
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
