//! `tidy`: the house rules that no compiler checks.
//!
//! Each check adds sentences that name a file and what to do; all of them are printed before the
//! command fails.

mod arrows;
mod files;
mod invariants;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::root;

/// A source file, with its path from the root.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

#[expect(clippy::print_stderr, reason = "this is the command's answer")]
pub(crate) fn run() -> Result<()> {
    let sources = sources()?;
    let mut found = arrows::check()?;
    found.extend(sources.iter().flat_map(files::check));
    let protocol = fs::read_to_string(root().join("docs/protocol.md"))
        .context("docs/protocol.md holds the invariants")?;
    found.extend(invariants::check(&protocol, &sources));
    for sentence in &found {
        eprintln!("tidy: {sentence}");
    }
    if !found.is_empty() {
        bail!("{} things are not tidy", found.len());
    }
    Ok(())
}

/// Every Rust file of the clone.
fn sources() -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    collect(root(), &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn collect(folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, sources)?;
        } else if path.is_file() && name.ends_with(".rs") {
            let text = fs::read_to_string(&path)?;
            sources.push(Source { path: path.strip_prefix(root())?.to_owned(), text });
        }
    }
    Ok(())
}
