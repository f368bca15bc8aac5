//! The report: verdicts first, then tables, for people; the same with every sample, as JSON.

mod machine;
mod table;

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::Mode;
use crate::scenario::{Bench, Level, Scenario};
use machine::Machine;
pub(crate) use table::Table;

#[derive(Debug)]
pub(crate) struct Report {
    machine: Machine,
    versions: Vec<Version>,
    mode: Mode,
    level: Level,
    shards: u16,
    pub(crate) sections: Vec<Section>,
}

/// A system and its version, or why it is not there.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Version {
    system: &'static str,
    version: Option<String>,
    skipped: Option<String>,
}

/// One part of the report.
#[derive(Debug)]
pub(crate) struct Section {
    name: &'static str,
    title: &'static str,
    pub(crate) notes: Vec<String>,
    pub(crate) skipped: Vec<String>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) table: Option<Table>,
    /// Every sample.
    pub(crate) data: serde_json::Value,
}

/// One thing that was to be shown, and what was seen.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Verdict {
    claim: String,
    wanted: String,
    measured: String,
    /// `None` where nothing was demanded.
    met: Option<bool>,
}

impl Report {
    pub(crate) fn begin(bench: &Bench) -> Result<Self> {
        Ok(Self {
            machine: Machine::this(&bench.data)?,
            versions: bench.versions()?,
            mode: bench.mode,
            level: bench.level,
            shards: bench.shards,
            sections: Vec::new(),
        })
    }

    pub(crate) fn failed(&mut self, scenario: Scenario, error: &anyhow::Error) {
        crate::progress(&format!("{scenario:?} failed: {error:#}"));
        let mut section = Section::new("failed", "Not measured");
        section.skipped.push(format!("{scenario:?}: {error:#}"));
        self.sections.push(section);
    }

    /// Writes `<output>.md` and `<output>.json`.
    pub(crate) fn save(&self, output: &Path) -> Result<()> {
        if let Some(folder) = output.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(output.with_extension("md"), self.markdown())?;
        let json = serde_json::to_string_pretty(&self.json())?;
        std::fs::write(output.with_extension("json"), json + "\n")?;
        Ok(())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("## Verdicts\n");
        let mut verdicts = Table::new(&["what", "wanted", "measured, median (least to most)", ""]);
        for verdict in self.sections.iter().flat_map(|section| &section.verdicts) {
            let met = match verdict.met {
                None => "",
                Some(true) => "met",
                Some(false) => "**missed**",
            };
            let Verdict { claim, wanted, measured, met: _ } = verdict.clone();
            verdicts.row([claim, wanted, measured, met.to_owned()]);
        }
        text += &verdicts.markdown();
        text += &self.machine.markdown();
        for version in &self.versions {
            let said = version
                .version
                .clone()
                .or_else(|| version.skipped.as_ref().map(|why| format!("skipped: {why}")));
            text += &format!("- {}: {}\n", version.system, said.unwrap_or_default());
        }
        for section in &self.sections {
            text += &format!("\n## {}\n", section.title);
            for note in &section.notes {
                text += &format!("{note}\n\n");
            }
            for skipped in &section.skipped {
                text += &format!("Skipped: {skipped}\n\n");
            }
            if let Some(table) = &section.table {
                text += &table.markdown();
            }
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let sections: Vec<_> = self
            .sections
            .iter()
            .map(|section| {
                json!({
                    "name": section.name,
                    "title": section.title,
                    "notes": section.notes,
                    "skipped": section.skipped,
                    "verdicts": section.verdicts,
                    "data": section.data,
                })
            })
            .collect();
        json!({
            "machine": self.machine,
            "versions": self.versions,
            "mode": self.mode,
            "level": format!("{:?}", self.level).to_lowercase(),
            "shards": self.shards,
            "sections": sections,
        })
    }
}

impl Version {
    pub(crate) fn new(system: &'static str, version: String) -> Self {
        Self { system, version: Some(version), skipped: None }
    }

    pub(crate) fn of(system: &'static str, found: Result<String, String>) -> Self {
        match found {
            Ok(version) => Self::new(system, version),
            Err(why) => Self { system, version: None, skipped: Some(why) },
        }
    }
}

impl Section {
    pub(crate) fn new(name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            title,
            notes: Vec::new(),
            skipped: Vec::new(),
            verdicts: Vec::new(),
            table: None,
            data: serde_json::Value::Null,
        }
    }
}

impl Verdict {
    pub(crate) fn new(claim: &str, wanted: String, measured: String, met: Option<bool>) -> Self {
        crate::progress(&format!("-- {claim}: {measured}, wanted {wanted}"));
        Self { claim: claim.to_owned(), wanted, measured, met }
    }
}
