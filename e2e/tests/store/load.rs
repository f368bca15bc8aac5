//! The client that writes and reads all the while: `quorate-load`, run where pods can be reached.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) acknowledged_writes: u64,
    pub(crate) unknown_writes: u64,
    pub(crate) reads: u64,
    pub(crate) failed_reads: u64,
    pub(crate) failed_writes: u64,
    pub(crate) longest_gap_ms: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) last_errors: Vec<String>,
    pub(crate) clients_replaced: u64,
}

/// How the client talks to the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// In cluster mode, with the library's retries.
    Cluster,
    /// A connection to each node; what fails is asked once more, of another node.
    Plain,
}

impl Kind {
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Cluster => 6380,
            Self::Plain => 6379,
        }
    }
}

/// What to start.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate-load");

pub(crate) struct Load {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Load {
    /// Starts the program where `command` says, and waits until every key has an acknowledged write.
    pub(crate) fn start(mut command: Command, nodes: &[String], kind: Kind) -> Result<Self> {
        const KEYS: &str = "24";
        let mut child = command
            .arg(nodes.join(","))
            .arg(KEYS)
            .args(match kind {
                Kind::Cluster => None,
                Kind::Plain => Some("plain"),
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the load")?;
        let mut output = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut line = String::new();
        output.read_line(&mut line).context("read the load's output")?;
        ensure!(line.trim() == "ready", "the load said {line:?} instead of ready");
        Ok(Self { child, output })
    }

    /// Lets it go on for a while longer, so that what follows a fault is seen too.
    pub(crate) fn go_on(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Ends it and takes its report; fails on any violation.
    pub(crate) fn finish(mut self, scenario: &str) -> Result<Report> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).context("read the load's report")?;
        let status = self.child.wait().context("wait for the load")?;
        ensure!(status.success(), "the load failed: {status}");
        let report: Report =
            serde_json::from_str(&text).with_context(|| format!("the report {text:?}"))?;
        println!(
            "{scenario}: longest write gap {} ms; {} writes acknowledged, {} unknown, {} reads, {} failed",
            report.longest_gap_ms,
            report.acknowledged_writes,
            report.unknown_writes,
            report.reads,
            report.failed_reads,
        );
        if report.clients_replaced > 0 {
            println!(
                "{scenario}: the client library locked itself up, and was started anew {} times",
                report.clients_replaced
            );
        }
        if !report.last_errors.is_empty() {
            println!("{scenario}: the client's last errors: {:?}", report.last_errors);
        }
        ensure!(report.violations.is_empty(), "{scenario}: {:#?}", report.violations,);
        Ok(report)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // After `finish` it has ended and this does nothing; after a failed test it must not linger.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
