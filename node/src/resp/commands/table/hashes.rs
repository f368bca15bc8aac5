//! The commands of hashes: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::hashes;

pub(super) const HASHES: &[Spec] = &[
    Spec::new("hdel", -3, "write fast", "@write @hash @fast", hashes::hdel)
        .about("hash", "2.0.0", "Removes fields of a hash.")
        .keys("RW delete", 1, 0, 1),
    Spec::new("hexists", 3, "readonly fast", "@read @hash @fast", hashes::hexists)
        .about("hash", "2.0.0", "Whether a hash has a field.")
        .keys("RO", 1, 0, 1),
    Spec::new("hget", 3, "readonly fast", "@read @hash @fast", hashes::hget)
        .about("hash", "2.0.0", "Reads a field of a hash.")
        .keys("RO access", 1, 0, 1),
    Spec::new("hgetall", 2, "readonly", "@read @hash @slow", hashes::hgetall)
        .about("hash", "2.0.0", "Reads all fields of a hash, with their values.")
        .keys("RO access", 1, 0, 1)
        .tips("nondeterministic_output_order"),
    Spec::new("hincrby", 4, "write denyoom fast", "@write @hash @fast", hashes::hincrby)
        .about("hash", "2.0.0", "Adds to an integer in a field of a hash.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("hincrbyfloat", 4, "write denyoom fast", "@write @hash @fast", hashes::hincrbyfloat)
        .about("hash", "2.6.0", "Adds to a decimal number in a field of a hash.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("hkeys", 2, "readonly", "@read @hash @slow", hashes::hkeys)
        .about("hash", "2.0.0", "Reads the names of all fields of a hash.")
        .keys("RO access", 1, 0, 1)
        .tips("nondeterministic_output_order"),
    Spec::new("hlen", 2, "readonly fast", "@read @hash @fast", hashes::hlen)
        .about("hash", "2.0.0", "Counts the fields of a hash.")
        .keys("RO", 1, 0, 1),
    Spec::new("hmget", -3, "readonly fast", "@read @hash @fast", hashes::hmget)
        .about("hash", "2.0.0", "Reads several fields of a hash.")
        .keys("RO access", 1, 0, 1),
    Spec::new("hmset", -4, "write denyoom fast", "@write @hash @fast", hashes::hmset)
        .about("hash", "2.0.0", "Writes fields of a hash (older name of HSET).")
        .keys("RW update", 1, 0, 1),
    Spec::new("hrandfield", -2, "readonly", "@read @hash @slow", hashes::hrandfield)
        .about("hash", "6.2.0", "Picks fields of a hash at random.")
        .keys("RO access", 1, 0, 1)
        .tips("nondeterministic_output"),
    Spec::new("hscan", -3, "readonly", "@read @hash @slow", hashes::hscan)
        .about("hash", "2.8.0", "Walks over the fields of a hash, some at a time.")
        .keys("RO access", 1, 0, 1)
        .tips("nondeterministic_output"),
    Spec::new("hset", -4, "write denyoom fast", "@write @hash @fast", hashes::hset)
        .about("hash", "2.0.0", "Writes fields of a hash.")
        .keys("RW update", 1, 0, 1),
    Spec::new("hsetnx", 4, "write denyoom fast", "@write @hash @fast", hashes::hsetnx)
        .about("hash", "2.0.0", "Writes a field of a hash if it does not exist.")
        .keys("RW insert", 1, 0, 1),
    Spec::new("hstrlen", 3, "readonly fast", "@read @hash @fast", hashes::hstrlen)
        .about("hash", "3.2.0", "The length of the value in a field of a hash.")
        .keys("RO", 1, 0, 1),
    Spec::new("hvals", 2, "readonly", "@read @hash @slow", hashes::hvals)
        .about("hash", "2.0.0", "Reads the values of all fields of a hash.")
        .keys("RO access", 1, 0, 1)
        .tips("nondeterministic_output_order"),
];
