//! To other datacenters: what is applied here, in the order of this group's log.
//!
//! Whoever takes says what it knows, and is given the rest; so nothing is kept here for it but how far it came (INV-109).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_model::planted::{self, Bug};
use quorate_model::{ActorId, Datacenter, LogIndex, NodeId, Time, VersionVector};

use super::{Change, Cursor, Entry, Log, Message, Settings, Wanted};

/// How much of the log one step reads for one taker, in batches,
const BATCHES_MAX: usize = 4;
/// and when it is read on: what else the leader has to do comes in between.
const READ_ON: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, Default)]
pub(super) struct Giving {
    takers: BTreeMap<Datacenter, Taker>,
}

#[derive(Clone, Debug)]
struct Taker {
    node: NodeId,
    number: u64,
    wanted: Wanted,
    /// Whose changes are its own.
    origin: ActorId,
    known: VersionVector,
    /// Where it began; everything through there has been applied by it,
    start: LogIndex,
    applied: LogIndex,
    /// through there it was told,
    told: LogIndex,
    /// and through here there is nothing else that it wants.
    read: LogIndex,
    /// What it has not said to have applied: through which entry, and its bytes.
    flight: VecDeque<(LogIndex, usize)>,
    bytes: usize,
    /// When the log is read on: it goes on behind what was read.
    reads_at: Option<Time>,
    /// Until then what is applied gathers, since something was told just now.
    gathers_until: Time,
    heard: Time,
    beat_at: Time,
}

/// What comes next in the log.
enum Next {
    /// Of a batch those that are wanted.
    Changes(Vec<Change>),
    /// A snapshot, which brought something that is neither known nor there as changes.
    Lacks(VersionVector),
    End,
}

/// What is the same for all of them.
pub(super) struct Giver<'a> {
    pub(super) now: Time,
    pub(super) settings: &'a Settings,
    pub(super) log: &'a dyn Log,
    /// This datacenter's origins, the last one in use.
    pub(super) own: &'a BTreeSet<ActorId>,
    pub(super) origin: ActorId,
    pub(super) known: &'a VersionVector,
}

/// What another datacenter asks for.
pub(super) struct Asked {
    pub(super) node: NodeId,
    pub(super) number: u64,
    pub(super) wanted: Wanted,
    pub(super) origin: ActorId,
    pub(super) known: VersionVector,
    pub(super) from: Option<Cursor>,
}

impl Giving {
    /// From behind which entry of the log on somebody who takes may still ask for what is there.
    pub(super) fn oldest(&self) -> Option<LogIndex> {
        self.takers.values().map(|taker| taker.applied).min()
    }

    pub(super) fn subscribe(&mut self, giver: &Giver<'_>, taker: Datacenter, asked: Asked) {
        let Asked { node, number, wanted, origin, known, from } = asked;
        let (start, _) = giver.log.floor();
        let goes_on = from.filter(|from| from.log == giver.origin && from.through >= start);
        let told = goes_on.map_or(start, |from| from.through.min(giver.log.applied()));
        let taker_is = Taker {
            node,
            number,
            wanted,
            origin,
            known,
            start: told,
            applied: told,
            told,
            // Whoever does not go on must know what is no longer there.
            read: if goes_on.is_some() { told } else { LogIndex::ZERO },
            flight: VecDeque::new(),
            bytes: 0,
            reads_at: None,
            gathers_until: giver.now,
            heard: giver.now,
            beat_at: giver.now,
        };
        self.takers.insert(taker, taker_is);
    }

    pub(super) fn taken(
        &mut self,
        now: Time,
        taker: &Datacenter,
        number: u64,
        through: LogIndex,
        known: &VersionVector,
    ) {
        let Some(taker) = self.takers.get_mut(taker).filter(|taker| taker.number == number) else {
            return;
        };
        taker.heard = now;
        taker.applied = taker.applied.max(through);
        taker.known.join(known);
        while let Some((_, bytes)) = taker.flight.pop_front_if(|(at, _)| *at <= through) {
            taker.bytes -= bytes;
        }
    }

    /// What that datacenter has applied.
    pub(super) fn knows(&mut self, place: &Datacenter, known: &VersionVector) {
        if let Some(taker) = self.takers.get_mut(place) {
            taker.known.join(known);
        }
    }

