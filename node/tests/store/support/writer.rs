//! A client that writes all the while and remembers what was acknowledged, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_model::ShardId;
use redis::AsyncCommands;
use tokio::task::JoinHandle;

use super::{connect, eventually, key_of, read_all};

/// Gives a request up after this long, asks another node then.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes every key of one shard once, in order, one after the other.
pub(crate) struct Writer {
    shard: ShardId,
    shards: u16,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    task: JoinHandle<Written>,
}

/// What was acknowledged: keys by number, and when.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) keys: Vec<(u64, Instant)>,
    pub(crate) failed: u64,
}

impl Writer {
    pub(crate) fn start(addresses: Vec<String>, shard: ShardId, shards: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(write(
            addresses,
            shard,
            shards,
            Arc::clone(&stop),
            Arc::clone(&acknowledged),
        ));
        Self { shard, shards, stop, acknowledged, task }
    }

    /// Waits until `more` writes were acknowledged after this call.
    pub(crate) async fn progress(&self, more: u64) {
        let from = self.acknowledged.load(Ordering::SeqCst);
        eventually("acknowledged writes", || async {
            (self.acknowledged.load(Ordering::SeqCst) >= from + more).then_some(())
        })
        .await;
    }

    /// Ends writing; asserts that everything that was acknowledged can be read through `address`.
    pub(crate) async fn finish(self, address: &str) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        let written = self.task.await.unwrap();
        let keys: Vec<String> = written
            .keys
            .iter()
            .map(|(number, _)| key_of(self.shard, self.shards, *number))
            .collect();
        let found = read_all(address, &keys).await;
        for ((number, _), key) in written.keys.iter().zip(&keys) {
            assert_eq!(found[key], Some(*number), "an acknowledged write is lost: {key}");
        }
        written
    }
}

impl Written {
    /// The longest time without an acknowledgement.
    pub(crate) fn gap(&self) -> Duration {
        self.keys.windows(2).map(|pair| pair[1].1 - pair[0].1).max().unwrap_or_default()
    }
}

async fn write(
    addresses: Vec<String>,
    shard: ShardId,
    shards: u16,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Written {
    let mut written = Written::default();
    let mut number = 0;
    for address in addresses.iter().cycle() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let Ok(mut connection) = connect(address, REQUEST_TIMEOUT).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        while !stop.load(Ordering::SeqCst) {
            // A number whose write failed may have taken effect; it is never used again.
            number += 1;
            let key = key_of(shard, shards, number);
            match connection.set::<_, _, ()>(key, number).await {
                Ok(()) => {
                    written.keys.push((number, Instant::now()));
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => {
                    written.failed += 1;
                    break;
                }
            }
        }
    }
    written
}
