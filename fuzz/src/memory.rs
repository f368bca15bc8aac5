//! How much memory a reader takes for an input: bounded by the input's length, whatever lengths the input claims.

use std::alloc::System;
use std::sync::{Mutex, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The counters are the process': one check at a time.
static CHECKING: Mutex<()> = Mutex::new(());

/// What may be allocated in all while an input is read, freed again or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) per_byte: usize,
    /// For every input: buffers of a fixed size.
    pub(crate) beside: usize,
}

impl Bound {
    pub(crate) fn check(self, input_bytes: usize, read: impl FnOnce()) {
        let _alone = CHECKING.lock().unwrap_or_else(PoisonError::into_inner);
        let region = Region::new(&INSTRUMENTED_SYSTEM);
        read();
        let allocated = region.change().bytes_allocated;
        let bound = self.per_byte * input_bytes + self.beside;
        assert!(
            allocated <= bound,
            "{allocated} bytes were allocated for an input of {input_bytes}; {bound} are expected at most"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_the_input_does_not_account_for_is_found() {
        // The tests beside this one take some as well.
        let bound = Bound { per_byte: 2, beside: 2 << 20 };
        let take =
            |bytes: usize| move || drop(std::hint::black_box(Vec::<u8>::with_capacity(bytes)));
        bound.check(100, take(4 << 10));
        let found = std::panic::catch_unwind(|| bound.check(100, take(5 << 20)));
        assert!(found.is_err());
    }
}
