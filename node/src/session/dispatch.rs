//! One request to what is to be done about it. Nothing here waits.

mod transacting;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_group::Operation;
use quorate_model::{Position, ShardId, Slot};

use super::authorize::{self, Identity};
use super::counters::add;
use super::levels::Levels;
use super::order::Access;
use super::promises::Promises;
use super::queue::Audible;
use super::registry::Client;
use super::route::{self, Replicas};
use super::shape::Shaping;
use super::transaction::Transaction;
use super::{Execute, Port, Sessions, Store, answer, mode, options};
use crate::resp::commands::{
    self, ClientCommand, Command, ConnectionCommand, Data, HelloOptions, KeyspaceCommand, Parsed,
    QuorumCommand, ReplyMode, ServerCommand, SessionCommand, Spec, Wait,
};
use crate::resp::{Protocol, Reply};

/// What a connection is set to.
#[derive(Debug)]
pub(super) struct State {
    pub(super) identity: Identity,
    pub(super) protocol: Protocol,
    pub(super) replicas: Replicas,
    pub(super) replies: ReplyMode,
    pub(super) transaction: Transaction,
    pub(super) promises: Promises,
    /// Without leaders.
    pub(super) levels: Levels,
    /// Where the last write to each shard stands, for WAIT.
    pub(super) written: BTreeMap<ShardId, Position>,
}

#[derive(Debug)]
pub(super) enum Action {
    Answer(Reply),
    /// The last answer: the connection is closed after it.
    AnswerAndClose(Reply),
    /// One operation on one slot.
    Run {
        slot: Slot,
        access: Access,
        run: Run,
    },
    /// What no other request of the connection may run beside.
    Alone(Alone),
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) execute: Execute,
    pub(super) slot: Slot,
    pub(super) shaping: Shaping,
    pub(super) spec: &'static Spec,
}

#[derive(Debug)]
pub(super) enum Alone {
    Keyspace {
        command: KeyspaceCommand,
        replicas: Replicas,
    },
    Wait {
        wait: Wait,
    },
    Session {
        command: SessionCommand,
    },
    /// WATCH: reads the keys' versions.
    Watch {
        slot: Slot,
        execute: Execute,
    },
}

impl Default for State {
    fn default() -> Self {
        Self {
            identity: authorize::anonymous(),
            protocol: Protocol::Resp2,
            replicas: Replicas::Never,
            replies: ReplyMode::On,
            transaction: Transaction::default(),
            promises: Promises::default(),
            levels: Levels::default(),
            written: BTreeMap::new(),
        }
    }
}

impl State {
    /// Whether the next request's answer is wanted: SKIP counts for one request after it.
    pub(super) fn audible(&mut self) -> Audible {
        match self.replies {
            ReplyMode::On => Audible::Yes,
            ReplyMode::Off => Audible::No,
            ReplyMode::Skip => {
                self.replies = ReplyMode::On;
                Audible::No
            }
        }
    }
}

/// The borrows of one dispatch.
pub(super) struct Dispatcher<'a, S> {
    pub(super) sessions: &'a Arc<Sessions<S>>,
    pub(super) client: &'a Arc<Client>,
    pub(super) port: Port,
    pub(super) state: &'a mut State,
}

