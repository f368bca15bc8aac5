//! What every reconcile of this process shares.

use std::sync::Arc;

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use crate::client::Nodes;
use crate::memory::Memory;
use crate::metrics::Metrics;

pub struct Context {
    pub client: Client,
    pub nodes: Arc<dyn Nodes>,
    pub memory: Arc<Memory>,
    pub metrics: Metrics,
    pub recorder: Recorder,
}

impl Context {
    /// `instance` is this replica's name in events.
    #[must_use]
    pub fn new(client: Client, nodes: Arc<dyn Nodes>, metrics: Metrics, instance: String) -> Self {
        let reporter = Reporter {
            controller: quorate_api::labels::OPERATOR.to_owned(),
            instance: Some(instance),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, nodes, memory: Arc::default(), metrics, recorder }
    }
}
