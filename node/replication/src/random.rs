//! The replica's own source of randomness: for timeouts only, never for anything that must be hard to guess.
//!
//! A run is a function of its inputs and the seed is one of them, so nothing here may read the environment.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Anything from nothing to `longest`, evenly.
    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(if nanos == u64::MAX {
            self.next()
        } else {
            self.next() % (nanos + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        assert!((0..100).all(|_| one.next() == other.next()));
    }

    #[test]
    fn a_bounded_draw_stays_within_its_bound() {
        let mut random = Random::new(1);
        let longest = Duration::from_nanos(9);
        let drawn: Vec<u128> = (0..1_000).map(|_| random.up_to(longest).as_nanos()).collect();
        assert!((0..=9).all(|nanos| drawn.contains(&nanos)));
        assert!(drawn.iter().all(|nanos| *nanos <= 9));
    }
}
