//! kubectl against one cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::command;

#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A command that is bound to the cluster.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        command
    }

    pub fn output<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        command::output(&mut self.command(args))
    }

    pub fn output_of_input<'a>(
        &self,
        args: impl IntoIterator<Item = &'a str>,
        input: &str,
    ) -> Result<String> {
        command::output_of_input(&mut self.command(args), input)
    }

    /// The answer of a `get` as JSON.
    pub fn json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<Value> {
        let answer = command::output(self.command(args).args(["--output", "json"]))?;
        serde_json::from_str(&answer).context("kubectl answers with JSON")
    }
}
