//! What all concerns of a replica share: its cells, its dots, its clock, and the way out.
//!
//! Keeps INV-90 (a dot is used once), INV-91 (nothing is told that is not durable) and INV-94 (no write from far ahead).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use quorate_model::planted::{self, Bug};
use quorate_model::{
    ActorId, ConflictPolicy, Datacenter, Datacenters, Dot, Hlc, HybridClock, LeaderlessPolicy,
    Level, Need, NodeId, Time, WallTime,
};

use super::collecting::ROUNDS;
use super::filling::Filling;
use super::owners::Owners;
use super::unsynced::{Replaced, Unsynced};
use super::{
    CellKey, Cells, Collected, Counts, HashTree, Mark, Message, Output, PersistId, Refused,
    RequestId, Settings, Span, Start,
};
use crate::causal::Cell;
use crate::random::Random;

/// How many messages may wait for the disk. Those beyond it are lost, as on a network.
const HELD_MAX: usize = 10_000;

#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) id: NodeId,
    pub(super) settings: Settings,
    pub(super) now: Time,
    pub(super) wall: WallTime,
    pub(super) span: Span,
    pub(super) random: Random,
    pub(super) owners: Owners,
    /// Of the owners, for every request.
    others: BTreeSet<NodeId>,
    /// Of those, the ones in this replica's datacenter.
    near: BTreeSet<NodeId>,
    /// Nodes that did not answer, and until when they are taken to go on so.
    pub(super) silent: BTreeMap<NodeId, Time>,
    pub(super) tree: HashTree,
    pub(super) counts: Counts,
    pub(super) persisted: PersistId,
    pub(super) filling: Filling,
    pub(super) policy: LeaderlessPolicy,
    /// The newest round of collecting that this replica takes part in, and the newest that it has closed: cells of earlier ones
    /// are refused.
    round: u64,
    collected: Collected,
    /// The newest round that an earlier process may have taken part in, and that this one may.
    earlier: u64,
    reached: u64,
    clock: HybridClock,
    /// INV-90: drawn when this replica began, and how many of its dots are in use.
    actor: ActorId,
    used: u64,
    unsynced: Unsynced,
    issued: PersistId,
    held: VecDeque<Held>,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Debug)]
struct Held {
    until: PersistId,
    to: NodeId,
    mark: Mark,
    message: Message,
}

/// Changes of this replica's cells that are made together, or not at all.
pub(super) struct Draft<'a> {
    kernel: &'a Kernel,
    cells: &'a dyn Cells,
    changed: BTreeMap<CellKey, Replaced>,
}

