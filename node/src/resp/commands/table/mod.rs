//! The table of commands, and how a command is found in it.

mod cluster;
mod connection;
mod hashes;
mod keys;
mod leaderless;
mod not_offered;
mod server;
mod session;
mod sets;
mod strings;
mod transactions;

use bytes::Bytes;

use super::{CommandError, Spec};

const TABLES: [&[Spec]; 10] = [
    strings::STRINGS,
    keys::KEYS,
    hashes::HASHES,
    sets::SETS,
    transactions::TRANSACTIONS,
    connection::CONNECTION,
    server::SERVER,
    cluster::CLUSTER,
    session::SESSION,
    leaderless::LEADERLESS,
];

/// The longest name, with room to spare: a longer word is no command.
const NAME_MAX: usize = 32;

/// Every command, without subcommands.
pub(super) fn all() -> impl Iterator<Item = &'static Spec> {
    TABLES.iter().copied().flatten()
}

/// The row that these words call for, their number checked.
pub(super) fn find(words: &[Bytes]) -> Result<&'static Spec, CommandError> {
    let (name, rest) = words.split_first().expect("a request has at least its name");
    let Some(spec) = by_name(name) else {
        return Err(if is_known(name) {
            CommandError::NotOffered(lossy(name))
        } else {
            CommandError::unknown(name, rest)
        });
    };
    let spec = match rest.first() {
        Some(second) if !spec.subcommands.is_empty() => subcommand(spec, second)
            .ok_or_else(|| CommandError::unknown_subcommand(second, spec.name))?,
        Some(_) | None => spec,
    };
    if spec.accepts(words.len()) { Ok(spec) } else { Err(CommandError::Arity(spec.name)) }
}

pub(super) fn by_name(name: &[u8]) -> Option<&'static Spec> {
    let mut lower = [0u8; NAME_MAX];
    let lower = lower_case(name, &mut lower)?;
    // Sorted tables instead of one, so that each stays readable.
    TABLES.iter().find_map(|table| {
        let at = table.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()?;
        Some(&table[at])
    })
}

/// `get`, or `client|list` for a subcommand, in any case.
pub(super) fn by_full_name(name: &[u8]) -> Option<&'static Spec> {
    match name.iter().position(|byte| *byte == b'|') {
        None => by_name(name),
        Some(bar) => subcommand(by_name(&name[..bar])?, &name[bar + 1..]),
    }
}

fn subcommand(container: &'static Spec, name: &[u8]) -> Option<&'static Spec> {
    container.subcommands.iter().find(|sub| sub.short_name().as_bytes().eq_ignore_ascii_case(name))
}

fn is_known(name: &[u8]) -> bool {
    let mut lower = [0u8; NAME_MAX];
    lower_case(name, &mut lower).is_some_and(|lower| {
        not_offered::NOT_OFFERED.binary_search_by(|known| known.as_bytes().cmp(lower)).is_ok()
    })
}

fn lower_case<'a>(name: &[u8], into: &'a mut [u8; NAME_MAX]) -> Option<&'a [u8]> {
    let lower = into.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    Some(lower)
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_in_order_and_names_fit() {
        for table in TABLES {
            assert!(table.windows(2).all(|pair| pair[0].name < pair[1].name));
        }
        assert!(not_offered::NOT_OFFERED.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(
            all()
                .all(|spec| spec.name.len() <= NAME_MAX && by_name(spec.name.as_bytes()).is_some())
        );
        assert!(not_offered::NOT_OFFERED.iter().all(|name| by_name(name.as_bytes()).is_none()));
    }
}
