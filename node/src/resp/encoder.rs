//! Answers to bytes, in RESP2 or RESP3.

use bytes::{BufMut, BytesMut};
use quorate_group::Value;

use super::{Protocol, Reply};

/// Appends the answer to `out`.
pub fn encode(reply: &Reply, protocol: Protocol, out: &mut BytesMut) {
    Encoder { out, protocol }.reply(reply);
}

struct Encoder<'a> {
    out: &'a mut BytesMut,
    protocol: Protocol,
}

impl Encoder<'_> {
    fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Ok => self.out.put_slice(b"+OK\r\n"),
            Reply::Nil => self.nil(b"$-1\r\n"),
            Reply::NilList => self.nil(b"*-1\r\n"),
            Reply::Integer(number) => self.number(b':', *number),
            Reply::Bulk(bytes) => self.bulk(bytes),
            Reply::Text(text) => self.bulk(text.as_bytes()),
            Reply::Status(text) => self.line(b'+', text),
            Reply::Error(text) => self.line(b'-', text),
            Reply::List(items) => self.list(b'*', items),
            Reply::Set(items) => match self.protocol {
                Protocol::Resp2 => self.list(b'*', items),
                Protocol::Resp3 => self.list(b'~', items),
            },
            Reply::Map(pairs) => self.map(pairs),
            Reply::Pairs(pairs) => self.pairs(pairs),
            Reply::Verbatim(text) => self.verbatim(text),
            Reply::Value(value) => self.value(value),
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Ok => self.out.put_slice(b"+OK\r\n"),
            Value::Nil => self.nil(b"$-1\r\n"),
            Value::Integer(number) => self.number(b':', *number),
            Value::Bulk(bytes) => self.bulk(bytes),
            Value::Status(text) => self.line(b'+', text),
            Value::List(items) => {
                self.header(b'*', items.len());
                for item in items {
                    self.value(item);
                }
            }
            Value::Error(error) => self.line(b'-', &error.to_string()),
        }
    }

    fn nil(&mut self, resp2: &'static [u8]) {
        match self.protocol {
            Protocol::Resp2 => self.out.put_slice(resp2),
            Protocol::Resp3 => self.out.put_slice(b"_\r\n"),
        }
    }

    fn list(&mut self, mark: u8, items: &[Reply]) {
        self.header(mark, items.len());
        for item in items {
            self.reply(item);
        }
    }

    fn map(&mut self, pairs: &[(Reply, Reply)]) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', 2 * pairs.len()),
            Protocol::Resp3 => self.header(b'%', pairs.len()),
        }
        for (key, value) in pairs {
            self.reply(key);
            self.reply(value);
        }
    }

    fn pairs(&mut self, pairs: &[(Reply, Reply)]) {
        match self.protocol {
            Protocol::Resp2 => self.map(pairs),
            Protocol::Resp3 => {
                self.header(b'*', pairs.len());
                for (key, value) in pairs {
                    self.header(b'*', 2);
                    self.reply(key);
                    self.reply(value);
                }
            }
        }
    }

    fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.header(b'=', text.len() + 4);
                self.out.put_slice(b"txt:");
                self.out.put_slice(text.as_bytes());
                self.out.put_slice(b"\r\n");
            }
        }
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len());
        self.out.reserve(bytes.len() + 2);
        self.out.put_slice(bytes);
        self.out.put_slice(b"\r\n");
    }

    /// A line must stay one line, whatever a client's input put into it.
    fn line(&mut self, mark: u8, text: &str) {
        self.out.reserve(text.len() + 3);
        self.out.put_u8(mark);
        for byte in text.bytes() {
            self.out.put_u8(if byte == b'\r' || byte == b'\n' { b' ' } else { byte });
        }
        self.out.put_slice(b"\r\n");
    }

    fn header(&mut self, mark: u8, length: usize) {
        self.number(mark, i64::try_from(length).expect("a length in memory is below 2^63"));
    }

    fn number(&mut self, mark: u8, number: i64) {
        // 20 digits and a sign at most, written from the end.
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.put_u8(mark);
        if number < 0 {
            self.out.put_u8(b'-');
        }
        self.out.put_slice(&digits[at..]);
        self.out.put_slice(b"\r\n");
    }
}
