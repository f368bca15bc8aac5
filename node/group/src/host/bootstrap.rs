//! The first topology: a blank node becomes the only voter of a new meta group and proposes it to itself.
//!
//! Idempotent until the topology stands: a node that died in between is asked again and goes on.

use std::collections::BTreeSet;

use quorate_model::{Epoch, GroupId, Topology};
use quorate_replication::single_leader::Configuration;
use quorate_storage::disk::Disk;
use quorate_storage::state::StateStore;

use super::following::Settling;
use super::requests::Work;
use super::topology::SetTopology;
use super::{Failure, Host, RequestId};

impl<D: Disk, S: StateStore> Host<D, S> {
    pub(super) fn bootstrap(&mut self, id: RequestId, topology: Topology) {
        if let Err(failure) = self.may_bootstrap(&topology) {
            return self.refuse(id, failure);
        }
        let meta = GroupId::Meta;
        let settles = self.shared.following.settling.contains_key(&meta);
        if !self.groups.contains_key(&meta) && !settles {
            let voters = BTreeSet::from([self.shared.node()]);
            self.begin_group(meta, Configuration::of(voters));
        }
        let work = Work::SetTopology { expected: Epoch::ZERO, topology: Box::new(topology) };
        let settling = self.shared.following.settling.get_mut(&meta);
        if let Some(Settling::Beginning { queued, .. }) = settling {
            queued.push(id);
            return self.shared.queue(id, meta, work);
        }
        self.with_group(meta, |turn| turn.accept(id, work));
    }

    fn may_bootstrap(&self, topology: &Topology) -> Result<(), Failure> {
        let node = self.shared.node();
        if self.shared.following.topology().is_some() {
            return Err(Failure::AlreadyBootstrapped);
        }
        let hosted = self.groups.get(&GroupId::Meta).map(|meta| meta.replica.configuration());
        let begins = match self.shared.following.settling.get(&GroupId::Meta) {
            Some(Settling::Beginning { standing, .. }) => Some(&standing.configuration),
            Some(Settling::Retiring | Settling::Reviving(_)) | None => None,
        };
        if let Some(Configuration { voters, .. }) = hosted.or(begins) {
            // A blank replica, or another node's group: this node was reached from elsewhere.
            if voters.len() != 1 || !voters.contains(&node) {
                return Err(Failure::AlreadyBootstrapped);
            }
        } else if self.shared.following.retired.contains_key(&GroupId::Meta) {
            return Err(Failure::AlreadyBootstrapped);
        }
        if let Some(why) = &self.shared.damaged {
            return Err(Failure::Damaged(why.clone()));
        }
        if !topology.meta_voters.contains(&node) {
            let what = format!("{node}, which bootstraps, must be one of the meta voters");
            return Err(Failure::Invalid(what));
        }
        let command = SetTopology { expected: Epoch::ZERO, topology: topology.clone() };
        command.check(self.shared.start.store, None)
    }
}
