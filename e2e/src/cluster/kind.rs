//! The same cluster on kind, for machines where a Docker engine answers.
//!
//! kind brings its own nodes and storage provisioner; this room adds the datacenters as labels
//! and our storage class. Kubernetes' version is the one that this release of kind defaults to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::command::{command, find, output, succeeds, visible};
use super::image::Archive;
use super::local::Topology;
use super::progress::Progress;
use super::{Kubectl, addons, tools};

const NAME: &str = "quorate";
const STORAGE: &str = include_str!("../../local/manifests/storage-kind.yaml");
const NODES_LIMIT: Duration = Duration::from_secs(180);

/// A kind cluster named `quorate`.
#[derive(Debug, Default)]
pub struct Kind {
    topology: Topology,
}

impl Kind {
    /// Whether kind is installed and the Docker engine answers.
    pub fn is_possible() -> bool {
        find("kind").is_some() && succeeds(&mut command("docker", ["info"]))
    }

    pub fn kubeconfig(&self) -> PathBuf {
        folder().join("kubeconfig")
    }

    pub fn image_folder(&self) -> PathBuf {
        folder().join("images")
    }

    pub fn up(&self, progress: &Progress) -> Result<()> {
        fs::create_dir_all(folder())?;
        let known = output(&mut command("kind", ["get", "clusters"]))?;
        if !known.lines().any(|name| name == NAME) {
            progress.step("creating a kind cluster");
            let config = folder().join("kind.yaml");
            fs::write(&config, self.configuration())?;
            visible(kind(["create", "cluster"]).arg("--config").arg(config))?;
        }
        visible(&mut kind(["export", "kubeconfig"]))?;
        let kubectl = Kubectl::new(tools::kubectl(progress)?, self.kubeconfig());
        // Two default classes would make the choice depend on their age.
        kubectl.output([
            "annotate",
            "--overwrite",
            "storageclass",
            "standard",
            "storageclass.kubernetes.io/is-default-class=false",
        ])?;
        addons::apply(&kubectl, &[STORAGE])?;
        let count = self.topology.nodes.len() + 1;
        addons::wait_for_nodes(&kubectl, count, &BTreeMap::new(), NODES_LIMIT, progress)
    }

    pub fn down(&self, progress: &Progress) -> Result<()> {
        progress.step("deleting the kind cluster");
        visible(&mut kind(["delete", "cluster"]))?;
        if folder().exists() {
            fs::remove_dir_all(folder())?;
        }
        Ok(())
    }

    /// kind compares digests itself; it does not say whether a node took the image, so the
    /// digest of the last load is kept beside the archive.
    pub fn load_images(&self, images: &[Archive]) -> Result<bool> {
        let mut loaded = false;
        for image in images {
            let mark = image.path.with_extension("loaded");
            if fs::read_to_string(&mark).is_ok_and(|digest| digest == image.digest) {
                continue;
            }
            output(command("kind", ["load", "image-archive", "--name", NAME]).arg(&image.path))?;
            fs::write(mark, &image.digest)?;
            loaded = true;
        }
        Ok(loaded)
    }

    /// Inside the network namespace of the control plane's container; needs root.
    pub fn command_in_network(&self, program: &Path) -> Result<Command> {
        let container = format!("{NAME}-control-plane");
        let pid =
            output(&mut command("docker", ["inspect", "--format", "{{.State.Pid}}", &container]))?;
        let pid: u32 = pid.trim().parse().context("docker answers with a process id")?;
        let mut inside = command("nsenter", [format!("--net=/proc/{pid}/ns/net"), "--".into()]);
        inside.arg(program);
        Ok(inside)
    }

    fn configuration(&self) -> String {
        let workers: String = self
            .topology
            .nodes
            .iter()
            .map(|node| {
                format!(
                    "- role: worker\n  labels:\n    topology.kubernetes.io/region: {}\n    \
                     topology.kubernetes.io/zone: {}\n",
                    node.datacenter, node.zone
                )
            })
            .collect();
        format!(
            "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nname: {NAME}\nnodes:\n\
             - role: control-plane\n{workers}"
        )
    }
}

fn kind<const N: usize>(args: [&str; N]) -> Command {
    let mut kind = command("kind", args);
    kind.args(["--name", NAME]).arg("--kubeconfig").arg(folder().join("kubeconfig"));
    kind
}

fn folder() -> PathBuf {
    tools::cache_dir().join("kind")
}
