//! `up` and `down`.
use anyhow::Result;
use quorate_e2e::cluster::Cluster;
use quorate_e2e::cluster::progress::Progress;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only Kubernetes, without the product.
    #[arg(long)]
    pub bare: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let progress = Progress::default();
    Cluster::choose()?.up(&progress)?;
    progress.step("ready");
    let _ = args.bare;
    Ok(())
}

pub(crate) fn down() -> Result<()> {
    Cluster::choose()?.down(&Progress::default())
}
