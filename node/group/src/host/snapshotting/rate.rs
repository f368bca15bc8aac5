//! How fast a node sends what others need to catch up, snapshots and old entries together: a bucket that fills with time.

use std::time::Duration;

use quorate_model::Time;

/// How much time's worth may be sent at once.
const BURST: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(in crate::host) struct Rate {
    /// 0: no limit.
    bytes_per_second: u64,
    /// When everything sent so far is paid for.
    paid_at: Time,
}

impl Rate {
    pub(in crate::host) const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid_at: Time::ZERO }
    }

    /// `None` when something may be sent now, else when.
    pub(in crate::host) fn wait(&self, now: Time) -> Option<Time> {
        let at = Time(self.paid_at.0.saturating_sub(nanos(BURST)));
        (self.bytes_per_second > 0 && at > now).then_some(at)
    }

    pub(in crate::host) fn pay(&mut self, now: Time, bytes: usize) {
        if self.bytes_per_second > 0 {
            let cost = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.bytes_per_second);
            let cost = u64::try_from(cost).unwrap_or(u64::MAX);
            self.paid_at = Time(self.paid_at.max(now).0.saturating_add(cost));
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_a_second_is_the_rate_and_a_burst() {
        let (mut rate, mut now, mut sent) = (Rate::new(1_000_000), Time(5_000_000_000), 0);
        let end = now.after(Duration::from_secs(1));
        while now < end {
            match rate.wait(now) {
                Some(at) => now = at,
                None => {
                    rate.pay(now, 10_000);
                    sent += 10_000;
                }
            }
        }
        assert!((1_000_000..=1_040_000).contains(&sent), "{sent}");
        assert_eq!(Rate::new(0).wait(now), None);
    }
}
