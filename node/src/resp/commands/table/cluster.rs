//! The commands of Redis Cluster: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::{cluster, container, help, refuse};

pub(super) const CLUSTER: &[Spec] = &[
    Spec::new("asking", 1, "fast", "@fast @connection", cluster::asking).about(
        "cluster",
        "3.0.0",
        "Accepted: slots are never half moved.",
    ),
    Spec::new("cluster", -2, "", "@slow", container)
        .about("cluster", "3.0.0", "The store as Redis Cluster clients see it.")
        .subcommands(&[
            Spec::new(
                "cluster|addslots",
                -3,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology."),
            Spec::new(
                "cluster|addslotsrange",
                -4,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "7.0.0", "Refused: the operator owns the topology."),
            Spec::new(
                "cluster|bumpepoch",
                2,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology.")
            .tips("nondeterministic_output"),
            Spec::new(
                "cluster|count-failure-reports",
                3,
                "admin stale",
                "@admin @slow @dangerous",
                cluster::count_failure_reports,
            )
            .about("cluster", "3.0.0", "Always 0: no node's gossip decides.")
            .tips("nondeterministic_output"),
            Spec::new("cluster|countkeysinslot", 3, "stale", "@slow", cluster::countkeysinslot)
                .about("cluster", "3.0.0", "Counts the keys of a slot."),
            Spec::new(
                "cluster|delslots",
                -3,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology."),
            Spec::new(
                "cluster|delslotsrange",
                -4,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "7.0.0", "Refused: the operator owns the topology."),
            Spec::new(
                "cluster|failover",
                -2,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::failover,
            )
            .about("cluster", "3.0.0", "Refused: the operator hands leadership over."),
            Spec::new(
                "cluster|flushslots",
                2,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology."),
            Spec::new(
                "cluster|forget",
                3,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology."),
            Spec::new("cluster|getkeysinslot", 4, "stale", "@slow", cluster::getkeysinslot)
                .about("cluster", "3.0.0", "Lists keys of a slot.")
                .tips("nondeterministic_output"),
            Spec::new("cluster|help", 2, "loading stale", "@slow", help).about(
                "cluster",
                "5.0.0",
                "Lists the subcommands.",
            ),
            Spec::new("cluster|info", 2, "stale", "@slow", cluster::info)
                .about("cluster", "3.0.0", "The state of the store.")
                .tips("nondeterministic_output"),
            Spec::new("cluster|keyslot", 3, "stale", "@slow", cluster::keyslot).about(
                "cluster",
                "3.0.0",
                "The slot of a key.",
            ),
            Spec::new("cluster|links", 2, "stale", "@slow", cluster::links)
                .about("cluster", "7.0.0", "The links to other nodes: none that Redis would know.")
                .tips("nondeterministic_output"),
            Spec::new(
                "cluster|meet",
                -4,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology."),
            Spec::new("cluster|myid", 2, "stale", "@slow", cluster::myid).about(
                "cluster",
                "3.0.0",
                "This node's identity.",
            ),
            Spec::new("cluster|myshardid", 2, "loading stale", "@slow", cluster::myshardid)
                .about(
                    "cluster",
                    "7.2.0",
                    "The identity of the shard that this node leads or follows.",
                )
                .tips("nondeterministic_output"),
            Spec::new("cluster|nodes", 2, "stale", "@slow", cluster::nodes)
                .about("cluster", "3.0.0", "All nodes and the slots that they lead.")
                .tips("nondeterministic_output"),
            Spec::new(
                "cluster|replicas",
                3,
                "admin stale",
                "@admin @slow @dangerous",
                cluster::replicas,
            )
            .about("cluster", "5.0.0", "The replicas of a node.")
            .tips("nondeterministic_output"),
            Spec::new(
                "cluster|replicate",
                3,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology."),
            Spec::new(
                "cluster|reset",
                -2,
                "admin noscript stale",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology."),
            Spec::new(
                "cluster|saveconfig",
                2,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                cluster::saveconfig,
            )
            .about("cluster", "3.0.0", "Accepted: the topology is always durable."),
            Spec::new(
                "cluster|set-config-epoch",
                3,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology."),
            Spec::new(
                "cluster|setslot",
                -4,
                "admin stale no_async_loading",
                "@admin @slow @dangerous",
                refuse::topology,
            )
            .about("cluster", "3.0.0", "Refused: the operator owns the topology."),
            Spec::new("cluster|shards", 2, "stale", "@slow", cluster::shards)
                .about("cluster", "7.0.0", "All shards and their nodes.")
                .tips("nondeterministic_output"),
            Spec::new(
                "cluster|slaves",
                3,
                "admin stale",
                "@admin @slow @dangerous",
                cluster::replicas,
            )
            .about("cluster", "3.0.0", "The replicas of a node (older name).")
            .tips("nondeterministic_output"),
            Spec::new("cluster|slots", 2, "stale", "@slow", cluster::slots)
                .about("cluster", "3.0.0", "All ranges of slots and their nodes.")
                .tips("nondeterministic_output"),
        ]),
    Spec::new("readonly", 1, "loading stale fast", "@fast @connection", cluster::readonly).about(
        "cluster",
        "3.0.0",
        "Allows this connection to read from replicas, which may lag.",
    ),
    Spec::new("readwrite", 1, "loading stale fast", "@fast @connection", cluster::readwrite).about(
        "cluster",
        "3.0.0",
        "Ends READONLY.",
    ),
];
