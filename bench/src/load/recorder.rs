//! What a load's clients measured.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

const LATENCY_MAX: Duration = Duration::from_secs(60);
const SIGNIFICANT_DIGITS: u8 = 3;

/// Shared by the clients of one load.
#[derive(Debug)]
pub(crate) struct Recorder {
    recording: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    /// The first failure's reason: all that a report needs.
    reason: Mutex<Option<String>>,
    /// In tenths of a microsecond: a median below 100 us keeps three digits.
    histogram: Mutex<Histogram<u64>>,
}

/// Latencies of one measurement, in microseconds.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Latencies {
    pub(crate) count: u64,
    pub(crate) failed: u64,
    /// Asked of a second place, for the first did not answer in time or with an error.
    pub(crate) retried: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Recorder {
    pub(crate) fn begin(&self) {
        self.take();
        self.recording.store(true, Ordering::Relaxed);
    }

    /// `count` operations that took `latency`.
    pub(crate) fn done_in(&self, latency: Duration, count: usize) {
        let count = u64::try_from(count).expect("a client has few in flight");
        self.done.fetch_add(count, Ordering::Relaxed);
        if self.recording.load(Ordering::Relaxed) {
            let tenths =
                u64::try_from(latency.min(LATENCY_MAX).as_nanos() / 100).unwrap_or(u64::MAX);
            self.histogram().saturating_record_n(tenths.max(1), count);
        }
    }

    pub(crate) fn failed(&self, error: &anyhow::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut reason = self.reason.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        reason.get_or_insert_with(|| format!("{error:#}"));
    }

    pub(crate) fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// Why the first of those that failed did.
    pub(crate) fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> Latencies {
        let mut histogram = self.histogram();
        let taken = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let latencies = Latencies {
            failed: taken(&self.failed),
            retried: taken(&self.retried),
            ..summary(&histogram)
        };
        histogram.reset();
        latencies
    }

    fn histogram(&self) -> std::sync::MutexGuard<'_, Histogram<u64>> {
        self.histogram.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        let max = u64::try_from(LATENCY_MAX.as_nanos() / 100).expect("a minute fits");
        let histogram = Histogram::new_with_max(max, SIGNIFICANT_DIGITS)
            .expect("the bounds are the library's own example");
        Self {
            recording: AtomicBool::new(false),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            reason: Mutex::new(None),
            histogram: Mutex::new(histogram),
        }
    }
}

fn summary(histogram: &Histogram<u64>) -> Latencies {
    #[expect(clippy::cast_precision_loss, reason = "a minute in tenths of a microsecond is exact")]
    let micros = |tenths: u64| tenths as f64 / 10.0;
    Latencies {
        count: histogram.len(),
        failed: 0,
        retried: 0,
        p50: micros(histogram.value_at_quantile(0.5)),
        p99: micros(histogram.value_at_quantile(0.99)),
        p999: micros(histogram.value_at_quantile(0.999)),
        max: micros(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_microseconds_and_only_of_what_was_recorded() {
        let recorder = Recorder::default();
        recorder.done_in(Duration::from_secs(1), 1);
        recorder.begin();
        recorder.done_in(Duration::from_micros(100), 98);
        recorder.done_in(Duration::from_millis(5), 2);
        recorder.failed(&anyhow::anyhow!("refused"));
        assert_eq!(recorder.done(), 101);
        let latencies = recorder.take();
        assert_eq!((latencies.count, latencies.failed), (100, 1));
        assert!((latencies.p50 - 100.0).abs() < 1.0, "{latencies:?}");
        assert!((latencies.p99 - 5000.0).abs() < 10.0, "{latencies:?}");
        assert_eq!(recorder.take().count, 0, "taken once");
    }

    #[test]
    fn a_latency_over_the_bound_counts_as_the_bound() {
        let recorder = Recorder::default();
        recorder.begin();
        recorder.done_in(Duration::from_secs(600), 1);
        assert!(recorder.take().max >= 59_900_000.0);
    }
}
