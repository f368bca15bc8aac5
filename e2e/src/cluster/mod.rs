//! Kubernetes clusters behind one interface, chosen by what the machine has.
//!
//! Where a Docker engine answers and `kind` is installed, kind is used, since that is what its
//! users have; else a cluster of our own. Both have three datacenters as topology labels and the
//! default storage class `quorate-local`. Levers that break things exist for our own only.

pub mod command;
pub mod image;
pub mod packages;
pub mod progress;
pub mod tools;

mod addons;
pub mod kind;
pub mod kubectl;
pub mod local;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Result, bail};

use image::Archive;
pub use kind::Kind;
pub use kubectl::Kubectl;
pub use local::{Faults, Local, Loss, Node, PodProcess, Topology};
use progress::Progress;

/// The default storage class of every cluster of ours.
pub const STORAGE_CLASS: &str = "quorate-local";

#[derive(Debug)]
pub enum Cluster {
    Local(Local),
    Kind(Kind),
}

impl Cluster {
    /// The cluster that exists, else the kind of cluster that `up` would make here.
    /// `QUORATE_CLUSTER` (`local` or `kind`) overrules it.
    pub fn choose() -> Result<Self> {
        match std::env::var("QUORATE_CLUSTER").as_deref() {
            Ok("local") => Ok(Self::Local(Local::default())),
            Ok("kind") => Ok(Self::Kind(Kind::default())),
            Ok(other) => bail!("QUORATE_CLUSTER is {other}; it may be local or kind"),
            Err(_) if Local::default().exists() => Ok(Self::Local(Local::default())),
            Err(_) if Kind::is_possible() => Ok(Self::Kind(Kind::default())),
            Err(_) => Ok(Self::Local(Local::default())),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Local(_) => "local cluster",
            Self::Kind(_) => "kind",
        }
    }

    /// Brings the cluster to the wanted state from any other; repeating it changes nothing.
    pub fn up(&self, progress: &Progress) -> Result<()> {
        match self {
            Self::Local(local) => local.up(progress),
            Self::Kind(kind) => kind.up(progress),
        }
    }

    /// Removes the cluster and everything that it left on the machine.
    pub fn down(&self, progress: &Progress) -> Result<()> {
        match self {
            Self::Local(local) => local.down(progress),
            Self::Kind(kind) => kind.down(progress),
        }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Local(local) => local.kubeconfig(),
            Self::Kind(kind) => kind.kubeconfig(),
        }
    }

    pub fn kubectl(&self) -> Result<Kubectl> {
        Ok(Kubectl::new(tools::kubectl(&Progress::quiet())?, self.kubeconfig()))
    }

    /// The folder for image archives; it goes away with the cluster.
    pub fn image_folder(&self) -> PathBuf {
        match self {
            Self::Local(local) => local.image_folder(),
            Self::Kind(kind) => kind.image_folder(),
        }
    }

    /// Loads images into every node that lacks this version. True when any node took one.
    pub fn load_images(&self, images: &[Archive]) -> Result<bool> {
        match self {
            Self::Local(local) => local.load_images(images),
            Self::Kind(kind) => kind.load_images(images),
        }
    }

    /// A command that will run where the addresses of pods are reachable.
    pub fn command_in_network(&self, program: &Path) -> Result<Command> {
        match self {
            Self::Local(local) => Ok(local.command_in_network(program)),
            Self::Kind(kind) => kind.command_in_network(program),
        }
    }

    /// The cluster of our own, for its levers.
    pub fn local(&self) -> Result<&Local> {
        match self {
            Self::Local(local) => Ok(local),
            Self::Kind(_) => {
                bail!("only the local cluster has fault levers: QUORATE_CLUSTER=local")
            }
        }
    }

    /// Forwards a free port of loopback to a port of a pod or service (`pod/x`, `service/y`).
    pub fn port_forward(&self, namespace: &str, target: &str, port: u16) -> Result<PortForward> {
        PortForward::start(&self.kubectl()?, namespace, target, port)
    }
}

/// A running `kubectl port-forward`; it ends when dropped.
#[derive(Debug)]
pub struct PortForward {
    child: Child,
    port: u16,
}

impl PortForward {
    fn start(kubectl: &Kubectl, namespace: &str, target: &str, port: u16) -> Result<Self> {
        use std::io::{BufRead, BufReader};
        let remote = format!(":{port}");
        let mut command = kubectl.command(["port-forward", "--namespace", namespace]);
        let mut child = command
            .args(["--address=127.0.0.1", target, &remote])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            let mut reader = BufReader::new(stdout);
            reader.read_line(&mut said)?;
            // It says a line per connection, and would die of a closed pipe.
            thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        }
        // "Forwarding from 127.0.0.1:40123 -> 6379"
        let local = said
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|port| port.parse().ok());
        match local {
            Some(port) => Ok(Self { child, port }),
            None => {
                child.kill()?;
                child.wait()?;
                bail!("cannot forward a port to {target} in {namespace}: {said}")
            }
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PortForward {
    fn drop(&mut self) {
        // It may have ended by itself, together with its pod.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
