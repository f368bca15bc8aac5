//! What every Rust file must and must not have.

use super::Source;

const LINES_MAX: usize = 600;

/// Written in two halves, so that this file does not hold what it forbids.
const FORBIDDEN: [(&str, &str); 3] = [("todo", "!("), ("#[ig", "nore"), ("#[should", "_panic")];

pub(super) fn check(source: &Source) -> Vec<String> {
    let path = source.path.display();
    let mut found = Vec::new();
    if !source.text.starts_with("//!") {
        found.push(format!("{path} must begin with `//!`: what it is and what it may not do"));
    }
    let lines = lines_without_tests(source);
    if lines > LINES_MAX {
        found.push(format!("{path} has {lines} lines without tests; the ceiling is {LINES_MAX}"));
    }
    for (number, line) in source.text.lines().enumerate() {
        for (left, right) in FORBIDDEN {
            let forbidden = format!("{left}{right}");
            if line.contains(&forbidden) {
                found.push(format!("{path}:{} has {forbidden}", number + 1));
            }
        }
    }
    found
}

/// Tests stand last in a file, in a module of their own, or in files of their own.
fn lines_without_tests(source: &Source) -> usize {
    let name = source.path.file_name().unwrap_or_default().to_string_lossy();
    let in_tests = source.path.components().any(|part| part.as_os_str() == "tests");
    if in_tests || name.ends_with("_test.rs") || name == "tests.rs" {
        return 0;
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source { path: path.into(), text: text.to_owned() })
    }

    #[test]
    fn file_without_a_first_word_is_found() {
        assert_eq!(found("a.rs", "fn main() {}\n").len(), 1);
        assert!(found("a.rs", "//! A room.\n").is_empty());
    }

    #[test]
    fn tests_do_not_count_as_length() {
        let code = format!("//! A room.\n{}", "// x\n".repeat(LINES_MAX - 1));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(100));
        assert!(found("a.rs", &format!("{code}{tests}")).is_empty());
        assert_eq!(found("a.rs", &format!("{code}// x\n{tests}")).len(), 1);
        assert!(found("a/tests/b.rs", &format!("{code}// x\n")).is_empty());
    }

    #[test]
    fn forbidden_words_are_found_with_their_line() {
        let text = format!("//! A room.\n{}{}\n", "todo", "!()");
        assert_eq!(found("a.rs", &text), [format!("a.rs:2 has {}{}", "todo", "!(")]);
    }
}
