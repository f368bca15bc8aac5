//! The commands of connections: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::{client, connection, container, help, refuse};

pub(super) const CONNECTION: &[Spec] = &[
    Spec::new(
        "auth",
        -2,
        "noscript loading stale fast no_auth allow_busy",
        "@fast @connection",
        connection::auth,
    )
    .about("connection", "1.0.0", "Authenticates the connection."),
    Spec::new("client", -2, "", "@slow", container)
        .about("connection", "2.4.0", "Client connections.")
        .subcommands(&[
            Spec::new(
                "client|caching",
                3,
                "noscript loading stale",
                "@slow @connection",
                refuse::tracking,
            )
            .about(
                "connection",
                "6.0.0",
                "Client-side caching, which is not supported.",
            ),
            Spec::new(
                "client|getname",
                2,
                "noscript loading stale",
                "@slow @connection",
                client::getname,
            )
            .about("connection", "2.6.9", "The connection's name."),
            Spec::new(
                "client|getredir",
                2,
                "noscript loading stale",
                "@slow @connection",
                client::getredir,
            )
            .about("connection", "6.0.0", "Where invalidations go: always -1."),
            Spec::new("client|help", 2, "loading stale", "@slow @connection", help).about(
                "connection",
                "5.0.0",
                "Lists the subcommands.",
            ),
            Spec::new("client|id", 2, "noscript loading stale", "@slow @connection", client::id)
                .about("connection", "5.0.0", "The connection's number."),
            Spec::new(
                "client|info",
                2,
                "noscript loading stale",
                "@slow @connection",
                client::info,
            )
            .about("connection", "6.2.0", "What is known of the connection.")
            .tips("nondeterministic_output"),
            Spec::new(
                "client|kill",
                -3,
                "admin noscript loading stale",
                "@admin @slow @dangerous @connection",
                client::kill,
            )
            .about("connection", "2.4.0", "Closes connections."),
            Spec::new(
                "client|list",
                -2,
                "admin noscript loading stale",
                "@admin @slow @dangerous @connection",
                client::list,
            )
            .about("connection", "2.4.0", "What is known of the connections.")
            .tips("nondeterministic_output"),
            Spec::new(
                "client|no-evict",
                3,
                "admin noscript loading stale",
                "@admin @slow @dangerous @connection",
                client::no_evict,
            )
            .about("connection", "7.0.0", "Accepted: connections are never evicted."),
            Spec::new(
                "client|no-touch",
                3,
                "noscript loading stale",
                "@slow @connection",
                client::no_touch,
            )
            .about("connection", "7.2.0", "Accepted: accesses are not tracked."),
            Spec::new(
                "client|reply",
                3,
                "noscript loading stale",
                "@slow @connection",
                client::reply,
            )
            .about("connection", "3.2.0", "Switches answers off and on."),
            Spec::new(
                "client|setinfo",
                4,
                "noscript loading stale",
                "@slow @connection",
                client::setinfo,
            )
            .about("connection", "7.2.0", "Names the client's library.")
            .tips("request_policy:all_nodes response_policy:all_succeeded"),
            Spec::new(
                "client|setname",
                3,
                "noscript loading stale",
                "@slow @connection",
                client::setname,
            )
            .about("connection", "2.6.9", "Names the connection."),
            Spec::new(
                "client|tracking",
                -3,
                "noscript loading stale",
                "@slow @connection",
                client::tracking,
            )
            .about(
                "connection",
                "6.0.0",
                "Client-side caching, which is not supported.",
            ),
            Spec::new(
                "client|trackinginfo",
                2,
                "noscript loading stale",
                "@slow @connection",
                client::trackinginfo,
            )
            .about("connection", "6.2.0", "The state of client-side caching: off."),
            Spec::new(
                "client|unblock",
                -3,
                "admin noscript loading stale",
                "@admin @slow @dangerous @connection",
                client::unblock,
            )
            .about(
                "connection",
                "5.0.0",
                "Ends a blocking command of another connection: none ever blocks.",
            ),
        ]),
    Spec::new("echo", 2, "loading stale fast", "@fast @connection", connection::echo).about(
        "connection",
        "1.0.0",
        "Answers the same text.",
    ),
    Spec::new(
        "hello",
        -1,
        "noscript loading stale fast no_auth allow_busy",
        "@fast @connection",
        connection::hello,
    )
    .about("connection", "6.0.0", "Chooses the protocol's version and tells who is there."),
    Spec::new("ping", -1, "fast", "@fast @connection", connection::ping)
        .about("connection", "1.0.0", "Answers PONG, or the same text.")
        .tips("request_policy:all_shards response_policy:all_succeeded"),
    Spec::new(
        "quit",
        -1,
        "noscript loading stale fast no_auth allow_busy",
        "@fast @connection",
        connection::quit,
    )
    .about("connection", "1.0.0", "Closes the connection."),
    Spec::new(
        "reset",
        1,
        "noscript loading stale fast no_auth allow_busy",
        "@fast @connection",
        connection::reset,
    )
    .about("connection", "6.2.0", "Sets the connection back to how it began."),
    Spec::new("select", 2, "loading stale fast", "@fast @connection", connection::select).about(
        "connection",
        "1.0.0",
        "Chooses database 0, the only one.",
    ),
];
