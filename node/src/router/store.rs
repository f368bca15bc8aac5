//! The node as client sessions see it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use quorate_group::Operation;
use quorate_group::host::{Failure, ReadLevel, Reply, Request, Status};
use quorate_model::{LogIndex, Position, ShardId, VersionVector};

use super::replicas::Replicas;
use super::requester::Requester;
use crate::metrics::{Metrics, Way};
use crate::peer::Remote;
use crate::session::{Answer, Execute, Reach, Routing, SessionAnswer, SessionRead, Sight, Store};

/// How much longer than it may wait a leader is given to answer what it does not have.
const GRACE: Duration = Duration::from_millis(250);

/// Cloning is cheap.
#[derive(Clone)]
pub struct NodeStore {
    requester: Requester,
    status: Arc<ArcSwap<Status>>,
    metrics: Metrics,
    replicas: Replicas,
}

impl NodeStore {
    #[must_use]
    pub fn new(requester: Requester, status: Arc<ArcSwap<Status>>, metrics: Metrics) -> Self {
        let replicas = Replicas::new(requester.clone(), metrics.sessions());
        Self { requester, status, metrics, replicas }
    }
}

/// Where an operation goes, decided and under way before `execute` returns.
enum Begun<W, R, C> {
    Here(Result<super::wires::Here, Failure>),
    Write(W),
    Read(R),
    /// Without leaders.
    Coordinate(C),
}

impl Store for NodeStore {
    fn execute(
        &self,
        request: Execute,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send + 'static {
        let Execute { shard, operation, level, reach, demand, seen, promised } = request;
        let began = Instant::now();
        let way = Way::of(&operation);
        let metrics = self.metrics.clone();
        let here = reach == Reach::Here || level == ReadLevel::Local;
        let routing = self.requester.table().routing();
        let leaderless = routing.is_leaderless();
        // A key may have its home elsewhere.
        let again = match (&operation, routing.has_homes()) {
            (Operation::Write(_), true) => {
                let request = Remote::Execute { shard, operation: operation.clone(), level };
                Some((self.requester.clone(), request, self.requester.deadline()))
            }
            _ => None,
        };
        let begun = if leaderless && !here {
            let (requester, deadline) = (self.requester.clone(), self.requester.deadline());
            let request = Remote::Coordinate { shard, operation, demand, seen };
            Begun::Coordinate(async move { requester.ask(request, deadline).await })
        } else if here {
            let request = match leaderless {
                true => Request::Coordinate { shard, operation, demand, seen },
                false => Request::Execute { shard, operation, level },
            };
            let sent = self.requester.wires().here(request, None);
            Begun::Here(sent.map_err(|_| Failure::Overloaded))
        } else if matches!(operation, Operation::Write(_)) {
            let request = Remote::Execute { shard, operation, level };
            Begun::Write(self.requester.write(shard, request))
        } else {
            let (requester, deadline) = (self.requester.clone(), self.requester.deadline());
            let request = Remote::Execute { shard, operation, level };
            Begun::Read(async move { requester.ask(request, deadline).await })
        };
        async move {
            let result = match begun {
                Begun::Here(Ok(here)) => here.outcome().await,
                Begun::Here(Err(failure)) => Err(failure),
                Begun::Write(answer) => answer.await,
                Begun::Read(answer) => answer.await,
                Begun::Coordinate(answer) => answer.await,
            };
            let mut elsewhere = None;
            let result = match (result, again) {
                (Err(Failure::Home { home, .. }), Some((requester, request, deadline)))
                    if promised =>
                {
                    let written = requester.write_at_to_find(shard, request, home, deadline).await;
                    written.map(|(reply, known)| {
                        elsewhere = known;
                        reply
                    })
                }
                (Err(Failure::Home { home, .. }), Some((requester, request, deadline))) => {
                    let written = requester.write_at(shard, request, home, deadline).await;
                    written.map(|(reply, _)| reply)
                }
                (result, _) => result,
            };
            metrics.answered(way, began.elapsed(), &result);
            let reply = result?;
            if let Reply::Seen { value, seen, gone } = reply {
                let sight = Some(Sight { seen, gone });
                return Ok(Answer { value, position: None, sight, elsewhere: None });
            }
            let Reply::Value { value, position } = reply else { return Err(unexpected(&reply)) };
            Ok(Answer { value, position, sight: None, elsewhere })
        }
    }

    fn read(
        &self,
        read: SessionRead,
    ) -> impl Future<Output = Result<SessionAnswer, Failure>> + Send + 'static {
        let (replicas, metrics) = (self.replicas.clone(), self.metrics.clone());
        let began = Instant::now();
        async move {
            let result = replicas.read(read).await;
            metrics.answered(Way::read, began.elapsed(), &result);
            result
        }
    }

    fn wait(
        &self,
        shard: ShardId,
        position: Position,
        replicas: u32,
        timeout_ms: u64,
    ) -> impl Future<Output = Result<u32, Failure>> + Send + 'static {
        let requester = self.requester.clone();
        async move {
            let deadline = requester.deadline() + Duration::from_millis(timeout_ms);
            let request = Remote::Wait { shard, position, replicas, timeout_ms };
            let reply = requester.ask(request, deadline).await?;
            let Reply::Waited { replicas } = reply else { return Err(unexpected(&reply)) };
            Ok(replicas)
        }
    }

    fn known(
        &self,
        shard: ShardId,
    ) -> impl Future<Output = Result<VersionVector, Failure>> + Send + 'static {
        let requester = self.requester.clone();
        async move { vector_of(requester.ask(Remote::ReadKnown { shard }, requester.deadline()).await?) }
    }

    fn await_known(
        &self,
        shard: ShardId,
        floor: VersionVector,
        wait: Option<Duration>,
    ) -> impl Future<Output = Result<LogIndex, Failure>> + Send + 'static {
        let requester = self.requester.clone();
        async move {
            let longest = requester.deadline().saturating_duration_since(Instant::now());
            let wait = wait.map_or(longest, |wait| wait.min(longest));
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let request = Remote::AwaitKnown { shard, floor, wait_ms };
            let reply = requester.ask(request, Instant::now() + wait + GRACE).await?;
            let Reply::Index(index) = reply else { return Err(unexpected(&reply)) };
            Ok(index)
        }
    }

    fn routing(&self) -> Arc<Routing> {
        self.requester.table().routing()
    }

    fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }
}

pub(super) fn vector_of(reply: Reply) -> Result<VersionVector, Failure> {
    let Reply::Known(known) = reply else { return Err(unexpected(&reply)) };
    Ok(known)
}

/// A node of another version answered with something else than was asked for.
pub(super) fn unexpected(reply: &Reply) -> Failure {
    let kind = match reply {
        Reply::Value { .. } => "a value",
        Reply::Waited { .. } => "a count of replicas",
        Reply::Proposed { .. } => "an epoch",
        Reply::HandedOver { .. } => "a handover",
        Reply::Topology(_) => "a topology",
        Reply::Index(_) => "an index",
        Reply::Read { .. } | Reply::Seen { .. } => "a session's read",
        Reply::Known(_) => "a version vector",
        Reply::Done => "nothing",
    };
    Failure::Invalid(format!("the leader answered with {kind}"))
}
