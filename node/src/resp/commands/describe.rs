//! COMMAND and its subcommands: the table as answers.

use bytes::Bytes;
use quorate_group::keyspace;

use super::spec::{Extent, Keys};
use super::{CommandError, Spec, table};
use crate::resp::Reply;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandQuery {
    All,
    Count,
    /// All when none is named.
    Info(Vec<Bytes>),
    Docs(Vec<Bytes>),
    List(CommandFilter),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandFilter {
    All,
    Category(Bytes),
    Pattern(Bytes),
    /// There are no modules.
    Module,
}

impl CommandQuery {
    #[must_use]
    pub fn answer(&self) -> Reply {
        match self {
            Self::All => Reply::List(table::all().map(row).collect()),
            Self::Count => Reply::count(table::all().count() as u64),
            Self::Info(names) if names.is_empty() => Self::All.answer(),
            Self::Info(names) => Reply::List(
                names
                    .iter()
                    .map(|name| table::by_full_name(name).map_or(Reply::Nil, row))
                    .collect(),
            ),
            Self::Docs(names) if names.is_empty() => {
                Reply::Map(table::all().map(document).collect())
            }
            Self::Docs(names) => Reply::Map(
                names.iter().filter_map(|name| table::by_full_name(name)).map(document).collect(),
            ),
            Self::List(filter) => Reply::List(
                named()
                    .filter(|spec| filter.takes(spec))
                    .map(|spec| Reply::text(spec.name))
                    .collect(),
            ),
        }
    }
}

impl CommandFilter {
    fn takes(&self, spec: &Spec) -> bool {
        match self {
            Self::All => true,
            Self::Category(category) => spec
                .categories
                .split_ascii_whitespace()
                .any(|own| own.as_bytes()[1..].eq_ignore_ascii_case(category)),
            Self::Pattern(pattern) => {
                keyspace::matches(&pattern.to_ascii_lowercase(), spec.name.as_bytes())
            }
            Self::Module => false,
        }
    }
}

/// The keys that the words name, with what the command does with them.
pub(super) fn keys(words: &[Bytes]) -> Result<(&'static Spec, Vec<Bytes>), CommandError> {
    let found = words.first().is_some_and(|name| table::by_name(name).is_some());
    if !found {
        return Err(CommandError::other("ERR Invalid command specified"));
    }
    let spec = table::find(words).map_err(|_| {
        CommandError::other("ERR Invalid number of arguments specified for command")
    })?;
    // Those of the command that is to be done once; a ONCE within is refused, also so that nobody decides how deep this goes.
    if spec.name == "once" && !words[2].eq_ignore_ascii_case(b"once") {
        return keys(&words[2..]);
    }
    if spec.keys.is_none() {
        return Err(CommandError::other("ERR The command has no key arguments"));
    }
    let keys = spec.key_places(words).into_iter().map(|place| words[place].clone()).collect();
    Ok((spec, keys))
}

/// The subcommands of a container, for people.
pub(super) fn help(container: &str) -> Reply {
    let mut lines =
        vec![Reply::Status(format!("{} <subcommand>", container.to_uppercase()).into())];
    for sub in table::by_name(container.as_bytes()).map_or(&[][..], |spec| spec.subcommands) {
        lines.push(Reply::Status(sub.short_name().to_uppercase().into()));
        lines.push(Reply::Status(format!("    {}", sub.summary).into()));
    }
    Reply::List(lines)
}

/// COMMAND LIST shows subcommands too.
fn named() -> impl Iterator<Item = &'static Spec> {
    table::all().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
}

fn row(spec: &'static Spec) -> Reply {
    let (first, last, step) = spec.key_range();
    Reply::List(vec![
        Reply::text(spec.name),
        Reply::Integer(i64::from(spec.arity)),
        words(spec.flags, Reply::Status),
        Reply::Integer(first),
        Reply::Integer(last),
        Reply::Integer(step),
        words(spec.categories, Reply::Status),
        words(spec.tips, Reply::Text),
        Reply::Set(spec.key_specs().map(key_spec).collect()),
        Reply::Set(spec.subcommands.iter().map(row).collect()),
    ])
}

fn key_spec(keys: Keys) -> Reply {
    let (kind, extent) = match keys.extent {
        Extent::Range { last, step } => {
            ("range", [("lastkey", i64::from(last)), ("keystep", i64::from(step)), ("limit", 0)])
        }
        Extent::Counted => ("keynum", [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]),
    };
    let index = [("index", i64::from(keys.first))];
    Reply::Map(vec![
        (Reply::text("flags"), words(keys.flags, Reply::Status)),
        (Reply::text("begin_search"), search("index", &index)),
        (Reply::text("find_keys"), search(kind, &extent)),
    ])
}

fn search(kind: &'static str, numbers: &[(&'static str, i64)]) -> Reply {
    let spec = numbers
        .iter()
        .map(|(name, number)| (Reply::text(*name), Reply::Integer(*number)))
        .collect();
    Reply::Map(vec![
        (Reply::text("type"), Reply::text(kind)),
        (Reply::text("spec"), Reply::Map(spec)),
    ])
}

fn document(spec: &'static Spec) -> (Reply, Reply) {
    let mut about = vec![
        (Reply::text("summary"), Reply::text(spec.summary)),
        (Reply::text("since"), Reply::text(spec.since)),
        (Reply::text("group"), Reply::text(spec.group)),
    ];
    if !spec.subcommands.is_empty() {
        let subcommands = spec.subcommands.iter().map(document).collect();
        about.push((Reply::text("subcommands"), Reply::Map(subcommands)));
    }
    (Reply::text(spec.name), Reply::Map(about))
}

fn words(words: &'static str, one: fn(std::borrow::Cow<'static, str>) -> Reply) -> Reply {
    Reply::Set(words.split_ascii_whitespace().map(|word| one(word.into())).collect())
}

pub(super) fn flags(spec: &'static Spec) -> Reply {
    words(spec.keys.map_or("", |keys| keys.flags), Reply::Status)
}
