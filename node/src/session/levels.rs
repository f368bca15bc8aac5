//! How many replicas must answer a connection's reads and writes, in a store without leaders.

use quorate_group::{Operation, ValueError};
use quorate_model::{Demand, LeaderlessPolicy};

use crate::resp::Reply;
use crate::resp::commands::QuorumCommand;

/// What the store declares, also when that changes, unless the connection asks for something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Levels {
    read: Demand,
    write: Demand,
}

impl Levels {
    /// QUORUM.
    pub(super) fn quorum(&mut self, command: QuorumCommand, store: &LeaderlessPolicy) -> Reply {
        match command {
            QuorumCommand::Get => return self.describe(store),
            QuorumCommand::Set { read, .. } if read.is_sloppy() => {
                return Reply::error(
                    "ERR SLOPPY_QUORUM and ANY are levels of writes: nodes that stand in for replicas are not read",
                );
            }
            QuorumCommand::Set { write, .. } if write.is_sloppy() && !store.stands_in() => {
                return Reply::error(
                    "ERR SLOPPY_QUORUM and ANY need nodes that stand in for replicas: this store has no spec.leaderless.hints",
                );
            }
            QuorumCommand::Set { read, write } => {
                *self = Self { read: Demand::Level(read), write: Demand::Level(write) };
            }
            QuorumCommand::Linearizable if !store.keeps_registers() => {
                return Reply::Error(ValueError::NotLinearizable.to_string());
            }
            QuorumCommand::Linearizable => {
                *self = Self { read: Demand::Linearizable, write: Demand::Linearizable };
            }
            QuorumCommand::Reset => *self = Self::default(),
        }
        Reply::Ok
    }

    pub(super) const fn of(self, operation: &Operation) -> Demand {
        match operation {
            Operation::Read(_) => self.read,
            Operation::Write(_) => self.write,
        }
    }

    fn describe(self, store: &LeaderlessPolicy) -> Reply {
        if self.write == Demand::Linearizable {
            return Reply::List(vec![Reply::text("LINEARIZABLE")]);
        }
        let levels = [self.read.level(store.read), self.write.level(store.write)];
        Reply::List(levels.map(|level| Reply::text(level.to_string())).into())
    }
}
