//! Who streams a snapshot, what a stream survives, and what is held and said while a follower catches up.

use std::time::Duration;

use quorate_model::admin::CatchUpPhase;
use quorate_model::{Datacenter, GroupId, NodeId};
use quorate_replication::single_leader::Message;

use super::super::{Input, PeerMessage};
use super::cluster::{Cluster, SHARD, bulk, node, topology};

const GROUP: GroupId = GroupId::Shard(SHARD);

/// A cluster whose log is short and whose snapshots take a while; nodes 1 and 2 are in one datacenter, 3 and 4 in another.
fn tight(seed: u64, nodes: u128) -> Cluster {
    tight_at(seed, nodes, 200_000)
}

fn tight_at(seed: u64, nodes: u128, catch_up_bytes_per_second: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, nodes);
    cluster.settings.flush_bytes = 8 << 10;
    cluster.settings.segment_bytes = 8 << 10;
    cluster.settings.log_kept_bytes = 16 << 10;
    cluster.settings.log_held_bytes = 64 << 10;
    cluster.settings.snapshot_chunk_bytes = 1 << 10;
    cluster.settings.catch_up_bytes_per_second = catch_up_bytes_per_second;
    cluster.settings.replication.cache_bytes_max = 4 << 10;
    cluster.restart_all();
    let all: Vec<u128> = (1..=nodes).collect();
    let mut first = topology(&all, 1, &all);
    for (id, member) in &mut first.members {
        member.datacenter = Datacenter::new(if id.0 <= 2 { "one" } else { "two" }).unwrap();
    }
    cluster.bootstrap(first);
    cluster
}

fn fill(cluster: &mut Cluster, from: u32, count: u32) {
    let value = "v".repeat(400);
    for number in from..from + count {
        cluster.write(&format!("key-{number}"), &value);
    }
}

/// A follower that was away while the log went on without it, and its leader.
fn away(cluster: &mut Cluster) -> (NodeId, NodeId) {
    let leader = cluster.await_leader(GROUP);
    let behind = cluster.machines.keys().copied().find(|id| *id != leader).unwrap();
    cluster.crash(behind);
    fill(cluster, 0, 200);
    // Long enough that nobody's log reaches it.
    cluster.run_for(Duration::from_secs(1));
    (cluster.await_leader(GROUP), behind)
}

fn source(cluster: &Cluster, behind: NodeId) -> Option<NodeId> {
    let source = cluster.sources.get(&behind)?;
    Some(*source)
}

fn streaming(cluster: &mut Cluster, behind: NodeId, chunks: u64) -> NodeId {
    let before = cluster.chunks;
    cluster.until("a snapshot is under way", |cluster| cluster.chunks >= before + chunks);
    source(cluster, behind).unwrap()
}

fn caught_up(cluster: &mut Cluster, id: NodeId) {
    cluster.until("it has caught up", |cluster| {
        let Some(leader) = cluster.leader(GROUP) else { return false };
        let leader = cluster.replica(leader, GROUP).unwrap();
        let replica = cluster.replica(id, GROUP);
        replica.is_some_and(|one| one.applied == leader.applied && one.keys == leader.keys)
    });
    for number in [0, 77, 199] {
        let value = cluster.read_local(id, &format!("key-{number}"));
        assert_eq!(value, Ok(bulk(&"v".repeat(400))));
    }
}

#[test]
fn a_follower_streams_and_the_leader_shows_how_far_it_is() {
    let mut cluster = tight_at(1, 3, 40_000);
    let (leader, behind) = away(&mut cluster);
    cluster.start(behind);
    let source = streaming(&mut cluster, behind, 20);
    assert_ne!(source, leader, "the leader is spared");
    cluster.until("the leader shows it", |cluster| {
        let Some(replica) = cluster.replica(leader, GROUP) else { return false };
        matches!(
            replica.followers.get(&behind).map(|follower| follower.phase.clone()),
            Some(CatchUpPhase::Snapshot { bytes_sent, bytes_total, bytes_per_second, source: Some(by) })
                if by == source && bytes_sent > 0 && bytes_total >= bytes_sent && bytes_per_second > 0
        )
    });
    caught_up(&mut cluster, behind);
}

#[test]
fn a_source_of_the_same_datacenter_is_taken_first() {
    for seed in 0..4 {
        let mut cluster = tight(10 + seed, 4);
        let (leader, behind) = away(&mut cluster);
        cluster.start(behind);
        let source = streaming(&mut cluster, behind, 1);
        let neighbour = node(match behind.0 {
            1 => 2,
            2 => 1,
            3 => 4,
            _ => 3,
        });
        assert!(
            source == neighbour || neighbour == leader,
            "{source} for {behind}, led by {leader}"
        );
        caught_up(&mut cluster, behind);
    }
}

