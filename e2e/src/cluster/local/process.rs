//! Long-lived processes of the cluster: started detached, remembered, ended by identity.
//!
//! A process is identified by its id, its start time and the machine's boot, never by its name;
//! so a recycled id is never signalled, and after a reboot every record is known to be stale.
//! A record also holds a hash of what was started: when that changes, the process is replaced.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::hex;
use super::super::progress::{Probe, Progress};
use super::state::State;

const STOP_LIMIT: Duration = Duration::from_secs(10);
const LOG_TAIL_BYTES_MAX: usize = 4_000;

/// A process that cannot be mistaken for another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: i32,
    start_ticks: u64,
    boot: String,
}

impl Identity {
    /// The process that has this id at this moment, if there is one that still runs.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let start_ticks = start_ticks(pid)?;
        Some(Self { pid, start_ticks, boot: boot_id() })
    }

    pub(super) fn is_alive(&self) -> bool {
        self.boot == boot_id() && start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Sends a signal unless the process is gone.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid).context("a process id is positive")?;
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills at once and waits for the end.
    pub(super) fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait_for_end()
    }

    /// Stops the process and waits until each of its threads stands still.
    pub(super) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let what = format!("process {} standing still", self.pid);
        Progress::quiet().wait(&what, STOP_LIMIT, || {
            Ok(if !self.is_alive() || is_stopped(self.pid) {
                Probe::Ready(())
            } else {
                Probe::Waiting("a thread still runs".into())
            })
        })
    }

    fn wait_for_end(&self) -> Result<()> {
        let what = format!("the end of process {}", self.pid);
        Progress::quiet().wait(&what, STOP_LIMIT, || {
            Ok(if self.is_alive() {
                Probe::Waiting("it still runs".into())
            } else {
                Probe::Ready(())
            })
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    identity: Identity,
    specification: String,
}

/// A process as it should be.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) name: String,
    /// The network namespace to run in; none is the machine's own.
    pub(super) namespace: Option<String>,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    /// Files whose content is part of the specification.
    pub(super) inputs: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ensured {
    Unchanged,
    Started,
}

impl Component {
    /// Makes the process run as specified: starts what is missing, replaces what differs.
    pub(super) fn ensure(&self, state: &State) -> Result<Ensured> {
        let specification = self.specification()?;
        if let Some(record) = read_record(&record_path(state, &self.name)) {
            if record.identity.is_alive() && record.specification == specification {
                return Ok(Ensured::Unchanged);
            }
            record.identity.kill()?;
        }
        self.start(state, specification)?;
        Ok(Ensured::Started)
    }

    fn start(&self, state: &State, specification: String) -> Result<()> {
        let path = state.log(&self.name);
        if path.exists() {
            // Why the one before ended is often worth more than how this one starts.
            fs::rename(&path, path.with_extension("previous.log"))?;
        }
        let log = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
        // A session of its own: neither a closed terminal nor Ctrl-C reaches it.
        let mut command = Command::new("setsid");
        if let Some(namespace) = &self.namespace {
            command.arg("nsenter").arg(format!("--net=/run/netns/{namespace}")).arg("--");
        }
        let child = command
            .arg(&self.program)
            .args(&self.args)
            .current_dir(state.root())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        let pid = i32::try_from(child.id())?;
        let identity = Identity::of(pid)
            .with_context(|| format!("{} ended at once, see {}", self.name, path.display()))?;
        let record = Record { identity, specification };
        fs::write(record_path(state, &self.name), serde_json::to_vec(&record)?)?;
        Ok(())
    }

    fn specification(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?} {:?}", self.namespace, self.program, self.args));
        for input in &self.inputs {
            let content = fs::read(input)
                .with_context(|| format!("{} needs {}", self.name, input.display()))?;
            hash.update(content);
        }
        Ok(hex(&hash.finalize()))
    }
}

/// The recorded process, if it still runs.
pub(super) fn running(state: &State, name: &str) -> Option<Identity> {
    let record = read_record(&record_path(state, name))?;
    record.identity.is_alive().then_some(record.identity)
}

/// Kills a recorded process and forgets it. Fine when there is none.
pub(super) fn stop(state: &State, name: &str) -> Result<()> {
    let path = record_path(state, name);
    if let Some(record) = read_record(&path) {
        record.identity.kill()?;
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Kills everything that was ever recorded and still runs.
pub(super) fn stop_all(state: &State) -> Result<()> {
    let Ok(entries) = fs::read_dir(state.path("run")) else { return Ok(()) };
    let records: Vec<Record> =
        entries.flatten().filter_map(|entry| read_record(&entry.path())).collect();
    for record in &records {
        record.identity.signal(Signal::KILL)?;
    }
    for record in &records {
        record.identity.wait_for_end()?;
    }
    Ok(())
}

/// The end of a component's log, for errors.
pub(super) fn log_tail(state: &State, name: &str) -> String {
    let text = fs::read(state.log(name)).unwrap_or_default();
    let start = text.len().saturating_sub(LOG_TAIL_BYTES_MAX);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

fn record_path(state: &State, name: &str) -> PathBuf {
    state.path("run").join(format!("{name}.json"))
}

fn read_record(path: &Path) -> Option<Record> {
    // A record that was cut off by a crash names no process; its process, if any, lives in our
    // namespaces and control groups, where `down` finds it.
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Field 22 of `/proc/PID/stat`; none when the process is gone or only waits to be reaped.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = after_name(&stat)?;
    // The first thread can be dead while others still hold devices and write files.
    let threads: u32 = fields.get(17)?.parse().ok()?;
    if is_dead(fields.first()?) && threads <= 1 {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// Whether every thread of a process is stopped (or dead).
fn is_stopped(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok()).all(|stat| {
        let status = after_name(&stat).and_then(|fields| fields.first().copied());
        status.is_none_or(|status| status == "T" || is_dead(status))
    })
}

/// The fields of a `stat` file from the third on, the status.
fn after_name(stat: &str) -> Option<Vec<&str>> {
    // The name is in parentheses and may itself hold spaces and parentheses.
    Some(stat.rsplit_once(')')?.1.split_whitespace().collect())
}

fn is_dead(status: &str) -> bool {
    matches!(status, "Z" | "X" | "x")
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_alive_and_another_start_time_is_not() {
        let pid = i32::try_from(std::process::id()).expect("ids are small");
        let own = Identity::of(pid).expect("this process runs");
        assert!(own.is_alive());
        assert!(!Identity { start_ticks: own.start_ticks + 1, ..own.clone() }.is_alive());
        assert!(!Identity { boot: "another".to_owned(), ..own }.is_alive());
    }

    #[test]
    fn ended_process_that_nobody_reaped_counts_as_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep exists");
        let pid = i32::try_from(child.id()).expect("ids are small");
        let identity = Identity::of(pid).expect("it was just started");
        identity.kill().expect("our own child can be killed");
        assert!(!identity.is_alive());
        child.wait().expect("it can be reaped");
    }
}
