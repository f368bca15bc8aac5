//! Clients' requests: what they are to the protocol, and what its answers are to them.

use quorate_model::{Demand, GroupId, Level, ShardId};
use quorate_replication::causal::Cell;
use quorate_replication::leaderless::{self, After, CellKey, Input, ReadRepair, Refused, Standing};
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::super::{Failure, Host, Output, Reply, RequestId};
use super::Asked;
use super::applied::Applied;
use crate::cells::{self, Begun, Local};
use crate::{Operation, Value, ValueError};

impl<D: Disk, S: StateStore> Host<D, S> {
    /// This replica coordinates an operation.
    pub(in super::super) fn coordinate(
        &mut self,
        id: RequestId,
        shard: ShardId,
        operation: &Operation,
        demand: Demand,
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
        let seed = self.shared.nonce();
        let prefix = hosted.standing.prefix(shard);
        let applied = Applied::new(&self.shared.state, prefix, &hosted.last).keeping();
        let policy = hosted.replica.policy().clone();
        let may = match demand {
            Demand::Declared | Demand::Level(_) => Ok(()),
            Demand::Linearizable => cells::check_linearizable(operation, &policy),
        };
        let local = Local {
            cell: &|key| hosted.replica.cell(key, &applied),
            range: &|from, to, count_max| hosted.replica.range(from, to, count_max, &applied),
            conflicts: policy.conflicts,
            now: self.shared.wall,
            seed,
        };
        let begun = may.and_then(|()| cells::begin(operation, &local));
        if let Some(why) = applied.failure() {
            self.refuse(id, Failure::TimedOut { group });
            return self.refill(shard, why);
        }
        let request = leaderless::RequestId(id.0);
        let (asked, input) = match begun {
            Err(error) => return self.answer_value(id, Value::Error(error)),
            Ok(Begun::Answered(value)) => return self.answer_value(id, value),
            Ok(Begun::Read { asked, finish }) => {
                let (level, repair) = (demand.level(policy.read), ReadRepair::Blocking);
                let input = Input::Read { id: request, asked, level, repair };
                (Asked { finish, writes: false }, input)
            }
            Ok(Begun::Write { changes, finish }) => {
                let level = demand.level(policy.write);
                let after = match demand {
                    Demand::Declared | Demand::Level(_) => After::Nothing,
                    // INV-105
                    Demand::Linearizable => After::Level(Level::LINEARIZABLE),
                };
                let input = Input::Write { id: request, changes, level, after };
                (Asked { finish, writes: true }, input)
            }
        };
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
        let Some(Asked { finish, writes }) = hosted.finishes.remove(&id) else { return };
        let reply = match result {
            Ok(cells) => {
                let conflicts = hosted.replica.policy().conflicts;
                Ok(finish.finish(&cells, conflicts, now))
            }
            Err(refused) => refusal(refused, group, writes),
        };
        match reply {
            Ok(value) => self.answer_value(id, value),
            Err(failure) => self.refuse(id, failure),
        }
    }

    fn answer_value(&mut self, id: RequestId, value: Value) {
        let reply = Ok(Reply::Value { value, position: None });
        self.shared.outputs.push_back(Output::Reply { id, reply });
    }
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
        Refused::TooMuch { cells_max } => {
            Ok(Value::Error(ValueError::TooManyElements(cells_max as u64)))
        }
        Refused::UnknownContext => Ok(Value::Error(ValueError::UnknownContext)),
        Refused::TooManySiblings { max } => {
            Ok(Value::Error(ValueError::TooManySiblings(max as u64)))
        }
    }
}
