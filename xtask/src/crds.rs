//! `crds`: the CustomResourceDefinitions as files, from the operator's own types, and the chart's defaults as one file for
//! those who do without Helm.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use quorate_e2e::cluster::command::output;
use quorate_e2e::cluster::progress::Progress;
use quorate_e2e::cluster::tools;

use crate::up::NAMESPACE;
use crate::workspace::{cargo, root};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when a file differs from the types.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        return check();
    }
    for (path, content) in definitions()? {
        fs::write(path, content)?;
    }
    // Made from the chart, and so from the definition that was just written to it.
    let (path, content) = manifests()?;
    fs::write(path, content)?;
    Ok(())
}

/// Fails when a file on disk is not what the types say.
pub(crate) fn check() -> Result<()> {
    let files = definitions()?.into_iter().chain([manifests()?]);
    for (path, content) in files {
        if fs::read_to_string(&path).ok().as_deref() != Some(content.as_str()) {
            bail!(
                "{} is not what the types and the chart say: run `cargo xtask crds`",
                path.display()
            );
        }
    }
    Ok(())
}

fn definitions() -> Result<Vec<(PathBuf, String)>> {
    let yaml = output(&mut cargo(["run", "--quiet", "-p", "quorate-operator", "--", "crds"]))?;
    let plain = root().join("crds/replicatedstores.quorate.dev.yaml");
    let template = root().join("charts/quorate/templates/crds.yaml");
    Ok(vec![(template, as_template(&yaml)?), (plain, yaml)])
}

/// The chart with its default values, for `kubectl apply`.
fn manifests() -> Result<(PathBuf, String)> {
    let helm = tools::helm(&Progress::quiet())?;
    let args = ["--namespace", NAMESPACE, "--skip-tests", "--set", "namespace.create=true"];
    let mut template = Command::new(helm);
    template.args(["template", "quorate", "charts/quorate"]).args(args).current_dir(root());
    Ok((root().join("examples/install.yaml"), output(&mut template)?))
}

/// The definition as a template of the chart: it may be left out, and it outlives the release,
/// since deleting it would delete every store.
fn as_template(yaml: &str) -> Result<String> {
    if yaml.contains("{{") {
        bail!("the definition holds what a template would expand");
    }
    let keep = "\nmetadata:\n  annotations:\n    helm.sh/resource-policy: keep\n";
    let kept = yaml.replacen("\nmetadata:\n", keep, 1);
    Ok(format!("{{{{- if .Values.crds.create }}}}\n{kept}{{{{- end }}}}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_keeps_the_definition_when_the_release_goes() {
        let template = as_template("kind: X\nmetadata:\n  name: x\n").expect("nothing to expand");
        let expected = "{{- if .Values.crds.create }}\nkind: X\nmetadata:\n  annotations:\n    \
                        helm.sh/resource-policy: keep\n  name: x\n{{- end }}\n";
        assert_eq!(template, expected);
    }

    #[test]
    fn definition_with_template_marks_is_refused() {
        assert!(as_template("description: {{ x }}").is_err());
    }
}
