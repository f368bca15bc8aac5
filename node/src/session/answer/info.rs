//! INFO.

use std::fmt::Write;

use quorate_group::host::{HeldHints, HintsStatus, ShardStatus, Status};
use quorate_model::GroupId;
use quorate_replication::leaderless::Relayed;

use super::role::{master, offset, replicas};
use super::{REDIS_VERSION, is_master, mode, process};
use crate::session::counters::read;
use crate::session::{Port, Routing, Sessions, Store, host_and_port};

type Section<S> = fn(&About<'_, S>, &mut String) -> std::fmt::Result;

struct About<'a, S> {
    sessions: &'a Sessions<S>,
    routing: &'a Routing,
    status: &'a Status,
    port: Port,
}

/// The sections that are asked for, each once; all of them by default.
pub(crate) fn info<S: Store>(sessions: &Sessions<S>, port: Port, asked: &[String]) -> String {
    let sections: [(&str, Section<S>); 9] = [
        ("Server", server),
        ("Clients", clients),
        ("Memory", memory),
        ("Persistence", persistence),
        ("Stats", stats),
        ("Replication", replication),
        ("CPU", cpu),
        ("Cluster", cluster),
        ("Keyspace", keyspace),
    ];
    let (routing, status) = (sessions.store.routing(), sessions.store.status());
    let about = About { sessions, routing: &routing, status: &status, port };
    let wanted = |name: &str| {
        asked.is_empty()
            || asked.iter().any(|asked| {
                matches!(asked.as_str(), "default" | "all" | "everything")
                    || asked.eq_ignore_ascii_case(name)
            })
    };
    let mut text = String::new();
    for (name, section) in sections.into_iter().filter(|(name, _)| wanted(name)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        write!(text, "# {name}\r\n").expect("writing to a string does not fail");
        section(&about, &mut text).expect("writing to a string does not fail");
    }
    text
}

fn server<S: Store>(about: &About<'_, S>, text: &mut String) -> std::fmt::Result {
    let About { sessions, routing, port, .. } = about;
    let uptime = sessions.started.elapsed().as_secs();
    let own = routing.members.get(&routing.node);
    let tcp_port = own
        .map(|member| match port {
            Port::Plain => &member.addresses.plain,
            Port::Cluster => &member.addresses.cluster,
        })
        .and_then(|address| host_and_port(address))
        .map_or(0, |(_, port)| port);
    write!(text, "redis_version:{REDIS_VERSION}\r\n")?;
    write!(text, "redis_mode:{}\r\n", mode(*port))?;
    write!(text, "quorate_version:{}\r\n", env!("CARGO_PKG_VERSION"))?;
    write!(text, "quorate_node:{}\r\nquorate_name:{}\r\n", routing.node, routing.name)?;
    write!(text, "quorate_datacenter:{}\r\n", routing.datacenter)?;
    write!(text, "quorate_store:{}\r\n", routing.store)?;
    write!(text, "os:{} {}\r\n", std::env::consts::OS, std::env::consts::ARCH)?;
    write!(text, "arch_bits:{}\r\n", usize::BITS)?;
    write!(
        text,
        "process_id:{}\r\nrun_id:{}\r\n",
        std::process::id(),
        routing.node.cluster_name()
    )?;
    write!(text, "tcp_port:{tcp_port}\r\n")?;
    write!(text, "uptime_in_seconds:{uptime}\r\nuptime_in_days:{}\r\n", uptime / 86_400)
}

fn clients<S: Store>(about: &About<'_, S>, text: &mut String) -> std::fmt::Result {
    let sessions = about.sessions;
    write!(text, "connected_clients:{}\r\n", sessions.connected())?;
    write!(text, "maxclients:{}\r\n", sessions.settings.connections_max)?;
    write!(text, "blocked_clients:0\r\ntracking_clients:0\r\n")?;
    write!(text, "client_request_bytes:{}\r\n", sessions.bytes_held())
}

