//! A store of three nodes starts and serves the clients that people have.

use std::process::Command;
use std::time::Duration;

use redis::AsyncCommands;

use crate::support::{Dev, connect};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_takes_every_command_on_its_plain_port() {
    let dev = Dev::start(&["--nodes", "3", "--datacenters", "3", "--shards", "4"]);
    assert_eq!(dev.nodes.len(), 3);
    for (at, node) in dev.nodes.iter().enumerate() {
        let mut connection = connect(&node.addresses.plain, Duration::from_secs(20)).await.unwrap();
        for number in 0..8 {
            let key = format!("from-{at}-{number}");
            let (): () = connection.set(&key, number).await.unwrap();
            assert_eq!(connection.get::<_, u64>(&key).await.unwrap(), number);
        }
    }
    let mut connection =
        connect(&dev.nodes[0].addresses.plain, Duration::from_secs(20)).await.unwrap();
    assert_eq!(connection.get::<_, u64>("from-2-7").await.unwrap(), 7);
    let size: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await.unwrap();
    assert_eq!(size, 24);

    cluster_client(&dev).await;
    redis_cli(&dev);
    assert!(dev.stop().success());
}

async fn cluster_client(dev: &Dev) {
    let nodes: Vec<String> =
        dev.nodes.iter().map(|node| format!("redis://{}/", node.addresses.cluster)).collect();
    let client = redis::cluster::ClusterClient::new(nodes).unwrap();
    let mut connection = client.get_async_connection().await.unwrap();
    for number in 0..50u64 {
        let key = format!("cluster-{number}");
        let (): () = connection.set(&key, number).await.unwrap();
        assert_eq!(connection.get::<_, u64>(&key).await.unwrap(), number);
    }
}

fn redis_cli(dev: &Dev) {
    let address = &dev.nodes[1].addresses.cluster;
    let port = address.rsplit(':').next().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("redis-cli").args(["-c", "-p", port]).args(arguments).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match run(&["set", "greeting", "hello"]) {
        Ok(answer) => assert_eq!(answer, "OK"),
        Err(error) => {
            println!("redis-cli was not tried: {error}");
            return;
        }
    }
    assert_eq!(run(&["get", "greeting"]).unwrap(), "hello");
    assert!(run(&["cluster", "info"]).unwrap().contains("cluster_state:ok"));
}