impl Kernel {
    pub(super) fn new(start: Start, settings: Settings, now: Time) -> Self {
        let Start { id, span, seed, standing, collected } = start;
        let mut clock = HybridClock::default();
        clock.pass(collected.newest);
        let mut random = Random::new(seed);
        let actor = new_actor(&mut random, id);
        let tree = HashTree::new(span, settings.leaf_bits);
        Self {
            id,
            settings,
            now,
            wall: WallTime(0),
            span,
            random,
            owners: Owners::default(),
            others: BTreeSet::new(),
            near: BTreeSet::new(),
            silent: BTreeMap::new(),
            tree,
            counts: Counts::default(),
            persisted: PersistId::default(),
            filling: Filling::new(standing),
            policy: LeaderlessPolicy::default(),
            round: collected.barrier,
            collected,
            earlier: collected.reached,
            reached: collected.reached,
            clock,
            actor,
            used: 0,
            unsynced: Unsynced::default(),
            issued: PersistId::default(),
            held: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Grows the tree over the cells that are there.
    pub(super) fn plant(&mut self, cells: &dyn Cells) {
        const PAGE: usize = 1024;
        let (mut from, to) = (self.span.from.first_key(), self.span.to.first_key());
        loop {
            let page = cells.range(&from, &to, PAGE);
            for (key, cell) in &page {
                self.tree.replace(key, None, Some(cell.digest()));
                if planted::is(Bug::KeepActor) {
                    self.used = self.used.max(cell.known().counter(self.actor));
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => from = key.next(),
                Some(_) | None => return,
            }
        }
    }

    pub(super) fn begin_step(&mut self, now: Time, wall: WallTime) {
        assert!(self.outputs.is_empty(), "the outputs of the last step were not drained");
        assert!(now >= self.now, "time goes back");
        self.now = now;
        self.wall = wall;
        self.unsynced.applied();
    }

    /// Answers whether the shard came to another step.
    pub(super) fn set_owners(&mut self, owners: Owners, policy: LeaderlessPolicy) -> bool {
        let moved = owners.since != self.owners.since;
        let owned = self.is_owner();
        self.owners = owners;
        if owned && !self.is_owner() {
            // It has no word any more.
            self.fall_silent();
        }
        if !owned && self.is_owner() {
            self.forget_actor();
        }
        self.others = self.owners.all();
        self.others.remove(&self.id);
        let near = self.owners.place(self.id).into_iter();
        self.near = near.flat_map(|place| self.owners.within(place)).collect();
        self.near.remove(&self.id);
        self.policy = policy;
        if moved {
            self.compare_again();
        }
        // Less may be needed than before.
        self.fill();
        moved
    }

    /// Everybody else who has a replica, or is to have one.
    pub(super) const fn others(&self) -> &BTreeSet<NodeId> {
        &self.others
    }

    /// Whom a request at this level asks and tells.
    pub(super) fn peers(&self, level: Level) -> &BTreeSet<NodeId> {
        // Whoever has no replica is near none: what it holds it gives to each.
        let near = self.policy.is_within(level) || !self.is_owner();
        if near { &self.near } else { &self.others }
    }

    /// Those of them that are to stay.
    pub(super) fn others_placed(&self) -> BTreeSet<NodeId> {
        self.owners.nodes.keys().copied().filter(|node| *node != self.id).collect()
    }

    /// Whether this is a replica, or about to be one or to be left. Else it holds something for replicas at the most.
    pub(super) fn is_owner(&self) -> bool {
        self.owners.place(self.id).is_some()
    }

    /// Where this replica is, if it may coordinate requests.
    ///
    /// # Errors
    /// It has none, or may lack what it acknowledged; or levels count within its datacenter, and reads go to none there.
    fn place(&self) -> Result<&Datacenter, Refused> {
        let local = self.owners.place(self.id).ok_or(Refused::NotAReplica)?;
        let read_here = match self.policy.datacenters {
            Datacenters::Global => true,
            Datacenters::Local => self.owners.read_from().values().any(|place| place == local),
        };
        match (self.is_whole(), read_here) {
            (true, true) => Ok(local),
            (true, false) if !self.owners.is_filling() => Err(Refused::NotAReplica),
            (true | false, _) => Err(Refused::Filling),
        }
    }

    /// See [`Owners::read_need`].
    ///
    /// # Errors
    /// As [`Self::place`].
    pub(super) fn read_need(&self, level: Level) -> Result<Need, Refused> {
        Ok(self.owners.read_need(&self.policy, level, self.place()?))
    }

    /// See [`Owners::hold_need`].
    ///
    /// # Errors
    /// As [`Self::place`], or there can never be so many.
    pub(super) fn hold_need(&self, level: Level) -> Result<Need, Refused> {
        self.owners.hold_need(&self.policy, level, self.place()?)
    }

    /// Of replicas in a datacenter that hold what was written in another one.
    ///
    /// # Errors
    /// There can never be so many.
    pub(super) fn relay_need(&self, place: &Datacenter) -> Result<Need, Refused> {
        let write = self.policy.write;
        let level = if write == Level::EachQuorum { Level::LocalQuorum } else { write };
        self.owners.hold_need(&self.policy, level, place)
    }

    /// INV-99: whoever coordinates by an earlier step is refused; it asks again when it knows better. Whoever is a step ahead gets no
    /// comparison: what was acknowledged by the step before may still be on its way here.
    pub(super) fn heeds(&self, mark: Mark, message: &Message) -> bool {
        let since = mark.since;
        // INV-100
        let open = mark.round >= self.collected.barrier || planted::is(Bug::TakeEarlierRound);
        match message {
            Message::Store { .. } | Message::Relay { .. } => {
                open && self.is_owner()
                    && (since >= self.owners.since || planted::is(Bug::ServeEarlierStep))
            }
            Message::Fetch { .. } => {
                since >= self.owners.since || planted::is(Bug::ServeEarlierStep)
            }
            Message::Compare { .. } | Message::List { .. } => {
                let earlier = since <= self.owners.since || planted::is(Bug::CompareEarlierStep);
                earlier && self.is_owner()
            }
            // Whoever stands in gives back what it holds, and would hold nothing as a replica.
            Message::Hint { .. } => {
                open && since >= self.owners.since && self.owners.stand_ins.nodes.contains(&self.id)
            }
            // Of one who takes part in the rounds, to one that is to stay.
            Message::Handoff { .. } => {
                let settled =
                    self.owners.leaves.is_none() && self.owners.nodes.contains_key(&self.id);
                open && settled && self.counts_for_writes()
            }
            Message::Fetched { .. } | Message::Different { .. } => open,
            Message::Prepare { .. } => since == self.owners.since,
            Message::Stored { .. }
            | Message::Hinted { .. }
            | Message::HandoffRefused { .. }
            | Message::TooMuch { .. }
            | Message::Differing { .. }
            | Message::Prepared { .. }
            | Message::Close { .. }
            | Message::Closed { .. }
            | Message::Drop { .. } => true,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.unsynced.bytes() >= self.settings.unsynced_bytes_max
    }

    // Cells.

    /// What this replica knows of a cell, durable or not.
    pub(super) fn cell(&self, cells: &dyn Cells, key: &CellKey) -> Option<Cell> {
        self.unsynced.cell(key).cloned().or_else(|| cells.cell(key))
    }

    /// What is not applied yet of a range.
    pub(super) fn unsynced_within(&self, from: &Bytes, to: &Bytes) -> Vec<(CellKey, Cell)> {
        self.unsynced.within(from, to).map(|(key, cell)| (key.clone(), cell.clone())).collect()
    }

    /// Through which persist what it knows of these cells is durable.
    pub(super) fn durable_through<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k CellKey>,
    ) -> PersistId {
        let until = keys.into_iter().filter_map(|key| self.unsynced.until(key)).max();
        until.unwrap_or(self.persisted)
    }

    pub(super) fn draft<'a>(&'a self, cells: &'a dyn Cells) -> Draft<'a> {
        Draft { kernel: self, cells, changed: BTreeMap::new() }
    }

    /// Whether this is a cell, and one that this replica may take now. INV-94: a write from too far ahead would win over everything
    /// written meanwhile.
    pub(super) fn takes(&mut self, (key, cell): &(CellKey, Cell)) -> bool {
        let newest = cell.newest();
        let ahead =
            newest.is_some_and(|newest| newest.is_ahead(self.wall, self.settings.drift_max));
        self.counts.ahead_of_time += u64::from(ahead);
        self.span.contains(key.place()) && cell.is_well_formed() && !ahead
    }

    /// Takes over what others know. Answers through which persist all of it is durable here; `None` when it is not taken.
    pub(super) fn merge(
        &mut self,
        cells: &dyn Cells,
        told: &[(CellKey, Cell)],
    ) -> Option<PersistId> {
        if self.is_full() || !told.iter().all(|one| self.takes(one)) {
            return None;
        }
        for sibling in told.iter().flat_map(|(_, cell)| cell.siblings()) {
            self.pass_time(sibling.at);
        }
        let mut counts = self.counts;
        let mut draft = self.draft(cells);
        for (key, theirs) in told {
            draft.change(key, |cell| {
                let merged = cell.merge(theirs);
                counts.reused_dots += merged.reused_dots as u64;
                if merged.changed {
                    counts.discarded += self.resolve(cell) as u64;
                }
                merged.changed
            });
        }
        let changed = draft.changes();
        self.counts = counts;
        self.put(changed);
        Some(self.durable_through(told.iter().map(|(key, _)| key)))
    }

    /// What the store's policy makes of concurrent values, here as everywhere else. Answers how many it discarded.
    pub(super) fn resolve(&self, cell: &mut Cell) -> usize {
        match self.policy.conflicts {
            ConflictPolicy::LastWriterWins => cell.keep_last_writer(),
            ConflictPolicy::Merge | ConflictPolicy::Siblings => 0,
        }
    }

    /// Makes these cells this replica's.
    pub(super) fn put(&mut self, changed: Vec<Replaced>) {
        if changed.is_empty() {
            return;
        }
        self.issued.0 += 1;
        let id = self.issued;
        self.unsynced.push(id, &changed);
        let cells = changed.into_iter().map(|one| (one.key, one.cell)).collect();
        self.outputs.push_back(Output::Persist { id, cells });
    }

    /// Everything through `id` is durable.
    pub(super) fn persisted(&mut self, id: PersistId) {
        assert!(id > self.persisted && id <= self.issued, "persists complete in their order");
        self.persisted = id;
        while let Some(batch) = self.unsynced.pop(id) {
            for one in batch.cells {
                self.tree.replace(&one.key, one.before, Some(one.after));
            }
        }
        self.outputs.push_back(Output::Apply { through: id });
        while let Some(held) = self.held.pop_front_if(|held| held.until <= id) {
            let Held { to, mark, message, .. } = held;
            self.outputs.push_back(Output::Send { to, mark, message });
        }
        self.fill();
    }

    pub(super) const fn issued(&self) -> PersistId {
        self.issued
    }

    // Rounds of collecting.

    pub(super) const fn round(&self) -> u64 {
        self.round
    }

    pub(super) const fn barrier(&self) -> u64 {
        self.collected.barrier
    }

    /// The first round after `heard` that nothing which this replica has sent, by whatever process, can be of (INV-100).
    pub(super) fn round_after(&self, heard: u64) -> u64 {
        self.round.max(self.earlier).max(heard).saturating_add(1)
    }

    /// Whether the next process will know that something may be of this round. Else that is to be durable first.
    pub(super) fn reaches(&mut self, round: u64) -> bool {
        if round > self.collected.reached {
            self.collected.reached = round.saturating_add(ROUNDS);
            self.outputs.push_back(Output::Close { collected: self.collected });
        }
        round <= self.reached
    }

    /// That is durable. Answers whether it is news.
    pub(super) fn has_reached(&mut self, round: u64) -> bool {
        let news = round > self.reached;
        self.reached = self.reached.max(round);
        news
    }

    /// All that is sent from now on is of this round.
    pub(super) fn mark(&mut self, round: u64) {
        self.round = self.round.max(round);
    }

    /// Takes no cells of rounds before its own from now on.
    pub(super) fn close(&mut self) {
        self.collected.barrier = self.round;
        self.outputs.push_back(Output::Close { collected: self.collected });
    }

    pub(super) fn is_on_its_way(&self, key: &CellKey) -> bool {
        self.unsynced.until(key).is_some()
    }

    /// These applied cells are no more. A new write of one is later than they were, also after a restart (INV-93).
    pub(super) fn dropped(&mut self, cells: Vec<(CellKey, Cell)>) {
        for (key, cell) in &cells {
            self.tree.replace(key, Some(cell.digest()), None);
            self.collected.newest = self.collected.newest.max(cell.newest().unwrap_or_default());
        }
        self.clock.pass(self.collected.newest);
        self.counts.collected += cells.len() as u64;
        if !cells.is_empty() {
            let cells = cells.into_iter().map(|(key, _)| key).collect();
            self.outputs.push_back(Output::Drop { cells, collected: self.collected });
        }
    }

    /// These applied cells were held for others, who have them.
    pub(super) fn let_go(&mut self, cells: Vec<(CellKey, Cell)>) {
        for (key, cell) in &cells {
            assert!(!self.is_on_its_way(key), "what is not durable was not given to anybody");
            self.tree.replace(key, Some(cell.digest()), None);
        }
        if !cells.is_empty() {
            if self.used > 0 {
                self.forget_actor();
            }
            let cells = cells.into_iter().map(|(key, _)| key).collect();
            self.outputs.push_back(Output::Drop { cells, collected: self.collected });
        }
    }

    // Dots and times.

    /// INV-90: of what it has let go of it does not know any more what it wrote there itself, and a later dot of the same actor would
    /// say that it had seen that.
    fn forget_actor(&mut self) {
        self.actor = new_actor(&mut self.random, self.id);
        self.used = 0;
    }

    pub(super) const fn actor(&self) -> ActorId {
        self.actor
    }

    /// The `count`th dot after those in use.
    pub(super) const fn dot_after(&self, count: u64) -> Dot {
        Dot { actor: self.actor, counter: self.used + count }
    }

    pub(super) const fn use_dots(&mut self, count: u64) {
        self.used += count;
    }

    /// Later than everything that this replica knows of these cells (INV-93). Its clock may be behind them after a restart.
    pub(super) fn time_after<'k>(
        &mut self,
        cells: &dyn Cells,
        keys: impl IntoIterator<Item = &'k CellKey>,
    ) -> Hlc {
        for key in keys {
            if let Some(newest) = self.cell(cells, key).and_then(|cell| cell.newest()) {
                self.clock.pass(newest);
            }
        }
        self.clock.tick(self.wall)
    }

    pub(super) fn pass_time(&mut self, time: Hlc) {
        self.clock.pass(time);
    }

    // The way out.

    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.send_as(self.round, to, message);
    }

    /// What is in the message is of that round.
    pub(super) fn send_as(&mut self, round: u64, to: NodeId, message: Message) {
        assert_ne!(to, self.id, "nobody sends to itself");
        let mark = Mark { round, ..self.now_at() };
        self.outputs.push_back(Output::Send { to, mark, message });
    }

    /// What goes with every message.
    pub(super) const fn now_at(&self) -> Mark {
        Mark { since: self.owners.since, round: self.round, closed: self.collected.barrier }
    }

    /// INV-91: a message that tells of something waits until that is durable.
    pub(super) fn send_when(&mut self, until: PersistId, to: NodeId, message: Message) {
        if until <= self.persisted || planted::is(Bug::TellBeforeDisk) {
            return self.send(to, message);
        }
        // INV-55
        if self.held.len() < HELD_MAX {
            let at = self.held.partition_point(|held| held.until <= until);
            let mark = self.now_at();
            self.held.insert(at, Held { until, to, mark, message });
        }
    }

    /// What waits for the disk is not said.
    pub(super) fn fall_silent(&mut self) {
        self.held.clear();
    }

    pub(super) fn answer(&mut self, id: RequestId, result: Result<Vec<(CellKey, Cell)>, Refused>) {
        self.outputs.push_back(Output::Answer { id, result, gone: Vec::new() });
    }

    /// Of some cells no replica knows what the session had seen.
    pub(super) fn answer_without(
        &mut self,
        id: RequestId,
        cells: Vec<(CellKey, Cell)>,
        gone: Vec<CellKey>,
    ) {
        self.outputs.push_back(Output::Answer { id, result: Ok(cells), gone });
    }

    pub(super) fn filled(&mut self) {
        self.outputs.push_back(Output::Filled);
    }

    pub(super) fn damaged(&mut self, why: String) {
        self.outputs.push_back(Output::Damaged { why });
    }

    pub(super) fn pop_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

/// INV-90
fn new_actor(random: &mut Random, id: NodeId) -> ActorId {
    let drawn = ActorId(random.next());
    if planted::is(Bug::KeepActor) { ActorId(id.0 as u64) } else { drawn }
}

impl Draft<'_> {
    /// `change` answers whether it changed anything.
    pub(super) fn change(&mut self, key: &CellKey, change: impl FnOnce(&mut Cell) -> bool) {
        match self.changed.get_mut(key) {
            Some(replaced) => {
                change(&mut replaced.cell);
            }
            None => {
                let known = self.kernel.cell(self.cells, key);
                let before = known.as_ref().map(Cell::digest);
                let mut cell = known.unwrap_or_default();
                if change(&mut cell) {
                    let replaced = Replaced { key: key.clone(), before, cell };
                    self.changed.insert(key.clone(), replaced);
                }
            }
        }
    }

    pub(super) fn changes(self) -> Vec<Replaced> {
        self.changed.into_values().collect()
    }
}
