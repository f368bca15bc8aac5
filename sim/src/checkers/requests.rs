//! Every request is answered exactly once, within its time, while the process lives. INV-54, INV-55.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_group::host::RequestId;
use quorate_model::{NodeId, Time};

/// Timeouts are a few seconds, pauses too; what is caught is an answer that never comes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(crate) struct Requests {
    waiting: BTreeMap<RequestId, (NodeId, Time)>,
}

impl Requests {
    pub(crate) fn asked(&mut self, id: RequestId, node: NodeId, now: Time) {
        self.waiting.insert(id, (node, now));
    }

    pub(crate) fn answered(&mut self, id: RequestId) -> Result<(), String> {
        match self.waiting.remove(&id) {
            Some(_) => Ok(()),
            None => Err(format!("{id:?} was answered twice, or never asked")),
        }
    }

    /// The process is gone, and its requests with it.
    pub(crate) fn died(&mut self, node: NodeId) {
        self.waiting.retain(|_, (asked, _)| *asked != node);
    }

    pub(crate) fn end(&self, now: Time) -> Result<(), String> {
        match self.waiting.iter().find(|(_, (_, asked))| now.since(*asked) > PATIENCE) {
            Some((id, (node, asked))) => {
                Err(format!("{node} has not answered {id:?} for {} s", now.since(*asked).as_secs()))
            }
            None => Ok(()),
        }
    }
}
