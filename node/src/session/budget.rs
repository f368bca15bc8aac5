//! How many bytes of requests all connections together may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Debug)]
pub(super) struct Budget {
    taken: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// Bytes that are taken as long as this lives.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { taken: Arc::new(AtomicUsize::new(0)), bytes_max }
    }

    /// `None` when so many bytes are not left.
    pub(super) fn take(&self, bytes: usize) -> Option<Permit> {
        let mut permit = self.nothing();
        permit.resize(bytes).then_some(permit)
    }

    pub(super) fn nothing(&self) -> Permit {
        Permit { budget: self.clone(), bytes: 0 }
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// Takes more, or gives back. False, and nothing changed, when so much is not left.
    pub(super) fn resize(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes {
            self.budget.taken.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.bytes = bytes;
            return true;
        }
        let more = bytes - self.bytes;
        let before = self.budget.taken.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.budget.bytes_max {
            self.budget.taken.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes = bytes;
        true
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_gives_back_what_it_took() {
        let budget = Budget::new(10);
        let mut first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        assert!(first.resize(10) && !first.resize(11));
        assert_eq!(budget.taken(), 10);
        assert!(first.resize(1));
        assert_eq!((budget.taken(), first.bytes()), (1, 1));
        drop(first);
        assert_eq!(budget.taken(), 0);
    }
}
