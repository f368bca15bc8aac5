//! MULTI to EXEC: what is kept, what is refused, and how all of it becomes one write.
//!
//! WATCH asks the leader for the keys' versions, and while keys are watched every read goes to leaders, whatever the session is
//! promised: a replica may show less than what the version stands for.

use bytes::Bytes;
use quorate_group::{Operation, Read, Write};
use quorate_model::Slot;

use super::{Action, Alone, Dispatcher, Run, not_offered};
use crate::resp::Reply;
use crate::resp::commands::{
    ClientCommand, Command, CommandError, ConnectionCommand, Data, ServerCommand, Shape, Spec,
    TransactionCommand,
};
use crate::session::order::Access;
use crate::session::route::{self, Replicas};
use crate::session::shape::Shaping;
use crate::session::transaction::{Complete, Kept, Transaction};
use crate::session::{Store, mode};

impl<S: Store> Dispatcher<'_, S> {
    pub(super) fn transaction(
        &mut self,
        spec: &'static Spec,
        command: TransactionCommand,
        words: &[Bytes],
    ) -> Action {
        let done = match command {
            TransactionCommand::Multi => {
                self.state.transaction.begin(self.sessions.budget.nothing())
            }
            TransactionCommand::Discard => self.state.transaction.discard(),
            TransactionCommand::Unwatch if self.state.transaction.is_open() => {
                // EXEC forgets what is watched anyway.
                return self.kept(words, None, Kept::Ready(Reply::Ok));
            }
            TransactionCommand::Unwatch => {
                self.state.transaction.unwatch();
                Ok(())
            }
            TransactionCommand::Watch { keys } => return self.watch(keys),
            TransactionCommand::Exec { token } => return self.exec(spec, token),
        };
        Action::Answer(
            done.map_or_else(|refusal| Reply::Error(refusal.to_string()), |()| Reply::Ok),
        )
    }

    /// Keeps a command for EXEC.
    pub(super) fn keep(
        &mut self,
        spec: &'static Spec,
        command: Command,
        words: &[Bytes],
    ) -> Action {
        // MULTI is taken and its commands are not: a client that sends a transaction at once has none of it done.
        if self.is_leaderless() {
            self.state.transaction.spoil();
            return not_offered(mode::Refusal::Transaction);
        }
        if let Command::Data(data) = command {
            return self.keep_data(spec, data, words);
        }
        if is_plain(&command)
            && let Action::Answer(reply) = self.now(spec, command)
        {
            return self.kept(words, None, Kept::Ready(reply));
        }
        self.state.transaction.spoil();
        Action::Answer(Reply::error("ERR Command not allowed inside a transaction"))
    }

    fn keep_data(&mut self, spec: &'static Spec, data: Data, words: &[Bytes]) -> Action {
        let routing = self.sessions.store.routing();
        let routed = route::slot_of(&data).and_then(|slot| {
            route::led(&routing, self.port, slot)?;
            Ok(slot)
        });
        let Data { operation, slot: _, shape } = data;
        match routed {
            Ok(slot) => {
                let kept = Kept::Operation { shape, spec };
                self.kept(words, Some((slot, operation)), kept)
            }
            Err(refusal) => {
                self.state.transaction.spoil();
                self.refused(&refusal)
            }
        }
    }

    /// A command whose words are wrong. As in Redis, an unknown one spoils a transaction, and one whose options are wrong is
    /// answered by EXEC beside the others.
    pub(super) fn misread(&mut self, error: &CommandError, words: &[Bytes]) -> Action {
        let reply = Reply::Error(error.to_string());
        if !self.state.transaction.is_open() {
            return Action::Answer(reply);
        }
        match error {
            CommandError::Unknown { .. }
            | CommandError::UnknownSubcommand { .. }
            | CommandError::NotOffered(_)
            | CommandError::Arity(_) => {
                self.state.transaction.spoil();
                Action::Answer(reply)
            }
            CommandError::Syntax
            | CommandError::NotInteger
            | CommandError::NotFloat
            | CommandError::OutOfRange(..)
            | CommandError::ExpireTime(_)
            | CommandError::Cursor
            | CommandError::Other(_) => self.kept(words, None, Kept::Ready(reply)),
        }
    }

    fn kept(
        &mut self,
        words: &[Bytes],
        operation: Option<(Slot, Operation)>,
        kept: Kept,
    ) -> Action {
        Action::Answer(match self.state.transaction.keep(words, operation, kept) {
            Ok(()) => Reply::Status("QUEUED".into()),
            Err(refusal) => Reply::Error(refusal.to_string()),
        })
    }

    fn watch(&mut self, keys: Vec<Bytes>) -> Action {
        let data = Data {
            operation: Operation::Read(Read::Versions { keys }),
            slot: None,
            shape: Shape::AsIs,
        };
        let routing = self.sessions.store.routing();
        if routing.is_leaderless() {
            return not_offered(mode::Refusal::Transaction);
        }
        let slot = route::slot_of(&data);
        let keys = data.operation.keys().len();
        let may = match slot {
            Ok(slot) => self.state.transaction.may_watch(slot, keys),
            Err(refusal) => {
                self.state.transaction.watch_failed();
                return self.refused(&refusal);
            }
        };
        if let Err(refusal) = may {
            return Action::Answer(Reply::Error(refusal.to_string()));
        }
        let routed = slot.and_then(|slot| {
            let execute = route::route(&routing, self.port, Replicas::Never, slot, data.operation)?;
            // After everything before it, so that EXEC finds it there whenever that is sent.
            Ok(Action::Alone(Alone::Watch { slot, execute }))
        });
        routed.unwrap_or_else(|refusal| {
            self.state.transaction.watch_failed();
            self.refused(&refusal)
        })
    }

    fn exec(&mut self, spec: &'static Spec, token: Option<Bytes>) -> Action {
        if self.state.transaction.is_open() && self.is_leaderless() {
            self.state.transaction = Transaction::default();
            return not_offered(mode::Refusal::Exec);
        }
        let complete = match self.state.transaction.complete() {
            Ok(complete) => complete,
            Err(refusal) => return Action::Answer(Reply::Error(refusal.to_string())),
        };
        let Complete { watched, operations, slot, fingerprint, answers } = complete;
        let Some(slot) = slot else {
            return Action::Answer(answers.reply(quorate_group::Value::List(Vec::new())));
        };
        let exec = Write::Transaction { watched, operations };
        let operation = Operation::Write(match token {
            None => exec,
            Some(token) => Write::Once { token, fingerprint, write: Box::new(exec), answer: None },
        });
        let routing = self.sessions.store.routing();
        match route::route(&routing, self.port, Replicas::Never, slot, operation) {
            Ok(execute) => {
                let run = Run { execute, slot, shaping: Shaping::Transaction(answers), spec };
                Action::Run { slot, access: Access::Write, run }
            }
            Err(refusal) => self.refused(&refusal),
        }
    }
}

