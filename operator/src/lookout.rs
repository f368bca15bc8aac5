//! The lookout: asks every known node for its report once a second, so that leader labels follow a failover at once
//! instead of at the next periodic reconcile. It decides nothing and writes nothing: when the answers say something
//! new of leaders, it wakes the store's reconcile, which looks for itself.
//!
//! Its cost is one small HTTP request per node and second over a kept-alive connection, none to the API server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc;

use crate::client::Nodes;
use crate::health::Vitals;
use crate::memory::{Memory, StoreKey};

/// How often every node is asked.
pub(crate) const ROUND: Duration = Duration::from_secs(1);
/// How many nodes are asked at once.
const PARALLEL_MAX: usize = 64;
/// How many wake-ups may wait. A store whose wake-up finds no room is found again in the next round.
pub(crate) const WAKE_UPS_MAX: usize = 1_024;

/// Goes round until the receiver of wake-ups is gone.
pub(crate) async fn watch(
    nodes: Arc<dyn Nodes>,
    memory: Arc<Memory>,
    vitals: Vitals,
    mut wake: mpsc::Sender<StoreKey>,
) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !wake.is_closed() {
        rounds.tick().await;
        round(&*nodes, &memory).await;
        for store in memory.stores_with_new_leaders() {
            if let Err(full) = wake.try_send(store) {
                tracing::debug!(%full, "a wake-up waits for the next round");
            }
        }
        vitals.progressed();
    }
}

async fn round(nodes: &dyn Nodes, memory: &Memory) {
    futures::stream::iter(memory.watched())
        .for_each_concurrent(PARALLEL_MAX, |(store, pod, admin)| async move {
            match nodes.report(admin).await {
                Ok(report) => memory.learn(&store, &pod, report, Instant::now()),
                Err(error) => tracing::trace!(%error, "no report"),
            }
        })
        .await;
}
