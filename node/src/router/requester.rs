//! Has requests done wherever their group's leader is.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quorate_group::host::{Failure, Reply};
use quorate_model::{Datacenter, GroupId, Level, NodeId, ShardId, VersionVector};

use super::homes::{self, Homes};
use super::lane::{Lane, answer, hear};
use super::store::vector_of;
use super::table::{Table, View};
use super::wires::Wires;
use crate::driver::may_be_sent_again;
use crate::peer::{Lost, Remote};

const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Over that many refusals in a row without a pause, hints are taken to run in a circle.
const HINTS_MAX: usize = 3;

/// Cloning is cheap.
#[derive(Clone)]
pub struct Requester {
    shared: Arc<Shared>,
}

struct Shared {
    table: Arc<Table>,
    wires: Wires,
    timeout: Duration,
    lanes: ArcSwap<Vec<Arc<Lane<Wires>>>>,
    homes: Homes,
    growing: Mutex<()>,
}

impl Requester {
    #[must_use]
    pub fn new(table: Arc<Table>, wires: Wires, timeout: Duration) -> Self {
        let shared = Shared {
            table,
            wires,
            timeout,
            lanes: ArcSwap::default(),
            homes: Homes::default(),
            growing: Mutex::new(()),
        };
        Self { shared: Arc::new(shared) }
    }

    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.shared.table
    }

    #[must_use]
    pub fn wires(&self) -> &Wires {
        &self.shared.wires
    }

    /// When a request that comes now is answered at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.shared.timeout
    }

    /// A write of a shard. Its place in the shard's order is the one of this call.
    pub fn write(
        &self,
        shard: ShardId,
        request: Remote,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send + 'static + use<> {
        self.lane(shard).write(request, self.deadline())
    }

    /// A write that is done at the home of its key, which may move meanwhile.
    ///
    /// # Errors
    /// What its leader says, or [`Failure::HomeSilent`].
    pub async fn write_at(
        &self,
        shard: ShardId,
        request: Remote,
        mut home: Datacenter,
        deadline: Instant,
    ) -> Result<(Reply, Datacenter), Failure> {
        let Shared { table, wires, homes, .. } = &*self.shared;
        let mut pause = PAUSE_FIRST;
        for attempt in 0.. {
            let view = table.view();
            let outcome = if view.routing.datacenter == home {
                self.lane(shard).write(request.clone(), deadline).await
            } else {
                let at = (shard, home.clone());
                let outcome = match homes.target(&view, &at, attempt) {
                    Some(target) => homes::ask(wires, target, request.clone(), deadline).await,
                    None => Err(Lost::NotSent),
                };
                if let Ok(answer) = &outcome {
                    homes.hear(at, answer);
                }
                match outcome {
                    Ok(answer) => answer,
                    Err(Lost::Broken) => Err(Failure::Unknown),
                    Err(Lost::Overloaded) => Err(Failure::Overloaded),
                    Err(Lost::NotSent) => Err(Failure::NoLeader { group: GroupId::Shard(shard) }),
                }
            };
            match outcome {
                Err(Failure::Home { home: other, .. }) => home = other,
                Err(failure) if may_be_sent_again(&failure) => {}
                answer => return answer.map(|reply| (reply, home)),
            }
            if Instant::now() + pause >= deadline {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(Failure::HomeSilent { home })
    }

    /// As [`Self::write_at`], for somebody who is promised to find what he wrote: with what the datacenter has that did it, where that is
    /// another one.
    ///
    /// # Errors
    /// As [`Self::write_at`]; not to be promised what was written is not to know whether it was.
    pub async fn write_at_to_find(
        &self,
        shard: ShardId,
        request: Remote,
        home: Datacenter,
        deadline: Instant,
    ) -> Result<(Reply, Option<VersionVector>), Failure> {
        let (reply, home) = self.write_at(shard, request, home, deadline).await?;
        if home == self.shared.table.routing().datacenter {
            return Ok((reply, None));
        }
        let known = self.write_at(shard, Remote::ReadKnown { shard }, home, deadline).await;
        let known = known.and_then(|(known, _)| vector_of(known)).map_err(|_| Failure::Unknown)?;
        Ok((reply, Some(known)))
    }

    /// Anything whose order against others does not matter. What writes is sent once only if it may have arrived.
    ///
    /// # Errors
    /// What the leader says, or that none was found by `deadline`.
    pub async fn ask(&self, request: Remote, deadline: Instant) -> Result<Reply, Failure> {
        let group = request.group();
        let mut changes = self.shared.table.changes();
        let mut pause = PAUSE_FIRST;
        let mut attempt = 0;
        let mut hints = 0;
        let mut unanswered = None;
        // What would begin at the deadline might be done, and nobody would hear of it.
        while Instant::now() < deadline {
            changes.mark_unchanged();
            let hinted = match self.attempt(&request, deadline, attempt).await {
                Attempt::Done(result) => return result,
                Attempt::Refused { hinted } => hinted,
                Attempt::NoQuorum(failure) => {
                    unanswered = Some(failure);
                    false
                }
            };
            attempt += 1;
            hints = if hinted { hints + 1 } else { 0 };
            if hinted && hints <= HINTS_MAX {
                continue;
            }
            let until = deadline.min(Instant::now() + pause);
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => pause = (pause * 2).min(PAUSE_MAX),
                _ = changes.changed(), if hints <= HINTS_MAX => {}
            }
        }
        Err(unanswered.unwrap_or_else(|| self.nobody(group)))
    }

    /// Nobody who takes the request was found.
    fn nobody(&self, group: GroupId) -> Failure {
        match self.shared.table.view().is_leaderless(group) {
            true => Failure::NoQuorum { answered: 0, needed: 1, writes: false },
            false => Failure::NoLeader { group },
        }
    }

    async fn attempt(&self, request: &Remote, deadline: Instant, attempt: usize) -> Attempt {
        let group = request.group();
        let table = &self.shared.table;
        let Some(target) = target(&table.view(), request, attempt) else {
            return Attempt::Refused { hinted: false };
        };
        let outcome = match self.shared.wires.send(target, request.clone(), None) {
            Ok(sent) => answer(table, group, target, sent, deadline).await,
            Err(lost) => Err(lost),
        };
        match outcome {
            Ok(Ok(reply)) => Attempt::Done(Ok(reply)),
            // Another replica may reach those that this one does not.
            Ok(Err(failure @ Failure::NoQuorum { writes: false, .. })) if !request.writes() => {
                Attempt::NoQuorum(failure)
            }
            // Nothing was done; of another attempt nobody might know in time.
            Ok(Err(failure @ Failure::NoQuorum { writes: false, .. })) => {
                Attempt::Done(Err(failure))
            }
            Ok(Err(failure)) if may_be_sent_again(&failure) => {
                hear(table, group, target, &failure);
                let hinted = matches!(failure, Failure::NotLeader { leader: Some(_), .. });
                Attempt::Refused { hinted }
            }
            Ok(Err(Failure::Unknown)) | Err(Lost::Broken) if request.writes() => {
                Attempt::Done(Err(Failure::Unknown))
            }
            Ok(Err(Failure::Unknown)) | Err(Lost::Broken | Lost::NotSent) => {
                Attempt::Refused { hinted: false }
            }
            Ok(Err(failure)) => Attempt::Done(Err(failure)),
            Err(Lost::Overloaded) => Attempt::Done(Err(Failure::Overloaded)),
        }
    }

    fn lane(&self, shard: ShardId) -> Arc<Lane<Wires>> {
        let at = usize::from(shard.0);
        if let Some(lane) = self.shared.lanes.load().get(at) {
            return Arc::clone(lane);
        }
        let _held = self.shared.growing.lock();
        let mut lanes = Vec::clone(&self.shared.lanes.load());
        for shard in (0..=shard.0).map(ShardId).skip(lanes.len()) {
            let (table, wires) = (Arc::clone(&self.shared.table), self.shared.wires.clone());
            lanes.push(Lane::new(GroupId::Shard(shard), table, wires));
        }
        let lane = Arc::clone(&lanes[at]);
        self.shared.lanes.store(Arc::new(lanes));
        lane
    }
}

/// One replica after the other, and then this node, where it may hold what is written for all of them.
fn target(view: &View, request: &Remote, attempt: usize) -> Option<NodeId> {
    let group = request.group();
    let replicas = view.route(group).map_or(0, |route| route.voters.len());
    match attempt % (replicas + 1) == replicas && may_be_held(view, request) {
        true => Some(view.routing.node),
        false => view.target(group, attempt),
    }
}

/// As far as is known here.
fn may_be_held(view: &View, request: &Remote) -> bool {
    let Some(policy) = &view.routing.leaderless else { return false };
    let Remote::Coordinate { operation, demand, seen: None, .. } = request else { return false };
    policy.stands_in() && demand.level(policy.write) == Level::Any && operation.is_blind()
}

enum Attempt {
    Done(Result<Reply, Failure>),
    /// Surely not done. `hinted` when the refusal names who leads.
    Refused {
        hinted: bool,
    },
    /// A read without leaders.
    NoQuorum(Failure),
}
