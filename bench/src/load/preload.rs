//! Fills a system before it is measured, as fast as it can take it.

use anyhow::{Context, Result};
use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;

use super::client::Client;
use super::{Target, keys};

const CLIENTS_PER_PLACE: usize = 4;
/// Writes that go out together: pipelined to Redis and Quorate, one transaction to etcd (whose limit is 128 by default).
const TOGETHER: usize = 120;

/// Writes every key of the target once.
pub(crate) fn preload(target: &Target) -> Result<()> {
    let target = target.clone();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async move {
        let mut tasks = JoinSet::new();
        for place in &target.places {
            let part = place.keys.len().div_ceil(CLIENTS_PER_PLACE).max(1);
            for (number, keys) in (0..).zip(place.keys.chunks(part)) {
                let client = Client::connect(target.protocol, &place.address).await?;
                tasks.spawn(fill(client, keys.to_vec(), number));
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended?.context("filling the store")?;
        }
        Ok(())
    })
}

async fn fill(mut client: Client, keys: Vec<Bytes>, seed: u64) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for together in keys.chunks(TOGETHER) {
        let entries: Vec<_> =
            together.iter().map(|key| (key.clone(), keys::value(&mut random))).collect();
        client.load(&entries).await?;
    }
    Ok(())
}
