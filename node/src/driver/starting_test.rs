//! What a node that starts shows before its driver's thread has its first turn.

use std::sync::{Arc, Mutex};

use quorate_group::host::{Host, PeerMessage, Rollback, Settings, Start, Status};
use quorate_model::{GroupId, NodeId, StoreId, Topology};
use quorate_storage::{disk::simulated::Simulated, state::model};

use super::{Driver, Inbox, Outlets, Pulse};
use crate::clock::{self, Clock};

#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<Arc<Status>>>>);

impl Outlets for Shown {
    fn send(&mut self, _: NodeId, _: GroupId, _: PeerMessage) {}
    fn topology(&mut self, _: Topology) {}
    fn status(&mut self, status: Arc<Status>) {
        self.0.lock().unwrap().push(status);
    }
    fn save_rollback(&mut self, _: u64, _: Rollback) {}
    fn fatal(&mut self, reason: &str) {
        panic!("{reason}");
    }
    fn turned(&mut self, _: usize, _: std::time::Duration) {}
}

/// Otherwise the node would announce itself, and be taken for a blank one until the thread had run.
#[test]
fn what_was_recovered_is_shown_before_the_thread_runs() {
    let clock = Clock::start();
    let start = Start {
        node: NodeId(1),
        store: StoreId(1),
        seed: 1,
        now: clock.now(),
        wall: clock::wall(),
    };
    let host =
        Host::start(start, Simulated::new(), model::Store::new(), Settings::default()).unwrap();
    let shown = Shown::default();
    let _driver = Driver::new(
        host,
        Arc::new(Inbox::default()),
        shown.clone(),
        clock,
        Arc::new(Pulse::default()),
    );
    assert_eq!(shown.0.lock().unwrap().len(), 1);
}
