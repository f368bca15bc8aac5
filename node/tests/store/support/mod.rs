//! What the scenarios are made of: processes that end with the test, clients that keep records, awaited conditions.

mod admin;
mod catching_up;
mod clients;
mod durability;
mod leaderless;
mod processes;
mod writer;

use std::time::{Duration, Instant};

pub(crate) use admin::{await_ready, caught_up, leader_of, metric, propose, report, topology};
pub(crate) use catching_up::{
    await_in_step, await_short_logs, await_snapshot, check_filled, fill, follower, has_short_log,
    settled_leader, short_log, start_with,
};
pub(crate) use clients::{connect, key_of, read_all, send_raw};
pub(crate) use durability::{await_durability, declare, leading};
pub(crate) use leaderless::{
    ask, end, info, quorum, relayed, start_again, start_leaderless, start_leaderless_as, vget,
};
pub(crate) use processes::{Dev, Node, QUORATE_NODE, Signal, is_running, signal};
pub(crate) use writer::Writer;

/// How long anything may take that is awaited: generous, since the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
