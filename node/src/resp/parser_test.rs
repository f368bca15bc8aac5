//! The parser: any split of the stream gives the same requests, limits come first, garbage is refused.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Limits, Parser, ProtocolError, Request};

const SMALL: Limits = Limits {
    arguments_max: 8,
    bulk_bytes_max: 64,
    inline_bytes_max: 128,
    request_bytes_max: 256,
    authenticated: true,
};

fn parse(stream: &[u8]) -> (Vec<Vec<Bytes>>, Option<ProtocolError>) {
    parse_in_chunks(stream, &[stream.len()], &Limits::default())
}

/// Feeds the stream in pieces of these lengths, the rest as a last one.
fn parse_in_chunks(
    mut stream: &[u8],
    chunks: &[usize],
    limits: &Limits,
) -> (Vec<Vec<Bytes>>, Option<ProtocolError>) {
    let (mut parser, mut input, mut requests) = (Parser::default(), BytesMut::new(), Vec::new());
    for length in chunks.iter().copied().chain([usize::MAX]) {
        let (chunk, rest) = stream.split_at(length.min(stream.len()));
        stream = rest;
        input.extend_from_slice(chunk);
        loop {
            match parser.next(&mut input, limits) {
                Ok(Some(Request { arguments, bytes })) => {
                    assert!(bytes >= arguments.iter().map(Bytes::len).sum());
                    requests.push(arguments);
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn words(words: &[&str]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

fn array(words: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        wire.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        wire.extend_from_slice(word);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

#[test]
fn pipelined_arrays_and_inline_requests_are_read_in_order() {
    let (requests, error) =
        parse(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n\r\n*0\r\n*-1\r\nset a \"b c\"\n");
    assert_eq!(error, None);
    assert_eq!(requests, [words(&["GET", "a"]), words(&["PING"]), words(&["set", "a", "b c"])]);
}

#[test]
fn a_bulk_string_may_hold_anything() {
    let (requests, _) = parse(b"*2\r\n$0\r\n\r\n$6\r\n\r\n*1\0$\r\n");
    assert_eq!(requests, [vec![Bytes::new(), Bytes::from_static(b"\r\n*1\0$")]]);
}

#[test]
fn errors_have_the_texts_of_redis() {
    for (stream, text) in [
        ("*blabla\r\n", "ERR Protocol error: invalid multibulk length"),
        ("*+1\r\n", "ERR Protocol error: invalid multibulk length"),
        ("*1048577\r\n", "ERR Protocol error: invalid multibulk length"),
        ("*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfoo\r\n", "ERR Protocol error: expected '$', got 'f'"),
        ("*1\r\n$2000000000\r\n", "ERR Protocol error: invalid bulk length"),
        ("*1\r\n$-10\r\n", "ERR Protocol error: invalid bulk length"),
        ("*1\r\n$blabla\r\n", "ERR Protocol error: invalid bulk length"),
        ("set \"a b\r\n", "ERR Protocol error: unbalanced quotes in request"),
    ] {
        let (requests, error) = parse(stream.as_bytes());
        assert_eq!(requests, Vec::<Vec<Bytes>>::new());
        assert_eq!(error.unwrap().to_string(), text, "{stream:?}");
    }
}

#[test]
fn a_line_without_an_end_is_refused_at_its_limit() {
    for (begin, error) in [
        ("", ProtocolError::InlineTooLong),
        ("*", ProtocolError::CountTooLong),
        ("*1\r\n$", ProtocolError::LengthTooLong),
    ] {
        let stream = [begin.as_bytes(), &[b'1'; 70_000]].concat();
        assert_eq!(parse(&stream), (vec![], Some(error)));
    }
}

#[test]
fn announced_sizes_take_no_memory() {
    let (mut parser, mut input) = (Parser::default(), BytesMut::new());
    input.extend_from_slice(b"*1048576\r\n$536870912\r\n");
    assert_eq!(parser.next(&mut input, &Limits::default()), Ok(None));
    assert_eq!(parser.held(&input), 22);
    assert_eq!(parser.wants(&input), 536_870_914);
    assert!(input.capacity() < 1024);
}

#[test]
fn before_authentication_requests_are_small() {
    let limits = Limits::default().unauthenticated();
    let refused = |stream: &[u8]| parse_in_chunks(stream, &[], &limits).1.unwrap().to_string();
    assert_eq!(refused(b"*11\r\n"), "ERR Protocol error: unauthenticated multibulk length");
    assert_eq!(refused(b"*1\r\n$16385\r\n"), "ERR Protocol error: unauthenticated bulk length");
}

#[test]
fn many_arguments_within_their_limits_cannot_exceed_that_of_the_request() {
    let stream = array(&vec![vec![b'x'; 64]; 8]);
    let (_, error) = parse_in_chunks(&stream, &[], &SMALL);
    assert_eq!(error, Some(ProtocolError::RequestTooLong(256)));
}

#[test]
fn http_is_refused() {
    let (requests, error) = parse(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nFLUSHALL\r\n");
    assert_eq!((requests, error), (vec![], Some(ProtocolError::Http)));
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(vec(any::<u8>(), 0..20), 1..6).prop_map(|words| array(&words)),
        "[a-z\"' ]{0,20}\r?\n".prop_map(String::into_bytes),
        Just(b"*0\r\n".to_vec()),
    ]
}

/// Bytes that look like the protocol more often than random ones do.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"*".to_vec()),
        Just(b"$".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"*2\r\n$3\r\nGET\r\n".to_vec()),
        "-?[0-9]{1,12}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..12),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_requests(
        requests in vec(request(), 0..8),
        chunks in vec(0usize..12, 0..60),
    ) {
        let stream = requests.concat();
        let limits = Limits::default();
        prop_assert_eq!(
            parse_in_chunks(&stream, &[], &limits),
            parse_in_chunks(&stream, &chunks, &limits)
        );
    }

    #[test]
    fn garbage_is_read_the_same_way_however_it_is_split(
        stream in garbage(),
        chunks in vec(0usize..12, 0..60),
    ) {
        let (whole, error) = parse_in_chunks(&stream, &[], &SMALL);
        for request in &whole {
            prop_assert!(!request.is_empty());
            prop_assert!(request.len() <= 128);
        }
        let (split, split_error) = parse_in_chunks(&stream, &chunks, &SMALL);
        prop_assert_eq!(whole, split);
        prop_assert_eq!(error.is_some(), split_error.is_some());
    }

    #[test]
    fn what_is_held_is_what_came_and_was_not_understood(stream in garbage()) {
        let (mut parser, mut input) = (Parser::default(), BytesMut::from(&stream[..]));
        let mut understood = 0;
        while let Ok(Some(request)) = parser.next(&mut input, &SMALL) {
            understood += request.bytes;
        }
        prop_assert!(understood + parser.held(&input) <= stream.len());
    }
}
