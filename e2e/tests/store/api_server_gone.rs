//! A failover while the API server is stopped.

use std::time::Duration;

use crate::scenario::on_a_store;

#[test]
fn a_failover_needs_no_api_server() {
    on_a_store("api-server-gone", |given| {
        let load = given.start_load()?;
        let leader = given.leader()?;
        let faults = given.faults()?;
        let process = faults.process_of(given.namespace(), &leader, None)?;
        faults.stop_api_server()?;
        process.kill()?;
        load.go_on(Duration::from_secs(10));
        faults.start_api_server()?;
        given.await_ready(3)?;
        load.finish("API server gone during a failover")?;
        Ok(())
    });
}
