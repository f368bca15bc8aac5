//! The commands of sets: rows of the table, nothing else.

use crate::resp::commands::Spec;
use crate::resp::commands::parse::sets;

pub(super) const SETS: &[Spec] = &[
    Spec::new("sadd", -3, "write denyoom fast", "@write @set @fast", sets::sadd)
        .about("set", "1.0.0", "Adds members to a set.")
        .keys("RW insert", 1, 0, 1),
    Spec::new("scard", 2, "readonly fast", "@read @set @fast", sets::scard)
        .about("set", "1.0.0", "Counts the members of a set.")
        .keys("RO", 1, 0, 1),
    Spec::new("sdiff", -2, "readonly", "@read @set @slow", sets::sdiff)
        .about("set", "1.0.0", "The members of the first set that none of the others has.")
        .keys("RO access", 1, -1, 1)
        .tips("nondeterministic_output_order"),
    Spec::new("sdiffstore", -3, "write denyoom", "@write @set @slow", sets::sdiffstore)
        .about("set", "1.0.0", "Keeps what the first set has and none of the others as a set.")
        .keys("OW update", 1, 0, 1)
        .more_keys("RO access", 2, -1, 1),
    Spec::new("sinter", -2, "readonly", "@read @set @slow", sets::sinter)
        .about("set", "1.0.0", "The members that all of several sets have.")
        .keys("RO access", 1, -1, 1)
        .tips("nondeterministic_output_order"),
    Spec::new("sintercard", -3, "readonly movablekeys", "@read @set @slow", sets::sintercard)
        .about("set", "7.0.0", "Counts the members that all of several sets have.")
        .counted_keys("RO access", 1),
    Spec::new("sinterstore", -3, "write denyoom", "@write @set @slow", sets::sinterstore)
        .about("set", "1.0.0", "Keeps what all of several sets have as a set.")
        .keys("RW update", 1, 0, 1)
        .more_keys("RO access", 2, -1, 1),
    Spec::new("sismember", 3, "readonly fast", "@read @set @fast", sets::sismember)
        .about("set", "1.0.0", "Whether a set has a member.")
        .keys("RO", 1, 0, 1),
    Spec::new("smembers", 2, "readonly", "@read @set @slow", sets::smembers)
        .about("set", "1.0.0", "Reads all members of a set.")
        .keys("RO access", 1, 0, 1)
        .tips("nondeterministic_output_order"),
    Spec::new("smismember", -3, "readonly fast", "@read @set @fast", sets::smismember)
        .about("set", "6.2.0", "Which of these a set has as members.")
        .keys("RO access", 1, 0, 1),
    Spec::new("smove", 4, "write fast", "@write @set @fast", sets::smove)
        .about("set", "1.0.0", "Moves a member from one set to another.")
        .keys("RW access delete", 1, 0, 1)
        .more_keys("RW insert", 2, 0, 1),
    Spec::new("spop", -2, "write fast", "@write @set @fast", sets::spop)
        .about("set", "1.0.0", "Removes members of a set at random, and answers them.")
        .keys("RW access delete", 1, 0, 1)
        .tips("nondeterministic_output"),
    Spec::new("srandmember", -2, "readonly", "@read @set @slow", sets::srandmember)
        .about("set", "1.0.0", "Picks members of a set at random.")
        .keys("RO access", 1, 0, 1)
        .tips("nondeterministic_output"),
    Spec::new("srem", -3, "write fast", "@write @set @fast", sets::srem)
        .about("set", "1.0.0", "Removes members of a set.")
        .keys("RW delete", 1, 0, 1),
    Spec::new("sscan", -3, "readonly", "@read @set @slow", sets::sscan)
        .about("set", "2.8.0", "Walks over the members of a set, some at a time.")
        .keys("RO access", 1, 0, 1)
        .tips("nondeterministic_output"),
    Spec::new("sunion", -2, "readonly", "@read @set @slow", sets::sunion)
        .about("set", "1.0.0", "The members that any of several sets has.")
        .keys("RO access", 1, -1, 1)
        .tips("nondeterministic_output_order"),
    Spec::new("sunionstore", -3, "write denyoom", "@write @set @slow", sets::sunionstore)
        .about("set", "1.0.0", "Keeps what any of several sets has as a set.")
        .keys("OW update", 1, 0, 1)
        .more_keys("RO access", 2, -1, 1),
];