    /// What is to be sent now.
    pub(super) fn go_on(&mut self, giver: &Giver<'_>) -> Vec<(NodeId, Message)> {
        let gone = giver.settings.silence * 2;
        self.takers.retain(|_, taker| giver.now < taker.heard.after(gone));
        let mut sent = Vec::new();
        self.takers.retain(|_, taker| taker.go_on(giver, &mut sent));
        sent
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let of = |taker: &Taker| taker.reads_at.unwrap_or(taker.beat_at).min(taker.beat_at);
        self.takers.values().map(of).min()
    }
}

impl Taker {
    /// Answers whether the log still has what it wants.
    fn go_on(&mut self, giver: &Giver<'_>, sent: &mut Vec<(NodeId, Message)>) -> bool {
        if let Err(floor) = self.read_on(giver, sent) {
            sent.push((self.node, Message::Behind { number: self.number, floor }));
            return false;
        }
        if self.beat_at <= giver.now {
            sent.push((self.node, self.tell(giver, Vec::new())));
        }
        true
    }

    /// # Errors
    /// What is not there as changes, and not all known.
    fn read_on(
        &mut self,
        giver: &Giver<'_>,
        sent: &mut Vec<(NodeId, Message)>,
    ) -> Result<(), VersionVector> {
        let (start, floor) = giver.log.floor();
        if self.read < start {
            if !self.has(giver, floor) && !planted::is(Bug::GiveBehindCut) {
                return Err(floor.clone());
            }
            self.read = start;
        }
        self.reads_at = None;
        if giver.now < self.gathers_until {
            self.reads_at = (giver.log.applied() > self.read).then_some(self.gathers_until);
            return Ok(());
        }
        let before = self.told;
        for _ in 0..BATCHES_MAX {
            if self.bytes >= giver.settings.window_bytes {
                return Ok(());
            }
            match self.next(giver) {
                Next::End => {
                    if self.told > before {
                        self.gathers_until = giver.now.after(giver.settings.gather);
                    }
                    return Ok(());
                }
                // What was given before it may be on its way to be applied.
                Next::Lacks(_) if !self.flight.is_empty() => return Ok(()),
                Next::Lacks(brought) => return Err(brought),
                Next::Changes(changes) if changes.is_empty() => {}
                Next::Changes(changes) => sent.push((self.node, self.tell(giver, changes))),
            }
        }
        self.reads_at = Some(giver.now.after(READ_ON));
        Ok(())
    }

    fn next(&mut self, giver: &Giver<'_>) -> Next {
        let part = giver.log.behind(self.read, giver.settings.batch_bytes);
        if part.is_empty() {
            return Next::End;
        }
        let mut changes = Vec::new();
        for (index, entry) in part {
            match entry {
                Entry::Change(change) if self.wants(giver, &change) => changes.push(change),
                Entry::Snapshot(brought) if !self.has(giver, &brought) => {
                    return if changes.is_empty() {
                        Next::Lacks(brought)
                    } else {
                        Next::Changes(changes)
                    };
                }
                Entry::Change(_) | Entry::Snapshot(_) | Entry::Nothing => {}
            }
            self.read = index;
        }
        Next::Changes(changes)
    }

    fn wants(&self, giver: &Giver<'_>, change: &Change) -> bool {
        let known = self.known.covers(change.through()) && !planted::is(Bug::TakeAgain);
        self.is_about(giver, change.origin) && !known
    }

    /// Of all that it wants.
    fn has(&self, giver: &Giver<'_>, all: &VersionVector) -> bool {
        let mut wanted = all.dots().filter(|dot| self.is_about(giver, dot.actor));
        wanted.all(|dot| self.known.covers(dot))
    }

    fn is_about(&self, giver: &Giver<'_>, origin: ActorId) -> bool {
        match self.wanted {
            Wanted::Own => giver.own.contains(&origin),
            Wanted::All => origin != self.origin,
        }
    }

    fn tell(&mut self, giver: &Giver<'_>, changes: Vec<Change>) -> Message {
        let bytes = changes.iter().map(Change::bytes).sum();
        let from = self.told;
        self.told = self.read;
        if bytes > 0 {
            self.flight.push_back((self.told, bytes));
            self.bytes += bytes;
        }
        self.beat_at = giver.now.after(giver.settings.beat);
        Message::Changes {
            number: self.number,
            log: giver.origin,
            start: self.start,
            from,
            through: self.told,
            changes,
            known: giver.known.clone(),
        }
    }
}