/// Answered from what this node knows, at once and without a trace: the same whether EXEC runs the rest or not.
fn is_plain(command: &Command) -> bool {
    match command {
        Command::Fixed(_) | Command::Cluster(_) => true,
        Command::Connection(command) => match command {
            ConnectionCommand::Ping(_) | ConnectionCommand::Select(_) => true,
            ConnectionCommand::Hello(_)
            | ConnectionCommand::Auth { .. }
            | ConnectionCommand::Quit
            | ConnectionCommand::Reset
            | ConnectionCommand::ReadOnly
            | ConnectionCommand::ReadWrite => false,
        },
        Command::Client(command) => match command {
            ClientCommand::Id
            | ClientCommand::Name
            | ClientCommand::Info
            | ClientCommand::List(_) => true,
            ClientCommand::SetName(_)
            | ClientCommand::SetLibraryName(_)
            | ClientCommand::SetLibraryVersion(_)
            | ClientCommand::Kill { .. }
            | ClientCommand::Reply(_) => false,
        },
        Command::Server(command) => match command {
            ServerCommand::Table(_)
            | ServerCommand::Info(_)
            | ServerCommand::ConfigGet(_)
            | ServerCommand::Role
            | ServerCommand::Time
            | ServerCommand::LastSave => true,
            ServerCommand::ConfigSet(_) | ServerCommand::ConfigResetStatistics => false,
        },
        Command::Data(_)
        | Command::Keyspace(_)
        | Command::Wait(_)
        | Command::Session(_)
        | Command::Quorum(_)
        | Command::Transaction(_) => false,
    }
}
