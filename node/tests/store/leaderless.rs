//! Without leaders every node takes every write: concurrent values are kept until a client joins them, and no increment is lost.

use crate::support::{PATIENCE, ask, connect, start_leaderless, vget};

const INCREMENTS: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_values_are_kept_until_a_write_covers_them() {
    let dev = start_leaderless();
    let mut clients = Vec::new();
    for node in &dev.nodes {
        clients.push(connect(&node.addresses.plain, PATIENCE).await.unwrap());
    }
    let _: redis::Value = ask(&mut clients[0], &["VSET", "key", "one"]).await.unwrap();
    let _: redis::Value = ask(&mut clients[1], &["VSET", "key", "two"]).await.unwrap();

    let error = ask::<String>(&mut clients[2], &["GET", "key"]).await.unwrap_err().to_string();
    assert!(error.contains("SIBLINGS") && error.contains("VGET"), "{error}");
    let (context, values) = vget(&mut clients[2], "key").await;
    assert_eq!(values, ["one", "two"]);

    let joined = ["VSET", "key", "both", "CONTEXT", &context];
    let _: redis::Value = ask(&mut clients[2], &joined).await.unwrap();
    for client in &mut clients {
        assert_eq!(ask::<String>(client, &["GET", "key"]).await.unwrap(), "both");
        assert_eq!(vget(client, "key").await.1, ["both"]);
    }
    // What the old context covers is gone: this value is concurrent with the joined one.
    let late = ["VSET", "key", "late", "CONTEXT", &context];
    let _: redis::Value = ask(&mut clients[0], &late).await.unwrap();
    let (context, values) = vget(&mut clients[1], "key").await;
    assert_eq!(values, ["both", "late"]);
    let deleted = ["VDEL", "key", "CONTEXT", &context];
    let _: redis::Value = ask(&mut clients[1], &deleted).await.unwrap();
    assert_eq!(ask::<Option<String>>(&mut clients[0], &["GET", "key"]).await.unwrap(), None);

    let foreign = ["VSET", "other", "x", "CONTEXT", &context];
    let error = ask::<redis::Value>(&mut clients[0], &foreign).await.unwrap_err().to_string();
    assert!(error.contains("the context is none"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_through_every_node_at_once_add_up() {
    let dev = start_leaderless();
    let mut writers = Vec::new();
    for node in &dev.nodes {
        let mut client = connect(&node.addresses.plain, PATIENCE).await.unwrap();
        writers.push(tokio::spawn(async move {
            for _ in 0..INCREMENTS {
                ask::<i64>(&mut client, &["INCR", "counter"]).await.unwrap();
            }
        }));
    }
    let count = u32::try_from(writers.len()).unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    for node in &dev.nodes {
        let mut client = connect(&node.addresses.plain, PATIENCE).await.unwrap();
        assert_eq!(ask::<u32>(&mut client, &["GET", "counter"]).await.unwrap(), count * INCREMENTS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_of_more_replicas_than_there_are_is_refused() {
    let dev = start_leaderless();
    let mut client = connect(&dev.nodes[0].addresses.plain, PATIENCE).await.unwrap();
    ask::<()>(&mut client, &["QUORUM", "4", "4"]).await.unwrap();
    for words in [&["SET", "key", "x"][..], &["GET", "key"]] {
        let error = ask::<redis::Value>(&mut client, words).await.unwrap_err().to_string();
        assert!(error.contains("the level asks for more replicas than there are"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_client_is_served() {
    let dev = start_leaderless();
    let nodes: Vec<String> =
        dev.nodes.iter().map(|node| format!("redis://{}/", node.addresses.cluster)).collect();
    let client = redis::cluster::ClusterClient::new(nodes).unwrap();
    let mut connection = client.get_async_connection().await.unwrap();
    for number in 0..20u64 {
        let mut set = redis::cmd("SET");
        set.arg(format!("cluster-{number}")).arg(number);
        let () = set.query_async(&mut connection).await.unwrap();
        let mut get = redis::cmd("GET");
        get.arg(format!("cluster-{number}"));
        assert_eq!(get.query_async::<u64>(&mut connection).await.unwrap(), number);
    }
}
