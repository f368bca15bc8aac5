//! How many replicas must answer a connection's reads and writes, in a store without leaders.

use quorate_group::Operation;
use quorate_model::{LeaderlessPolicy, Level};

use crate::resp::Reply;
use crate::resp::commands::QuorumCommand;

/// `None` is what the store declares, also when that changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Levels {
    read: Option<Level>,
    write: Option<Level>,
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
                *self = Self { read: Some(read), write: Some(write) };
            }
            QuorumCommand::Reset => *self = Self::default(),
        }
        Reply::Ok
    }

    pub(super) const fn of(self, operation: &Operation) -> Option<Level> {
        match operation {
            Operation::Read(_) => self.read,
            Operation::Write(_) => self.write,
        }
    }

    fn describe(self, store: &LeaderlessPolicy) -> Reply {
        let levels = [self.read.unwrap_or(store.read), self.write.unwrap_or(store.write)];
        Reply::List(levels.map(|level| Reply::text(level.to_string())).into())
    }
}