fn memory<S: Store>(_: &About<'_, S>, text: &mut String) -> std::fmt::Result {
    let memory = process::read().memory_bytes;
    write!(text, "used_memory:{memory}\r\nused_memory_rss:{memory}\r\n")?;
    write!(text, "used_memory_human:{}M\r\n", memory >> 20)?;
    write!(text, "maxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n")
}

fn persistence<S: Store>(about: &About<'_, S>, text: &mut String) -> std::fmt::Result {
    let status = about.status;
    write!(text, "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:0\r\n")?;
    write!(text, "rdb_bgsave_in_progress:0\r\naof_enabled:1\r\naof_rewrite_in_progress:0\r\n")?;
    write!(text, "aof_last_write_status:ok\r\naof_current_size:{}\r\n", status.log_bytes)?;
    write!(text, "log_syncs:{}\r\n", status.syncs)
}

fn stats<S: Store>(about: &About<'_, S>, text: &mut String) -> std::fmt::Result {
    let counters = &about.sessions.counters;
    write!(text, "total_connections_received:{}\r\n", read(&counters.connections))?;
    write!(text, "total_commands_processed:{}\r\n", read(&counters.commands))?;
    write!(text, "total_net_input_bytes:{}\r\n", read(&counters.bytes_in))?;
    write!(text, "total_net_output_bytes:{}\r\n", read(&counters.bytes_out))?;
    write!(text, "rejected_connections:{}\r\n", read(&counters.rejected))?;
    write!(text, "total_error_replies:{}\r\n", read(&counters.failed))?;
    write!(text, "keyspace_hits:{}\r\n", read(&counters.hits))?;
    write!(text, "keyspace_misses:{}\r\n", read(&counters.misses))?;
    write!(text, "moved_replies:{}\r\n", read(&counters.moved))?;
    write!(text, "requests_waiting:{}\r\n", about.status.requests_waiting)?;
    write!(text, "evicted_keys:0\r\npubsub_channels:0\r\npubsub_patterns:0\r\n")
}

fn replication<S: Store>(about: &About<'_, S>, text: &mut String) -> std::fmt::Result {
    let About { routing, status, port, .. } = about;
    let offset = offset(status);
    if is_master(routing, *port) {
        let replicas = replicas(routing, status);
        write!(text, "role:master\r\n")?;
        if routing.is_leaderless() {
            write!(text, "mode:leaderless\r\n")?;
        }
        if routing.multi_leader.is_some() {
            write!(text, "mode:multi-leader\r\n")?;
        }
        write!(text, "connected_slaves:{}\r\n", replicas.len())?;
        for (number, replica) in replicas.iter().enumerate() {
            write!(
                text,
                "slave{number}:ip={},port={},state=online,offset={},lag={}\r\n",
                replica.host, replica.port, replica.offset, replica.lag_seconds
            )?;
        }
    } else {
        let (host, port) = master(routing).unwrap_or_default();
        let link = if host.is_empty() { "down" } else { "up" };
        write!(text, "role:slave\r\nmaster_host:{host}\r\nmaster_port:{port}\r\n")?;
        write!(text, "master_link_status:{link}\r\nmaster_last_io_seconds_ago:0\r\n")?;
        write!(text, "master_sync_in_progress:0\r\nslave_repl_offset:{offset}\r\n")?;
        write!(text, "slave_priority:100\r\nslave_read_only:1\r\nconnected_slaves:0\r\n")?;
    }
    write!(text, "master_failover_state:no-failover\r\n")?;
    write!(text, "master_replid:{}{:08x}\r\nmaster_repl_offset:{offset}\r\n", routing.store, 0)?;
    for replica in status.replicas.iter().filter(|replica| replica.group != GroupId::Meta) {
        let role = format!("{:?}", replica.role).to_lowercase();
        write!(
            text,
            "{}:role={role},term={},committed={},applied={},keys={}",
            replica.group, replica.term, replica.committed, replica.applied, replica.keys
        )?;
        let shown = &replica.acknowledgement;
        write!(
            text,
            ",durability={:?},in_sync={},waiting_for={},shrunk={}\r\n",
            shown.durability,
            shown.in_sync.len(),
            shown.waiting_for.len(),
            u8::from(shown.shrunk)
        )?;
    }
    for ShardStatus { shard, standing, counts, root, open_requests, relayed, .. } in &status.shards
    {
        let (group, standing) = (GroupId::Shard(*shard), format!("{standing:?}").to_lowercase());
        write!(text, "{group}:standing={standing},requests={open_requests}")?;
        write!(
            text,
            ",exchanges={},read_repairs={},discarded={}",
            counts.exchanges, counts.read_repairs, counts.discarded
        )?;
        write!(
            text,
            ",exchanged_cells={},exchanged_bytes={},root={root:016x}\r\n",
            counts.exchanged_cells, counts.exchanged_bytes
        )?;
        for Relayed { datacenter, behind, known, torn, waiting } in relayed {
            write!(text, "{group}_relay_{datacenter}:behind_ms={}", behind.as_millis())?;
            let (known, torn) = (u8::from(*known), u8::from(*torn));
            write!(text, ",waiting={waiting},known={known},torn={torn}\r\n")?;
        }
    }
    links(status, text)?;
    hints(&status.hints, text)
}

