//! One replica: takes an input, gives it to the concern that it is for, and keeps the requests that are open.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{ActorId, LeaderlessPolicy, Level, NodeId, Time, WallTime};

use super::collecting::{self, Collecting};
use super::exchanging::{Difference, Exchanging};
use super::holding::{HintsFor, Holding};
use super::kernel::Kernel;
use super::reading::{Reading, Wanted};
use super::relaying::{Relayed, Relaying};
use super::serving;
use super::writing::{Planned, Writing};
use super::{
    After, CellKey, Cells, Collected, Counts, HashTree, Input, Mark, Message, Output, PersistId,
    Refused, Report, Settings, Span, Standing,
};
use crate::causal::Cell;

/// What is known of a replica when it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    pub id: NodeId,
    pub span: Span,
    /// No two starts of any replica ever have the same (INV-90).
    pub seed: u64,
    pub standing: Standing,
    pub collected: Collected,
}

/// See the contract in [`super`].
#[derive(Clone, Debug)]
pub struct Replica {
    kernel: Kernel,
    operations: Operations,
    exchanging: Exchanging,
    collecting: Collecting,
    relaying: Relaying,
    holding: Holding,
}

/// The requests that this replica coordinates, and those answered of which it still wants to hear.
#[derive(Clone, Debug, Default)]
struct Operations {
    next: u64,
    open: BTreeMap<u64, Open>,
    due: BTreeSet<(Time, u64)>,
    /// Those that wait for this replica's own disk.
    unsynced: BTreeSet<(PersistId, u64)>,
}

#[derive(Clone, Debug)]
struct Open {
    operation: Operation,
    due: Time,
}

#[derive(Clone, Debug)]
enum Operation {
    Write(Writing),
    Read(Reading),
}

/// What an operation still waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Wants a tick then.
    Until(Time),
    /// Begins again, under another number.
    Again,
    Done,
}

impl Replica {
    /// A replica as it was left, with the cells that were durable, and as another actor: of what it told before it stopped and did not
    /// make durable it does not know (INV-90).
    #[must_use]
    pub fn new(start: Start, settings: Settings, now: Time, cells: &dyn Cells) -> Self {
        let mut kernel = Kernel::new(start, settings, now);
        kernel.plant(cells);
        let exchanging = Exchanging::new(&mut kernel);
        let collecting = Collecting::new(&mut kernel);
        let relaying = Relaying::new(&mut kernel);
        // Not from zero: an answer to a process before this one must not count here.
        let next = kernel.random.next();
        let operations = Operations { next, ..Operations::default() };
        let holding = Holding::default();
        Self { kernel, operations, exchanging, collecting, relaying, holding }
    }

    /// Takes one input. The outputs of the one before must have been drained.
    pub fn step(&mut self, now: Time, wall: WallTime, input: Input, cells: &dyn Cells) {
        self.kernel.begin_step(now, wall);
        match input {
            Input::Tick => self.tick(cells),
            Input::Message { from, mark, message } => self.message(from, mark, message, cells),
            Input::Closed { collected } => {
                self.collecting.closed_here(&mut self.kernel, cells, collected);
                // What is read by earlier rounds begins again.
                self.all_go_on(cells);
            }
            Input::Persisted { id } => self.persisted(id, cells),
            Input::Lacks => self.kernel.lack(),
            Input::Owners { owners, policy } => {
                let moved = self.kernel.set_owners(owners, policy);
                self.relaying.follow(&self.kernel);
                self.holding.owners_changed(&self.kernel, cells, moved);
                if moved {
                    self.moved(cells);
                }
                self.relaying.go_on(&mut self.kernel, cells);
            }
            Input::Write { id, changes, level, after } => {
                let planned = Planned { request: id, changes, level };
                match (self.admit(), after) {
                    (Err(refused), _) => self.kernel.answer(id, Err(refused)),
                    (Ok(()), After::Level(level)) if !planted::is(Bug::WriteWithoutReading) => {
                        self.read_for(planned, level, cells);
                    }
                    (Ok(()), After::Nothing | After::Level(_)) => {
                        let deadline = now.after(self.kernel.settings.request_timeout);
                        self.write(planned, deadline, cells);
                    }
                }
            }
            Input::Read { id, asked, level, repair, seen } => {
                let number = self.operations.number();
                let wanted = Wanted { asked, level, repair, seen };
                let begun = self
                    .admit()
                    .and_then(|()| Reading::begin(&mut self.kernel, cells, number, id, wanted));
                match begun {
                    Ok(reading) => self.begin(number, Operation::Read(reading), cells),
                    Err(refused) => self.kernel.answer(id, Err(refused)),
                }
            }
        }
    }

