//! Arbitrary bytes to the parser of requests: it never takes memory for what has not come, and reads the same requests
//! however the bytes are split.

use bytes::{Bytes, BytesMut};
use quorate_node::resp::{Limits, Parser};

const LIMITS: Limits = Limits {
    arguments_max: 64,
    bulk_bytes_max: 4096,
    inline_bytes_max: 1024,
    request_bytes_max: 16_384,
    authenticated: true,
};

pub(super) fn check(input: &[u8]) {
    // The first byte says into which pieces the rest is split.
    let Some((length, stream)) = input.split_first() else { return };
    let whole = parse(std::iter::once(stream));
    let split = parse(stream.chunks(usize::from(*length).max(1)));
    assert_eq!(whole, split);
}

/// The requests, and whether the stream was refused in the end.
fn parse<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<Bytes>>, bool) {
    let (mut parser, mut input, mut requests) = (Parser::default(), BytesMut::new(), Vec::new());
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            match parser.next(&mut input, &LIMITS) {
                Ok(Some(request)) => {
                    assert!(!request.arguments.is_empty());
                    assert!(request.arguments.len() <= 1024);
                    requests.push(request.arguments);
                }
                Ok(None) => break,
                Err(_) => return (requests, true),
            }
        }
        assert!(parser.wants(&input) <= 4096 + 2);
    }
    (requests, false)
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        "\x03*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        "\x01SET a \"two words\\x00\"\r\nPING\r\n",
        "\x05*1\r\n$4\r\nPING\r\n*-1\r\n*0\r\n",
        "\x40*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
