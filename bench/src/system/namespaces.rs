//! Network namespaces on one bridge, one for each node, so that a node can be cut off while its processes run on.
//!
//! Needs root. Everything has this process's number in its name, and is removed when the last holder drops it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

const COUNT: usize = 3;

#[derive(Debug)]
pub(crate) struct Namespaces {
    tag: String,
    subnet: u8,
}

impl Namespaces {
    /// # Errors
    /// When they cannot be made: without root, or without `ip`.
    pub(crate) fn create() -> Result<Self> {
        let process = std::process::id();
        let namespaces =
            Self { tag: format!("q{}", process % 10_000), subnet: process.to_le_bytes()[0] };
        let bridge = namespaces.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        let gateway = format!("10.111.{}.254/24", namespaces.subnet);
        ip(&["addr", "add", &gateway, "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for number in 1..=COUNT {
            namespaces.add(number)?;
        }
        Ok(namespaces)
    }

    fn add(&self, number: usize) -> Result<()> {
        let (name, outside, bridge) = (self.name(number), self.outside(number), self.bridge());
        ip(&["netns", "add", &name])?;
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
        ip(&["link", "set", &outside, "master", &bridge, "up"])?;
        let address = format!("{}/24", self.address(number));
        ip(&["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])
    }

    pub(crate) fn address(&self, number: usize) -> String {
        format!("10.111.{}.{number}", self.subnet)
    }

    /// The program inside of the node's namespace; `ip` becomes the program, so its pid is the child's.
    pub(crate) fn command(&self, number: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(number)]).arg(program);
        command
    }

    /// Nothing gets in or out any more, and nobody is told.
    pub(crate) fn cut(&self, number: usize) -> Result<()> {
        ip(&["link", "set", &self.outside(number), "nomaster"])
    }

    pub(crate) fn mend(&self, number: usize) -> Result<()> {
        ip(&["link", "set", &self.outside(number), "master", &self.bridge()])
    }

    /// A device of this process becomes the way from one namespace to another.
    pub(super) fn lead(&self, from: usize, to: usize, device: &str) -> Result<()> {
        let (name, source) = (self.name(from), self.address(from));
        ip(&["link", "set", device, "netns", &name])?;
        // Whoever takes packets from it may have to wait for a processor meanwhile: none is lost for that.
        ip(&["-n", &name, "link", "set", device, "txqueuelen", "10000", "up"])?;
        let to = format!("{}/32", self.address(to));
        // Linux's own default, whatever this machine has: BBR stops for half a second in ten to measure the line.
        let route = ["dev", device, "src", &source, "congctl", "cubic"];
        ip(&[&["-n", &name, "route", "add", &to][..], &route].concat())
    }

    /// A name for a device that nobody else gives one.
    pub(super) fn device(&self, number: usize) -> String {
        format!("{}t{number}", self.tag)
    }

    fn name(&self, number: usize) -> String {
        format!("{}n{number}", self.tag)
    }

    fn outside(&self, number: usize) -> String {
        format!("{}v{number}", self.tag)
    }

    fn bridge(&self) -> String {
        format!("{}br", self.tag)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for number in 1..=COUNT {
            // What was never made cannot be removed, and that is fine.
            ip(&["netns", "del", &self.name(number)]).ok();
            ip(&["link", "del", &self.outside(number)]).ok();
        }
        ip(&["link", "del", &self.bridge()]).ok();
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("there is no `ip`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
