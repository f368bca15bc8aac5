//! The open loop's clock: when each operation is meant to start, whatever happened to those before it.
//!
//! A closed loop stops asking while the system stalls, and so never measures the stall (coordinated omission). Here a
//! thread of its own keeps to the schedule, and latency counts from the intended start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

/// Operations at a fixed rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Schedule {
    pub(crate) begin: Instant,
    pub(crate) per_second: f64,
}

impl Schedule {
    /// When the operation with this number, from 0, is meant to start.
    pub(crate) fn at(&self, number: u64) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "runs have far fewer than 2^52 operations")]
        let seconds = number as f64 / self.per_second;
        self.begin + Duration::from_secs_f64(seconds)
    }
}

/// Hands the starts out to the clients in turn until `stop`. A client that is behind finds them waiting; one whose
/// queue is full (it is stuck for good) loses them, and the loss is counted.
pub(crate) fn pace(schedule: Schedule, clients: &[Sender<Instant>], stop: &Arc<AtomicBool>) -> u64 {
    let mut lost = 0;
    for number in 0.. {
        let start = schedule.at(number);
        let wait = start.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let client = usize::try_from(number).map_or(0, |number| number % clients.len());
        lost += u64::from(clients[client].try_send(start).is_err());
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_evenly_spaced_and_do_not_depend_on_what_happened() {
        let schedule = Schedule { begin: Instant::now(), per_second: 4000.0 };
        let since = |number| schedule.at(number).duration_since(schedule.begin);
        assert_eq!(since(0), Duration::ZERO);
        assert_eq!(since(4), Duration::from_millis(1));
        assert_eq!(since(40_000), Duration::from_secs(10));
    }

    #[test]
    fn starts_go_to_the_clients_in_turn_and_a_full_queue_loses_them() {
        let stop = Arc::new(AtomicBool::new(false));
        let (first, mut kept) = tokio::sync::mpsc::channel(100);
        let (second, _full) = tokio::sync::mpsc::channel(1);
        let schedule = Schedule { begin: Instant::now(), per_second: 100_000.0 };
        let paced = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || pace(schedule, &[first, second], &stop))
        };
        let starts: Vec<_> = (0..3).map(|_| kept.blocking_recv().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(paced.join().unwrap() >= 1);
        assert_eq!(starts, [0, 2, 4].map(|number| schedule.at(number)));
    }
}
