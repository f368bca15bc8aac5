//! The leader's part in a shard: takes what other datacenters wrote, and gives what is applied here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{ActorId, Datacenter, Dot, LogIndex, NodeId, Time, VersionVector, WallTime};

use super::feed::Feed;
use super::giving::{Asked, Giver, Giving};
use super::lacking::{Here, Lacking};
use super::pace::Pace;
use super::taking::{Full, Taking};
use super::{
    Blocked, Change, Cursor, Input, Log, Message, Output, Routes, Settings, Start, Wanted,
};
use crate::random::Random;

/// See the contract in [`super`].
#[derive(Clone, Debug)]
pub struct Exchange {
    settings: Settings,
    now: Time,
    wall: WallTime,
    origin: ActorId,
    own: BTreeSet<ActorId>,
    /// Applied here.
    known: VersionVector,
    routes: Option<Routes>,
    /// Who may lead the shard where.
    nodes: BTreeMap<Datacenter, Vec<NodeId>>,
    taking: Taking,
    pace: Pace,
    giving: Giving,
    feeds: BTreeMap<Datacenter, Feed>,
    /// How far those came that are none any more: of everything that they had.
    left: BTreeMap<Datacenter, Cursor>,
    /// Who did not answer, and until when that is believed.
    silent: BTreeMap<Datacenter, Time>,
    offers: BTreeMap<Datacenter, Offered>,
    offer_at: Time,
    numbers: u64,
    outputs: VecDeque<Output>,
    refused: Refused,
}

/// What a datacenter says that it has.
#[derive(Clone, Default, Debug)]
struct Offered {
    known: VersionVector,
    until: Time,
    /// Of that what is neither here nor where this one takes from.
    lacking: Lacking,
    /// So it is taken from there, until it comes otherwise, too.
    taken: bool,
}

/// Changes that were not taken, each time that they came.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Refused {
    /// Their time is too far ahead of this node's clock.
    pub ahead_of_time: u64,
    /// No room for what waits for others.
    pub full: u64,
    /// No origin makes such a change.
    pub malformed: u64,
}

/// How a link is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkStatus {
    pub from: Datacenter,
    pub wanted: Wanted,
    /// Nothing has been heard for long.
    pub silent: bool,
    /// It gives what is to come from others by the topology, and does not.
    pub rerouted: bool,
    pub behind: bool,
    /// Writes there that are not known here, and for how long there have been some.
    pub lacking: u64,
    pub lag: Duration,
}

impl Exchange {
    #[must_use]
    pub fn new(start: Start, settings: Settings) -> Self {
        let Start { origin, own, known, seed, now } = start;
        let mut random = Random::new(seed);
        Self {
            now,
            wall: WallTime(0),
            origin,
            own,
            taking: Taking::new(known.clone(), settings.held_bytes_max),
            known,
            routes: None,
            nodes: BTreeMap::new(),
            pace: Pace::default(),
            giving: Giving::default(),
            feeds: BTreeMap::new(),
            left: BTreeMap::new(),
            silent: BTreeMap::new(),
            offers: BTreeMap::new(),
            offer_at: now.after(settings.silence),
            // Not from zero: an answer to the leader before this one must not count here.
            numbers: random.next(),
            outputs: VecDeque::new(),
            refused: Refused::default(),
            settings,
        }
    }

    /// Takes one input. The outputs of the one before must have been drained.
    pub fn step(&mut self, now: Time, wall: WallTime, input: Input, log: &dyn Log) {
        assert!(self.outputs.is_empty(), "the outputs of the last step were not drained");
        assert!(now >= self.now, "time goes back");
        (self.now, self.wall) = (now, wall);
        match input {
            Input::Tick => {}
            Input::Routes { routes, nodes } => {
                let begins = self.routes.replace(routes).is_none();
                self.nodes = nodes;
                if begins {
                    self.tell_all(&Message::Leads);
                }
            }
            Input::Applied { known } => {
                self.known.join(&known);
                let released = self.taking.know(&known);
                self.pace.queue(self.wall, released);
                self.pace.applied(now, &self.known);
                self.acknowledge(None);
            }
            Input::Message { from, message } => self.message(from, message, log),
        }
        self.take_early();
        self.apply();
        self.choose();
        self.ask();
        self.offer();
        self.give(log);
    }

