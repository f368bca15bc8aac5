//! What happened before what, without a leader: actors, dots, version vectors, hybrid clocks.
//!
//! Dotted version vectors (Preguiça, Baquero and others 2010; Almeida and others 2014) and hybrid logical clocks (Kulkarni and
//! others 2014). Vectors decide what is concurrent; clocks only choose among what is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::WallTime;

/// Who writes: one process of one replica. What a process told before it died and did not make durable its next one does not know,
/// so that is another actor; so is a replica that lost or restored its store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActorId(pub u64);

/// One write: the actor's so many-th, counted from one. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Dot {
    pub actor: ActorId,
    pub counter: u64,
}

/// For each actor the newest of its writes that is known, and with it all before.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct VersionVector {
    /// Sorted by actor; no counter is zero.
    entries: Vec<(ActorId, u64)>,
}

/// A hybrid logical clock's time: 48 bits of milliseconds since the Unix epoch, 16 of what happened within one.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Hlc(pub u64);

/// A clock that never goes back, and is later than everything it was told of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HybridClock {
    newest: Hlc,
}

impl VersionVector {
    #[must_use]
    pub fn counter(&self, actor: ActorId) -> u64 {
        match self.place(actor) {
            Ok(at) => self.entries[at].1,
            Err(_) => 0,
        }
    }

    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        dot.counter <= self.counter(dot.actor)
    }

    /// Whether everything that `other` knows is known here.
    #[must_use]
    pub fn covers_all(&self, other: &Self) -> bool {
        other.dots().all(|dot| self.covers(dot))
    }

    pub fn include(&mut self, dot: Dot) {
        match self.place(dot.actor) {
            Ok(at) => self.entries[at].1 = self.entries[at].1.max(dot.counter),
            Err(_) if dot.counter == 0 => {}
            Err(at) => self.entries.insert(at, (dot.actor, dot.counter)),
        }
    }

    pub fn join(&mut self, other: &Self) {
        other.dots().for_each(|dot| self.include(dot));
    }

    /// The newest write of each actor, by actor.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.entries.iter().map(|(actor, counter)| Dot { actor: *actor, counter: *counter })
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether its entries are as this type keeps them. What comes from outside must be asked.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.entries.is_sorted_by(|one, next| one.0 < next.0)
            && self.entries.iter().all(|(_, counter)| *counter > 0)
    }

    fn place(&self, actor: ActorId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&actor, |(known, _)| *known)
    }
}

impl FromIterator<Dot> for VersionVector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut vector = Self::default();
        dots.into_iter().for_each(|dot| vector.include(dot));
        vector
    }
}

impl Hlc {
    const LOGICAL_BITS: u32 = 16;

    /// The first time of this millisecond.
    #[must_use]
    pub const fn at(wall: WallTime) -> Self {
        Self(wall.0 << Self::LOGICAL_BITS)
    }

    #[must_use]
    pub const fn wall(self) -> WallTime {
        WallTime(self.0 >> Self::LOGICAL_BITS)
    }

    /// Whether it is further ahead of a clock that shows `wall` than clocks may be apart.
    #[must_use]
    pub fn is_ahead(self, wall: WallTime, drift_max: Duration) -> bool {
        Duration::from_millis(self.wall().0.saturating_sub(wall.0)) > drift_max
    }
}

impl HybridClock {
    /// A time later than all before it.
    pub fn tick(&mut self, wall: WallTime) -> Hlc {
        let next = Hlc(self.newest.0.saturating_add(1));
        self.newest = next.max(Hlc::at(wall));
        self.newest
    }

    /// Every later tick is after `time`. One clock that is wrong must not carry all others along: ask [`Hlc::is_ahead`] first.
    pub fn pass(&mut self, time: Hlc) {
        self.newest = self.newest.max(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(actor: u64, counter: u64) -> Dot {
        Dot { actor: ActorId(actor), counter }
    }

    #[test]
    fn a_join_covers_both_and_nothing_else() {
        let mut one: VersionVector = [dot(1, 3), dot(2, 1)].into_iter().collect();
        let other: VersionVector = [dot(2, 4), dot(3, 1)].into_iter().collect();
        assert!(!one.covers_all(&other) && !other.covers_all(&one));
        one.join(&other);
        assert!(one.covers_all(&other));
        let all: Vec<Dot> = one.dots().collect();
        assert_eq!(all, [dot(1, 3), dot(2, 4), dot(3, 1)]);
        assert!(one.is_well_formed());
        assert!(!one.covers(dot(1, 4)) && one.covers(dot(1, 1)));
    }

    #[test]
    fn vectors_that_nobody_built_are_told_apart() {
        let unsorted = VersionVector { entries: vec![(ActorId(2), 1), (ActorId(1), 1)] };
        let empty = VersionVector { entries: vec![(ActorId(1), 0)] };
        let twice = VersionVector { entries: vec![(ActorId(1), 1), (ActorId(1), 2)] };
        for wrong in [unsorted, empty, twice] {
            assert!(!wrong.is_well_formed());
        }
    }

    #[test]
    fn a_hybrid_clock_passes_what_it_was_told_and_tells_the_far_future() {
        let (wall, drift) = (WallTime(1_000), Duration::from_millis(500));
        let mut clock = HybridClock::default();
        let first = clock.tick(wall);
        assert_eq!(first, Hlc::at(wall));
        assert!(clock.tick(WallTime(10)) > first, "the wall went back, the clock does not");
        clock.pass(Hlc::at(WallTime(1_400)));
        assert!(clock.tick(wall) > Hlc::at(WallTime(1_400)));
        assert!(!Hlc::at(WallTime(1_500)).is_ahead(wall, drift));
        assert!(Hlc::at(WallTime(1_501)).is_ahead(wall, drift));
    }
}
