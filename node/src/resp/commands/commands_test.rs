//! Words to commands, and the table.

use bytes::Bytes;
use quorate_group::{Comparison, Expiry, Operation, Read, SetCondition, Write};
use quorate_model::{Level, WallTime};

use super::{Command, Data, QuorumCommand, Shape, Spec, parse, table};
use crate::resp::Reply;

fn words(line: &str) -> Vec<Bytes> {
    line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

fn command(line: &str) -> Command {
    parse(&words(line)).unwrap_or_else(|error| panic!("{line}: {error}")).command
}

fn error(line: &str) -> String {
    match parse(&words(line)) {
        Ok(parsed) => panic!("{line}: {:?}", parsed.command),
        Err(error) => error.to_string(),
    }
}

fn set(condition: SetCondition, expiry: Expiry, get: bool) -> Command {
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
    let operation = Operation::Write(Write::Set { key, value, condition, expiry, get });
    Command::Data(Data { operation, slot: None, shape: Shape::AsIs })
}

#[test]
fn set_takes_all_its_options_in_any_order_and_case() {
    use SetCondition::{Always, IfAbsent, IfEqual, IfPresent};
    for (line, expected) in [
        ("set k v", set(Always, Expiry::Never, false)),
        ("SET k v nx", set(IfAbsent, Expiry::Never, false)),
        ("set k v GET XX", set(IfPresent, Expiry::Never, true)),
        ("set k v ifeq old", set(IfEqual(Bytes::from_static(b"old")), Expiry::Never, false)),
        ("set k v ex 10 nx get", set(IfAbsent, Expiry::In { ms: 10_000 }, true)),
        ("set k v px 10", set(Always, Expiry::In { ms: 10 }, false)),
        ("set k v exat 10", set(Always, Expiry::At(WallTime(10_000)), false)),
        ("set k v pxat 10", set(Always, Expiry::At(WallTime(10)), false)),
        ("set k v keepttl", set(Always, Expiry::Keep, false)),
    ] {
        assert_eq!(command(line), expected, "{line}");
    }
}

#[test]
fn wrong_words_get_the_texts_of_redis() {
    for (line, text) in [
        ("get", "ERR wrong number of arguments for 'get' command"),
        ("GET a b", "ERR wrong number of arguments for 'get' command"),
        ("foo", "ERR unknown command 'foo', with args beginning with: "),
        ("foo a bc", "ERR unknown command 'foo', with args beginning with: 'a' 'bc' "),
        ("client", "ERR wrong number of arguments for 'client' command"),
        ("client FoO b", "ERR unknown subcommand 'FoO'. Try CLIENT HELP."),
        ("client setname", "ERR wrong number of arguments for 'client|setname' command"),
        ("lpush a b", "ERR 'lpush' is not supported yet"),
        ("eval x 0", "ERR 'eval' is not supported yet"),
        ("set a b ex", "ERR syntax error"),
        ("set a b ex 1 px 1", "ERR syntax error"),
        ("set a b keepttl ex 1", "ERR syntax error"),
        ("set a b nx xx", "ERR syntax error"),
        ("set a b ifeq c nx", "ERR syntax error"),
        ("set a b persist", "ERR syntax error"),
        ("set a b ex abc", "ERR value is not an integer or out of range"),
        ("set a b ex 0", "ERR invalid expire time in 'set' command"),
        ("set a b ex 9223372036854775", "ERR invalid expire time in 'set' command"),
        ("set a b exat 0", "ERR invalid expire time in 'set' command"),
        ("setex a -1 b", "ERR invalid expire time in 'setex' command"),
        ("psetex a 9223372036854775807 b", "ERR invalid expire time in 'psetex' command"),
        ("getex a persist ex 1", "ERR syntax error"),
        ("expire a 9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("pexpire a 9223372036854770000", "ERR invalid expire time in 'pexpire' command"),
        ("expire a 1 nx xx", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("expire a 1 gt lt", "ERR GT and LT options at the same time are not compatible"),
        ("expire a 1 foo", "ERR Unsupported option foo"),
        ("decrby a -9223372036854775808", "ERR decrement would overflow"),
        ("incrbyfloat a nan", "ERR value is not a valid float"),
        ("incrbyfloat a inf", "ERR increment would produce NaN or Infinity"),
        ("setrange a -1 b", "ERR offset is out of range"),
        ("mset a b c", "ERR wrong number of arguments for 'mset' command"),
        ("hset h a 1 b", "ERR wrong number of arguments for 'hset' command"),
        ("hincrbyfloat h f inf", "ERR value is NaN or Infinity"),
        ("hincrby h f x", "ERR value is not an integer or out of range"),
        ("hscan h x", "ERR invalid cursor"),
        ("hrandfield h 1 foo", "ERR syntax error"),
        ("spop s -1", "ERR value is out of range, must be positive"),
        ("sintercard 0 a", "ERR numkeys should be greater than 0"),
        ("sintercard 2 a", "ERR Number of keys can't be greater than number of args"),
        ("copy a a", "ERR source and destination objects are the same"),
        ("delex a ifdeq 12", "ERR a digest is 16 hexadecimal digits"),
        ("delex a ifeq x y", "ERR syntax error"),
        ("set k v ifne a ifeq b", "ERR syntax error"),
        ("once t", "ERR wrong number of arguments for 'once' command"),
        ("once t get a", "ERR ONCE takes a command that writes keys of one slot, or EXEC"),
        ("once t flushall", "ERR ONCE takes a command that writes keys of one slot, or EXEC"),
        ("once t once u incr a", "ERR ONCE takes a command that writes keys of one slot, or EXEC"),
        ("once t multi", "ERR ONCE takes a command that writes keys of one slot, or EXEC"),
        ("once t nosuch a", "ERR unknown command 'nosuch', with args beginning with: 'a' "),
        ("once t incr", "ERR wrong number of arguments for 'incr' command"),
        ("command getkeys once t once u incr a", "ERR The command has no key arguments"),
        ("scan abc", "ERR invalid cursor"),
        ("scan 0 count 0", "ERR syntax error"),
        ("scan 0 match", "ERR syntax error"),
        ("wait 1 -1", "ERR timeout is negative"),
        ("hello 4", "NOPROTO unsupported protocol version"),
        ("hello 3 auth a", "ERR Syntax error in HELLO option 'auth'"),
        ("client list type foo", "ERR Unknown client type 'foo'"),
        ("cluster countkeysinslot 16384", "ERR Invalid slot"),
        ("command getkeys ping a", "ERR The command has no key arguments"),
        ("command getkeys foo a", "ERR Invalid command specified"),
    ] {
        assert_eq!(error(line), text, "{line}");
    }
}

#[test]
fn a_command_that_is_done_once_is_told_from_others_by_its_words() {
    let fingerprint = |line: &str| {
        let Command::Data(Data {
            operation: Operation::Write(Write::Once { token, fingerprint, .. }),
            ..
        }) = command(line)
        else {
            panic!("{line}")
        };
        assert_eq!(token, "t");
        fingerprint
    };
    assert_eq!(fingerprint("once t incrby a 1"), fingerprint("ONCE t INCRBY a 1"));
    assert_ne!(fingerprint("once t incrby a 1"), fingerprint("once t incrby a 2"));
    assert_ne!(fingerprint("once t set a x"), fingerprint("once t set A x"));
    let long = format!("once {} incr a", "t".repeat(129));
    assert_eq!(error(&long), "ERR a token has 1 to 128 bytes");
}

#[test]
fn gossip_and_persistence_commands_point_to_the_operator() {
    for line in ["cluster meet h 1", "cluster failover", "replicaof no one", "config rewrite"] {
        assert!(error(line).contains("operator"), "{line}");
    }
    for line in ["shutdown", "debug sleep 0", "save", "bgsave"] {
        assert!(error(line).starts_with("ERR "), "{line}");
    }
}

#[test]
fn expire_reads_its_comparison() {
    for (line, expected) in [
        ("expire k 1", Comparison::Always),
        ("expire k 1 NX", Comparison::IfNone),
        ("expire k 1 xx", Comparison::IfAny),
        ("expire k 1 xx gt", Comparison::IfGreater),
        ("expire k 1 lt", Comparison::IfLess),
        ("expire k 1 xx lt", Comparison::IfAnyAndLess),
    ] {
        let Command::Data(Data { operation: Operation::Write(write), .. }) = command(line) else {
            panic!("{line} is a write");
        };
        let (key, expiry) = (Bytes::from_static(b"k"), Expiry::In { ms: 1000 });
        assert_eq!(write, Write::Expire { key, expiry, comparison: expected }, "{line}");
    }
}

#[test]
fn a_time_before_the_epoch_is_the_past() {
    let Command::Data(Data { operation, .. }) = command("expireat k -5") else { panic!("data") };
    let (key, comparison) = (Bytes::from_static(b"k"), Comparison::Always);
    let expiry = Expiry::At(WallTime(0));
    assert_eq!(operation, Operation::Write(Write::Expire { key, expiry, comparison }));
}

#[test]
fn getex_without_an_option_only_reads() {
    let read = Operation::Read(Read::Get { key: Bytes::from_static(b"k") });
    let Command::Data(Data { operation, .. }) = command("getex k") else { panic!("data") };
    assert_eq!(operation, read);
}

#[test]
fn keys_of_a_command_are_found_by_the_table() {
    for (line, keys) in [
        ("command getkeys mset a 1 b 2", vec!["a", "b"]),
        ("command getkeys del a b c", vec!["a", "b", "c"]),
        ("command getkeys set a b", vec!["a"]),
        ("command getkeys once t mset a b c d", vec!["a", "c"]),
        ("command getkeys sintercard 2 a b limit 1", vec!["a", "b"]),
        ("command getkeys sunionstore a b c", vec!["a", "b", "c"]),
        ("command getkeys memory usage a", vec!["a"]),
        ("command getkeys object encoding a", vec!["a"]),
    ] {
        let keys = keys.into_iter().map(|key| Reply::Bulk(Bytes::from_static(key.as_bytes())));
        assert_eq!(command(line), Command::Fixed(Reply::List(keys.collect())), "{line}");
    }
}

#[test]
fn concurrent_values_are_written_with_the_context_that_they_were_read_with() {
    let key = Bytes::from_static(b"k");
    let data = |operation| Command::Data(Data { operation, slot: None, shape: Shape::AsIs });
    let set = |context| {
        let (key, value) = (key.clone(), Bytes::from_static(b"v"));
        data(Operation::Write(Write::SetSibling { key, value, context }))
    };
    assert_eq!(command("vget k"), data(Operation::Read(Read::Siblings { key: key.clone() })));
    assert_eq!(command("vset k v"), set(None));
    assert_eq!(command("vset k v CONTEXT c"), set(Some(Bytes::from_static(b"c"))));
    let context = Bytes::from_static(b"c");
    let delete = Write::DeleteSiblings { key: key.clone(), context };
    assert_eq!(command("vdel k context c"), data(Operation::Write(delete)));
    for line in ["vset k v c", "vset k v context", "vset k v context c d", "vdel k token c"] {
        assert_eq!(error(line), "ERR syntax error", "{line}");
    }
    assert_eq!(error("vdel k"), "ERR wrong number of arguments for 'vdel' command");
}

#[test]
fn quorum_takes_levels_for_reads_and_writes() {
    for (line, expected) in [
        ("quorum", QuorumCommand::Get),
        ("quorum reset", QuorumCommand::Reset),
        ("quorum linearizable", QuorumCommand::Linearizable),
        ("quorum one ALL", QuorumCommand::Set { read: Level::Count(1), write: Level::All }),
        (
            "QUORUM 2 each_quorum",
            QuorumCommand::Set { read: Level::Count(2), write: Level::EachQuorum },
        ),
        (
            "quorum local_one local_quorum",
            QuorumCommand::Set { read: Level::LocalOne, write: Level::LocalQuorum },
        ),
        ("quorum one any", QuorumCommand::Set { read: Level::Count(1), write: Level::Any }),
    ] {
        assert_eq!(command(line), Command::Quorum(expected), "{line}");
    }
    assert!(error("quorum 0 1").starts_with("ERR \"0\" is no level: use a number from 1, ONE, "));
    for line in ["quorum one", "quorum one one one"] {
        assert!(
            error(line).starts_with("ERR QUORUM takes a level for reads and one for"),
            "{line}"
        );
    }
}

#[test]
fn the_keys_of_every_operation_are_where_the_table_says() {
    for spec in table::all().filter(|spec| spec.keys.is_some()) {
        let line = shortest(spec);
        let Ok(parsed) = parse(&line) else { panic!("{spec:?} does not take {line:?}") };
        // WATCH has keys, and does nothing to them.
        let Command::Data(data) = parsed.command else { continue };
        let places = spec.key_places(&line);
        let expected: Vec<&Bytes> = places.iter().map(|place| &line[*place]).collect();
        assert_eq!(data.operation.keys(), expected, "{spec:?}");
    }
}

/// A call of the command with numbers everywhere, so that whatever must be one is one.
fn shortest(spec: &Spec) -> Vec<Bytes> {
    if spec.name == "vdel" {
        return words("vdel 1 context 3");
    }
    let count = usize::from(spec.arity.unsigned_abs());
    let mut line = vec![Bytes::from_static(spec.name.as_bytes())];
    line.extend((1..count.max(2)).map(|word| Bytes::from(word.to_string())));
    line
}

#[test]
fn flags_say_whether_an_operation_writes() {
    for spec in table::all().filter(|spec| spec.keys.is_some()) {
        let Command::Data(data) = parse(&shortest(spec)).unwrap().command else { continue };
        let writes = matches!(data.operation, Operation::Write(_));
        // GETEX without an option, and HOME of a key, read, and are writes to Redis all the same.
        assert!(
            matches!(spec.name, "getex" | "home") || spec.has_flag("write") == writes,
            "{spec:?}"
        );
        assert!(spec.has_flag("write") != spec.has_flag("readonly"), "{spec:?}");
    }
}

#[test]
fn help_lists_every_subcommand() {
    let Command::Fixed(Reply::List(lines)) = command("client help") else { panic!("lines") };
    let subcommands = table::by_full_name(b"client").unwrap().subcommands.len();
    assert_eq!(lines.len(), 1 + 2 * subcommands);
}