#[test]
fn the_rate_is_kept() {
    let mut cluster = tight(2, 3);
    let (_, behind) = away(&mut cluster);
    cluster.start(behind);
    streaming(&mut cluster, behind, 1);
    let (began, before) = (cluster.now, cluster.chunk_bytes);
    cluster.run_for(Duration::from_millis(200));
    let sent = cluster.chunk_bytes - before;
    assert_eq!(cluster.now, began.after(Duration::from_millis(200)));
    assert!((20_000..=50_000).contains(&sent), "{sent} bytes in 200 ms at 200,000 a second");
    caught_up(&mut cluster, behind);
}

#[test]
fn entries_that_the_cache_no_longer_holds_keep_to_the_rate_too() {
    let mut cluster = tight(3, 3);
    cluster.settings.log_kept_bytes = 1 << 20;
    cluster.settings.replication.append_bytes_max = 4 << 10;
    cluster.restart_all();
    let (leader, behind) = away(&mut cluster);
    cluster.start(behind);
    cluster.until("it follows the log", |cluster| cluster.entry_bytes > 2_000);
    let before = cluster.entry_bytes;
    cluster.run_for(Duration::from_millis(200));
    let sent = cluster.entry_bytes - before;
    assert!((20_000..=60_000).contains(&sent), "{sent} bytes in 200 ms at 200,000 a second");
    caught_up(&mut cluster, behind);
    assert_eq!((cluster.streams.len(), cluster.leader(GROUP)), (0, Some(leader)));
}

#[test]
fn a_stream_goes_on_after_a_broken_connection_at_any_chunk() {
    for chunks in [1, 2, 5, 20, 50, 80] {
        let mut cluster = tight(20 + chunks, 3);
        let (_, behind) = away(&mut cluster);
        cluster.start(behind);
        let source = streaming(&mut cluster, behind, chunks);
        let streams = cluster.streams.len();
        cluster.cut.insert((source, behind));
        cluster.cut.insert((behind, source));
        cluster.run_for(Duration::from_secs(3));
        cluster.heal();
        caught_up(&mut cluster, behind);
        assert_eq!(cluster.streams.len(), streams, "the same stream");
    }
}

#[test]
fn a_stream_goes_on_under_the_next_leader() {
    for chunks in [1, 10, 40] {
        let mut cluster = tight(30 + chunks, 4);
        let (leader, behind) = away(&mut cluster);
        cluster.start(behind);
        let source = streaming(&mut cluster, behind, chunks);
        assert_ne!(source, leader);
        let streams = cluster.streams.len();
        cluster.crash(leader);
        cluster.await_other_leader(GROUP, leader);
        caught_up(&mut cluster, behind);
        assert_eq!(cluster.streams.len(), streams, "the same stream");
    }
}

#[test]
fn another_takes_over_from_a_source_that_dies() {
    for chunks in [1, 10, 60] {
        let mut cluster = tight(40 + chunks, 4);
        let (_, behind) = away(&mut cluster);
        cluster.start(behind);
        let dead = streaming(&mut cluster, behind, chunks);
        cluster.crash(dead);
        caught_up(&mut cluster, behind);
        assert_ne!(source(&cluster, behind), Some(dead));
        cluster.start(dead);
    }
}

#[test]
fn a_source_whose_process_is_dead_is_given_up_at_once() {
    for refused in [true, false] {
        let mut cluster = tight(45, 4);
        let (leader, behind) = away(&mut cluster);
        cluster.start(behind);
        let dead = streaming(&mut cluster, behind, 1);
        assert_ne!(dead, leader);
        cluster.crash(dead);
        if refused {
            cluster.step(leader, Input::PeerRefused { peer: dead });
        }
        let other = |cluster: &Cluster| source(cluster, behind) != Some(dead);
        cluster.run_for(Duration::from_millis(200));
        assert_eq!(other(&cluster), refused);
        cluster.until("another source", other);
        caught_up(&mut cluster, behind);
    }
}

#[test]
fn a_source_that_does_not_reach_the_follower_is_replaced() {
    let mut cluster = tight(50, 3);
    let (leader, behind) = away(&mut cluster);
    let mute = cluster.machines.keys().copied().find(|id| *id != leader && *id != behind).unwrap();
    cluster.cut.insert((mute, behind));
    cluster.start(behind);
    caught_up(&mut cluster, behind);
    assert_eq!(source(&cluster, behind), Some(leader));
}

#[test]
fn the_receiver_restarts_at_any_chunk() {
    for chunks in [1, 7, 30, 70] {
        let mut cluster = tight(60 + chunks, 3);
        let (_, behind) = away(&mut cluster);
        cluster.start(behind);
        streaming(&mut cluster, behind, chunks);
        cluster.restart(behind);
        caught_up(&mut cluster, behind);
    }
}

