//! A failover while nobody operates.

use std::time::Duration;

use crate::scenario::on_a_store;

#[test]
fn a_failover_needs_no_operator() {
    on_a_store("operator-gone", |given| {
        let load = given.start_load()?;
        let leader = given.leader()?;
        given.scale_operator(0)?;
        given.faults()?.kill_process(given.namespace(), &leader)?;
        load.go_on(Duration::from_secs(8));
        given.scale_operator(2)?;
        given.await_ready(3)?;
        load.finish("operator gone during a failover")?;
        Ok(())
    });
}
