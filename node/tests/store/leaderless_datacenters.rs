//! Without leaders, with replicas in each of two datacenters: each goes on without the other, and both come to the same.

use quorate_node::node::Announcement;

use crate::support::{Dev, PATIENCE, Signal, ask, connect, eventually, quorum, relayed, signal};

/// Two nodes in each of two datacenters, in turn.
fn start() -> Dev {
    Dev::start(&[
        "--mode",
        "leaderless",
        "--nodes",
        "4",
        "--datacenters",
        "2",
        "--shards",
        "1",
        "--replicas",
        "4",
        "--leaderless",
        r#"{"conflicts":"Siblings","datacenters":"Local"}"#,
    ])
}

/// What one side writes while the other answers nothing. How far that one is behind is told meanwhile.
async fn write(node: &Announcement, name: &str) {
    let mut client = quorum(node, "LOCAL_QUORUM", "LOCAL_QUORUM").await.unwrap();
    let _: redis::Value = ask(&mut client, &["VSET", "both", name]).await.unwrap();
    let _: redis::Value = ask(&mut client, &["VSET", &format!("only-{name}"), name]).await.unwrap();
    assert_eq!(ask::<String>(&mut client, &["GET", &format!("only-{name}")]).await.unwrap(), name);
    ask::<()>(&mut client, &["QUORUM", "EACH_QUORUM", "EACH_QUORUM"]).await.unwrap();
    let error = ask::<redis::Value>(&mut client, &["GET", "both"]).await.unwrap_err().to_string();
    assert!(error.contains("NOQUORUM"), "{error}");
    eventually("the lag of the other datacenter", || async {
        (relayed(node, "behind_ms").await >= 1_000).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datacenters_go_on_without_each_other_and_come_to_the_same() {
    let dev = start();
    let sides: [Vec<&Announcement>; 2] =
        [0, 1].map(|side| dev.nodes.iter().skip(side).step_by(2).collect());
    for node in &dev.nodes {
        eventually("what an earlier process told", || async {
            (relayed(node, "known").await == 1).then_some(())
        })
        .await;
    }
    for (here, name) in [(0, "east"), (1, "west")] {
        let away = &sides[1 - here];
        away.iter().for_each(|node| signal(node.pid, Signal::Freeze));
        write(sides[here][0], name).await;
        // Whoever thaws hears of it only once this side is frozen, or has all of its own.
        sides[here].iter().for_each(|node| signal(node.pid, Signal::Freeze));
        away.iter().for_each(|node| signal(node.pid, Signal::Thaw));
    }
    dev.nodes.iter().for_each(|node| signal(node.pid, Signal::Thaw));
    for node in &dev.nodes {
        eventually("all values, concurrent ones beside each other", || async {
            let mut client = connect(&node.addresses.plain, PATIENCE).await.ok()?;
            let mut found: Vec<String> = ask(&mut client, &["VGET", "both"]).await.ok()?;
            // Before them comes the context.
            found.remove(0);
            found.sort();
            (found == ["east", "west"]).then_some(())
        })
        .await;
        for name in ["east", "west"] {
            let key = format!("only-{name}");
            eventually("what one side alone wrote", || async {
                let mut client = connect(&node.addresses.plain, PATIENCE).await.ok()?;
                let found: Option<String> = ask(&mut client, &["GET", &key]).await.ok()?;
                (found.as_deref() == Some(name)).then_some(())
            })
            .await;
        }
        eventually("no lag any more", || async {
            let waiting = relayed(node, "waiting").await + relayed(node, "torn").await;
            (waiting == 0 && relayed(node, "behind_ms").await == 0).then_some(())
        })
        .await;
    }
}