#[test]
fn a_head_that_comes_once_more_after_a_restart_of_the_receiver_ends_the_stream() {
    let mut cluster = tight(65, 3);
    let (leader, behind) = away(&mut cluster);
    cluster.start(behind);
    let source = streaming(&mut cluster, behind, 20);
    assert_ne!(source, leader, "the leader is spared");
    cluster.cut.insert((source, behind));
    cluster.cut.insert((behind, source));
    cluster.restart(behind);
    cluster.until("it hears its leader", |cluster| {
        cluster.replica(behind, GROUP).is_some_and(|one| one.leader == Some(leader))
    });
    // What begins with it lacks the chunks that were answered before.
    let message = cluster.head.clone().unwrap();
    cluster.step(behind, Input::Peer { from: source, group: GROUP, message });
    cluster.heal();
    let streams = cluster.streams.len();
    caught_up(&mut cluster, behind);
    assert!(cluster.streams.len() > streams, "another stream");
}

#[test]
fn an_empty_disk_is_filled_and_the_log_after_it_is_still_there() {
    let mut cluster = tight_at(70, 3, 40_000);
    fill(&mut cluster, 0, 200);
    cluster.add(node(4));
    cluster.change(|topology| {
        topology.members.insert(node(4), super::cluster::member(node(4)));
        topology.shards[0].voters.insert(node(4));
    });
    streaming(&mut cluster, node(4), 5);
    let before = cluster.streams.len();
    // More than is kept for everybody, less than is held for who catches up.
    fill(&mut cluster, 200, 80);
    caught_up(&mut cluster, node(4));
    assert_eq!(cluster.streams.len(), before, "one snapshot is enough");
}

#[test]
fn a_follower_slower_than_the_writes_says_so_and_fills_nobodys_disk() {
    let mut cluster = tight(80, 3);
    let (leader, behind) = away(&mut cluster);
    cluster.start(behind);
    let mut number = 200;
    let mut said = false;
    for _ in 0..300 {
        // Whatever it is sent, it loses most of it.
        cluster.loss_to.insert(behind, 600);
        fill(&mut cluster, number, 20);
        number += 20;
        let bytes = cluster.host(leader).status().log_bytes;
        assert!(bytes < 400 << 10, "{bytes} bytes of log");
        let replica = cluster.replica(leader, GROUP).unwrap();
        said |= replica.followers.get(&behind).is_some_and(|one| one.catch_up.slower_than_writes);
    }
    assert!(said, "{}", cluster.describe());
    cluster.loss_to.clear();
    caught_up(&mut cluster, behind);
    cluster.until("it is quiet again", |cluster| {
        let leader = cluster.leader(GROUP).and_then(|leader| cluster.replica(leader, GROUP));
        leader.is_some_and(|one| {
            one.followers.get(&behind).is_some_and(|f| f.catch_up == Default::default())
        })
    });
}

#[test]
fn a_stream_that_was_damaged_as_a_whole_is_refused() {
    let mut cluster = tight(90, 3);
    let (_, behind) = away(&mut cluster);
    cluster.start(behind);
    cluster.spoil = Some(30);
    streaming(&mut cluster, behind, 40);
    let spoilt = cluster.streams.len();
    caught_up(&mut cluster, behind);
    assert!(cluster.spoil.is_none());
    assert!(cluster.streams.len() > spoilt, "another stream");
}

/// Lets a test see what passes.
impl Cluster {
    /// With the settings that there are by then.
    fn restart_all(&mut self) {
        let all: Vec<NodeId> = self.machines.keys().copied().collect();
        for id in all {
            self.restart(id);
        }
    }

    /// Notes a chunk on its way; may take a page out of a stream, with checksums that match.
    pub(super) fn see(&mut self, from: NodeId, to: NodeId, message: &mut PeerMessage) {
        if let PeerMessage::Replication(Message::Append { entries, .. }) = message {
            self.entry_bytes += entries.iter().map(|entry| entry.bytes() as u64).sum::<u64>();
        }
        if let PeerMessage::SnapshotChunk { number: 0, .. } = message {
            self.head = Some(message.clone());
        }
        let PeerMessage::SnapshotChunk { stream, payload, checksum, last, .. } = message else {
            return;
        };
        self.chunks += 1;
        self.chunk_bytes += payload.len() as u64;
        self.sources.insert(to, from);
        self.streams.insert(*stream);
        if self.spoil.is_some_and(|at| self.chunks >= at) && !*last && payload.len() > 500 {
            self.spoil = None;
            let mut spoilt = payload.to_vec();
            let end = spoilt.len() - 1;
            spoilt[end] ^= 1;
            *payload = spoilt.into();
            *checksum = crc32c::crc32c(payload);
        }
    }
}
