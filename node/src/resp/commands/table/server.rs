//! The commands of the node: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::{command, config, container, help, refuse, server};

pub(super) const SERVER: &[Spec] = &[
    Spec::new("acl", -2, "", "@slow", container)
        .about("server", "6.0.0", "Users, which are not supported yet.")
        .subcommands(&[
            Spec::new("acl|help", 2, "loading stale", "@slow", help).about(
                "server",
                "6.0.0",
                "Lists the subcommands.",
            ),
            Spec::new("acl|whoami", 2, "noscript loading stale", "@slow", server::acl_whoami)
                .about("server", "6.0.0", "The user of the connection: always the default one."),
        ]),
    Spec::new(
        "bgrewriteaof",
        1,
        "admin noscript no_async_loading",
        "@admin @slow @dangerous",
        refuse::saving,
    )
    .about("server", "1.0.0", "Refused: the log is compacted by itself."),
    Spec::new(
        "bgsave",
        -1,
        "admin noscript no_async_loading",
        "@admin @slow @dangerous",
        refuse::saving,
    )
    .about("server", "1.0.0", "Refused: every acknowledged write is on the disk already."),
    Spec::new("command", -1, "loading stale", "@slow @connection", command::all)
        .about("server", "2.8.13", "The table of commands.")
        .tips("nondeterministic_output_order")
        .subcommands(&[
            Spec::new("command|count", 2, "loading stale", "@slow @connection", command::count)
                .about("server", "2.8.13", "How many commands there are."),
            Spec::new("command|docs", -2, "loading stale", "@slow @connection", command::docs)
                .about("server", "7.0.0", "What commands are for.")
                .tips("nondeterministic_output_order"),
            Spec::new(
                "command|getkeys",
                -4,
                "loading stale",
                "@slow @connection",
                command::getkeys,
            )
            .about("server", "2.8.13", "The keys that a command names."),
            Spec::new(
                "command|getkeysandflags",
                -4,
                "loading stale",
                "@slow @connection",
                command::getkeysandflags,
            )
            .about(
                "server",
                "7.0.0",
                "The keys that a command names, and what it does with them.",
            ),
            Spec::new("command|help", 2, "loading stale", "@slow @connection", help).about(
                "server",
                "5.0.0",
                "Lists the subcommands.",
            ),
            Spec::new("command|info", -2, "loading stale", "@slow @connection", command::info)
                .about("server", "2.8.13", "The table's rows of some commands.")
                .tips("nondeterministic_output_order"),
            Spec::new("command|list", -2, "loading stale", "@slow @connection", command::list)
                .about("server", "7.0.0", "The names of all commands.")
                .tips("nondeterministic_output_order"),
        ]),
    Spec::new("config", -2, "", "@slow", container)
        .about("server", "2.0.0", "Settings.")
        .subcommands(&[
            Spec::new(
                "config|get",
                -3,
                "admin noscript loading stale",
                "@admin @slow @dangerous",
                config::get,
            )
            .about("server", "2.0.0", "Reads settings."),
            Spec::new("config|help", 2, "loading stale", "@slow", help).about(
                "server",
                "5.0.0",
                "Lists the subcommands.",
            ),
            Spec::new(
                "config|resetstat",
                2,
                "admin noscript loading stale",
                "@admin @slow @dangerous",
                config::resetstat,
            )
            .about("server", "2.0.0", "Sets statistics back to zero."),
            Spec::new(
                "config|rewrite",
                2,
                "admin noscript loading stale",
                "@admin @slow @dangerous",
                refuse::configuration,
            )
            .about("server", "2.8.0", "Refused: settings are fields of the resource."),
            Spec::new(
                "config|set",
                -4,
                "admin noscript loading stale",
                "@admin @slow @dangerous",
                config::set,
            )
            .about(
                "server",
                "2.0.0",
                "Refused, unless it changes nothing: settings are fields of the resource.",
            )
            .tips("request_policy:all_nodes response_policy:all_succeeded"),
        ]),
    Spec::new("dbsize", 1, "readonly fast", "@keyspace @read @fast", server::dbsize)
        .about("server", "1.0.0", "Counts the keys.")
        .tips("request_policy:all_shards response_policy:agg_sum"),
    Spec::new(
        "debug",
        -2,
        "admin noscript loading stale",
        "@admin @slow @dangerous",
        refuse::debugging,
    )
    .about("server", "1.0.0", "Refused."),
    Spec::new("failover", -1, "admin noscript stale", "@admin @slow @dangerous", refuse::failover)
        .about("server", "6.2.0", "Refused: the operator hands leadership over."),
    Spec::new("flushall", -1, "write", "@keyspace @write @slow @dangerous", server::flush)
        .about("server", "1.0.0", "Deletes all keys.")
        .tips("request_policy:all_shards response_policy:all_succeeded"),
    Spec::new("flushdb", -1, "write", "@keyspace @write @slow @dangerous", server::flush)
        .about("server", "1.0.0", "Deletes all keys.")
        .tips("request_policy:all_shards response_policy:all_succeeded"),
    Spec::new("info", -1, "loading stale", "@slow @dangerous", server::info)
        .about("server", "1.0.0", "The state of the node.")
        .tips("nondeterministic_output request_policy:all_shards response_policy:special"),
    Spec::new("lastsave", 1, "loading stale fast", "@admin @fast @dangerous", server::lastsave)
        .about("server", "1.0.0", "When the node last made its state durable: always just now.")
        .tips("nondeterministic_output"),
    Spec::new("latency", -2, "", "@slow", container)
        .about("server", "2.8.13", "Latency events, which are not collected.")
        .subcommands(&[
            Spec::new(
                "latency|doctor",
                2,
                "admin noscript loading stale",
                "@admin @slow @dangerous",
                server::latency_doctor,
            )
            .about("server", "2.8.13", "Advice on latency: none.")
            .tips("nondeterministic_output request_policy:all_nodes response_policy:special"),
            Spec::new("latency|help", 2, "loading stale", "@slow", help).about(
                "server",
                "2.8.13",
                "Lists the subcommands.",
            ),
            Spec::new(
                "latency|histogram",
                -2,
                "admin noscript loading stale",
                "@admin @slow @dangerous",
                server::latency_histogram,
            )
            .about("server", "7.0.0", "Latency per command: see the metrics.")
            .tips("nondeterministic_output request_policy:all_nodes response_policy:special"),
            Spec::new(
                "latency|history",
                3,
                "admin noscript loading stale",
                "@admin @slow @dangerous",
                server::latency_history,
            )
            .about("server", "2.8.13", "Latency events, which are not collected.")
            .tips("nondeterministic_output request_policy:all_nodes response_policy:special"),
            Spec::new(
                "latency|latest",
                2,
                "admin noscript loading stale",
                "@admin @slow @dangerous",
                server::latency_latest,
            )
            .about("server", "2.8.13", "Latency events, which are not collected.")
            .tips("nondeterministic_output request_policy:all_nodes response_policy:special"),
            Spec::new(
                "latency|reset",
                -2,
                "admin noscript loading stale",
                "@admin @slow @dangerous",
                server::latency_reset,
            )
            .about("server", "2.8.13", "Forgets latency events: there are none.")
            .tips("request_policy:all_nodes response_policy:all_succeeded"),
        ]),
    Spec::new("memory", -2, "", "@slow", container)
        .about("server", "4.0.0", "Memory.")
        .subcommands(&[
            Spec::new("memory|doctor", 2, "", "@slow", server::memory_doctor)
                .about("server", "4.0.0", "Advice on memory: none.")
                .tips("nondeterministic_output request_policy:all_shards response_policy:special"),
            Spec::new("memory|help", 2, "loading stale", "@slow", help).about(
                "server",
                "4.0.0",
                "Lists the subcommands.",
            ),
            Spec::new("memory|purge", 2, "", "@slow", server::memory_purge)
                .about("server", "4.0.0", "Accepted: there is nothing to purge.")
                .tips("request_policy:all_shards response_policy:all_succeeded"),
            Spec::new("memory|usage", -3, "readonly", "@read @slow", server::memory_usage)
                .about("server", "4.0.0", "About how many bytes a key takes.")
                .keys("RO", 2, 0, 1),
        ]),
    Spec::new(
        "replicaof",
        3,
        "admin noscript stale no_async_loading",
        "@admin @slow @dangerous",
        refuse::replication,
    )
    .about("server", "5.0.0", "Refused: the operator places replicas."),
    Spec::new("role", 1, "noscript loading stale fast", "@admin @fast @dangerous", server::role)
        .about("server", "2.8.12", "Whether the node leads."),
    Spec::new(
        "save",
        1,
        "admin noscript no_async_loading no_multi",
        "@admin @slow @dangerous",
        refuse::saving,
    )
    .about("server", "1.0.0", "Refused: every acknowledged write is on the disk already."),
    Spec::new(
        "shutdown",
        -1,
        "admin noscript loading stale no_multi allow_busy",
        "@admin @slow @dangerous",
        refuse::shutdown,
    )
    .about("server", "1.0.0", "Refused: the operator stops nodes."),
    Spec::new(
        "slaveof",
        3,
        "admin noscript stale no_async_loading",
        "@admin @slow @dangerous",
        refuse::replication,
    )
    .about("server", "1.0.0", "Refused: the operator places replicas."),
    Spec::new("slowlog", -2, "", "@slow", container)
        .about("server", "2.2.12", "Slow commands, which are not collected.")
        .subcommands(&[
            Spec::new(
                "slowlog|get",
                -2,
                "admin loading stale",
                "@admin @slow @dangerous",
                server::slowlog_get,
            )
            .about("server", "2.2.12", "Slow commands, which are not collected.")
            .tips("request_policy:all_nodes nondeterministic_output"),
            Spec::new("slowlog|help", 2, "loading stale", "@slow", help).about(
                "server",
                "6.2.0",
                "Lists the subcommands.",
            ),
            Spec::new(
                "slowlog|len",
                2,
                "admin loading stale",
                "@admin @slow @dangerous",
                server::slowlog_len,
            )
            .about("server", "2.2.12", "Slow commands, which are not collected: always 0.")
            .tips("request_policy:all_nodes response_policy:agg_sum nondeterministic_output"),
            Spec::new(
                "slowlog|reset",
                2,
                "admin loading stale",
                "@admin @slow @dangerous",
                server::slowlog_reset,
            )
            .about("server", "2.2.12", "Forgets slow commands: there are none.")
            .tips("request_policy:all_nodes response_policy:all_succeeded"),
        ]),
    Spec::new("time", 1, "loading stale fast", "@fast", server::time)
        .about("server", "2.6.0", "The node's clock.")
        .tips("nondeterministic_output"),
];
