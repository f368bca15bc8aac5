//! What the machine must have, and how it gets there.
//!
//! Programs are looked for by name, never by package, so a machine that has them from elsewhere
//! is left alone. What is missing is installed with apt on Debian and its kin, said first; on any
//! other system, or without root, the error lists exactly what is missing.

use std::path::Path;

use anyhow::{Result, bail};

use super::command::{command, find, visible};
use super::progress::Progress;

/// A program (or file) and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    program: &'static str,
    package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// What the cluster of our own needs.
pub const LOCAL_CLUSTER: &[Need] = &[
    need("containerd", "containerd"),
    need("ctr", "containerd"),
    need("runc", "runc"),
    need("/usr/lib/cni/ptp", "containernetworking-plugins"),
    need("/usr/lib/cni/host-local", "containernetworking-plugins"),
    need("iptables", "iptables"),
    need("ip", "iproute2"),
    need("nsenter", "util-linux"),
    need("setsid", "util-linux"),
    need("mount", "mount"),
    need("openssl", "openssl"),
];

/// What the printed instructions use.
pub const CLIENTS: &[Need] = &[need("redis-cli", "redis-tools")];

/// Installs what is missing, or says what it is.
pub fn ensure(needs: &[Need], progress: &Progress) -> Result<()> {
    let mut packages: Vec<&str> =
        needs.iter().filter(|need| !present(need)).map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let Some(apt) = find("apt-get") else {
        let programs: Vec<&str> =
            needs.iter().filter(|need| !present(need)).map(|need| need.program).collect();
        bail!(
            "these programs are missing: {}. This system has no apt-get; install them with its \
             own package manager (on Debian they are in: {list})",
            programs.join(" ")
        );
    };
    if !is_root() {
        bail!("these packages are missing: {list}. Install them as root: apt-get install {list}");
    }
    progress.step(&format!("installing Debian packages: {list}"));
    let apt = apt.to_string_lossy().into_owned();
    let install = || {
        let mut install = command(&apt, ["install", "-y", "--no-install-recommends", "-q"]);
        visible(install.args(&packages).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // The lists may be absent or old; they are fetched only when the first try fails.
    if install().is_err() {
        visible(&mut command(&apt, ["update", "-q"]))?;
        install()?;
    }
    Ok(())
}

/// Whether this process may make namespaces and install packages.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn present(need: &Need) -> bool {
    if need.program.starts_with('/') {
        Path::new(need.program).exists()
    } else {
        find(need.program).is_some()
    }
}