impl<S: Store> Dispatcher<'_, S> {
    pub(super) fn dispatch(&mut self, words: &[Bytes]) -> Action {
        add(&self.sessions.counters.commands, 1);
        let action = match commands::parse(words) {
            Ok(parsed) => self.parsed(parsed, words),
            Err(error) => self.misread(&error, words),
        };
        if let Action::Answer(Reply::Error(_)) = action {
            add(&self.sessions.counters.failed, 1);
        }
        action
    }

    fn parsed(&mut self, Parsed { spec, command }: Parsed, words: &[Bytes]) -> Action {
        self.client.change(|details| details.last_command = spec.name);
        if let Err(refusal) = authorize::authorize(self.state.identity, spec, &command) {
            self.state.transaction.spoil();
            return Action::Answer(Reply::Error(refusal.to_string()));
        }
        if let Command::Transaction(command) = command {
            return self.transaction(spec, command, words);
        }
        // What ends the connection's state ends a transaction too.
        let ends = matches!(
            command,
            Command::Connection(ConnectionCommand::Reset | ConnectionCommand::Quit)
        );
        if self.state.transaction.is_open() && !ends {
            self.keep(spec, command, words)
        } else {
            self.now(spec, command)
        }
    }

    /// Outside of a transaction.
    fn now(&mut self, spec: &'static Spec, command: Command) -> Action {
        match command {
            Command::Data(data) => self.data(spec, data),
            Command::Keyspace(command) => {
                Action::Alone(Alone::Keyspace { command, replicas: self.state.replicas })
            }
            Command::Wait(_) if self.is_leaderless() => not_offered(mode::Refusal::Wait),
            Command::Wait(wait) => Action::Alone(Alone::Wait { wait }),
            Command::Session(SessionCommand::Set(options))
                if self.is_leaderless() && !options.iter().all(options::is_of_versions) =>
            {
                not_offered(mode::Refusal::Session)
            }
            // After everything before it, so that what that wrote and saw is known.
            Command::Session(command) => Action::Alone(Alone::Session { command }),
            Command::Quorum(command) => self.quorum(command),
            Command::Connection(command) => self.connection(command),
            Command::Client(command) => self.client(command),
            Command::Server(command) => Action::Answer(self.server(command)),
            Command::Cluster(command) => {
                let routing = self.sessions.store.routing();
                Action::Answer(answer::cluster(&command, &routing))
            }
            Command::Fixed(reply) => Action::Answer(reply),
            Command::Transaction(_) => unreachable!("never kept, and so done where it is read"),
        }
    }

    fn data(&self, spec: &'static Spec, data: Data) -> Action {
        let access = match &data.operation {
            Operation::Read(_) => Access::Read,
            Operation::Write(_) => Access::Write,
        };
        let routed = route::slot_of(&data).and_then(|slot| {
            let routing = self.sessions.store.routing();
            let Data { operation, slot: _, shape } = data;
            let mut execute =
                route::route(&routing, self.port, self.state.replicas, slot, operation)?;
            if routing.is_leaderless() {
                execute.demand = self.state.levels.of(&execute.operation);
            }
            let run = Run { execute, slot, shaping: Shaping::One(shape), spec };
            Ok(Action::Run { slot, access, run })
        });
        routed.unwrap_or_else(|refusal| self.refused(&refusal))
    }

    fn refused(&self, refusal: &route::Refusal) -> Action {
        if matches!(refusal, route::Refusal::Moved { .. }) {
            add(&self.sessions.counters.moved, 1);
        }
        Action::Answer(Reply::Error(refusal.to_string()))
    }

    fn quorum(&mut self, command: QuorumCommand) -> Action {
        let routing = self.sessions.store.routing();
        match &routing.leaderless {
            Some(policy) => Action::Answer(self.state.levels.quorum(command, policy)),
            None => not_offered(mode::Refusal::Quorum),
        }
    }

    fn is_leaderless(&self) -> bool {
        self.sessions.store.routing().is_leaderless()
    }

    fn connection(&mut self, command: ConnectionCommand) -> Action {
        Action::Answer(match command {
            ConnectionCommand::Hello(options) => self.hello(options),
            ConnectionCommand::Auth { user, password } => {
                match authorize::authenticate(user.as_deref(), &password) {
                    Ok(identity) => {
                        self.state.identity = identity;
                        Reply::Ok
                    }
                    Err(refusal) => Reply::Error(refusal.to_string()),
                }
            }
            ConnectionCommand::Ping(None) => Reply::Status("PONG".into()),
            ConnectionCommand::Ping(Some(word)) => Reply::Bulk(word),
            ConnectionCommand::Select(0) => Reply::Ok,
            ConnectionCommand::Select(_) => Reply::error(match self.port {
                Port::Plain => "ERR DB index is out of range",
                Port::Cluster => "ERR SELECT is not allowed in cluster mode",
            }),
            ConnectionCommand::Quit => return Action::AnswerAndClose(Reply::Ok),
            ConnectionCommand::Reset => {
                // What was written stays written: WAIT keeps its meaning.
                let written = std::mem::take(&mut self.state.written);
                *self.state = State { written, ..State::default() };
                self.client.change(|details| {
                    details.name.clear();
                    details.protocol = Protocol::Resp2;
                    details.read_only = false;
                });
                Reply::Status("RESET".into())
            }
            ConnectionCommand::ReadOnly => self.replicas(Replicas::Allowed),
            ConnectionCommand::ReadWrite => self.replicas(Replicas::Never),
        })
    }

    fn replicas(&mut self, replicas: Replicas) -> Reply {
        self.state.replicas = replicas;
        self.client.change(|details| details.read_only = replicas == Replicas::Allowed);
        Reply::Ok
    }

    fn hello(&mut self, options: HelloOptions) -> Reply {
        let HelloOptions { protocol, auth, name } = options;
        if let Some((user, password)) = auth {
            match authorize::authenticate(Some(&user), &password) {
                Ok(identity) => self.state.identity = identity,
                Err(refusal) => return Reply::Error(refusal.to_string()),
            }
        }
        if let Some(protocol) = protocol {
            self.state.protocol = protocol;
        }
        self.client.change(|details| {
            details.protocol = self.state.protocol;
            if let Some(name) = name {
                details.name = name;
            }
        });
        let routing = self.sessions.store.routing();
        answer::hello(self.client.id, self.port, self.state.protocol, &routing)
    }

    fn client(&mut self, command: ClientCommand) -> Action {
        let me = self.client;
        Action::Answer(match command {
            ClientCommand::Id => Reply::count(me.id),
            ClientCommand::Name => match me.details().name {
                name if name.is_empty() => Reply::Nil,
                name => Reply::text(name),
            },
            ClientCommand::SetName(name) => set(me, |details| details.name = name),
            ClientCommand::SetLibraryName(name) => set(me, |details| details.library_name = name),
            ClientCommand::SetLibraryVersion(version) => {
                set(me, |details| details.library_version = version)
            }
            ClientCommand::Info => Reply::Verbatim(me.line() + "\n"),
            ClientCommand::List(filter) => {
                let clients = self.sessions.registry.matching(&filter);
                Reply::Verbatim(clients.iter().map(|client| client.line() + "\n").collect())
            }
            ClientCommand::Kill { filter, skip_me, old_style } => {
                let mut killed = self.sessions.registry.matching(&filter);
                killed.retain(|client| !(skip_me && client.id == me.id));
                let count = killed.len() as u64;
                let reply = match (old_style, count) {
                    (true, 0) => Reply::error("ERR No such client"),
                    (true, _) => Reply::Ok,
                    (false, _) => Reply::count(count),
                };
                let suicide = killed.iter().any(|client| client.id == me.id);
                for client in killed.iter().filter(|client| client.id != me.id) {
                    client.killed.cancel();
                    self.sessions.registry.close(client.id);
                }
                if suicide {
                    return Action::AnswerAndClose(reply);
                }
                reply
            }
            ClientCommand::Reply(mode) => {
                self.state.replies = mode;
                Reply::Ok
            }
        })
    }

    fn server(&self, command: ServerCommand) -> Reply {
        match command {
            ServerCommand::Table(query) => query.answer(),
            ServerCommand::Info(sections) => {
                Reply::Verbatim(answer::info(self.sessions, self.port, &sections))
            }
            ServerCommand::ConfigGet(patterns) => {
                answer::config_get(&self.sessions.settings, self.port, &patterns)
            }
            ServerCommand::ConfigSet(pairs) => {
                answer::config_set(&self.sessions.settings, self.port, &pairs)
            }
            ServerCommand::ConfigResetStatistics => {
                self.sessions.counters.reset();
                Reply::Ok
            }
            ServerCommand::Role => {
                let status = self.sessions.store.status();
                answer::role(&self.sessions.store.routing(), &status, self.port)
            }
            ServerCommand::Time => answer::time(),
            ServerCommand::LastSave => answer::last_save(),
        }
    }
}

fn not_offered(refusal: mode::Refusal) -> Action {
    Action::Answer(Reply::Error(refusal.to_string()))
}

fn set(client: &Client, change: impl FnOnce(&mut super::registry::Details)) -> Reply {
    client.change(change);
    Reply::Ok
}
