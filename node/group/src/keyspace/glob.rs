//! Glob patterns as Redis matches them: `*`, `?`, `[a-c]`, `[^x]`, and `\` before a character that is meant literally.

/// Whether the whole of `text` matches. Takes time in proportion to the product of both lengths at most.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut at = 0;
    let mut seen = 0;
    // Where to go back to: after the last star, one more character given to it.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match token(&pattern[at..]) {
            Some((Token::Star, length)) => {
                at += length;
                star = Some((at, seen));
                continue;
            }
            Some((Token::One(one), length)) if one.matches(text[seen]) => {
                at += length;
                seen += 1;
                continue;
            }
            Some((Token::One(_), _)) | None => {}
        }
        let Some((after, taken)) = star else { return false };
        star = Some((after, taken + 1));
        at = after;
        seen = taken + 1;
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

enum Token<'a> {
    Star,
    One(One<'a>),
}

enum One<'a> {
    Any,
    Byte(u8),
    Class { inside: &'a [u8], negated: bool },
}

impl One<'_> {
    fn matches(&self, byte: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Byte(wanted) => *wanted == byte,
            Self::Class { inside, negated } => in_class(inside, byte) != *negated,
        }
    }
}

/// The next token and how many bytes of the pattern it takes.
fn token(pattern: &[u8]) -> Option<(Token<'_>, usize)> {
    Some(match *pattern.first()? {
        b'*' => (Token::Star, 1),
        b'?' => (Token::One(One::Any), 1),
        b'\\' if pattern.len() > 1 => (Token::One(One::Byte(pattern[1])), 2),
        b'[' => class(pattern),
        byte => (Token::One(One::Byte(byte)), 1),
    })
}

/// A class ends at the first bracket that is not escaped, or with the pattern.
fn class(pattern: &[u8]) -> (Token<'_>, usize) {
    let negated = pattern.get(1) == Some(&b'^');
    let begin = if negated { 2 } else { 1 };
    let mut end = begin;
    while end < pattern.len() && pattern[end] != b']' {
        end += if pattern[end] == b'\\' { 2 } else { 1 };
    }
    let end = end.min(pattern.len());
    let inside = &pattern[begin..end];
    (Token::One(One::Class { inside, negated }), (end + 1).min(pattern.len()))
}

fn in_class(inside: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < inside.len() {
        if inside[at] == b'\\' && at + 1 < inside.len() {
            if inside[at + 1] == byte {
                return true;
            }
            at += 2;
        } else if at + 2 < inside.len() && inside[at + 1] == b'-' {
            let (low, high) = (inside[at].min(inside[at + 2]), inside[at].max(inside[at + 2]));
            if (low..=high).contains(&byte) {
                return true;
            }
            at += 3;
        } else {
            if inside[at] == byte {
                return true;
            }
            at += 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            (r"h\*llo", "h*llo", true),
            (r"h\*llo", "hello", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("[", "x", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = b"*a".repeat(64);
        assert!(!matches(&pattern, &b"a".repeat(63)));
        assert!(matches(&pattern, &b"a".repeat(64)));
    }
}
