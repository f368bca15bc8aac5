//! What tests use to talk to a cluster: typed access, namespaces of their own, awaited conditions.
//!
//! A test looks like this:
//!
//! ```no_run
//! # use quorate_e2e::{client, cluster::Cluster};
//! # async fn test() -> anyhow::Result<()> {
//! if !client::asked_for() {
//!     return Ok(());
//! }
//! let connected = Cluster::connect().await?;
//! connected
//!     .with_namespace("sample", async |namespace| {
//!         namespace.apply("apiVersion: v1\nkind: Pod\n…").await?;
//!         namespace.wait_for_ready_pods("app=sample", 3, client::MINUTE).await
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Levers (`connected.cluster.local()?.faults()`) are synchronous and short; use tests with
//! `flavor = "multi_thread"` so that clients go on while a lever is pulled.

mod diagnosis;
mod namespace;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cluster::Cluster;
use crate::cluster::progress::{Probe, Progress};
pub use namespace::Namespace;

pub const MINUTE: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// Whether tests on a cluster were asked for. Says so when they were not.
#[expect(clippy::print_stderr, reason = "a test that does nothing must not look like one that did")]
pub fn asked_for() -> bool {
    let asked = std::env::var("QUORATE_E2E").is_ok_and(|value| value == "1");
    if !asked {
        eprintln!("not asked for: set QUORATE_E2E=1 to run tests that need a cluster");
    }
    asked
}

/// A cluster that answers, and a client of it.
pub struct Connected {
    pub cluster: Cluster,
    pub client: Client,
}

impl Cluster {
    /// Brings the cluster up where needed and connects to it.
    pub async fn connect() -> Result<Connected> {
        let cluster = tokio::task::spawn_blocking(|| {
            let cluster = Self::choose()?;
            cluster.up(&Progress::quiet()).map(|()| cluster)
        })
        .await??;
        let client = client_of(&cluster).await?;
        Ok(Connected { cluster, client })
    }
}

impl Connected {
    /// Runs a test in a fresh namespace and removes it afterwards. When the test fails, the state
    /// and the logs of its pods are printed first, and every lever is released in any case.
    pub async fn with_namespace<T>(
        &self,
        prefix: &str,
        test: impl AsyncFnOnce(&Namespace<'_>) -> Result<T>,
    ) -> Result<T> {
        let namespace = Namespace::create(self, prefix).await?;
        let outcome = test(&namespace).await;
        if outcome.is_err() {
            diagnosis::print(self, namespace.name());
        }
        let healed = match self.cluster.local() {
            Ok(local) => local.faults().heal_all(),
            Err(_) => Ok(()),
        };
        let deleted = namespace.delete().await;
        let value = outcome?;
        healed.context("the test passed, but its faults could not be healed")?;
        deleted.context("the test passed, but its namespace could not be deleted")?;
        Ok(value)
    }
}

/// Looks until a condition holds; the error says what was missing at the deadline. An API server that is away for a
/// moment has not said that the condition does not hold.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Probe<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let missing = match probe().await {
            Ok(Probe::Ready(value)) => return Ok(value),
            Ok(Probe::Waiting(missing)) => missing,
            Err(error) if is_passing(&error) => format!("{error:#}"),
            Err(error) => return Err(error.context(format!("while waiting for {what}"))),
        };
        if started.elapsed() > limit {
            bail!("gave up waiting for {what} after {limit:?}: {missing}");
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// Whether it says only that the API server did not answer this time.
fn is_passing(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => status.code == 429 || status.code >= 500,
        Some(kube::Error::Service(_) | kube::Error::HyperError(_)) => true,
        Some(_) | None => false,
    }
}

async fn client_of(cluster: &Cluster) -> Result<Client> {
    // The second test of a process finds it installed.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let file = Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
