//! Commands of Redis 7 that are known and not offered: the answer says so, instead of calling them unknown.

/// In order.
#[rustfmt::skip]
pub(super) const NOT_OFFERED: &[&str] = &[
    "bitcount", "bitfield", "bitfield_ro", "bitop", "bitpos", "blmove", "blmpop", "blpop",
    "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin", "dump", "eval", "eval_ro",
    "evalsha", "evalsha_ro", "fcall", "fcall_ro", "function", "geoadd", "geodist",
    "geohash", "geopos", "georadius", "georadius_ro", "georadiusbymember", "georadiusbymember_ro",
    "geosearch", "geosearchstore", "getbit", "lcs", "lindex", "linsert", "llen", "lmove", "lmpop",
    "lolwut", "lpop", "lpos", "lpush", "lpushx", "lrange", "lrem", "lset", "ltrim", "migrate",
    "module", "monitor", "move", "pfadd", "pfcount", "pfdebug", "pfmerge", "pfselftest",
    "psubscribe", "psync", "publish", "pubsub", "punsubscribe", "replconf", "restore",
    "restore-asking", "rpop", "rpoplpush", "rpush", "rpushx", "script", "setbit", "sort",
    "sort_ro", "spublish", "ssubscribe", "subscribe", "sunsubscribe", "swapdb", "sync",
    "unsubscribe", "xack", "xadd", "xautoclaim", "xclaim", "xdel", "xgroup",
    "xinfo", "xlen", "xpending", "xrange", "xread", "xreadgroup", "xrevrange", "xsetid", "xtrim",
    "zadd", "zcard", "zcount", "zdiff", "zdiffstore", "zincrby", "zinter", "zintercard",
    "zinterstore", "zlexcount", "zmpop", "zmscore", "zpopmax", "zpopmin", "zrandmember", "zrange",
    "zrangebylex", "zrangebyscore", "zrangestore", "zrank", "zrem", "zremrangebylex",
    "zremrangebyrank", "zremrangebyscore", "zrevrange", "zrevrangebylex", "zrevrangebyscore",
    "zrevrank", "zscan", "zscore", "zunion", "zunionstore",
];
