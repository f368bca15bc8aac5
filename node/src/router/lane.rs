//! The writes of one shard, in the order in which they were asked for, also when some have to be sent again.
//!
//! Writes go out without waiting for each other. When one is refused, the lane stops: it waits until all that are
//! under way are answered, then sends the refused ones again in their order, before any later one, under a new
//! generation (the receiver refuses the rest of an old one: see `driver::gate`). When the leader changes while some
//! are under way at the old one, a new generation begins at once, and an old one that comes back refused is not sent
//! again: it is answered with the refusal, which is true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quorate_group::host::{Failure, Reply};
use quorate_model::{GroupId, NodeId};
use tokio::sync::oneshot;

use super::table::Table;
use super::wires::{Sent, Wires};
use crate::driver::may_be_sent_again;
use crate::peer::{Lost, Remote};

const PAUSE_LEAST: Duration = Duration::from_millis(1);
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How much longer than its deadline a write that is under way is waited for: its own node answers at the deadline.
const GRACE: Duration = Duration::from_millis(500);
/// How long a node that another one has replaced as the leader may still answer.
const REPLACED_GRACE: Duration = Duration::from_millis(100);

/// Sends a write without waiting; the seam for tests.
pub(super) trait Send: std::marker::Send + Sync + 'static {
    /// # Errors
    /// The request was not sent.
    fn send(&self, to: NodeId, request: Remote, generation: u64) -> Result<Sent, Lost>;
}

impl Send for Wires {
    fn send(&self, to: NodeId, request: Remote, generation: u64) -> Result<Sent, Lost> {
        Self::send(self, to, request, Some(generation))
    }
}

pub(super) struct Lane<W> {
    group: GroupId,
    table: Arc<Table>,
    wires: W,
    state: Mutex<State>,
}

struct State {
    /// Where the writes of this generation go.
    target: Option<NodeId>,
    generation: Arc<Generation>,
    /// Set from a refusal on until everything parked was sent.
    stopped: bool,
    attempt: usize,
    parked: BTreeMap<u64, Parked>,
    numbers: u64,
}

/// Held by every write that was sent in it and is not answered.
struct Generation {
    number: u64,
}

/// A write that waits to be sent, for the first time or again.
struct Parked {
    request: Remote,
    give: oneshot::Sender<Ticket>,
}

/// A write under way, for as long as the generation is held.
struct Ticket {
    generation: Arc<Generation>,
    target: NodeId,
    sent: Sent,
}

enum Begun {
    Refused(Failure),
    Sent(Ticket),
    Parked(oneshot::Receiver<Ticket>),
}

impl<W: Send> Lane<W> {
    pub(super) fn new(group: GroupId, table: Arc<Table>, wires: W) -> Arc<Self> {
        let state = State {
            target: None,
            generation: Arc::new(Generation { number: 1 }),
            stopped: false,
            attempt: 0,
            parked: BTreeMap::new(),
            numbers: 0,
        };
        Arc::new(Self { group, table, wires, state: Mutex::new(state) })
    }

