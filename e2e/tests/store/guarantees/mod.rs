//! What a store guarantees, changed while it serves: one store goes through all of it, so that it takes minutes.
//!
//! Each part leaves the store as it found it: durability `Quorum`, nobody preferred, everybody caught up.

mod catch_up;
mod durability;
mod failover;
mod in_sync;
mod log_format;
mod sessions;
mod switchover;

use std::time::Duration;

use anyhow::{Context, Result};
use quorate_e2e::cluster::progress::Probe;
use serde_json::{Value, json};

use crate::scenario::{Scenario, on_a_store};

/// How long a change may take to be seen in the status.
const SEEN_IN: Duration = Duration::from_secs(60);

#[test]
fn what_a_store_guarantees_can_be_changed_while_it_serves() {
    on_a_store("guarantees", |given| {
        given.part("durability changes", durability::changes_lose_nothing)?;
        given.part("in-sync swap", in_sync::a_frozen_follower_is_replaced_and_the_set_shrinks)?;
        given.part("switchover", switchover::leaders_go_where_they_are_wanted)?;
        given.part("failover report", failover::a_killed_leader_is_reported)?;
        given.part("log format", log_format::changes_under_load)?;
        given.part("session defaults", sessions::a_plain_client_finds_its_writes_on_replicas)?;
        given.part("catch-up progress", catch_up::a_wiped_node_shows_how_far_it_is)
    });
}

impl Scenario {
    pub(crate) fn part(&self, name: &str, part: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let began = std::time::Instant::now();
        part(self).with_context(|| name.to_owned())?;
        println!("{name}: passed in {} s", began.elapsed().as_secs());
        Ok(())
    }

    /// Changes `spec.singleLeader`, and waits until the store is as asked for.
    pub(crate) fn change(&self, single_leader: &Value) -> Result<()> {
        self.patch_spec(&json!({ "singleLeader": single_leader }))?;
        self.await_ready(3)
    }

    /// Waits until `look` finds something in the resource.
    pub(crate) fn await_status<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        self.wait_for(what, SEEN_IN, || {
            let store = self.store()?;
            Ok(match look(&store["status"]) {
                Some(found) => Probe::Ready(found),
                None => {
                    Probe::Waiting(format!("the conditions are {}", store["status"]["conditions"]))
                }
            })
        })
    }

    /// Waits for an event of the store, and answers its note.
    pub(crate) fn await_event(&self, reason: &str, about: &str) -> Result<String> {
        self.wait_for(&format!("an event {reason} about {about}"), SEEN_IN, || {
            let selector = format!("reason={reason}");
            let args = ["get", "events", "--namespace", self.namespace(), "--field-selector"];
            let events = self.kubectl.json(args.into_iter().chain([selector.as_str()]))?;
            let events = events["items"].as_array().cloned().unwrap_or_default();
            let mut notes = events.iter().filter_map(|event| event["message"].as_str());
            Ok(match notes.find(|note| note.contains(about)) {
                Some(note) => Probe::Ready(note.to_owned()),
                None => Probe::Waiting(format!("{} events", events.len())),
            })
        })
    }
}

/// The reason of a condition that is as said.
pub(crate) fn reason_of(status: &Value, kind: &str, is: &str) -> Option<String> {
    let conditions = status["conditions"].as_array()?;
    let found = conditions.iter().find(|c| c["type"] == kind && c["status"] == is)?;
    found["reason"].as_str().map(str::to_owned)
}
