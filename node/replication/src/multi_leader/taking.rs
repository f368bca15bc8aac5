//! What arrives: taken in its turn, dropped when it is known, held until what it comes after is there.
//!
//! Keeps INV-107 (once) and INV-108 (in its turn).

use std::collections::BTreeMap;

use quorate_model::planted::{self, Bug};
use quorate_model::{ActorId, Datacenter, Dot, Time, VersionVector};

use super::{Change, Turn};

/// What is applied here, and what is about to be.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    expected: VersionVector,
    held: BTreeMap<Key, Held>,
    /// By what each lacks.
    lacking: BTreeMap<(ActorId, u64), Vec<Key>>,
    bytes: usize,
    /// What is ahead of this node's clock, and who gave it.
    early: Vec<(Datacenter, Change)>,
    early_bytes: usize,
    bytes_max: usize,
}

/// Of a change: its origin and its first dot there.
type Key = (ActorId, u64);

#[derive(Clone, Debug)]
struct Held {
    change: Change,
    /// Who gave it.
    by: Datacenter,
    since: Time,
    on: Dot,
}

/// A change that waits for another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// Who gave it.
    pub by: Datacenter,
    pub since: Time,
    /// What is lacking.
    pub on: Dot,
}

/// There is no room for it: it must come again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full;

impl Taking {
    pub(super) const fn new(known: VersionVector, bytes_max: usize) -> Self {
        Self {
            expected: known,
            held: BTreeMap::new(),
            lacking: BTreeMap::new(),
            bytes: 0,
            early: Vec::new(),
            early_bytes: 0,
            bytes_max,
        }
    }

    pub(super) const fn expected(&self) -> &VersionVector {
        &self.expected
    }

    pub(super) const fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a change that begins so waits for another one.
    pub(super) fn holds(&self, first: Dot) -> bool {
        self.held.contains_key(&(first.actor, first.counter))
    }

    /// Who waits for the longest.
    pub(super) fn blocked(&self) -> Option<Blocked> {
        let oldest = self.held.values().min_by_key(|held| held.since)?;
        Some(Blocked { by: oldest.by.clone(), since: oldest.since, on: oldest.on })
    }

    /// Whether something that is no news waits for what somebody has who knows this.
    pub(super) fn waits_for(&self, now: Time, known: &VersionVector) -> bool {
        self.held.values().any(|held| held.since < now && known.covers(held.on))
    }

    /// Local writes, what another leader took before, a snapshot. Answers with what is to be applied after it, in this order.
    pub(super) fn know(&mut self, known: &VersionVector) -> Vec<Change> {
        let news = known.dots().filter(|dot| !self.expected.covers(*dot)).collect();
        self.expected.join(known);
        self.released(news)
    }

    /// Answers with what is to be applied now, in this order.
    ///
    /// # Errors
    /// [`Full`]
    pub(super) fn take(
        &mut self,
        now: Time,
        by: &Datacenter,
        change: Change,
    ) -> Result<Vec<Change>, Full> {
        match change.turn(&self.expected) {
            Turn::Known if !planted::is(Bug::TakeAgain) => Ok(Vec::new()),
            Turn::Behind(on) if !planted::is(Bug::TakeBeforeTurn) => {
                let held = Held { change, by: by.clone(), since: now, on };
                self.hold(held).map(|()| Vec::new())
            }
            Turn::Known | Turn::Next | Turn::Behind(_) => {
                let through = change.through();
                self.expected.include(through);
                let mut taken = vec![change];
                taken.extend(self.released(vec![through]));
                Ok(taken)
            }
        }
    }

    /// It is taken when this node's clock has come there.
    ///
    /// # Errors
    /// [`Full`]
    pub(super) fn keep_early(&mut self, by: &Datacenter, change: Change) -> Result<(), Full> {
        if self.early.iter().any(|(_, kept)| kept.through() == change.through()) {
            return Ok(());
        }
        // INV-55
        if self.early_bytes + change.bytes() > self.bytes_max / 4 {
            return Err(Full);
        }
        self.early_bytes += change.bytes();
        self.early.push((by.clone(), change));
        Ok(())
    }

    /// Of what was early that which is so no more, and can be held if it is not its turn. Answers as [`Self::take`].
    pub(super) fn take_early(
        &mut self,
        now: Time,
        is_early: impl Fn(&Change) -> bool,
    ) -> Vec<Change> {
        let (early, due): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.early).into_iter().partition(|(_, change)| is_early(change));
        self.early = early;
        let mut taken = Vec::new();
        for (by, change) in due {
            let behind = matches!(change.turn(&self.expected), Turn::Behind(_));
            if behind && !self.has_room(&change) {
                self.early.push((by, change));
                continue;
            }
            self.early_bytes -= change.bytes();
            taken.extend(self.take(now, &by, change).unwrap_or_default());
        }
        taken
    }

    /// What waited for these, and what waited for that.
    fn released(&mut self, mut news: Vec<Dot>) -> Vec<Change> {
        let mut released = Vec::new();
        while let Some(Dot { actor, counter }) = news.pop() {
            let through = self.lacking.range((actor, 0)..=(actor, counter));
            let through: Vec<(ActorId, u64)> = through.map(|(dot, _)| *dot).collect();
            let waited = through.iter().filter_map(|dot| self.lacking.remove(dot));
            for key in waited.flatten().collect::<Vec<Key>>() {
                let Some(Held { change, by, since, .. }) = self.held.remove(&key) else { continue };
                self.bytes -= change.bytes();
                match change.turn(&self.expected) {
                    Turn::Known => {}
                    Turn::Next => {
                        self.expected.include(change.through());
                        news.push(change.through());
                        released.push(change);
                    }
                    Turn::Behind(on) => self.keep(key, Held { change, by, since, on }),
                }
            }
        }
        released
    }

    fn hold(&mut self, held: Held) -> Result<(), Full> {
        if !self.has_room(&held.change) {
            return Err(Full);
        }
        let key = key(&held.change);
        if !self.held.contains_key(&key) {
            self.keep(key, held);
        }
        Ok(())
    }

    /// INV-55: what is held already takes no more.
    fn has_room(&self, change: &Change) -> bool {
        let held = self.held.contains_key(&key(change));
        held || self.bytes + change.bytes() <= self.bytes_max
    }

    fn keep(&mut self, key: Key, held: Held) {
        self.bytes += held.change.bytes();
        self.lacking.entry((held.on.actor, held.on.counter)).or_default().push(key);
        self.held.insert(key, held);
    }
}

const fn key(change: &Change) -> Key {
    (change.origin, change.first)
}
