//! The log formats online: switched while clients write, mixed in one log, held back where an engine is another one; and every scenario
//! of the other files under each of them.

use std::time::Duration;

use quorate_model::{GroupId, LogFormat, Topology};

use super::cluster::{Cluster, SHARD, bulk, node, under};
use crate::{Operation, Value, Write};

const GROUP: GroupId = GroupId::Shard(SHARD);
const FORMATS: [LogFormat; 3] = [LogFormat::Statement, LogFormat::Logical, LogFormat::Wal];

fn declare(cluster: &mut Cluster, format: LogFormat) {
    cluster.change(|topology: &mut Topology| topology.policy.log_format = format);
}

#[test]
fn formats_follow_each_other_in_one_log() {
    let mut cluster = Cluster::bootstrapped(51, 3, 2);
    let increment = Operation::Write(Write::Increment { key: "counter".into(), by: 1 });
    let mut count = 0;
    for round in 0..9 {
        let format = FORMATS[round % 3];
        declare(&mut cluster, format);
        for number in 0..5 {
            cluster.write(&format!("key-{round}-{number}"), "value");
            count += 1;
            assert_eq!(cluster.run(SHARD, &increment).0, Value::Integer(count));
        }
        cluster.await_format(format);
        if round % 4 == 3 {
            // Rows get another generation: each node's own.
            cluster.run(SHARD, &Operation::Write(Write::Flush));
            count = 0;
        }
        if round == 5 {
            let leader = cluster.await_leader(GROUP);
            cluster.restart(leader);
        }
    }
    // Everybody replays a log with all of them.
    for id in [1, 2, 3] {
        cluster.restart(node(id));
    }
    assert_eq!(cluster.run(SHARD, &increment).0, Value::Integer(count + 1));
    cluster.settle();
    assert_eq!(cluster.rows(node(1)), cluster.rows(node(2)));
    assert_eq!(cluster.rows(node(1)), cluster.rows(node(3)));
}

#[test]
fn a_snapshot_brings_the_format_with_it() {
    let mut cluster = Cluster::bootstrapped(52, 3, 1);
    declare(&mut cluster, LogFormat::Statement);
    cluster.await_format(LogFormat::Statement);
    cluster.settings.log_kept_bytes = 0;
    cluster.settings.segment_bytes = 4 << 10;
    cluster.settings.flush_bytes = 1;
    for id in [1, 2] {
        cluster.restart(node(id));
    }
    cluster.crash(node(3));
    for number in 0..100 {
        cluster.write(&format!("key-{number}"), &"v".repeat(200));
    }
    cluster.run_for(Duration::from_secs(5));
    cluster.machines[&node(3)].disk.wipe();
    cluster.machines[&node(3)].state.wipe();
    cluster.start(node(3));
    cluster.await_format(LogFormat::Statement);
    cluster.settle();
    assert_eq!(cluster.rows(node(3)), cluster.rows(node(1)));
    assert!(cluster.chunks > 0);
}

#[test]
fn rows_of_an_engine_are_written_only_when_every_member_has_it() {
    let mut cluster = Cluster::bootstrapped(53, 3, 1);
    cluster.settings.engine_format += 1;
    cluster.restart(node(3));
    declare(&mut cluster, LogFormat::Wal);
    cluster.until("it says why not", |cluster| {
        let held = |id| cluster.replica(id, GROUP).and_then(|one| one.log_format_held_back);
        [1, 2, 3].into_iter().map(node).filter_map(held).any(|why| why.contains("engine format"))
    });
    cluster.write("key", "value");
    cluster.await_format(LogFormat::Logical);
    cluster.settings.engine_format -= 1;
    cluster.restart(node(3));
    cluster.await_format(LogFormat::Wal);
    cluster.write("key", "again");
    assert_eq!(cluster.read("key"), bulk("again"));
    let held = cluster.replica(cluster.leader(GROUP).unwrap(), GROUP).unwrap();
    assert_eq!(held.log_format_held_back, None);
}

