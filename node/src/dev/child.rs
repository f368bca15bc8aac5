//! One node as a child process: its standard input tells it to stop, its standard output says where it is.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::layout::Layout;
use super::{DevError, Options};
use crate::node::Announcement;

pub(super) struct Child {
    number: u16,
    log: PathBuf,
    process: tokio::process::Child,
    /// While it is open the node runs.
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spawned {
    Running,
    Ended(Option<ExitStatus>),
}

impl Child {
    pub(super) fn spawn(options: &Options, layout: &Layout, number: u16) -> Result<Self, DevError> {
        let name = Layout::name(number);
        let log = layout.log(number);
        let failed = |source| DevError::Spawn { name: name.clone(), source };
        let log_file = OpenOptions::new().create(true).append(true).open(&log).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        // What is set around `dev` is not meant for each of its nodes.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("QUORATE_") {
                command.env_remove(variable);
            }
        }
        let ports = layout.ports(number);
        let at = |port: u16| format!("127.0.0.1:{port}");
        command
            .args(["run", "--announce", "--exit-with-parent", "--advertise-host", "127.0.0.1"])
            .args(["--store", &layout.store().to_string(), "--name", &name])
            .args(["--datacenter", &layout.datacenter(number), "--log-level", &options.log_level])
            .args(["--listen-plain", &at(ports.plain), "--listen-cluster", &at(ports.cluster)])
            .args(["--listen-peer", &at(ports.peer), "--listen-admin", &at(ports.admin)])
            .arg("--data-dir")
            .arg(layout.data(number));
        if let Some(config) = &options.config {
            command.arg("--config").arg(config);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file);
        // A signal from the terminal is for `dev`, which then stops its nodes in order.
        command.process_group(0).kill_on_drop(true);
        let mut process = command.spawn().map_err(failed)?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        Ok(Self { number, log, process, stdin, stdout })
    }

    pub(super) const fn number(&self) -> u16 {
        self.number
    }

    /// Waits until the node has started and says where it is.
    pub(super) async fn announcement(
        &mut self,
        timeout: Duration,
    ) -> Result<Announcement, DevError> {
        let name = Layout::name(self.number);
        if let Some(stdout) = self.stdout.take() {
            let mut line = String::new();
            let mut reader = BufReader::new(stdout);
            match tokio::time::timeout(timeout, reader.read_line(&mut line)).await {
                Err(_) => return Err(DevError::Slow { name, log: self.log.clone() }),
                Ok(Ok(_)) => {
                    if let Ok(announcement) = serde_json::from_str(&line) {
                        return Ok(announcement);
                    }
                }
                Ok(Err(error)) => tracing::debug!("cannot read what {name} says: {error}"),
            }
        }
        let status = self.process.wait().await;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        Err(DevError::Ended { name, status, log: self.log.clone() })
    }

    /// Says how the node ended, if it did.
    pub(super) fn ended(&mut self) -> Option<DevError> {
        let status = self.process.try_wait().ok().flatten()?;
        let name = Layout::name(self.number);
        Some(DevError::Ended { name, status: status.to_string(), log: self.log.clone() })
    }

    pub(super) async fn tell_to_stop(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            // It may have ended already.
            drop(stdin.write_all(b"stop\n").await);
            drop(stdin.flush().await);
        }
    }

    /// Waits for the node to end; kills it at the deadline.
    pub(super) async fn end_by(mut self, deadline: tokio::time::Instant) -> Spawned {
        match tokio::time::timeout_at(deadline, self.process.wait()).await {
            Ok(status) => Spawned::Ended(status.ok()),
            Err(_) => {
                drop(self.process.kill().await);
                Spawned::Running
            }
        }
    }
}
