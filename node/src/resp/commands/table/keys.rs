//! The commands of keys of any type: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::{container, help, keys};

pub(super) const KEYS: &[Spec] = &[
Spec::new("copy", -3, "write denyoom", "@keyspace @write @slow", keys::copy)
        .about("generic", "6.2.0", "Copies a key within its slot.")
        .keys("RO access", 1, 0, 1)
        .more_keys("OW update", 2, 0, 1),
Spec::new("del", -2, "write", "@keyspace @write @slow", keys::del)
.about("generic", "1.0.0", "Deletes keys of one slot.")
.keys("RM delete", 1, -1, 1)
.tips("request_policy:multi_shard response_policy:agg_sum")
,
Spec::new("exists", -2, "readonly fast", "@keyspace @read @fast", keys::exists)
.about("generic", "1.0.0", "Counts how many of the keys exist.")
.keys("RO", 1, -1, 1)
.tips("request_policy:multi_shard response_policy:agg_sum")
,
Spec::new("expire", -3, "write fast", "@keyspace @write @fast", keys::expire)
.about("generic", "1.0.0", "Lets a key expire after seconds.")
.keys("RW update", 1, 0, 1)
,
Spec::new("expireat", -3, "write fast", "@keyspace @write @fast", keys::expireat)
.about("generic", "1.2.0", "Lets a key expire at a Unix time in seconds.")
.keys("RW update", 1, 0, 1)
,
Spec::new("expiretime", 2, "readonly fast", "@keyspace @read @fast", keys::expiretime)
.about("generic", "7.0.0", "The Unix time in seconds at which a key expires.")
.keys("RO access", 1, 0, 1)
,
Spec::new("keys", 2, "readonly", "@keyspace @read @slow @dangerous", keys::keys)
.about("generic", "1.0.0", "Lists all keys that match a pattern, up to a bound.")
.tips("request_policy:all_shards nondeterministic_output_order")
,
Spec::new("object", -2, "", "@slow", container)
.about("generic", "2.2.3", "What is known of a key's representation.")
.subcommands(&[Spec::new("object|encoding", 3, "readonly", "@keyspace @read @slow", keys::object_encoding)
.about("generic", "2.2.3", "The encoding by which Redis would hold the value.")
.keys("RO", 2, 0, 1)
.tips("nondeterministic_output")
,
Spec::new("object|freq", 3, "readonly", "@keyspace @read @slow", keys::object_freq)
.about("generic", "4.0.0", "Access frequency, which is not tracked.")
.keys("RO", 2, 0, 1)
.tips("nondeterministic_output")
,
Spec::new("object|help", 2, "loading stale", "@keyspace @slow", help)
.about("generic", "6.2.0", "Lists the subcommands.")
,
Spec::new("object|idletime", 3, "readonly", "@keyspace @read @slow", keys::object_idletime)
.about("generic", "2.2.3", "Seconds since the last access, which is not tracked: always 0.")
.keys("RO", 2, 0, 1)
.tips("nondeterministic_output")
,
Spec::new("object|refcount", 3, "readonly", "@keyspace @read @slow", keys::object_refcount)
.about("generic", "2.2.3", "How many references the value has: always 1.")
.keys("RO", 2, 0, 1)
.tips("nondeterministic_output")
])
,
Spec::new("persist", 2, "write fast", "@keyspace @write @fast", keys::persist)
.about("generic", "2.2.0", "Removes a key's expiry.")
.keys("RW update", 1, 0, 1)
,
Spec::new("pexpire", -3, "write fast", "@keyspace @write @fast", keys::pexpire)
.about("generic", "2.6.0", "Lets a key expire after milliseconds.")
.keys("RW update", 1, 0, 1)
,
Spec::new("pexpireat", -3, "write fast", "@keyspace @write @fast", keys::pexpireat)
.about("generic", "2.6.0", "Lets a key expire at a Unix time in milliseconds.")
.keys("RW update", 1, 0, 1)
,
Spec::new("pexpiretime", 2, "readonly fast", "@keyspace @read @fast", keys::pexpiretime)
.about("generic", "7.0.0", "The Unix time in milliseconds at which a key expires.")
.keys("RO access", 1, 0, 1)
,
Spec::new("pttl", 2, "readonly fast", "@keyspace @read @fast", keys::pttl)
.about("generic", "2.6.0", "Milliseconds until a key expires.")
.keys("RO access", 1, 0, 1)
.tips("nondeterministic_output")
,
Spec::new("randomkey", 1, "readonly", "@keyspace @read @slow", keys::randomkey)
        .about("generic", "1.0.0", "Picks a key at random.")
        .tips("request_policy:all_shards nondeterministic_output"),
Spec::new("rename", 3, "write", "@keyspace @write @slow", keys::rename)
        .about("generic", "1.0.0", "Gives a key another name within its slot.")
        .keys("RW access delete", 1, 0, 1)
        .more_keys("OW update", 2, 0, 1),
Spec::new("renamenx", 3, "write fast", "@keyspace @write @fast", keys::renamenx)
        .about("generic", "1.0.0", "Gives a key another name within its slot, if no key has it.")
        .keys("RW access delete", 1, 0, 1)
        .more_keys("OW insert", 2, 0, 1),
Spec::new("scan", -2, "readonly", "@keyspace @read @slow", keys::scan)
.about("generic", "2.8.0", "Walks over the keys, some at a time.")
.tips("nondeterministic_output request_policy:special")
,
Spec::new("touch", -2, "readonly fast", "@keyspace @read @fast", keys::exists)
.about("generic", "3.2.1", "Counts how many of the keys exist.")
.keys("RO", 1, -1, 1)
.tips("request_policy:multi_shard response_policy:agg_sum")
,
Spec::new("ttl", 2, "readonly fast", "@keyspace @read @fast", keys::ttl)
.about("generic", "1.0.0", "Seconds until a key expires.")
.keys("RO access", 1, 0, 1)
.tips("nondeterministic_output")
,
Spec::new("type", 2, "readonly fast", "@keyspace @read @fast", keys::type_of)
.about("generic", "1.0.0", "The type of a key's value.")
.keys("RO", 1, 0, 1)
,
Spec::new("unlink", -2, "write fast", "@keyspace @write @fast", keys::del)
.about("generic", "4.0.0", "Deletes keys of one slot.")
.keys("RM delete", 1, -1, 1)
.tips("request_policy:multi_shard response_policy:agg_sum")
,
Spec::new("wait", 3, "noscript", "@slow @connection", keys::wait)
.about("generic", "3.0.0", "Waits until the connection's writes are durable on so many replicas beside the leader.")
.tips("request_policy:all_shards response_policy:agg_min")
,
Spec::new("waitaof", 4, "blocking", "@slow @blocking @connection", keys::waitaof)
.about("generic", "7.2.0", "Waits until the connection's writes are durable here and on so many replicas.")
.tips("request_policy:all_shards response_policy:agg_min")
,
];
