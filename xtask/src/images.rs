//! `images`: the product's container images, made without Docker.

use std::path::Path;

use anyhow::Result;
use quorate_e2e::cluster::Cluster;
use quorate_e2e::cluster::image::{Archive, Base, archive};
use quorate_e2e::cluster::progress::Progress;

use crate::workspace;

/// The images in the order node, operator.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) node: Archive,
    pub(crate) operator: Archive,
}

impl Images {
    /// Builds the programs and writes the archives where the cluster keeps them.
    pub(crate) fn build(folder: &Path, progress: &Progress) -> Result<Self> {
        let binaries = workspace::build_binaries(progress)?;
        progress.step("writing images");
        let make = |name, program| archive(name, program, Base::HostLibraries, folder);
        Ok(Self {
            node: make("quorate-node", &binaries.node)?,
            operator: make("quorate-operator", &binaries.operator)?,
        })
    }

    pub(crate) fn load(&self, cluster: &Cluster, progress: &Progress) -> Result<()> {
        if cluster.load_images(&[self.node.clone(), self.operator.clone()])? {
            progress.step("images loaded into the Kubernetes nodes");
        }
        Ok(())
    }
}

/// The name under which an archive's very version can be asked for.
pub(crate) fn exact_reference(archive: &Archive) -> &str {
    archive.references.last().map_or("", String::as_str)
}

/// Builds the images; loads them when there is a cluster.
pub(crate) fn run() -> Result<()> {
    let progress = Progress::default();
    let cluster = Cluster::choose()?;
    if cluster.kubeconfig().exists() {
        return Images::build(&cluster.image_folder(), &progress)?.load(&cluster, &progress);
    }
    let folder = workspace::target_dir()?.join("images");
    let images = Images::build(&folder, &progress)?;
    for image in [&images.node, &images.operator] {
        progress.step(&format!("{} ({})", image.path.display(), image.references.join(", ")));
    }
    Ok(())
}
