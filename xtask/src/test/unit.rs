//! The stages that need no cluster.

use quorate_e2e::cluster::command::{find, output};
use quorate_e2e::cluster::progress::Progress;
use quorate_e2e::cluster::tools;

use super::stage::Stages;
use crate::workspace::{cargo, members, root};
use crate::{crds, tidy};

pub(super) fn run(stages: &mut Stages) {
    stages.command("format", &mut cargo(["fmt", "--all", "--check"]));
    stages.check("house rules (tidy)", tidy::run);
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    stages.command("lints (clippy)", &mut cargo(clippy));
    stages.check("each crate alone", each_crate_alone);
    if find("cargo-deny").is_some() {
        let deny = ["deny", "--log-level", "error", "check", "bans", "licenses", "sources"];
        stages.command("dependencies (deny)", &mut cargo(deny));
    } else {
        let hint = "not installed: cargo install --locked --version 0.20.2 cargo-deny";
        stages.skip("dependencies (deny)", hint);
    }
    stages.check("CRD and install files", crds::check);
    stages.check("chart", chart);
    let tests = ["test", "--workspace", "--no-fail-fast"];
    // Asking for the cluster here would run its tests among the others.
    stages.tests("unit and integration tests", cargo(tests).env_remove("QUORATE_E2E"));
}

/// A crate may compile only because another one turns a feature on for it.
fn each_crate_alone() -> anyhow::Result<()> {
    for member in members()? {
        output(&mut cargo(["check", "--quiet", "--package", &member.name]))?;
    }
    Ok(())
}

/// The chart renders, with the defaults and with everything turned the other way.
fn chart() -> anyhow::Result<()> {
    let helm = tools::helm(&Progress::default())?;
    let helm = helm.to_string_lossy();
    let chart = root().join("charts/quorate");
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&*helm);
        output(command.args(args).arg(&chart))
    };
    run(&["lint", "--strict"])?;
    run(&["template", "quorate"])?;
    run(&["template", "quorate", "--set", "crds.create=false,namespaced=true,replicas=1"])?;
    Ok(())
}
