//! Numbers from a seed: the same seed, the same numbers, on every replica and in every version.

/// SplitMix64, as its authors published it.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`: as even as 64 bits allow.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0);
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).expect("below a usize")
    }

    /// So many different ones of these, all of them where there are no more: the first steps of a shuffle.
    pub(crate) fn choose<T>(&mut self, mut from: Vec<T>, count: usize) -> Vec<T> {
        let wanted = count.min(from.len());
        for at in 0..wanted {
            let other = at + self.below(from.len() - at);
            from.swap(at, other);
        }
        from.truncate(wanted);
        from
    }

    pub(crate) const fn hash(&mut self) -> u32 {
        let bytes = self.next().to_be_bytes();
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_numbers_and_a_bound_holds() {
        // From the authors' reference implementation.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        let mut seen = [0u32; 3];
        for _ in 0..3_000 {
            seen[random.below(3)] += 1;
        }
        assert!(seen.iter().all(|count| (900..1_100).contains(count)), "{seen:?}");
    }
}
