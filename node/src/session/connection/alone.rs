//! What runs while nothing else of the connection does: SESSION, WAIT, and commands over many shards.

use quorate_model::ReadPreference;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Done};
use crate::resp::Reply;
use crate::resp::commands::SessionCommand;
use crate::session::counters::add;
use crate::session::dispatch::Alone;
use crate::session::keyspace::{self, Asker};
use crate::session::promises::Promises;
use crate::session::queue::Sequence;
use crate::session::route::Replicas;
use crate::session::{Port, Routing, Store};

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
                self.running.push(Box::pin(async move {
                    let (mut reply, learnt) = asker.run(command).await;
                    if !matches!(reply, Reply::Error(_))
                        && let Err(text) = asker.held(&durability, &learnt).await
                    {
                        reply = Reply::Error(text);
                    }
                    Done { sequence, reply, slot: None, learnt }
                }));
            }
            Alone::Wait { wait } => {
                let asker = asker(Replicas::Never, Promises::default());
                self.running.push(Box::pin(async move {
                    let reply = asker.wait(wait, written).await;
                    Done { sequence, reply, slot: None, learnt: Vec::new() }
                }));
            }
            Alone::Session { command } => self.session(sequence, command),
        }
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
            SessionCommand::Get => {
                let policy = self.state.promises.policy(&routing, self.reads(&routing));
                self.state.promises.options.describe(&policy)
            }
            SessionCommand::Token => self.state.promises.token(&routing, now),
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
        self.running.push(Box::pin(async move {
            let (reply, learnt) = keyspace::verify(&store, written).await;
            Done { sequence, reply, slot: None, learnt }
        }));
    }
}
