//! Without leaders: nodes are killed, and nobody waits for an election.

use quorate_node::node::Announcement;

use crate::support::{
    PATIENCE, Signal, ask, connect, end, eventually, info, quorum, signal, start_again,
    start_leaderless,
};

const KEYS: u32 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_goes_on_without_a_node_that_then_gets_what_it_missed() {
    let dev = start_leaderless();
    let [alive, other, away] = [&dev.nodes[0], &dev.nodes[1], &dev.nodes[2]];
    end(away.pid, Signal::Kill).await;
    let mut writer = connect(&alive.addresses.plain, PATIENCE).await.unwrap();
    let mut reader = connect(&other.addresses.plain, PATIENCE).await.unwrap();
    for number in 0..KEYS {
        let (key, value) = (format!("key:{number}"), number.to_string());
        ask::<()>(&mut writer, &["SET", &key, &value]).await.unwrap();
        assert_eq!(ask::<u32>(&mut reader, &["GET", &key]).await.unwrap(), number);
    }
    let mut all = quorum(alive, "ALL", "ALL").await.unwrap();
    for words in [&["SET", "other", "x"][..], &["GET", "key:0"]] {
        let error = ask::<redis::Value>(&mut all, words).await.unwrap_err().to_string();
        assert!(error.contains("NOQUORUM"), "{error}");
        assert!(error.contains("2 of 3 replicas answered in time"), "{error}");
    }

    let back = start_again(&dev, away);
    eventually("comparisons of replicas", || async {
        (info(&back.at, "exchanges").await >= 1).then_some(())
    })
    .await;
    // Frozen, the others cannot answer for it, nor be read from on the way.
    eventually("everything on the node that was away", || async {
        let others = [alive, other];
        others.iter().for_each(|node| signal(node.pid, Signal::Freeze));
        let found = holds_everything(&back.at).await;
        others.iter().for_each(|node| signal(node.pid, Signal::Thaw));
        found.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_of_three_is_no_quorum_and_serves_who_asks_for_one() {
    let dev = start_leaderless();
    let alone = &dev.nodes[0];
    let mut client = connect(&alone.addresses.plain, PATIENCE).await.unwrap();
    ask::<()>(&mut client, &["SET", "key", "before"]).await.unwrap();
    end(dev.nodes[1].pid, Signal::Kill).await;
    end(dev.nodes[2].pid, Signal::Kill).await;
    for words in [&["SET", "lost", "x"][..], &["GET", "key"]] {
        let error = ask::<redis::Value>(&mut client, words).await.unwrap_err().to_string();
        assert!(error.contains("NOQUORUM"), "{error}");
        assert!(error.contains("1 of 2 replicas answered in time"), "{error}");
    }
    let mut one = quorum(alone, "ONE", "ONE").await.unwrap();
    ask::<()>(&mut one, &["SET", "after", "x"]).await.unwrap();
    for (key, value) in [("after", "x"), ("key", "before")] {
        assert_eq!(ask::<String>(&mut one, &["GET", key]).await.unwrap(), value);
    }
}

async fn holds_everything(node: &Announcement) -> bool {
    let Ok(mut client) = quorum(node, "ONE", "ONE").await else { return false };
    for number in 0..KEYS {
        let found = ask::<Option<u32>>(&mut client, &["GET", &format!("key:{number}")]).await;
        if !matches!(found, Ok(Some(value)) if value == number) {
            return false;
        }
    }
    true
}
