//! What runs while nothing else of the connection does: SESSION, WAIT, and commands over many shards.

use std::sync::Arc;

use bytes::Bytes;
use quorate_group::{Value, Version};
use quorate_model::{ReadPreference, Slot};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Done, Watched, failed};
use crate::resp::Reply;
use crate::resp::commands::SessionCommand;
use crate::session::counters::add;
use crate::session::dispatch::Alone;
use crate::session::keyspace::{self, Asker};
use crate::session::order::Access;
use crate::session::promises::Promises;
use crate::session::queue::Sequence;
use crate::session::route::Replicas;
use crate::session::{Answer, Execute, Port, Routing, Store};

impl<S: Store, R, W> Connection<S, R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// Starts what is to run alone once nothing else runs.
    pub(super) fn start_alone(&mut self) {
        if !self.running.is_empty() {
            return;
        }
        let Some((sequence, alone)) = self.alone.take() else { return };
        let floors = self.floors_of(&alone);
        if !floors.is_empty() {
            self.alone = Some((sequence, alone));
            return self.await_all(floors);
        }
        assert!(self.order.is_empty());
        let store = self.sessions.store.clone();
        let keys_max = self.sessions.settings.keys_max;
        let (port, written) = (self.port, self.state.written.clone());
        let asker = |replicas, promises| {
            let clock = self.sessions.clock();
            Asker::new(store, port, replicas, keys_max, promises, clock)
        };
        match alone {
            Alone::Keyspace { command, replicas } => {
                let promises = self.state.promises.clone();
                let durability = promises.options.clone();
                let asker = asker(replicas, promises);
                self.begin(async move {
                    let (mut reply, learnt) = asker.run(command).await;
                    if !matches!(reply, Reply::Error(_))
                        && let Err(text) = asker.held(&durability, &learnt).await
                    {
                        reply = Reply::Error(text);
                    }
                    Done { sequence, reply, slot: None, learnt, watched: Watched::Nothing }
                });
            }
            Alone::Wait { wait } => {
                let asker = asker(Replicas::Never, Promises::default());
                self.begin(async move {
                    let reply = asker.wait(wait, written).await;
                    let learnt = Vec::new();
                    Done { sequence, reply, slot: None, learnt, watched: Watched::Nothing }
                });
            }
            Alone::Session { command } => self.session(sequence, command),
            Alone::Watch { slot, execute } => self.watch(sequence, slot, execute),
        }
    }

    /// WATCH: the keys' versions, as of the leader.
    fn watch(&mut self, sequence: Sequence, slot: Slot, execute: Execute) {
        let keys: Vec<Bytes> = execute.operation.keys().into_iter().cloned().collect();
        let (shard, reach) = (execute.shard, execute.reach);
        let sessions = Arc::clone(&self.sessions);
        let answer = self.sessions.store.execute(execute);
        self.begin(async move {
            let (reply, watched) = match answer.await {
                Ok(Answer { value: Value::List(versions), .. }) => {
                    assert_eq!(versions.len(), keys.len());
                    let versions = versions.into_iter().map(|version| match version {
                        Value::Integer(version) => Version(version.cast_unsigned()),
                        Value::Ok
                        | Value::Nil
                        | Value::Bulk(_)
                        | Value::Status(_)
                        | Value::List(_)
                        | Value::Error(_) => unreachable!("versions are integers"),
                    });
                    (Reply::Ok, Watched::Keys(keys.into_iter().zip(versions).collect()))
                }
                Ok(Answer { value, .. }) => (Reply::Value(value), Watched::Failed),
                Err(failure) => {
                    let reply = failed(&sessions, &failure, Access::Read, reach, shard, slot);
                    (reply, Watched::Failed)
                }
            };
            Done { sequence, reply, slot: None, learnt: Vec::new(), watched }
        });
    }

    /// SESSION. Nothing else of the connection is under way.
    fn session(&mut self, sequence: Sequence, command: SessionCommand) {
        let routing = self.sessions.store.routing();
        let now = self.sessions.clock().now();
        let reply = match command {
            SessionCommand::Set(options) => {
                self.state.promises.set(options);
                self.follow_options();
                Reply::Ok
            }
            SessionCommand::Get if routing.is_leaderless() => {
                self.state.promises.options.describe_remembers()
            }
            SessionCommand::Get => {
                let policy = self.state.promises.policy(&routing, self.reads(&routing));
                self.state.promises.options.describe(&policy)
            }
            SessionCommand::Token if routing.multi_leader.is_some() => {
                return self.tell_crossing(sequence, &routing);
            }
            SessionCommand::Token => self.state.promises.token(&routing, None, now),
            SessionCommand::Reset => {
                self.state.promises = Promises::default();
                self.follow_options();
                Reply::Ok
            }
            SessionCommand::Resume(text) => {
                match self.state.promises.resume(&text, &routing, now) {
                    Ok(()) => {
                        self.follow_options();
                        return self.verify_resumed(sequence, &routing);
                    }
                    Err(refusal) => Reply::Error(refusal.to_string()),
                }
            }
        };
        if matches!(reply, Reply::Error(_)) {
            add(&self.sessions.counters.failed, 1);
        }
        self.queue.fulfil(sequence, reply);
    }

    /// On the cluster port, reading at replicas is what READONLY asks for.
    fn follow_options(&mut self) {
        if self.port == Port::Cluster {
            let replicas = match self.state.promises.options.reads {
                Some(ReadPreference::Replica) => Replicas::Allowed,
                Some(ReadPreference::Leader) | None => Replicas::Never,
            };
            self.state.replicas = replicas;
            self.client.change(|details| details.read_only = replicas == Replicas::Allowed);
        }
    }

    /// INV-74: where acknowledged writes can be lost, those of a token are looked for at once.
    fn verify_resumed(&mut self, sequence: Sequence, routing: &Routing) {
        if routing.policy.durability != quorate_model::Durability::Async {
            return self.queue.fulfil(sequence, Reply::Ok);
        }
        let written: Vec<_> = self.state.promises.knowledge.written().collect();
        let store = self.sessions.store.clone();
        self.begin(async move {
            let (reply, learnt) = keyspace::verify(&store, written).await;
            Done { sequence, reply, slot: None, learnt, watched: Watched::Nothing }
        });
    }
}
