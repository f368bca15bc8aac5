//! The leader's datacenter is cut off, and healed.

use std::time::Duration;

use crate::scenario::on_a_store;

#[test]
fn a_cut_datacenter_loses_its_leaders_and_catches_up() {
    on_a_store("datacenter-cut", |given| {
        let load = given.start_load()?;
        let leader = given.leader()?;
        let datacenter = given.datacenter_of(&leader)?;
        given.faults()?.cut_datacenter(&datacenter)?;
        load.go_on(Duration::from_secs(8));
        given.await_other_leader(&leader)?;
        given.faults()?.heal_datacenter(&datacenter)?;
        given.await_ready(3)?;
        load.go_on(Duration::from_secs(5));
        load.finish("datacenter cut")?;
        Ok(())
    });
}
