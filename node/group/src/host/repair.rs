//! A damaged log: its replicas take part in nothing until their peers gave them snapshots (INV-10, INV-34).
//!
//! Nothing is written to the damaged log, nothing in it is removed (INV-41), until every group that this node hosts is
//! repaired in the state store. Then an empty log begins, and the protocol hears of all the snapshots. A group without other
//! replicas cannot be repaired: the node stays as it is and says why.

use quorate_model::{GroupId, Term};
use quorate_replication::single_leader::HardState;
use quorate_storage::disk::Disk;
use quorate_storage::state::{Batch, StateStore};

use super::Host;
use super::persisting::describe;
use super::retention::Purpose;
use super::rows::{Health, Standing};

impl<D: Disk, S: StateStore> Host<D, S> {
    /// Once every group is repaired, what the empty log will not know is made durable elsewhere.
    pub(super) fn repaired_all(&mut self) {
        let shared = &mut self.shared;
        if shared.damaged.is_none() || shared.starting_over {
            return;
        }
        let whole = |standing: &Standing| standing.health == Health::Sound;
        let settled =
            self.groups.values().all(|group| whole(&group.standing) && group.incoming.is_none());
        if !settled {
            return;
        }
        for (id, group) in &mut self.groups {
            group.standing.term_floor = group.replica.term();
            shared.state.apply(Batch { changes: vec![group.standing.put(*id)] });
        }
        shared.starting_over = true;
        shared.flush_for(Purpose::StartOver);
    }

    /// The state store stands for everything: the damaged log goes, and every replica goes on from its snapshot.
    pub(super) fn start_over(&mut self) {
        assert!(self.shared.starting_over && self.shared.damaged.is_some());
        if let Err(error) = self.shared.persisting.start_over() {
            return self.shared.fatal(describe(&error));
        }
        self.shared.damaged = None;
        self.shared.starting_over = false;
        self.shared.status_changed = true;
        let groups: Vec<GroupId> = self.groups.keys().copied().collect();
        let node = self.shared.node();
        for id in groups {
            self.with_group(id, |turn| {
                let term = turn.group.replica.term();
                if term > Term::ZERO {
                    // INV-3: whom it voted for in this term may be lost with the damage.
                    let vote = Some(node);
                    turn.shared.persisting.hard_state(id, HardState { term, vote });
                }
                turn.install();
            });
        }
        self.begin_shards_again();
        // What could not begin while nothing could be written.
        self.shared.following.refresh();
    }
}
