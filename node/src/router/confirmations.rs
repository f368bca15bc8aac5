//! Confirmations: a leader's read index for a shard, asked for once by all sessions of this node that need one.
//!
//! Keeps INV-72 and INV-73 on the node's side: an index counts for a read only when it was asked for at the time that the read
//! names, or later. Sessions that come while one is under way share the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use quorate_group::host::{Failure, Reply};
use quorate_model::{LogIndex, ShardId};

use super::requester::Requester;
use super::store::unexpected;
use crate::peer::Remote;

/// Bounded by the number of shards.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    shards: Mutex<BTreeMap<ShardId, Arc<Newest>>>,
}

/// Held while one is under way, so that one at a time is.
type Newest = tokio::sync::Mutex<Option<Confirmation>>;

#[derive(Clone, Copy, Debug)]
struct Confirmation {
    asked: Instant,
    index: LogIndex,
}

/// Whether a leader had to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Yes,
    /// Another read asked lately enough.
    No,
}

impl Confirmations {
    /// An index whose state holds everything that was acknowledged before `after`.
    ///
    /// # Errors
    /// No leader answered by `deadline`.
    pub(super) async fn confirm(
        &self,
        requester: &Requester,
        shard: ShardId,
        after: Instant,
        deadline: Instant,
    ) -> Result<(LogIndex, Asked), Failure> {
        let newest = Arc::clone(self.shards.lock().entry(shard).or_default());
        let mut newest = newest.lock().await;
        if let Some(Confirmation { asked, index }) = *newest
            && asked >= after
        {
            return Ok((index, Asked::No));
        }
        // INV-72: the time is taken before the leader is asked.
        let asked = Instant::now();
        let reply = requester.ask(Remote::ReadIndex { shard }, deadline).await?;
        let Reply::Index(index) = reply else { return Err(unexpected(&reply)) };
        *newest = Some(Confirmation { asked, index });
        Ok((index, Asked::Yes))
    }
}