#[test]
fn a_replica_with_another_engine_takes_none_of_the_rows_and_comes_back_by_a_snapshot() {
    let mut cluster = Cluster::bootstrapped(54, 3, 1);
    declare(&mut cluster, LogFormat::Wal);
    cluster.await_format(LogFormat::Wal);
    cluster.write("key", "value");
    let leader = cluster.await_leader(GROUP);
    let follower = [1, 2, 3].map(node).into_iter().find(|id| *id != leader).unwrap();
    // Upgraded, against the planner's advice: what it still has to apply it cannot.
    cluster.crash(follower);
    cluster.write("while", "away");
    cluster.settings.engine_format += 1;
    cluster.start(follower);
    cluster.until("it refuses the rows", |cluster| {
        let replica = cluster.replica(follower, GROUP).unwrap();
        replica.quarantined.is_some_and(|why| why.contains("engine format"))
    });
    assert_eq!(cluster.machines[&follower].fatal, None);
    cluster.until("a snapshot brings it back", |cluster| {
        let replica = cluster.replica(follower, GROUP).unwrap();
        replica.quarantined.is_none() && !replica.damaged
    });
    // The leader, which heard of it, does without.
    cluster.await_format(LogFormat::Logical);
    cluster.write("after", "wards");
    cluster.settle();
    assert_eq!(cluster.rows(follower), cluster.rows(leader));
}

/// Every scenario under the formats that are not the default.
macro_rules! under_every_format {
    ($($file:ident: $($test:ident),+;)+) => {
        mod statement {
            $($(#[test] fn $test() {
                super::under(super::LogFormat::Statement, super::super::$file::$test);
            })+)+
        }
        mod wal {
            $($(#[test] fn $test() {
                super::under(super::LogFormat::Wal, super::super::$file::$test);
            })+)+
        }
    };
}

under_every_format! {
    chaos_test: nothing_acknowledged_is_lost_in_chaos;
    damage_test: a_damaged_log_is_repaired_by_the_peers, a_repair_that_dies_is_done_again, a_repair_goes_on_when_a_group_has_left_for_other_nodes, the_only_replica_stays_down_and_says_why, a_state_store_ahead_of_its_log_is_damage;
    durability_test: every_durability_serves_and_each_can_follow_each, a_synchronous_follower_that_freezes_is_replaced_and_writes_go_on, under_block_writes_wait_for_the_follower_that_is_gone, under_shrink_the_set_gives_way_and_grows_again, an_acknowledged_write_survives_the_leader_with_its_one_synchronous_follower, what_an_asynchronous_leader_lost_is_in_its_rollback_file, a_failover_says_when_it_was_detected_and_when_it_was_over, a_wedged_disk_loses_leadership_within_one_election_timeout, a_leader_that_hears_nobody_does_not_come_and_go;
    failover_test: a_bootstrapped_store_serves, one_node_is_a_store, a_second_bootstrap_is_refused, a_bootstrap_that_was_cut_short_is_done_again, the_death_of_the_leader_loses_nothing_acknowledged, every_node_restarts_in_turn, all_nodes_lose_power_together, an_isolated_leader_answers_no_linearizable_read, a_handover_moves_every_leadership, a_stalled_disk_gives_leadership_away, a_failed_sync_stops_the_host, a_thousand_shards_elect_and_serve;
    membership_test: a_new_member_learns_the_topology, a_shard_moves_to_new_voters, a_replica_that_was_forgotten_comes_back_blank, a_replica_that_is_called_back_before_its_log_is_forgotten_finds_no_damage, a_replica_that_forgot_does_not_elect_one_that_missed_everything, a_removed_member_is_not_needed, a_wiped_node_is_replaced_by_a_new_one, a_late_genesis_voter_starts_with_the_others_data, a_member_with_a_new_address_is_found_again, the_preferred_leader_leads;
    requests_test: a_follower_names_the_leader, a_shard_that_is_not_hosted_is_refused, a_write_that_cannot_be_acknowledged_is_unknown, without_a_majority_a_request_waits_and_then_says_so, requests_wait_through_an_election, too_many_requests_are_refused_and_change_nothing, a_cancelled_request_is_not_answered, concurrent_writes_see_each_other, a_write_without_effects_waits_for_what_it_saw, wait_counts_the_followers_that_hold_a_position, a_follower_serves_what_the_leader_confirmed, what_expired_is_removed_through_the_log, a_read_of_an_expired_key_removes_it_first, a_flush_empties_the_shard_and_the_next_write_begins_anew, a_stale_epoch_is_refused;
    snapshot_test: a_follower_behind_the_log_catches_up_by_snapshot, a_snapshot_goes_on_through_loss, a_receiver_that_dies_at_any_moment_starts_again, a_sender_that_dies_is_followed_by_another, the_log_stays_bounded_and_restarts_replay_it;
}
