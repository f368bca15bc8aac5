//! Where things lie, and cargo as a child.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use quorate_e2e::cluster::command::{output, visible};
use quorate_e2e::cluster::progress::Progress;
use quorate_e2e::cluster::tools;

/// The root of the clone.
pub(crate) fn root() -> &'static Path {
    tools::repository()
}

/// Cargo in the root of the clone.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo.args(args).current_dir(root());
    cargo
}

/// The crates of the workspace: folder, name and manifest.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) manifest: toml::Table,
}

pub(crate) fn members() -> Result<Vec<Member>> {
    let workspace = read_manifest(&root().join("Cargo.toml"))?;
    let folders = workspace["workspace"]["members"].as_array().context("members is a list")?;
    folders
        .iter()
        .map(|folder| {
            let folder = folder.as_str().context("a member is a folder")?;
            let manifest = read_manifest(&root().join(folder).join("Cargo.toml"))?;
            let name = manifest["package"]["name"].as_str().context("a package has a name")?;
            Ok(Member { name: name.to_owned(), manifest })
        })
        .collect()
}

/// The programs that run in pods, built as the cluster uses them.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) node: PathBuf,
    pub(crate) operator: PathBuf,
}

pub(crate) fn build_binaries(progress: &Progress) -> Result<Binaries> {
    progress.step("building quorate-node and quorate-operator (minutes when cold)");
    let packages = ["-p", "quorate-node", "-p", "quorate-operator"];
    visible(cargo(["build", "--profile", "fast", "--bins"]).args(packages))?;
    let folder = target_dir()?.join("fast");
    Ok(Binaries { node: folder.join("quorate-node"), operator: folder.join("quorate-operator") })
}

/// Cargo's own answer, since it may be set in several ways.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let metadata = output(&mut cargo(["metadata", "--format-version=1", "--no-deps", "--offline"]))
        .or_else(|_| output(&mut cargo(["metadata", "--format-version=1", "--no-deps"])))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let folder = metadata["target_directory"].as_str().context("metadata names it")?;
    Ok(PathBuf::from(folder))
}

fn read_manifest(path: &Path) -> Result<toml::Table> {
    let content =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&content).with_context(|| format!("{} is not TOML", path.display()))
}
