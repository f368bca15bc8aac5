//! Quorum arithmetic.

/// The smallest number of `voters` such that any two such groups share a member. Zero voters have no majority,
/// so the answer for 0 is 1, which no count of nobody reaches.
#[must_use]
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::majority;

    #[test]
    fn two_majorities_always_intersect() {
        for voters in 1..=9 {
            assert!(2 * majority(voters) > voters);
            assert!(majority(voters) <= voters);
        }
        assert_eq!(majority(0), 1);
    }
}
