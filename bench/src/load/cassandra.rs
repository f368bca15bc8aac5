//! A client of Cassandra at QUORUM: prepared statements of one table, over the driver's connections to one node.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::AllowListHostFilter;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use tokio::task::JoinSet;

/// Of 64 clients that are dealt out over three nodes, about a connection each.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(21).expect("not zero");
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEYSPACE: &str = "CREATE KEYSPACE IF NOT EXISTS bench WITH replication = \
    {'class': 'NetworkTopologyStrategy', 'datacenter1': 3}";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS bench.pairs (key blob PRIMARY KEY, value blob)";
const PUT: &str = "INSERT INTO bench.pairs (key, value) VALUES (?, ?)";
const GET: &str = "SELECT value FROM bench.pairs WHERE key = ?";

/// Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Cassandra {
    session: Arc<Session>,
    put: PreparedStatement,
    get: PreparedStatement,
}

impl Cassandra {
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let session = session(address, CONNECTIONS).await?;
        let (put, get) = (session.prepare(PUT).await?, session.prepare(GET).await?);
        Ok(Self { session: Arc::new(session), put, get })
    }

    pub(crate) async fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.session.execute_unpaged(&self.put, (key, value)).await?;
        Ok(())
    }

    /// All at once: Cassandra takes one at a time for what others take as a batch.
    pub(crate) async fn puts(&self, entries: &[(Bytes, Bytes)]) -> Result<()> {
        let mut tasks = JoinSet::new();
        for entry in entries {
            let (client, (key, value)) = (self.clone(), entry.clone());
            tasks.spawn(async move { client.put(&key, &value).await });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    pub(crate) async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let rows = self.session.execute_unpaged(&self.get, (key,)).await?.into_rows_result()?;
        let row = rows.maybe_first_row::<(&[u8],)>()?;
        Ok(row.map(|(value,)| Bytes::copy_from_slice(value)))
    }
}

/// Makes the table, where it is not there yet.
pub(crate) fn prepare_cassandra(address: &str) -> Result<()> {
    block_on(async {
        let session = session(address, NonZeroUsize::MIN).await?;
        session.query_unpaged(KEYSPACE, ()).await?;
        session.query_unpaged(TABLE, ()).await?;
        Ok(())
    })
}

/// Whether the node at this address reaches all replicas.
pub(crate) fn is_cassandra_whole(address: &str) -> Result<bool> {
    block_on(async {
        let session = session(address, NonZeroUsize::MIN).await?;
        let mut get = session.prepare(GET).await?;
        get.set_consistency(Consistency::All);
        session.execute_unpaged(&get, (&b"whole"[..],)).await.context("a read of all replicas")?;
        Ok(true)
    })
}

/// Of one node, as a client of the other systems has it. Whoever measures decides about timeouts and retries.
async fn session(address: &str, connections: NonZeroUsize) -> Result<Session> {
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::Quorum)
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .request_timeout(None)
        .build();
    SessionBuilder::new()
        .known_node(address)
        .host_filter(Arc::new(AllowListHostFilter::new([address])?))
        .pool_size(PoolSize::PerHost(connections))
        .connection_timeout(CONNECT_TIMEOUT)
        .default_execution_profile_handle(profile.into_handle())
        .build()
        .await
        .with_context(|| format!("connect to {address}"))
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
