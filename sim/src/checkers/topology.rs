//! One topology per epoch, and no node goes back. INV-50, INV-51.

use std::collections::BTreeMap;

use quorate_model::{Epoch, NodeId, Topology};

#[derive(Default)]
pub(crate) struct Epochs {
    epochs: BTreeMap<Epoch, Topology>,
    newest: BTreeMap<(NodeId, u64), Epoch>,
}

impl Epochs {
    pub(crate) fn adopted(
        &mut self,
        node: NodeId,
        incarnation: u64,
        topology: &Topology,
    ) -> Result<(), String> {
        let known = self.epochs.entry(topology.epoch).or_insert_with(|| topology.clone());
        if known != topology {
            return Err(format!(
                "epoch {} is two topologies: {known:?} and {topology:?}",
                topology.epoch
            ));
        }
        let before = self.newest.insert((node, incarnation), topology.epoch).unwrap_or_default();
        if topology.epoch < before {
            return Err(format!("{node} went back from epoch {before} to {}", topology.epoch));
        }
        Ok(())
    }
}
