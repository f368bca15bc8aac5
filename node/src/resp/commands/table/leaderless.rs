//! The commands of stores without leaders and with several, which are ours: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::leaderless;

pub(super) const LEADERLESS: &[Spec] = &[
    Spec::new("conflicts", -1, "readonly", "@read @slow", leaderless::conflicts).about(
        "server",
        "",
        "Lists the last conflicts of concurrent writes, and how they were resolved.",
    ),
    Spec::new("home", -2, "write fast", "@keyspace @write @fast", leaderless::home)
        .about("generic", "", "Says or changes which datacenter writes a key.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("quorum", -1, "noscript loading stale fast", "@fast @connection", leaderless::quorum)
        .about("connection", "", "How many replicas answer the connection's reads and writes."),
    Spec::new("vdel", 4, "write fast", "@write @string @fast", leaderless::vdel)
        .about("string", "", "Deletes the concurrent values that a context covers.")
        .keys("RW delete", 1, 0, 1),
    Spec::new("vget", 2, "readonly fast", "@read @string @fast", leaderless::vget)
        .about("string", "", "Reads all concurrent values of a string, and their context.")
        .keys("RO access", 1, 0, 1),
    Spec::new("vset", -3, "write denyoom fast", "@write @string @fast", leaderless::vset)
        .about("string", "", "Writes a string in the place of the values that a context covers.")
        .keys("RW access update", 1, 0, 1),
];
