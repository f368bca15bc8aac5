//! A primary of Redis (or Valkey) with two replicas, every write synced to the append-only file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use super::process::Server;
use super::{await_condition, ports, put_aside};
use crate::load::{Place, Protocol, Reply, Resp, Target};

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the program is.
///
/// # Errors
/// When it is not installed.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{program} is not installed"))
}

/// As the program says it.
pub(crate) fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split(' ').find(|word| word.starts_with("v=")).unwrap_or(&text);
    Ok(version.trim_start_matches("v=").trim().to_owned())
}

#[derive(Debug)]
pub(crate) struct Redis {
    binary: PathBuf,
    directory: PathBuf,
    ports: Vec<u16>,
    servers: Vec<Server>,
}

impl Redis {
    pub(crate) fn start(binary: &Path, directory: &Path) -> Result<Self> {
        let mut redis = Self {
            binary: binary.to_owned(),
            directory: directory.to_owned(),
            ports: ports::free(3)?,
            servers: Vec::new(),
        };
        for at in 0..3 {
            let server = redis.start_server(at)?;
            redis.servers.push(server);
        }
        redis.await_ready()?;
        Ok(redis)
    }

    fn start_server(&self, at: usize) -> Result<Server> {
        let directory = self.directory.join(format!("r{}", at + 1));
        std::fs::create_dir_all(&directory)?;
        let mut command = Command::new(&self.binary);
        command
            .args(["--port", &self.ports[at].to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(&directory)
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            // A full sync begins at once: the wait for further replicas is not what is measured.
            .args(["--repl-diskless-sync-delay", "0", "--daemonize", "no"])
            // While a replica loads, its primary keeps what is written for it.
            .args(["--client-output-buffer-limit", "replica 0 0 0"]);
        if at > 0 {
            command.args(["--replicaof", &format!("127.0.0.1 {}", self.ports[0])]);
        }
        Server::start(command, &directory.join("log"))
    }

    fn await_ready(&self) -> Result<()> {
        await_condition("that both replicas follow", READY_TIMEOUT, || {
            let info = self.info(0)?;
            Ok(info.matches("state=online").count() == 2)
        })?;
        Ok(())
    }

    fn address(&self, at: usize) -> String {
        format!("127.0.0.1:{}", self.ports[at])
    }

    fn info(&self, at: usize) -> Result<String> {
        let reply = self.call(at, &[b"INFO", b"replication"])?;
        let Reply::Bulk(text) = reply else { bail!("INFO was answered with {reply:?}") };
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn call(&self, at: usize, arguments: &[&[u8]]) -> Result<Reply> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(async { Resp::connect(&self.address(at)).await?.call(arguments).await })
    }

    /// `always` or `everysec`: filling it in a reasonable time takes the latter.
    pub(crate) fn set_appendfsync(&self, how: &str) -> Result<()> {
        for at in 0..self.servers.len() {
            self.call(at, &[b"CONFIG", b"SET", b"appendfsync", how.as_bytes()])?;
        }
        Ok(())
    }

    pub(crate) fn target(&self, keys: Vec<Bytes>) -> Target {
        Target {
            protocol: Protocol::Resp,
            places: vec![Place { address: self.address(0), keys: keys.into() }],
        }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    /// Replaces the last replica by an empty one; returns how long it took until it follows.
    pub(crate) fn replace_replica(&mut self, begun: impl FnOnce()) -> Result<Duration> {
        let at = self.servers.len() - 1;
        self.servers[at].end();
        put_aside(&self.directory.join(format!("r{}", at + 1)))?;
        begun();
        let begin = Instant::now();
        self.servers[at] = self.start_server(at)?;
        await_condition("that the empty replica follows", Duration::from_secs(1200), || {
            Ok(self.info(at)?.contains("master_link_status:up"))
        })?;
        Ok(begin.elapsed())
    }
}
