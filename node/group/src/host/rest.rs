//! When the log rests between two batches, so that the next one is larger.
//!
//! A batch costs about the same whether few or many writes are in it, most of it processor. Syncs that take longer than they do by
//! themselves say that processor or disk is short. Then every batch saved is work for what waits; without that, and with few
//! writes under way, a rest would only be a delay, and there is none.

use std::time::Duration;

use quorate_model::Time;

/// Fewer writes in a batch are of a few clients: each would wait for nobody.
const WRITES_MIN: usize = 8;
/// Rests are so many times as long as what the sync took beyond the shortest. Measured with 64 clients on three nodes of one machine
/// with two cores: without rests 0.22 syncs for a write and 67 us of processor, with 2 times 0.16, with 4 times 0.14, with 8
/// times 0.12 and nothing more won.
const FACTOR: u32 = 4;
/// Bounds what a write waits longer on disks of which syncs differ by more than that.
const REST_MAX: Duration = Duration::from_millis(1);
/// The shortest is of the last seconds: it grows by this part with every sync.
const FORGET: u32 = 4096;

#[derive(Debug)]
pub(super) struct Rest {
    shortest: Duration,
    until: Time,
    /// In the batch to come, and in the one under way.
    gathered: usize,
    under_way: usize,
}

impl Default for Rest {
    fn default() -> Self {
        Self { shortest: Duration::MAX, until: Time::ZERO, gathered: 0, under_way: 0 }
    }
}

impl Rest {
    /// So many writes go with the next batch.
    pub(super) const fn gather(&mut self, writes: usize) {
        self.gathered += writes;
    }

    /// When a batch may begin, if not yet.
    pub(super) fn until(&self, now: Time) -> Option<Time> {
        (now < self.until).then_some(self.until)
    }

    /// A batch begins with what was gathered.
    pub(super) const fn begin(&mut self) {
        self.under_way = self.gathered;
        self.gathered = 0;
    }

    /// It is durable.
    pub(super) fn end(&mut self, now: Time, took: Duration) {
        let forgotten = self.shortest.saturating_add(self.shortest / FORGET);
        self.shortest = took.min(forgotten);
        if self.under_way >= WRITES_MIN {
            let rest = (took - self.shortest).saturating_mul(FACTOR);
            self.until = now.after(rest.min(REST_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(rest: &mut Rest, writes: usize, took_us: u64) -> Option<Time> {
        let now = Time(1_000_000_000);
        rest.gather(writes);
        rest.begin();
        rest.end(now, Duration::from_micros(took_us));
        rest.until(now)
    }

    #[test]
    fn only_large_batches_that_took_long_are_followed_by_a_rest() {
        let mut rest = Rest::default();
        assert_eq!(batch(&mut rest, 100, 100), None, "nothing shorter is known");
        assert_eq!(batch(&mut rest, WRITES_MIN - 1, 300), None);
        let until = batch(&mut rest, WRITES_MIN, 300).unwrap();
        let rested = until.since(Time(1_000_000_000)).as_micros();
        assert!((790..=800).contains(&rested), "4 times what was beyond 100 us: {rested}");
        assert_eq!(batch(&mut rest, 100, 1_000_000), Some(Time(1_001_000_000)), "bounded");
    }

    #[test]
    fn a_disk_that_has_become_slower_is_what_it_is() {
        let mut rest = Rest::default();
        batch(&mut rest, 100, 100);
        let slower = (0..20_000).find(|_| batch(&mut rest, 100, 1_000).is_none());
        assert!(slower.is_some_and(|batches| batches > 1_000), "{slower:?}");
    }
}
