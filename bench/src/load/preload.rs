//! Fills a system before it is measured, as fast as it can take it.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;

use super::client::{Client, Protocol};
use super::{Target, keys};

const CLIENTS_PER_PLACE: usize = 4;
/// Writes that go out together: pipelined to Redis and Quorate, one transaction to etcd (whose limit is 128 by default).
const TOGETHER: usize = 120;
const ATTEMPTS_MAX: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// Writes every key of the target once.
pub(crate) fn preload(target: &Target) -> Result<()> {
    let target = target.clone();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async move {
        let mut tasks = JoinSet::new();
        for place in &target.places {
            let part = place.keys.len().div_ceil(CLIENTS_PER_PLACE).max(1);
            for (number, keys) in (0..).zip(place.keys.chunks(part)) {
                tasks.spawn(fill(target.protocol, place.address.clone(), keys.to_vec(), number));
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended?.context("filling the store")?;
        }
        Ok(())
    })
}

async fn fill(protocol: Protocol, address: String, keys: Vec<Bytes>, seed: u64) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut client = Client::connect(protocol, &address).await?;
    for together in keys.chunks(TOGETHER) {
        let entries: Vec<_> =
            together.iter().map(|key| (key.clone(), keys::value(&mut random))).collect();
        let mut attempts = 0;
        // A busy machine may cost a leader its office for a moment; these writes can be repeated.
        while let Err(error) = client.load(&entries).await {
            attempts += 1;
            if attempts == ATTEMPTS_MAX {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
            client = Client::connect(protocol, &address).await?;
        }
    }
    Ok(())
}
