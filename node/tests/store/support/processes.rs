//! `quorate-node` as child processes, which end with the test however it ends.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use quorate_node::node::Announcement;
use tempfile::TempDir;

use super::PATIENCE;

pub(crate) const QUORATE_NODE: &str = env!("CARGO_BIN_EXE_quorate-node");

/// A store started by `quorate-node dev`.
pub(crate) struct Dev {
    pub(crate) nodes: Vec<Announcement>,
    pub(crate) directory: PathBuf,
    process: Child,
    /// What it says later, of nodes that it started again, is read by nobody; a closed pipe would end it.
    _lines: mpsc::Receiver<String>,
    _data: Option<TempDir>,
}

/// One node started by `quorate-node run`.
pub(crate) struct Node {
    pub(crate) at: Announcement,
    process: Child,
    _stdin: ChildStdin,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    Kill,
    Terminate,
    Freeze,
    Thaw,
}

impl Dev {
    /// A new store in a directory of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let data = TempDir::new().unwrap();
        let mut dev = Self::start_in(data.path(), arguments);
        dev._data = Some(data);
        dev
    }

    /// A store in `directory`, new or not. Returns once it is ready.
    pub(crate) fn start_in(directory: &Path, arguments: &[&str]) -> Self {
        let mut process = Command::new(QUORATE_NODE)
            .args(["dev", "--data"])
            .arg(directory)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(process.stdout.take().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let mut nodes = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) if line == "ready" => break,
                Ok(line) => nodes.push(serde_json::from_str(&line).unwrap()),
                Err(error) => {
                    process.kill().unwrap();
                    panic!("the store is not ready: {error}; {}", logs(directory));
                }
            }
        }
        Self { nodes, directory: directory.to_owned(), process, _lines: lines, _data: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn node(&self, id: quorate_model::NodeId) -> &Announcement {
        self.nodes.iter().find(|node| node.node == id).unwrap()
    }

    /// Everybody but one.
    pub(crate) fn others(&self, id: quorate_model::NodeId) -> Vec<&Announcement> {
        self.nodes.iter().filter(|node| node.node != id).collect()
    }

    pub(crate) fn plain_addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.addresses.plain.clone()).collect()
    }

    /// Stops the store in order.
    pub(crate) fn stop(mut self) -> ExitStatus {
        signal(self.pid(), Signal::Terminate);
        self.process.wait().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // A frozen node would not see that its parent is gone.
        for node in &self.nodes {
            if is_running(node.pid) {
                signal(node.pid, Signal::Thaw);
            }
        }
        // Already ended, mostly; its nodes end with it in any case.
        self.process.kill().ok();
        self.process.wait().ok();
        if std::thread::panicking() {
            eprintln!("{}", logs(&self.directory));
        }
    }
}

impl Node {
    /// A node of `store` with free ports.
    pub(crate) fn start(store: &str, name: &str, datacenter: &str, data: &Path) -> Self {
        Self::start_with(store, name, datacenter, data, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(
        store: &str,
        name: &str,
        datacenter: &str,
        data: &Path,
        more: &[&str],
    ) -> Self {
        let mut process = Command::new(QUORATE_NODE)
            .args(["run", "--announce", "--exit-with-parent", "--store", store])
            .args(["--name", name, "--datacenter", datacenter, "--log-level", "warn"])
            .args(["--advertise-host", "127.0.0.1", "--listen-plain", "127.0.0.1:0"])
            .args(["--listen-cluster", "127.0.0.1:0", "--listen-peer", "127.0.0.1:0"])
            .args(["--listen-admin", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take().unwrap();
        let line = lines(process.stdout.take().unwrap()).recv_timeout(PATIENCE).unwrap();
        Self { at: serde_json::from_str(&line).unwrap(), process, _stdin: stdin }
    }
}

impl Node {
    /// Its data stays.
    pub(crate) fn kill(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let name = match signal {
        Signal::Kill => "-KILL",
        Signal::Terminate => "-TERM",
        Signal::Freeze => "-STOP",
        Signal::Thaw => "-CONT",
    };
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill {name} {pid}");
}

/// A process that has ended and waits for its parent to notice is not running.
pub(crate) fn is_running(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = status.rsplit_once(')').and_then(|(_, rest)| rest.trim().chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Lines as they come, so that waiting for them can end.
fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn logs(directory: &Path) -> String {
    const SHOWN: usize = 4_000;
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let from = log.len().saturating_sub(SHOWN);
            let from = (from..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
            text.push_str(&format!("--- {}\n{}\n", entry.path().display(), &log[from..]));
        }
    }
    text
}
