//! `up` and `down`: a cluster, the product on it, and a first store.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quorate_e2e::cluster::command::{output, output_of_input, succeeds};
use quorate_e2e::cluster::progress::{Probe, Progress};
use quorate_e2e::cluster::{Cluster, Kubectl, packages, tools};
use serde_json::Value;

use crate::images::{Images, exact_reference};
use crate::workspace::root;

const RELEASE: &str = "quorate";
/// Where the operator lives.
pub(crate) const NAMESPACE: &str = "quorate-system";
const STORE: &str = "quickstart";
const EXAMPLE: &str = "examples/quickstart.yaml";
const EXAMPLE_IMAGE: &str = "localhost/quorate-node:dev";
const OPERATOR_LIMIT: Duration = Duration::from_secs(180);
const STORE_LIMIT: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only Kubernetes, without the product.
    #[arg(long, conflicts_with = "no_store")]
    bare: bool,
    /// Kubernetes and the operator, without a store.
    #[arg(long)]
    no_store: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let progress = Progress::default();
    let cluster = Cluster::choose()?;
    progress.step(&format!("Kubernetes: {}", cluster.name()));
    cluster.up(&progress)?;
    if !args.bare {
        let images = install(&cluster, &progress)?;
        if !args.no_store {
            packages::ensure(packages::CLIENTS, &progress)?;
            create_store(&cluster, &images, &progress)?;
        }
    }
    progress.step("ready");
    explain(&cluster, !args.bare && !args.no_store)
}

pub(crate) fn down() -> Result<()> {
    let progress = Progress::default();
    Cluster::choose()?.down(&progress)?;
    let kept = tools::cache_dir().join("bin");
    progress.step(&format!("nothing is left but the built tools in {}", kept.display()));
    Ok(())
}

/// Images and operator, as they are in this clone.
pub(crate) fn install(cluster: &Cluster, progress: &Progress) -> Result<Images> {
    let images = Images::build(&cluster.image_folder(), progress)?;
    images.load(cluster, progress)?;
    let kubectl = cluster.kubectl()?;
    install_chart(&kubectl, &images, progress)?;
    progress.wait("the operator", OPERATOR_LIMIT, || operator_state(&kubectl)).inspect_err(
        |_| {
            explain_failure(&kubectl, NAMESPACE, progress);
        },
    )?;
    Ok(images)
}

/// Installs or upgrades the release, unless it is what the chart would give now.
fn install_chart(kubectl: &Kubectl, images: &Images, progress: &Progress) -> Result<()> {
    let helm = tools::helm(progress)?;
    let (repository, tag) =
        exact_reference(&images.operator).rsplit_once(':').context("an image has a tag")?;
    let values = [format!("image.repository={repository}"), format!("image.tag={tag}")];
    let with_chart = |command: &mut Command| {
        command.arg(root().join("charts/quorate")).args(["--namespace", NAMESPACE]);
        values.iter().for_each(|value| {
            command.args(["--set", value]);
        });
    };
    let mut template = helm_command(&helm, kubectl, &["template", RELEASE, "--no-hooks"]);
    with_chart(template.args(["--kube-version", "1.34.0"]));
    let wanted = output(&mut template)?;
    let mut manifest = helm_command(&helm, kubectl, &["get", "manifest", RELEASE]);
    let installed = output(manifest.args(["--namespace", NAMESPACE]));
    let is_current = installed.is_ok_and(|installed| installed.trim() == wanted.trim());
    if is_current && is_in_force(kubectl, &wanted) {
        return Ok(());
    }
    progress.step("installing the chart");
    let mut upgrade = helm_command(&helm, kubectl, &["upgrade", RELEASE, "--install"]);
    with_chart(&mut upgrade);
    output(upgrade.arg("--create-namespace"))?;
    Ok(())
}

/// Whether the objects still hold what the release gave them. Asked in another name than Helm's:
/// as Helm, everything that it adds by itself would be a difference.
fn is_in_force(kubectl: &Kubectl, manifests: &str) -> bool {
    let args = ["diff", "--server-side", "--force-conflicts", "--field-manager=quorate-local"];
    let mut diff = kubectl.command(args);
    diff.args(["--namespace", NAMESPACE, "--filename", "-"]);
    output_of_input(&mut diff, manifests).is_ok()
}

fn helm_command(helm: &Path, kubectl: &Kubectl, args: &[&str]) -> Command {
    let mut command = Command::new(helm);
    command.args(args).arg("--kubeconfig").arg(kubectl.kubeconfig());
    command
}

