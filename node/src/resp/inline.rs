//! Inline requests: words on a line, quoted as in Redis' own shell. Source: Redis protocol specification, "Inline commands".

use bytes::{Bytes, BytesMut};

/// The words of a line; `None` when a quote is not closed, or closed within a word.
pub(super) fn split(line: &[u8]) -> Option<Vec<Bytes>> {
    // To Redis a line is a C string: it ends at a zero byte.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut words = Vec::new();
    let mut rest = skip_blanks(line);
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(word);
        rest = skip_blanks(after);
    }
    Some(words)
}

fn word(mut rest: &[u8]) -> Option<(Bytes, &[u8])> {
    let mut word = BytesMut::new();
    loop {
        match rest {
            [] => return Some((word.freeze(), rest)),
            [blank, ..] if is_blank(*blank) => return Some((word.freeze(), rest)),
            [quote @ (b'"' | b'\''), after @ ..] => {
                rest = quoted(*quote, after, &mut word)?;
                // A closing quote ends the word: what follows must be a blank.
                if rest.first().is_some_and(|next| !is_blank(*next)) {
                    return None;
                }
                return Some((word.freeze(), rest));
            }
            [byte, after @ ..] => {
                word.extend_from_slice(&[*byte]);
                rest = after;
            }
        }
    }
}

/// Reads up to the closing quote and answers what follows it.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut BytesMut) -> Option<&'a [u8]> {
    loop {
        match (quote, rest) {
            (_, []) => return None,
            (_, [byte, after @ ..]) if *byte == quote => return Some(after),
            (b'"', [b'\\', b'x', high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.extend_from_slice(&[hex(*high) << 4 | hex(*low)]);
                rest = after;
            }
            (b'"', [b'\\', escaped, after @ ..]) => {
                word.extend_from_slice(&[unescape(*escaped)]);
                rest = after;
            }
            (b'\'', [b'\\', b'\'', after @ ..]) => {
                word.extend_from_slice(b"'");
                rest = after;
            }
            (_, [byte, after @ ..]) => {
                word.extend_from_slice(&[*byte]);
                rest = after;
            }
        }
    }
}

const fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// Blank as C's `isspace`: a vertical tab counts, which `is_ascii_whitespace` leaves out.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let begin = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    &text[begin..]
}

#[cfg(test)]
mod tests {
    use super::split;

    fn words(line: &str) -> Option<Vec<Vec<u8>>> {
        split(line.as_bytes()).map(|words| words.iter().map(|word| word.to_vec()).collect())
    }

    #[test]
    fn words_are_split_at_blanks_and_quotes_keep_them() {
        assert_eq!(words("  set \t a  b "), Some(vec![b"set".into(), b"a".into(), b"b".into()]));
        assert_eq!(words(r#"get "a b""#), Some(vec![b"get".into(), b"a b".into()]));
        assert_eq!(words(r#"a"b c""#), Some(vec![b"ab c".into()]));
        assert_eq!(words(r#""" ''"#), Some(vec![b"".into(), b"".into()]));
        assert_eq!(words(""), Some(vec![]));
    }

    #[test]
    fn escapes_are_those_of_redis() {
        assert_eq!(
            words(r#""\x41\xfF\n\r\t\b\a\\\"\q\xg""#),
            Some(vec![b"A\xff\n\r\t\x08\x07\\\"qxg".into()])
        );
        assert_eq!(words(r"'a\'b\n'"), Some(vec![br"a'b\n".into()]));
    }

    #[test]
    fn a_line_ends_at_a_zero_byte() {
        assert_eq!(words("get a\0b c"), Some(vec![b"get".into(), b"a".into()]));
        assert_eq!(words("\0"), Some(vec![]));
        assert_eq!(words("get \"a\0\""), None);
    }

    #[test]
    fn a_quote_that_is_not_closed_or_closed_within_a_word_is_refused() {
        for line in [r#"set "a"#, r#"set "a"b"#, "get a'b", r#""\"#, r#""\x4"#, r"'\'"] {
            assert_eq!(words(line), None, "{line}");
        }
    }
}