/// What a shard's leader takes from those in other datacenters.
fn links(status: &Status, text: &mut String) -> std::fmt::Result {
    for replica in &status.replicas {
        let (group, Some(exchange)) = (replica.group, &replica.exchange) else { continue };
        let counts = exchange.counts;
        write!(text, "{group}_exchange:origin={:016x},taken={}", exchange.origin.0, counts.taken)?;
        write!(text, ",conflicts={},discarded={}", counts.conflicts, counts.discarded)?;
        write!(text, ",failed={}", counts.failed)?;
        let blocked = exchange.blocked.as_ref().map_or(0, |(_, waits)| waits.as_millis());
        write!(text, ",held_bytes={},blocked_ms={blocked}\r\n", exchange.held_bytes)?;
        for link in &exchange.links {
            write!(text, "{group}_link_{}:lacking={}", link.from, link.lacking)?;
            write!(text, ",lag_ms={},silent={}", link.lag.as_millis(), u8::from(link.silent))?;
            let (rerouted, behind) = (u8::from(link.rerouted), u8::from(link.behind));
            write!(text, ",rerouted={rerouted},behind={behind}\r\n")?;
        }
    }
    Ok(())
}

/// What is held for the replicas of each node that did not answer, and what became of it since the start.
fn hints(hints: &HintsStatus, text: &mut String) -> std::fmt::Result {
    let HintsStatus { held, taken, refused, delivered, dropped } = hints;
    if *hints == HintsStatus::default() {
        return Ok(());
    }
    for (target, HeldHints { count, bytes, oldest }) in held {
        let oldest = oldest.as_secs();
        write!(text, "hints_for_{target}:count={count},bytes={bytes},oldest_seconds={oldest}\r\n")?;
    }
    write!(text, "hints_taken:{taken}\r\nhints_refused:{refused}\r\n")?;
    write!(text, "hints_delivered:{delivered}\r\nhints_dropped:{dropped}\r\n")
}

fn cpu<S: Store>(_: &About<'_, S>, text: &mut String) -> std::fmt::Result {
    let used = process::read();
    write!(text, "used_cpu_sys:{:.6}\r\n", used.system_seconds)?;
    write!(text, "used_cpu_user:{:.6}\r\n", used.user_seconds)
}

fn cluster<S: Store>(about: &About<'_, S>, text: &mut String) -> std::fmt::Result {
    write!(text, "cluster_enabled:{}\r\n", u8::from(about.port == Port::Cluster))
}

/// The keys of the replicas that this node holds: a client that wants all asks DBSIZE.
fn keyspace<S: Store>(about: &About<'_, S>, text: &mut String) -> std::fmt::Result {
    let keys: u64 = about
        .status
        .replicas
        .iter()
        .filter(|replica| replica.group != GroupId::Meta)
        .map(|replica| replica.keys)
        .sum();
    if keys > 0 {
        write!(text, "db0:keys={keys},expires=0,avg_ttl=0\r\n")?;
    }
    Ok(())
}
