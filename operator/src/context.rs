//! What every reconcile of this process shares.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use crate::client::Nodes;
use crate::machines::Machines;
use crate::memory::Memory;
use crate::metrics::Metrics;

/// When to look again without a wake-up.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// While something is on its way.
    pub progressing: Duration,
    /// When nothing is.
    pub settled: Duration,
}

pub struct Context {
    pub client: Client,
    pub nodes: Arc<dyn Nodes>,
    pub memory: Arc<Memory>,
    pub metrics: Metrics,
    reporter: Reporter,
    pub machines: Machines,
    pub pace: Pace,
}

impl Context {
    /// `instance` is this replica's name in events.
    #[must_use]
    pub fn new(client: Client, nodes: Arc<dyn Nodes>, metrics: Metrics, instance: String) -> Self {
        let reporter = Reporter {
            controller: quorate_api::labels::OPERATOR.to_owned(),
            instance: Some(instance),
        };
        Self {
            client,
            nodes,
            memory: Arc::default(),
            metrics,
            reporter,
            machines: Machines::default(),
            pace: Pace::default(),
        }
    }

    /// For one event. A recorder joins those of one reason and keeps the first one's note; of ours each tells of another change.
    pub(crate) fn recorder(&self) -> Recorder {
        Recorder::new(self.client.clone(), self.reporter.clone())
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { progressing: Duration::from_secs(2), settled: Duration::from_secs(15) }
    }
}
