//! A server as a child process that ends with whoever holds it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

#[derive(Debug)]
pub(super) struct Server {
    child: Child,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    Kill,
    Stop,
    Continue,
}

impl Server {
    /// Starts it with what it says going to the file `log`. Standard input stays open as long as it is held.
    pub(super) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let shown = format!("{:?}", command.get_program());
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {shown}"))?;
        Ok(Self { child })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let name = match signal {
            Signal::Kill => "-KILL",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let pid = self.pid().to_string();
        Command::new("kill").args([name, &pid]).status().context("send a signal")?;
        Ok(())
    }

    /// Kills it and waits until it is gone, so that its ports and its directory are free.
    pub(super) fn end(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
