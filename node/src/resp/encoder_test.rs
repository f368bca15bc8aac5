//! Golden answers in both encodings.

use bytes::{Bytes, BytesMut};
use quorate_group::{Value, ValueError};

use super::{Protocol, Reply, encode};

fn encoded(reply: &Reply, protocol: Protocol) -> String {
    let mut out = BytesMut::new();
    encode(reply, protocol, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn answers_are_encoded_as_redis_does() {
    let list = Reply::List(vec![Reply::Nil, Reply::text("a"), Reply::Integer(-7)]);
    let map = Reply::Map(vec![(Reply::text("k"), Reply::Set(vec![Reply::Status("v".into())]))]);
    let values = Value::List(vec![Value::Bulk(Bytes::from_static(b"")), Value::Nil, Value::Ok]);
    for (reply, resp2, resp3) in [
        (Reply::Ok, "+OK\r\n", "+OK\r\n"),
        (Reply::Nil, "$-1\r\n", "_\r\n"),
        (Reply::NilList, "*-1\r\n", "_\r\n"),
        (Reply::Integer(0), ":0\r\n", ":0\r\n"),
        (Reply::Integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
        (list, "*3\r\n$-1\r\n$1\r\na\r\n:-7\r\n", "*3\r\n_\r\n$1\r\na\r\n:-7\r\n"),
        (map, "*2\r\n$1\r\nk\r\n*1\r\n+v\r\n", "%1\r\n$1\r\nk\r\n~1\r\n+v\r\n"),
        (Reply::Verbatim("ab".into()), "$2\r\nab\r\n", "=6\r\ntxt:ab\r\n"),
        (Reply::Value(values), "*3\r\n$0\r\n\r\n$-1\r\n+OK\r\n", "*3\r\n$0\r\n\r\n_\r\n+OK\r\n"),
        (
            Reply::Value(Value::Error(ValueError::NotInteger)),
            "-ERR value is not an integer or out of range\r\n",
            "-ERR value is not an integer or out of range\r\n",
        ),
    ] {
        assert_eq!(encoded(&reply, Protocol::Resp2), resp2);
        assert_eq!(encoded(&reply, Protocol::Resp3), resp3);
    }
}

#[test]
fn an_error_stays_one_line() {
    let reply = Reply::error("ERR unknown command 'a\r\n+OK'");
    assert_eq!(encoded(&reply, Protocol::Resp2), "-ERR unknown command 'a  +OK'\r\n");
}
