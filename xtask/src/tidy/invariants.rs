//! Invariants: defined once in `docs/protocol.md`, cited in code, each with a checker in the
//! simulation.
//!
//! A definition is a line whose first words are `INV-n:`, whatever marks stand before it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Source;

const MARK: &str = "INV-";
const CHECKERS: &str = "sim/src/checkers";

pub(super) fn check(protocol: &str, sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let mut defined: BTreeMap<u32, usize> = BTreeMap::new();
    for number in protocol.lines().filter_map(definition) {
        *defined.entry(number).or_default() += 1;
    }
    for (number, times) in &defined {
        if *times > 1 {
            found.push(format!("docs/protocol.md defines {MARK}{number} {times} times"));
        }
    }
    let mut checked = BTreeSet::new();
    for source in sources {
        let cited: BTreeSet<u32> = citations(&source.text).collect();
        // This very room speaks of invariants without meaning one.
        if source.path.starts_with("xtask") {
            continue;
        }
        for number in cited.iter().filter(|number| !defined.contains_key(number)) {
            let path = source.path.display();
            found.push(format!("{path} cites {MARK}{number}, which nobody defined"));
        }
        if is_checker(&source.path) {
            checked.extend(cited);
        }
    }
    for number in defined.keys().filter(|number| !checked.contains(number)) {
        found.push(format!("{MARK}{number} has no checker in {CHECKERS}/"));
    }
    found
}

fn is_checker(path: &Path) -> bool {
    path.starts_with(CHECKERS) && path.file_name().is_some_and(|name| name != "mod.rs")
}

fn definition(line: &str) -> Option<u32> {
    let line = line.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let rest = line.strip_prefix(MARK)?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let after = rest[end..].trim_start_matches(['*', '`', ']']);
    after.starts_with(':').then(|| rest[..end].parse().ok())?
}

fn citations(text: &str) -> impl Iterator<Item = u32> {
    text.split(MARK).skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: &str = "# Rules\n- **INV-1**: one leader per term.\nINV-2: logs match.\n\
                            See INV-1 for more.\n";

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn cited_but_undefined_and_defined_but_unchecked_are_found() {
        let sources = [
            source("node/src/a.rs", "// INV-1\n// INV-7\n"),
            source("sim/src/checkers/leaders.rs", "//! INV-1\n"),
            source("sim/src/checkers/mod.rs", "//! INV-2\n"),
        ];
        let expected = [
            "node/src/a.rs cites INV-7, which nobody defined",
            "INV-2 has no checker in sim/src/checkers/",
        ];
        assert_eq!(check(PROTOCOL, &sources), expected);
    }

    #[test]
    fn second_definition_is_found() {
        let sources = [source("sim/src/checkers/leaders.rs", "// INV-3\n")];
        let found = check("INV-3: a.\n* INV-3: b.\n", &sources);
        assert_eq!(found, ["docs/protocol.md defines INV-3 2 times"]);
    }
}