    pub fn pop_output(&mut self) -> Option<Output> {
        self.kernel.pop_output()
    }

    /// When to step with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let operation = self.operations.due.first().map(|(at, _)| *at);
        let exchange = self.exchanging.deadline().min(self.collecting.deadline());
        let relay = self.relaying.deadline();
        let holding = self.holding.deadline(&self.kernel);
        operation.into_iter().chain(relay).chain(holding).fold(exchange, Time::min)
    }

    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.kernel.id
    }

    /// What this replica knows of a cell, whether others do or not: what its writes build on.
    #[must_use]
    pub fn cell(&self, key: &CellKey, cells: &dyn Cells) -> Cell {
        self.kernel.cell(cells, key).unwrap_or_default()
    }

    /// As [`Self::cell`], of a range: its first cells, at most `count_max`.
    #[must_use]
    pub fn range(
        &self,
        from: &Bytes,
        to: &Bytes,
        count_max: usize,
        cells: &dyn Cells,
    ) -> Vec<(CellKey, Cell)> {
        self.kernel.range(cells, from, to, count_max)
    }

    #[must_use]
    pub const fn policy(&self) -> &LeaderlessPolicy {
        &self.kernel.policy
    }

    /// Over the cells that are applied.
    #[must_use]
    pub const fn tree(&self) -> &HashTree {
        &self.kernel.tree
    }

    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.kernel.counts
    }

    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.kernel.filling.standing
    }

    /// How far this replica is with steps and rounds.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        self.kernel.now_at()
    }

    /// How far each other datacenter is behind what this replica coordinated, where datacenters are `Local`.
    pub fn relayed(&self, now: Time) -> impl Iterator<Item = Relayed> + '_ {
        self.relaying.relayed(now)
    }

    /// Whom its dots are of.
    #[must_use]
    pub const fn actor(&self) -> ActorId {
        self.kernel.actor()
    }

    #[must_use]
    pub fn report(&self) -> Report {
        self.kernel.report()
    }

    /// Whether this node has a replica of the shard, or is about to have or to leave one. Else it stands in for replicas.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.kernel.is_owner()
    }

    /// Whether this node may hold a write at `ANY` for all replicas.
    #[must_use]
    pub fn stands_in(&self) -> bool {
        self.kernel.policy.stands_in() && self.kernel.stands_in().is_some()
    }

    /// Whether nobody reads from this replica yet: it acknowledges what it stores, whatever it lacks.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.kernel.owners.joining().any(|node| node == self.kernel.id)
    }

    /// What is held here for replicas that did not answer.
    #[must_use]
    pub fn hints(&self) -> Vec<HintsFor> {
        self.holding.of_each(self.kernel.now)
    }

    #[must_use]
    pub fn holds_hints(&self) -> bool {
        !self.holding.is_empty()
    }

    /// Requests that have not been forgotten yet.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.operations.open.len()
    }

    /// INV-55
    fn admit(&self) -> Result<(), Refused> {
        if self.operations.open.len() < self.kernel.settings.requests_max {
            Ok(())
        } else {
            Err(Refused::Overloaded)
        }
    }

    fn write(&mut self, planned: Planned, deadline: Time, cells: &dyn Cells) {
        // Not the number of a read that it follows: what acknowledges that one's repairs does not acknowledge this.
        let (number, id) = (self.operations.number(), planned.request);
        let stands_in = self.kernel.stands_in().is_some();
        if stands_in && !self.holding.has_room(&self.kernel, planned.bytes()) {
            self.kernel.counts.hints_refused += planned.changes.len() as u64;
            // A replica may be reached by and by.
            return self.kernel.answer(id, Err(Refused::NotAReplica));
        }
        match Writing::begin(&mut self.kernel, cells, number, planned, deadline) {
            Ok(writing) => {
                if stands_in {
                    self.holding.hold(&mut self.kernel, cells, writing.keys());
                }
                self.relaying.put(&self.kernel, writing.keys());
                self.relaying.go_on(&mut self.kernel, cells);
                self.begin(number, Operation::Write(writing), cells);
            }
            Err(refused) => self.kernel.answer(id, Err(refused)),
        }
    }

    /// INV-105
    fn read_for(&mut self, planned: Planned, level: Level, cells: &dyn Cells) {
        let (number, id) = (self.operations.number(), planned.request);
        match Reading::begin_for(&mut self.kernel, cells, number, level, planned) {
            Ok(reading) => self.begin(number, Operation::Read(reading), cells),
            Err(refused) => self.kernel.answer(id, Err(refused)),
        }
    }

    fn begin(&mut self, number: u64, operation: Operation, cells: &dyn Cells) {
        let due = self.kernel.now;
        self.operations.open.insert(number, Open { operation, due });
        self.go_on(number, cells);
    }

    fn tick(&mut self, cells: &dyn Cells) {
        while let Some((at, number)) = self.operations.due.first().copied()
            && at <= self.kernel.now
        {
            self.operations.due.pop_first();
            let kernel = &mut self.kernel;
            match self.operations.get(number) {
                Some(Operation::Write(writing)) => writing.due(kernel, cells, number),
                Some(Operation::Read(reading)) => reading.due(kernel, cells, number),
                None => continue,
            }
            self.go_on(number, cells);
        }
        self.exchanging.tick(&mut self.kernel, &mut self.relaying, cells);
        self.relaying.tick(&mut self.kernel, cells);
        self.holding.tick(&mut self.kernel, cells, &mut self.operations.next);
        self.collecting.tick(&mut self.kernel, cells);
    }

    /// Every open request goes on by what the new step needs.
    fn moved(&mut self, cells: &dyn Cells) {
        self.exchanging.moved(&self.kernel);
        self.collecting.moved();
        for number in self.operations.open.keys().copied().collect::<Vec<_>>() {
            match self.operations.get(number) {
                Some(Operation::Write(writing)) => writing.moved(&mut self.kernel),
                Some(Operation::Read(reading)) => reading.moved(&mut self.kernel),
                None => {}
            }
            self.go_on(number, cells);
        }
    }

    fn all_go_on(&mut self, cells: &dyn Cells) {
        for number in self.operations.open.keys().copied().collect::<Vec<_>>() {
            self.go_on(number, cells);
        }
    }

    fn message(&mut self, from: NodeId, mark: Mark, message: Message, cells: &dyn Cells) {
        let kernel = &mut self.kernel;
        kernel.heard(from);
        self.holding.heard(kernel, from);
        if !kernel.heeds(mark, &message) {
            if let Message::Handoff { number, .. } = message {
                kernel.send(from, Message::HandoffRefused { number });
            }
            return;
        }
        self.collecting.heard(kernel, mark);
        match message {
            Message::Store { number, cells: told } => {
                serving::store(kernel, cells, from, number, &told);
            }
            Message::Relay { number, cells: told } => self.relay((from, number), &told, cells),
            Message::Fetch { number, asked } => {
                serving::fetch(kernel, cells, from, number, &asked);
            }
            Message::Stored { number } => self.stored(from, number, cells),
            Message::Hint { number, target, cells: told } => {
                if mark.round < kernel.round() {
                    self.collecting.withdraw();
                }
                self.holding.take(kernel, cells, from, number, target, &told);
            }
            Message::Hinted { number, target } => self.hinted(from, number, target, cells),
            Message::Handoff { number, cells: told } => {
                serving::handoff(kernel, cells, from, number, &told);
            }
            // It comes again, marked with what it says of itself.
            Message::HandoffRefused { number } => self.holding.refused(kernel.now, from, number),
            Message::Fetched { number, found } => {
                let open = self.operations.get(number);
                let Some(Operation::Read(reading)) = open else { return };
                reading.fetched(from, mark.round, &found);
                self.go_on(number, cells);
            }
            Message::TooMuch { number } => {
                let open = self.operations.get(number);
                let Some(Operation::Read(reading)) = open else { return };
                reading.too_much(kernel);
                self.go_on(number, cells);
            }
            Message::Compare { number, runs } => {
                self.exchanging.compare(kernel, from, number, &runs);
            }
            Message::List { number, pages } => {
                self.exchanging.list(kernel, cells, from, number, &pages);
            }
            Message::Prepare { round, cells: named, all } => {
                let asked = collecting::Asked { by: from, round, cells: named, all };
                self.collecting.prepare(kernel, cells, asked);
            }
            Message::Prepared { round, agreed } => {
                self.collecting.prepared(kernel, from, round, &agreed);
            }
            Message::Close { round } => self.collecting.close(kernel, from, round),
            Message::Closed { round } => self.collecting.closed(kernel, cells, from, round),
            Message::Drop { round, cells: keys } => {
                self.collecting.drop_cells(kernel, cells, round, &keys);
            }
            Message::Differing { number, nodes, whole } => {
                let (asker, relaying) = ((from, number), &mut self.relaying);
                self.exchanging.differing(kernel, relaying, cells, asker, (&nodes, whole));
            }
            Message::Different { number, cells: told, wanted, looked, more, whole } => {
                let found = Difference { told: &told, wanted: &wanted, looked, more, whole };
                let (asker, relaying) = ((from, number), &mut self.relaying);
                self.exchanging.different(kernel, relaying, cells, asker, found);
            }
        }
    }

    /// What another datacenter's replica coordinated.
    fn relay(
        &mut self,
        (from, theirs): (NodeId, u64),
        told: &[(CellKey, Cell)],
        cells: &dyn Cells,
    ) {
        // Refused is what is not answered: it comes again.
        if self.admit().is_err() {
            return;
        }
        let number = self.operations.number();
        let kernel = &mut self.kernel;
        if let Some(writing) = Writing::relayed(kernel, cells, number, (from, theirs), told) {
            self.begin(number, Operation::Write(writing), cells);
        }
    }

    fn stored(&mut self, from: NodeId, number: u64, cells: &dyn Cells) {
        match self.operations.get(number) {
            Some(Operation::Write(writing)) => writing.stored(from),
            Some(Operation::Read(reading)) => reading.stored(from),
            None => {
                self.exchanging.stored(from, number);
                self.holding.given(&mut self.kernel, cells, from, number);
                self.relaying.stored(&self.kernel, from, number);
                return self.relaying.go_on(&mut self.kernel, cells);
            }
        }
        self.go_on(number, cells);
    }

    fn hinted(&mut self, from: NodeId, number: u64, target: NodeId, cells: &dyn Cells) {
        if let Some(Operation::Write(writing)) = self.operations.get(number) {
            writing.hinted(from, target);
            self.go_on(number, cells);
        }
    }

    fn persisted(&mut self, id: PersistId, cells: &dyn Cells) {
        self.kernel.persisted(id);
        while let Some((through, number)) = self.operations.unsynced.first().copied()
            && through <= id
        {
            self.operations.unsynced.pop_first();
            self.go_on(number, cells);
        }
    }

    /// Answers what can be, and forgets what is done.
    fn go_on(&mut self, number: u64, cells: &dyn Cells) {
        let Self { kernel, operations, .. } = self;
        let Some(open) = operations.open.get_mut(&number) else { return };
        operations.due.remove(&(open.due, number));
        let mut follows = None;
        let (progress, own) = match &mut open.operation {
            Operation::Write(writing) => (writing.go_on(kernel), writing.own()),
            Operation::Read(reading) => {
                let progress = reading.go_on(kernel, cells, number);
                follows = reading.follows();
                (progress, reading.own())
            }
        };
        if own > kernel.persisted && own != PersistId::NEVER {
            operations.unsynced.insert((own, number));
        }
        match progress {
            Progress::Until(at) => {
                open.due = at;
                operations.due.insert((at, number));
            }
            Progress::Again => return self.begin_again(number, cells),
            Progress::Done => {
                operations.open.remove(&number);
            }
        }
        if let Some((planned, deadline)) = follows {
            self.write(planned, deadline, cells);
        }
    }

    fn begin_again(&mut self, number: u64, cells: &dyn Cells) {
        let Some(Open { mut operation, .. }) = self.operations.open.remove(&number) else { return };
        let (number, kernel) = (self.operations.number(), &mut self.kernel);
        match &mut operation {
            Operation::Write(writing) => writing.begin_again(kernel, cells, number),
            Operation::Read(reading) => reading.begin_again(kernel, cells, number),
        }
        self.begin(number, operation, cells);
    }
}

impl Operations {
    fn get(&mut self, number: u64) -> Option<&mut Operation> {
        self.open.get_mut(&number).map(|open| &mut open.operation)
    }

    const fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }
}