fn operator_state(kubectl: &Kubectl) -> Result<Probe<()>> {
    let label = format!("--selector=app.kubernetes.io/instance={RELEASE}");
    let found = kubectl.json(["get", "deployments", "--namespace", NAMESPACE, &label])?;
    let Some(deployment) = found["items"].as_array().and_then(|items| items.first()) else {
        return Ok(Probe::Waiting("its deployment is not there".to_owned()));
    };
    let (status, wanted) = (&deployment["status"], &deployment["spec"]["replicas"]);
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let wanted = wanted.as_u64().unwrap_or(1);
    let current = status["observedGeneration"] == deployment["metadata"]["generation"];
    let done = ["updatedReplicas", "availableReplicas", "replicas"]
        .iter()
        .all(|field| count(field) == wanted);
    Ok(if current && done {
        Probe::Ready(())
    } else {
        Probe::Waiting(format!(
            "{} of {wanted} replicas are up to date, {} available",
            count("updatedReplicas"),
            count("availableReplicas")
        ))
    })
}

fn create_store(cluster: &Cluster, images: &Images, progress: &Progress) -> Result<()> {
    let kubectl = cluster.kubectl()?;
    kubectl.output([
        "wait",
        "--for=condition=Established",
        "crd/replicatedstores.quorate.dev",
        "--timeout=60s",
    ])?;
    progress.step(&format!("applying {EXAMPLE}"));
    let example = fs::read_to_string(root().join(EXAMPLE))?;
    // The exact version instead of a tag that moves: so a changed program is rolled out.
    let example = example.replace(EXAMPLE_IMAGE, exact_reference(&images.node));
    let apply = ["apply", "--server-side", "--force-conflicts", "--filename", "-"];
    kubectl.output_of_input(apply, &example)?;
    let waited = progress.wait(&format!("store {STORE}"), STORE_LIMIT, || store_state(&kubectl));
    waited.inspect_err(|_| explain_failure(&kubectl, "default", progress))
}

fn store_state(kubectl: &Kubectl) -> Result<Probe<()>> {
    let store = kubectl.json(["get", "replicatedstore", STORE, "--namespace", "default"])?;
    let generation = &store["metadata"]["generation"];
    let conditions = store["status"]["conditions"].as_array().map(Vec::as_slice);
    let find = |kind: &str| {
        conditions.unwrap_or_default().iter().find(|condition| condition["type"] == kind)
    };
    let Some(ready) = find("Ready") else {
        return Ok(Probe::Waiting("the operator has not looked at it".to_owned()));
    };
    if ready["status"] == "True" && ready["observedGeneration"] == *generation {
        return Ok(Probe::Ready(()));
    }
    let text = |condition: &Value| {
        condition["message"].as_str().or(condition["reason"].as_str()).unwrap_or("?").to_owned()
    };
    let progressing = find("Progressing").filter(|condition| condition["status"] == "True");
    Ok(Probe::Waiting(text(progressing.unwrap_or(ready))))
}

/// What somebody would look at first.
fn explain_failure(kubectl: &Kubectl, namespace: &str, progress: &Progress) {
    let bound = ["--namespace", namespace];
    let operator = ["--namespace", NAMESPACE];
    for (scope, args) in [
        (bound, &["get", "pods,statefulsets,pvc", "--output=wide"][..]),
        (bound, &["get", "events", "--sort-by=.lastTimestamp"][..]),
        (operator, &["logs", "--selector=app.kubernetes.io/name=quorate", "--tail=30"][..]),
    ] {
        let said = kubectl
            .output(scope.into_iter().chain(args.iter().copied()))
            .unwrap_or_else(|error| format!("{error:#}"));
        progress.step(&format!("kubectl {}:\n{said}", args.join(" ")));
    }
}

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn explain(cluster: &Cluster, with_store: bool) -> Result<()> {
    let kubectl = tools::cache_dir().join("bin/kubectl");
    let kubectl = if kubectl.exists() { kubectl.display().to_string() } else { "kubectl".into() };
    println!("\n  export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("  {kubectl} get nodes --label-columns topology.kubernetes.io/region");
    if with_store {
        println!("  {kubectl} get rstore {STORE}");
        println!("\nTalk to the store:\n");
        println!("  {kubectl} port-forward service/{STORE}-rw 6379:6379 &");
        println!("  redis-cli -p 6379 SET greeting hello");
        println!("  redis-cli -p 6379 GET greeting");
    }
    println!("\nRemove everything: cargo xtask down");
    if !succeeds(cluster.kubectl()?.command(["version"]).arg("--request-timeout=5s")) {
        bail!("the API server went away");
    }
    Ok(())
}
