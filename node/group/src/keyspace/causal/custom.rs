//! What is declared of a key's concurrent values, and the scripts of the policy `Custom`.
//!
//! Only the leader that takes a change, or writes, runs one. What it answers goes into the group's log as a row.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_model::{Conflicts, Resolution};
use quorate_script::{Error, Script};

use super::Leaders;
use super::reading::Found;

/// The scripts of what is declared by their sources, each read once.
#[derive(Clone, Default, Debug)]
pub(super) struct Scripts(BTreeMap<String, Result<Script, Error>>);

/// How several values of one key are read.
#[derive(Clone, Copy)]
pub(super) struct Policy<'a> {
    pub(super) resolution: &'a Resolution,
    key: &'a [u8],
    /// Who knows the scripts and the datacenters.
    leaders: Option<&'a Leaders>,
}

impl Scripts {
    pub(super) fn of(conflicts: &Conflicts) -> Self {
        let read = |source: &str| (source.to_owned(), Script::compile(source));
        Self(conflicts.scripts().map(read).collect())
    }
}

impl<'a> Policy<'a> {
    pub(super) const fn new(key: &'a [u8], leaders: Option<&'a Leaders>) -> Self {
        Self { resolution: &Resolution::LastWriterWins, key, leaders }
    }

    pub(super) const fn as_declared(self, resolution: &'a Resolution) -> Self {
        Self { resolution, ..self }
    }

    /// Of a field one value is chosen whatever is declared.
    pub(super) fn of_field(self) -> Self {
        match self.resolution {
            Resolution::Siblings => self.as_declared(&Resolution::LastWriterWins),
            Resolution::LastWriterWins
            | Resolution::ReplicaPriority(_)
            | Resolution::Merge(_)
            | Resolution::Custom { .. } => self,
        }
    }

    /// What this script makes of them. Nothing: it leaves them to the last writer.
    pub(super) fn run(&self, script: &str, found: &[Found<'_>]) -> Result<Option<Bytes>, String> {
        let Some(leaders) = self.leaders else { return Ok(None) };
        let Some(read) = leaders.scripts.0.get(script) else { return Ok(None) };
        let read = read.as_ref().map_err(ToString::to_string)?;
        let mut found: Vec<&Found<'_>> = found.iter().collect();
        found.sort_by_key(|(sibling, _, _)| (sibling.at, sibling.dot));
        let origins: Vec<String> =
            found.iter().map(|(sibling, _, _)| leaders.place_of(sibling.dot.actor)).collect();
        let siblings = found.iter().zip(&origins).map(|((sibling, value, _), origin)| {
            quorate_script::Sibling { value, origin, time_ms: sibling.at.wall().0 }
        });
        let answer = read.run(self.key, &siblings.collect::<Vec<_>>());
        answer.map(|answer| answer.map(Bytes::from)).map_err(|error| error.to_string())
    }
}

/// What no topology should have: whoever lets one in asks. Another version may have let it in, so the log is not refused for it.
///
/// # Errors
/// A sentence that says what is wrong with which script.
pub fn check_scripts(conflicts: &Conflicts) -> Result<(), String> {
    let of_keys = conflicts.keys.iter().map(|one| (one.pattern.as_str(), &one.resolution));
    for (pattern, resolution) in of_keys.chain([("*", &conflicts.resolution)]) {
        let Resolution::Custom { script } = resolution else { continue };
        if let Err(problem) = Script::compile(script) {
            return Err(format!("the script for conflicts of {pattern} cannot be read: {problem}"));
        }
    }
    Ok(())
}
