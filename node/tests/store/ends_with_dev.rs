//! No node outlives the `quorate-node dev` that started it.

use crate::support::{Dev, Signal, eventually, is_running, signal};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_end_when_dev_is_killed() {
    let dev = Dev::start(&["--nodes", "2"]);
    let pids: Vec<u32> = dev.nodes.iter().map(|node| node.pid).collect();
    assert!(pids.iter().all(|pid| is_running(*pid)));
    signal(dev.pid(), Signal::Kill);
    eventually("the nodes' end", || async {
        pids.iter().all(|pid| !is_running(*pid)).then_some(())
    })
    .await;
}