    pub fn pop_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to step with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let feeds = self.feeds.values().map(|feed| feed.ask_at);
        let offers = self.offers.values().map(|offer| offer.until);
        let others = self.giving.deadline().into_iter().chain(self.pace.deadline());
        feeds.chain(offers).chain(others).fold(self.offer_at, Time::min)
    }

    /// Whether to step with [`Input::Tick`] when the log has what it was given.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.pace.goes_on(self.settings.apply_bytes_max)
    }

    /// What waits for the longest, and how many bytes wait.
    #[must_use]
    pub fn blocked(&self) -> (Option<Blocked>, usize) {
        (self.taking.blocked(), self.taking.held_bytes())
    }

    #[must_use]
    pub const fn refused(&self) -> Refused {
        self.refused
    }

    /// From behind which entry of the log on somebody who takes may still ask for what is there.
    #[must_use]
    pub fn oldest_given(&self) -> Option<LogIndex> {
        self.giving.oldest()
    }

    #[must_use]
    pub fn links(&self) -> Vec<LinkStatus> {
        let declared = self.routes.as_ref().map(Routes::declared);
        let status = |(from, feed): (&Datacenter, &Feed)| LinkStatus {
            from: from.clone(),
            wanted: feed.wanted,
            silent: feed.is_silent(self.now, self.settings.silence),
            rerouted: declared.as_ref().and_then(|of| of.get(from)) != Some(&feed.wanted),
            behind: feed.behind.is_some(),
            lacking: lacking(&feed.known, &self.known),
            lag: feed.lag(self.now, &self.known),
        };
        self.feeds.iter().map(status).collect()
    }

    fn message(&mut self, from: NodeId, message: Message, log: &dyn Log) {
        let mut places = self.nodes.iter().filter(|(_, nodes)| nodes.contains(&from));
        let Some(place) = places.next().map(|(place, _)| place.clone()) else { return };
        match message {
            Message::Subscribe { number, wanted, origin, known, from: at } => {
                let asked = Asked { node: from, number, wanted, origin, known, from: at };
                self.with_giver(log, |giving, giver| giving.subscribe(giver, place, asked));
            }
            Message::Taken { number, through, known } => {
                self.giving.taken(self.now, &place, number, through, &known);
            }
            Message::Elsewhere { number, leader } => {
                if self.feeds.get(&place).is_some_and(|feed| feed.number == number) {
                    // One that is named is asked soon, though two may name each other.
                    let wait = self.settings.beat / if leader.is_some() { 10 } else { 1 };
                    self.turn_to(&place, leader, self.now.after(wait));
                }
            }
            Message::Leads => self.turn_to(&place, Some(from), self.now),
            Message::Changes { number, log, start, from: begins, through, changes, known } => {
                let at = [begins, through].map(|through| Cursor { log, through });
                if self.follows(&place, (from, number), start, at[0], &known) {
                    self.giving.knows(&place, &known);
                    self.take(&place, at[1], changes);
                    self.acknowledge(Some(&place));
                }
            }
            Message::Behind { number, floor } => {
                let silent = self.silent.contains_key(&place);
                let here = self.taking.expected();
                let Some(feed) = self.feeds.get_mut(&place).filter(|one| one.number == number)
                else {
                    return;
                };
                feed.says(self.now, &floor, here, silent);
                let since = *feed.behind.get_or_insert(self.now);
                feed.ask_again(self.now.after(self.settings.patience));
                // Others may still have it in their logs.
                let long = since.after(self.settings.silence) <= self.now;
                if long && !here.covers_all(&floor) {
                    self.outputs.push_back(Output::Lacks { from: place, floor });
                }
            }
            Message::Has { known } => {
                let until = self.now.after(self.settings.silence * 2);
                // Nobody answered: it is the leader who speaks.
                let silence = self.settings.silence;
                if self.feeds.get(&place).is_some_and(|feed| feed.is_silent(self.now, silence)) {
                    self.turn_to(&place, Some(from), self.now);
                }
                let offer = self.offers.entry(place).or_default();
                (offer.known, offer.until) = (known, until);
            }
        }
    }

    // Taking.

    /// Whether what comes is what comes next. INV-109
    fn follows(
        &mut self,
        place: &Datacenter,
        (from, number): (NodeId, u64),
        start: LogIndex,
        begins: Cursor,
        known: &VersionVector,
    ) -> bool {
        let silent = self.silent.remove(place).is_some();
        let Some(feed) = self.feeds.get_mut(place).filter(|one| one.number == number) else {
            return false;
        };
        let follows = match feed.begun {
            true => feed.at == Some(begins),
            false => begins.through == start,
        };
        if !follows && !planted::is(Bug::TakeBehindLost) {
            // What is before it was lost, or it comes twice.
            let lost = !feed.begun || feed.at.is_none_or(|at| at.through < begins.through);
            if lost {
                feed.misses(self.now.after(self.settings.beat / 10));
            }
            return false;
        }
        feed.says(self.now, known, self.taking.expected(), silent);
        (feed.begun, feed.behind, feed.at) = (true, None, Some(begins));
        feed.giver = Some(from);
        if !feed.missing {
            feed.ask_at = self.now.after(self.settings.silence / 2);
        }
        true
    }

    /// What is not taken must come again.
    fn take(&mut self, place: &Datacenter, at: Cursor, changes: Vec<Change>) {
        let (mut all, mut full, mut under_way) = (true, false, VersionVector::default());
        for change in changes {
            if !change.is_well_formed() {
                // What its origin wrote later waits for it, and is shown to.
                self.refused.malformed += 1;
                continue;
            }
            // INV-111
            if is_ahead(&change, self.wall, self.settings.drift_max) {
                self.refused.ahead_of_time += 1;
                all &= self.taking.keep_early(place, change).is_ok();
                continue;
            }
            let through = change.through();
            match self.taking.take(self.now, place, change) {
                Ok(taken) => self.pace.queue(self.wall, taken),
                Err(Full) => {
                    self.refused.full += 1;
                    (all, full) = (false, true);
                }
            }
            if self.taking.expected().covers(through) {
                under_way.include(through);
            }
        }
        let Some(feed) = self.feeds.get_mut(place) else { return };
        if all {
            return feed.took(at, under_way);
        }
        feed.ask_again(self.now.after(self.settings.patience));
        if full {
            let since = *feed.full.get_or_insert(self.now);
            // In a log that has all, what comes first stands first; but for what somebody wrote there while a snapshot came, which may
            // wait for what the rest of that brought.
            let long = since.after(self.settings.silence) <= self.now;
            let waits = || self.taking.waits_for(self.now, &feed.known);
            if long && feed.wanted == Wanted::All && waits() {
                let (from, floor) = (place.clone(), feed.known.clone());
                self.outputs.push_back(Output::Lacks { from, floor });
            }
        }
    }

    fn apply(&mut self) {
        let changes = self.pace.next(self.now, self.settings.apply_bytes_max);
        if !changes.is_empty() {
            self.outputs.push_back(Output::Apply { changes });
        }
    }

    /// INV-111
    fn take_early(&mut self) {
        let (wall, drift_max) = (self.wall, self.settings.drift_max);
        let taken = self.taking.take_early(self.now, |change| is_ahead(change, wall, drift_max));
        self.pace.queue(self.wall, taken);
    }

    /// Whoever gives waits until this much is applied: no more is on its way here than it may have given. One that has said something is
    /// answered in any case.
    fn acknowledge(&mut self, said: Option<&Datacenter>) {
        for (place, feed) in &mut self.feeds {
            let (through, further) = feed.applied(&self.known);
            let answers = further || said == Some(place);
            let Some(to) = feed.giver.filter(|_| feed.begun && answers) else { continue };
            let (number, known) = (feed.number, self.known.clone());
            let message = Message::Taken { number, through, known };
            self.outputs.push_back(Output::Send { to, message });
        }
    }

    /// That one is asked next, or if it is none the one after who was asked.
    fn turn_to(&mut self, place: &Datacenter, node: Option<NodeId>, at: Time) {
        let nodes = nodes_of(&self.nodes, place);
        let Some(feed) = self.feeds.get_mut(place) else { return };
        let node = node.and_then(|node| nodes.iter().position(|one| *one == node));
        feed.asks = node.unwrap_or(feed.asks + 1);
        feed.ask_again(at);
    }

    /// Whom to take from.
    fn choose(&mut self) {
        let Some(routes) = &self.routes else { return };
        let (now, patience, silence) = (self.now, self.settings.patience, self.settings.silence);
        self.silent.retain(|_, until| now < *until);
        for (from, feed) in &self.feeds {
            if feed.is_silent(now, silence) {
                // For long enough that the others are tried in turn.
                self.silent.entry(from.clone()).or_insert_with(|| now.after(silence * 10));
            }
        }
        let expected = self.taking.expected();
        let here = Here { expected, holds: &|first| self.taking.holds(first) };
        // What comes is not taken meanwhile.
        let takes = !self.pace.stalls(now, patience / 2);
        self.offers.retain(|_, offer| now < offer.until);
        let (mut over, silent) = (BTreeSet::new(), &self.silent);
        for (from, offer) in &mut self.offers {
            let gives = |(other, feed): &(&Datacenter, &Feed)| {
                let gives = feed.is_back() && feed.behind.is_none() && feed.number != 0;
                gives && *other != from && !over.contains(*other) && !silent.contains_key(*other)
            };
            let comes = || {
                let mut here = expected.clone();
                let given = self.feeds.iter().filter(gives);
                given.for_each(|(_, feed)| here.join(&feed.known));
                here.covers_all(&offer.known)
            };
            if expected.covers_all(&offer.known) || comes() {
                if offer.taken {
                    over.insert(from.clone());
                }
                (offer.lacking, offer.taken) = (Lacking::default(), false);
            } else {
                // It speaks more often than that.
                if !takes || offer.until <= now.after(silence) {
                    offer.lacking.begins_anew();
                }
                offer.taken |= offer.lacking.stands(now, silence, &offer.known, here);
            }
        }
        let offers = self.offers.iter().filter(|(_, offer)| offer.taken);
        let offers = offers.map(|(from, _)| from.clone()).collect();
        let lost = |feed: &Feed| !feed.is_back() || feed.behind.is_some();
        let lost = self.feeds.iter().filter(|(_, feed)| lost(feed)).map(|(from, _)| from);
        let lost = self.silent.keys().chain(lost).cloned().collect();
        let mut sources = routes.sources(&lost, &offers);
        // Whatever it has that does not come otherwise it is to give, of whomever that is.
        for (from, wanted) in &mut sources {
            let Some(feed) = self.feeds.get_mut(from) else { continue };
            let long = feed.withholds(now, patience, takes, here);
            let waits = || self.taking.waits_for(now, &feed.known);
            if long && (routes.reroute || waits()) {
                *wanted = Wanted::All;
            }
        }
        let gone = self.feeds.extract_if(.., |from, _| !sources.contains_key(from));
        let left = gone.filter(|(_, feed)| feed.wanted == Wanted::All);
        self.left.extend(left.filter_map(|(from, feed)| Some((from, feed.at?))));
        for (from, wanted) in sources {
            match self.feeds.get_mut(&from) {
                Some(feed) if feed.wanted == wanted => {}
                Some(feed) => feed.want(wanted, now),
                None => {
                    let at = self.left.remove(&from);
                    self.feeds.insert(from, Feed::new(wanted, now, at));
                }
            }
        }
    }

    fn ask(&mut self) {
        for (place, feed) in &mut self.feeds {
            if feed.ask_at > self.now {
                continue;
            }
            feed.asks += usize::from(feed.number != 0 && !feed.answered);
            self.numbers = self.numbers.wrapping_add(1);
            feed.ask_again(self.now.after(self.settings.silence / 4));
            (feed.number, feed.answered) = (self.numbers, false);
            let nodes = nodes_of(&self.nodes, place);
            let Some(to) = nodes.get(feed.asks % nodes.len().max(1)) else { continue };
            let (number, known) = (feed.number, self.taking.expected().clone());
            let (wanted, origin, from) = (feed.wanted, self.origin, feed.at);
            let message = Message::Subscribe { number, wanted, origin, known, from };
            self.outputs.push_back(Output::Send { to: *to, message });
        }
    }

    // Giving.

    fn give(&mut self, log: &dyn Log) {
        let sent = self.with_giver(log, Giving::go_on);
        self.outputs.extend(sent.into_iter().map(|(to, message)| Output::Send { to, message }));
    }

    fn with_giver<T>(
        &mut self,
        log: &dyn Log,
        what: impl FnOnce(&mut Giving, &Giver<'_>) -> T,
    ) -> T {
        let Self { now, settings, own, origin, known, giving, .. } = self;
        what(giving, &Giver { now: *now, settings, log, own, origin: *origin, known })
    }

    /// INV-110: nobody knows whether those who are to take from here do, and whether what they give comes everywhere.
    fn offer(&mut self) {
        if self.offer_at <= self.now {
            self.offer_at = self.now.after(self.settings.silence / 2);
            self.tell_all(&Message::Has { known: self.known.clone() });
        }
    }

    /// Whoever leads in the other datacenters: others do not hear it.
    fn tell_all(&mut self, message: &Message) {
        let send = |to: &NodeId| Output::Send { to: *to, message: message.clone() };
        self.outputs.extend(self.nodes.values().flatten().map(send));
    }
}

fn nodes_of<'n>(nodes: &'n BTreeMap<Datacenter, Vec<NodeId>>, place: &Datacenter) -> &'n [NodeId] {
    nodes.get(place).map_or(&[], Vec::as_slice)
}

/// How many writes of the first the second lacks.
fn lacking(theirs: &VersionVector, ours: &VersionVector) -> u64 {
    let of = |Dot { actor, counter }| counter.saturating_sub(ours.counter(actor));
    theirs.dots().map(of).sum()
}

fn is_ahead(change: &Change, wall: WallTime, drift_max: Duration) -> bool {
    change.at.is_ahead(wall, drift_max) && !planted::is(Bug::TakeAhead)
}
