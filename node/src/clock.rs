//! The only place where the node reads clocks: a monotonic one for timers, the wall's for expiry.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use quorate_model::{Time, WallTime};

/// Monotonic time since the process started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The instant at which [`Clock::now`] will answer `time`.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.origin + std::time::Duration::from_nanos(time.0)
    }

    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A wall clock before 1970 reads as 1970.
#[must_use]
pub fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
