//! The stages on a real Kubernetes: the cluster itself first, then the product on it.

use std::fs;

use anyhow::{Result, bail};
use quorate_e2e::cluster::command::{command, output, output_of_input};
use quorate_e2e::cluster::progress::Progress;
use quorate_e2e::cluster::tools;
use quorate_e2e::cluster::{Cluster, packages};

use super::stage::Stages;
use crate::schemas;
use crate::up;
use crate::workspace::{cargo, root, target_dir};

/// Tests of the cluster itself; they run before the product is installed.
const OF_THE_CLUSTER: [&str; 2] = ["cluster", "levers"];

pub(super) fn run(stages: &mut Stages, keep_cluster: bool) {
    let progress = Progress::default();
    let existed = Cluster::choose().is_ok_and(|cluster| cluster.kubeconfig().exists());
    for test in OF_THE_CLUSTER {
        stages.tests(&format!("e2e: {test}"), &mut tests(&[test]));
    }
    let installed = stages.check("e2e: install the product", || {
        let cluster = Cluster::choose()?;
        cluster.up(&progress)?;
        packages::ensure(packages::CLIENTS, &progress)?;
        up::install(&cluster, &progress).map(|_| ())
    });
    stages.command(
        "e2e: build kubectl quorate",
        &mut cargo(["build", "--package", "kubectl-quorate"]),
    );
    stages.check("e2e: chart against the API server's schemas", check_chart);
    stages.check("e2e: examples are accepted", check_examples);
    if installed {
        match tests_of_the_product() {
            Ok(names) => {
                for name in names {
                    stages.tests(&format!("e2e: {name}"), &mut tests(&[&name]));
                }
            }
            Err(error) => {
                stages.check("e2e: list of tests", || Err(error));
            }
        }
    }
    if !existed && !keep_cluster {
        stages.check("e2e: down", || Cluster::choose()?.down(&progress));
    }
}

fn tests(names: &[&str]) -> std::process::Command {
    let mut run = cargo(["test", "--package", "quorate-e2e", "--no-fail-fast"]);
    for name in names {
        run.args(["--test", name]);
    }
    // The tests share one cluster and break it: they take turns.
    run.args(["--", "--nocapture", "--test-threads=1"]).env("QUORATE_E2E", "1");
    // A test that fails says why in its error; forty frames behind it only push that out of sight.
    run.env("RUST_LIB_BACKTRACE", "0");
    run
}

/// The test programs of the crate: files, and folders with a `main.rs`.
fn tests_of_the_product() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("e2e/tests"))? {
        let path = entry?.path();
        let is_test =
            path.join("main.rs").exists() || path.extension().is_some_and(|kind| kind == "rs");
        if let Some(name) = path.file_stem().filter(|_| is_test) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.retain(|name| !OF_THE_CLUSTER.contains(&name.as_str()));
    names.sort();
    Ok(names)
}

/// Every object of the chart against the schemas of the very API server, unknown fields refused.
fn check_chart() -> Result<()> {
    let progress = Progress::default();
    let folder = target_dir()?.join("schemas");
    let kubectl = Cluster::choose()?.kubectl()?;
    schemas::write(&kubectl.output(["get", "--raw", "/openapi/v2"])?, &folder)?;
    let helm = tools::helm(&progress)?;
    let chart = root().join("charts/quorate");
    let manifests = output(
        command(&helm.to_string_lossy(), ["template", "quorate"])
            .arg(chart)
            .args(["--set", "crds.create=false"]),
    )?;
    let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", folder.display());
    let kubeconform = tools::kubeconform(&progress)?;
    let mut check = command(&kubeconform.to_string_lossy(), ["-strict", "-summary"]);
    let said = output_of_input(check.args(["-schema-location", &location, "-"]), &manifests)?;
    if !said.contains("Valid: ") || said.contains("Valid: 0") {
        bail!("nothing was checked: {said}");
    }
    Ok(())
}

/// The API server itself judges the examples: schema, defaults and rules; nothing is created.
fn check_examples() -> Result<()> {
    let kubectl = Cluster::choose()?.kubectl()?;
    let args = ["apply", "--server-side", "--force-conflicts", "--dry-run=server"];
    let mut apply = kubectl.command(args);
    output(apply.args(["--validate=strict", "--filename"]).arg(root().join("examples")))?;
    Ok(())
}