    /// Takes a write. Its place in the order is the one of this call, not of the first poll.
    pub(super) fn write(
        self: &Arc<Self>,
        request: Remote,
        deadline: Instant,
    ) -> impl Future<Output = Result<Reply, Failure>> + std::marker::Send + 'static + use<W> {
        debug_assert!(request.writes());
        let lane = Arc::clone(self);
        let (number, begun) = lane.begin(request.clone());
        async move { lane.finish(number, begun, request, deadline).await }
    }

    fn begin(self: &Arc<Self>, request: Remote) -> (u64, Begun) {
        let mut state = self.state.lock();
        let number = state.numbers;
        state.numbers += 1;
        if !state.stopped {
            match self.send(&mut state, request.clone()) {
                Ok(ticket) => return (number, Begun::Sent(ticket)),
                Err(Lost::Overloaded) => return (number, Begun::Refused(Failure::Overloaded)),
                Err(Lost::NotSent | Lost::Broken) => self.stop(&mut state),
            }
        }
        (number, Begun::Parked(state.park(number, request)))
    }

    async fn finish(
        self: Arc<Self>,
        number: u64,
        mut begun: Begun,
        request: Remote,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        loop {
            let ticket = match begun {
                Begun::Refused(failure) => return Err(failure),
                Begun::Sent(ticket) => ticket,
                Begun::Parked(given) => match self.await_turn(number, given, deadline).await {
                    Some(ticket) => ticket,
                    None => return Err(Failure::NoLeader { group: self.group }),
                },
            };
            // Held until the write is parked again: those behind it must not be sent before it is.
            let Ticket { generation, target, sent } = ticket;
            let until = deadline + GRACE;
            let failure = match answer(&self.table, self.group, target, sent, until).await {
                // Still under way, or the connection broke with it: it may take effect.
                Err(Lost::Broken) => return Err(Failure::Unknown),
                Err(Lost::Overloaded) => return Err(Failure::Overloaded),
                Err(Lost::NotSent) => Failure::NoLeader { group: self.group },
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(failure)) if may_be_sent_again(&failure) => failure,
                Ok(Err(failure)) => return Err(failure),
            };
            match self.park_again(number, &generation, &request, &failure) {
                Some(given) => begun = Begun::Parked(given),
                None => return Err(failure),
            }
        }
    }

    /// Waits to be sent; `None` when the deadline passes first: then the write was not sent, and never will be.
    async fn await_turn(
        &self,
        number: u64,
        mut given: oneshot::Receiver<Ticket>,
        deadline: Instant,
    ) -> Option<Ticket> {
        let until = tokio::time::Instant::from_std(deadline);
        match tokio::time::timeout_at(until, &mut given).await {
            Ok(ticket) => ticket.ok(),
            Err(_) => {
                let withdrawn = self.state.lock().parked.remove(&number).is_some();
                // Not parked any more means that it was sent while the clock ran out.
                if withdrawn { None } else { given.try_recv().ok() }
            }
        }
    }

    /// The refused write goes back to its place, unless later ones may have been done already.
    fn park_again(
        self: &Arc<Self>,
        number: u64,
        generation: &Arc<Generation>,
        request: &Remote,
        failure: &Failure,
    ) -> Option<oneshot::Receiver<Ticket>> {
        let mut state = self.state.lock();
        if !Arc::ptr_eq(generation, &state.generation) {
            return None;
        }
        if let Some(node) = state.target {
            hear(&self.table, self.group, node, failure);
        }
        self.stop(&mut state);
        Some(state.park(number, request.clone()))
    }

    /// Sends to whoever leads as far as the table knows.
    fn send(&self, state: &mut State, request: Remote) -> Result<Ticket, Lost> {
        let target = self.table.view().target(self.group, state.attempt).ok_or(Lost::NotSent)?;
        if state.target != Some(target) {
            state.begin_generation();
            state.target = Some(target);
        }
        let sent = self.wires.send(target, request, state.generation.number)?;
        Ok(Ticket { generation: Arc::clone(&state.generation), target, sent })
    }

    fn stop(self: &Arc<Self>, state: &mut State) {
        if !state.stopped {
            state.stopped = true;
            tokio::spawn(Arc::clone(self).go_on());
        }
    }

    /// Sends what is parked once it may be sent, until nothing is.
    async fn go_on(self: Arc<Self>) {
        let mut changes = self.table.changes();
        let mut pause = PAUSE_FIRST;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Two nodes that each take the other for the leader must not keep this one busy.
                    tokio::time::sleep(PAUSE_LEAST).await;
                }
            }
            if self.send_parked() {
                return;
            }
        }
    }

    /// Answers whether the lane runs again.
    fn send_parked(&self) -> bool {
        let mut state = self.state.lock();
        let leader = self.table.view().route(self.group).and_then(|route| route.leader);
        let moved = leader.is_some() && leader != state.target;
        if Arc::strong_count(&state.generation) > 1 && !moved {
            return false;
        }
        state.begin_generation();
        state.attempt += 1;
        while let Some((number, parked)) = state.parked.pop_first() {
            if parked.give.is_closed() {
                continue;
            }
            match self.send(&mut state, parked.request.clone()) {
                Ok(ticket) => drop(parked.give.send(ticket)),
                Err(_) => {
                    state.parked.insert(number, parked);
                    return false;
                }
            }
        }
        state.stopped = false;
        true
    }
}

impl State {
    fn begin_generation(&mut self) {
        self.generation = Arc::new(Generation { number: self.generation.number + 1 });
    }

    fn park(&mut self, number: u64, request: Remote) -> oneshot::Receiver<Ticket> {
        let (give, given) = oneshot::channel();
        self.parked.insert(number, Parked { request, give });
        given
    }
}

/// Waits for an answer of `target` until `until`; not much longer than until somebody else is known to lead, since a
/// leader that was replaced without answering is frozen or cut off. [`Lost::Broken`] when there is none.
pub(crate) async fn answer(
    table: &Table,
    group: GroupId,
    target: NodeId,
    sent: Sent,
    until: Instant,
) -> Result<Result<Reply, Failure>, Lost> {
    let mut changes = table.changes();
    let replaced = async {
        loop {
            let view = table.view();
            let leader = view.route(group).and_then(|route| route.leader);
            if !view.is_leaderless(group) && leader.is_some_and(|leader| leader != target) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut outcome = std::pin::pin!(sent.outcome());
    let until = tokio::time::Instant::from_std(until);
    tokio::select! {
        biased;
        outcome = &mut outcome => return outcome,
        () = tokio::time::sleep_until(until) => return Err(Lost::Broken),
        () = replaced => {}
    }
    let until = until.min(tokio::time::Instant::now() + REPLACED_GRACE);
    tokio::time::timeout_at(until, outcome).await.unwrap_or(Err(Lost::Broken))
}

/// Takes from a refusal what it says of who leads.
pub(super) fn hear(table: &Table, group: GroupId, asked: NodeId, failure: &Failure) {
    match failure {
        Failure::NotLeader { leader, .. } => table.contradict(group, asked, *leader),
        Failure::NotHosted { .. } | Failure::Damaged(_) => table.contradict(group, asked, None),
        Failure::NoLeader { .. }
        | Failure::TimedOut { .. }
        | Failure::Overloaded
        | Failure::Unknown
        | Failure::EpochMoved { .. }
        | Failure::AlreadyBootstrapped
        | Failure::Behind { .. }
        | Failure::PositionLost { .. }
        | Failure::NoQuorum { .. }
        | Failure::Filling { .. }
        | Failure::Home { .. }
        | Failure::HomeSilent { .. }
        | Failure::Lacking { .. }
        | Failure::Invalid(_) => {}
    }
}
