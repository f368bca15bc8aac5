//! The commands of strings: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::strings;

pub(super) const STRINGS: &[Spec] = &[
    Spec::new("append", 3, "write denyoom fast", "@write @string @fast", strings::append)
        .about("string", "2.0.0", "Appends to a string, which begins empty when absent.")
        .keys("RW insert", 1, 0, 1),
    Spec::new("decr", 2, "write denyoom fast", "@write @string @fast", strings::decr)
        .about("string", "1.0.0", "Subtracts one from an integer.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("decrby", 3, "write denyoom fast", "@write @string @fast", strings::decrby)
        .about("string", "1.0.0", "Subtracts from an integer.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("delex", -2, "write fast", "@write @string @fast", strings::delex)
        .about("string", "8.4.0", "Deletes a string if it is what the client thinks it is.")
        .keys("RW delete", 1, 0, 1),
    Spec::new("digest", 2, "readonly fast", "@read @string @fast", strings::digest)
        .about("string", "8.4.0", "The XXH3 hash of a string, in hexadecimal digits.")
        .keys("RO access", 1, 0, 1),
    Spec::new("get", 2, "readonly fast", "@read @string @fast", strings::get)
        .about("string", "1.0.0", "Reads a string.")
        .keys("RO access", 1, 0, 1),
    Spec::new("getdel", 2, "write fast", "@write @string @fast", strings::getdel)
        .about("string", "6.2.0", "Reads a string and deletes it.")
        .keys("RW access delete", 1, 0, 1),
    Spec::new("getex", -2, "write fast", "@write @string @fast", strings::getex)
        .about("string", "6.2.0", "Reads a string and sets or removes its expiry.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("getrange", 4, "readonly", "@read @string @slow", strings::getrange)
        .about("string", "2.4.0", "Reads a part of a string.")
        .keys("RO access", 1, 0, 1),
    Spec::new("getset", 3, "write denyoom fast", "@write @string @fast", strings::getset)
        .about("string", "1.0.0", "Replaces a string and answers the old one.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("incr", 2, "write denyoom fast", "@write @string @fast", strings::incr)
        .about("string", "1.0.0", "Adds one to an integer.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("incrby", 3, "write denyoom fast", "@write @string @fast", strings::incrby)
        .about("string", "1.0.0", "Adds to an integer.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("incrbyfloat", 3, "write denyoom fast", "@write @string @fast", strings::incrbyfloat)
        .about("string", "2.6.0", "Adds to a decimal number.")
        .keys("RW access update", 1, 0, 1),
    Spec::new("mget", -2, "readonly fast", "@read @string @fast", strings::mget)
        .about("string", "1.0.0", "Reads several strings of one slot.")
        .keys("RO access", 1, -1, 1)
        .tips("request_policy:multi_shard"),
    Spec::new("mset", -3, "write denyoom", "@write @string @slow", strings::mset)
        .about("string", "1.0.1", "Writes several strings of one slot at once.")
        .keys("OW update", 1, -1, 2)
        .tips("request_policy:multi_shard response_policy:all_succeeded"),
    Spec::new("msetnx", -3, "write denyoom", "@write @string @slow", strings::msetnx)
        .about(
            "string",
            "1.0.1",
            "Writes several strings of one slot at once, if none of the keys exists.",
        )
        .keys("OW insert", 1, -1, 2)
        .tips("request_policy:multi_shard response_policy:agg_min"),
    Spec::new("psetex", 4, "write denyoom", "@write @string @slow", strings::psetex)
        .about("string", "2.6.0", "Writes a string that expires after milliseconds.")
        .keys("OW update", 1, 0, 1),
    Spec::new("set", -3, "write denyoom", "@write @string @slow", strings::set)
        .about("string", "1.0.0", "Writes a string, with conditions and an expiry where wanted.")
        .keys("RW access update variable_flags", 1, 0, 1),
    Spec::new("setex", 4, "write denyoom", "@write @string @slow", strings::setex)
        .about("string", "2.0.0", "Writes a string that expires after seconds.")
        .keys("OW update", 1, 0, 1),
    Spec::new("setnx", 3, "write denyoom fast", "@write @string @fast", strings::setnx)
        .about("string", "1.0.0", "Writes a string if the key does not exist.")
        .keys("OW insert", 1, 0, 1),
    Spec::new("setrange", 4, "write denyoom", "@write @string @slow", strings::setrange)
        .about("string", "2.2.0", "Overwrites a part of a string.")
        .keys("RW update", 1, 0, 1),
    Spec::new("strlen", 2, "readonly fast", "@read @string @fast", strings::strlen)
        .about("string", "2.2.0", "The length of a string.")
        .keys("RO", 1, 0, 1),
    Spec::new("substr", 4, "readonly", "@read @string @slow", strings::getrange)
        .about("string", "1.0.0", "Reads a part of a string (older name of GETRANGE).")
        .keys("RO access", 1, 0, 1),
];
