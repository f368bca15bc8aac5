//! What a store on one machine looks like on the disk, and which ports it has: written at its first start.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use quorate_model::StoreId;
use serde::{Deserialize, Serialize};

use super::{DevError, Mode, Options};

/// Ports that a store gets when it does not ask for particular ones: a block below those that the kernel hands out.
const BLOCKS_FROM: u16 = 10_000;
const BLOCKS_TO: u16 = 32_000;
const BLOCK: u16 = 260;
const PORTS_PER_NODE: u16 = 4;
const STORE_FILE: &str = "dev.json";

/// The description of a store, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Kept {
    store: StoreId,
    mode: Mode,
    nodes: u16,
    datacenters: u16,
    shards: u16,
    replicas: u16,
    base_port: u16,
}

#[derive(Debug)]
pub(super) struct Layout {
    kept: Kept,
    directory: PathBuf,
    /// Held while the store runs.
    _lock: File,
    /// The last port of the block that was picked: keeps others on this machine off the block.
    _guard: Option<TcpListener>,
}

/// The ports of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) cluster: u16,
    pub(super) peer: u16,
    pub(super) admin: u16,
}

impl Layout {
    pub(super) fn open(options: &Options) -> Result<Self, DevError> {
        let directory = options.data.clone();
        let access = |source| DevError::Data { path: directory.clone(), source };
        fs::create_dir_all(&directory).map_err(access)?;
        let lock = File::create(directory.join("dev.lock")).map_err(access)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DevError::InUse(directory)),
            Err(TryLockError::Error(source)) => return Err(access(source)),
        }
        let path = directory.join(STORE_FILE);
        let (kept, guard) = match fs::read(&path) {
            Ok(text) => come_back(options, &path, &text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (kept, guard) = begin(options)?;
                let text = serde_json::to_vec_pretty(&kept)
                    .map_err(|error| access(std::io::Error::other(error)))?;
                fs::write(&path, text).map_err(access)?;
                (kept, guard)
            }
            Err(source) => return Err(access(source)),
        };
        Ok(Self { kept, directory, _lock: lock, _guard: guard })
    }

    pub(super) const fn store(&self) -> StoreId {
        self.kept.store
    }

    pub(super) const fn nodes(&self) -> u16 {
        self.kept.nodes
    }

    pub(super) const fn shards(&self) -> u16 {
        self.kept.shards
    }

    pub(super) const fn replicas(&self) -> u16 {
        self.kept.replicas
    }

    /// Nodes are counted from 1.
    pub(super) fn name(number: u16) -> String {
        format!("node-{number}")
    }

    /// `dc-a`, `dc-b` and so on, the nodes in turn; after `dc-z` come numbers.
    pub(super) fn datacenter(&self, number: u16) -> String {
        let at = (number - 1) % self.kept.datacenters;
        match u8::try_from(at) {
            Ok(at) if at < 26 => format!("dc-{}", char::from(b'a' + at)),
            Ok(_) | Err(_) => format!("dc-{}", at + 1),
        }
    }

    pub(super) const fn mode(&self) -> Mode {
        self.kept.mode
    }

    pub(super) fn data(&self, number: u16) -> PathBuf {
        self.directory.join(Self::name(number))
    }

    pub(super) fn log(&self, number: u16) -> PathBuf {
        self.directory.join(format!("{}.log", Self::name(number)))
    }

    pub(super) const fn ports(&self, number: u16) -> Ports {
        let plain = self.kept.base_port + PORTS_PER_NODE * (number - 1);
        Ports { plain, cluster: plain + 1, peer: plain + 2, admin: plain + 3 }
    }
}

fn begin(options: &Options) -> Result<(Kept, Option<TcpListener>), DevError> {
    let nodes = options.nodes;
    let datacenters = options.datacenters.unwrap_or(nodes.min(3));
    let replicas = options.replicas.unwrap_or(nodes.min(3));
    for (field, value) in [("datacenters", datacenters), ("replicas", replicas)] {
        if value > nodes {
            let reason = format!("{value} is more than there are nodes ({nodes})");
            return Err(DevError::Usage { field, reason });
        }
    }
    let last = u32::from(options.base_port) + u32::from(PORTS_PER_NODE * nodes);
    if last > 65_536 {
        let reason = format!("there are no {} ports after it", PORTS_PER_NODE * nodes);
        return Err(DevError::Usage { field: "base-port", reason });
    }
    let (base_port, guard) = match options.base_port {
        0 => pick_block(nodes, &options.data)?,
        port => (port, None),
    };
    let kept = Kept {
        store: StoreId(uuid::Uuid::new_v4().as_u128()),
        mode: options.mode,
        nodes,
        datacenters,
        shards: options.shards.unwrap_or(nodes),
        replicas,
        base_port,
    };
    Ok((kept, guard))
}

/// A store that is there already keeps what it was begun with; asking for something else is an error.
fn come_back(
    options: &Options,
    path: &Path,
    text: &[u8],
) -> Result<(Kept, Option<TcpListener>), DevError> {
    let kept: Kept = serde_json::from_slice(text).map_err(|error| DevError::Data {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    let differs = |field, held: u16| DevError::Usage {
        field,
        reason: format!("the store in {} was begun with {held}", path.display()),
    };
    if options.nodes != kept.nodes {
        return Err(differs("nodes", kept.nodes));
    }
    for (field, asked, held) in [
        ("datacenters", options.datacenters, kept.datacenters),
        ("shards", options.shards, kept.shards),
        ("replicas", options.replicas, kept.replicas),
    ] {
        if asked.is_some_and(|asked| asked != held) {
            return Err(differs(field, held));
        }
    }
    if options.base_port != 0 && options.base_port != kept.base_port {
        return Err(differs("base-port", kept.base_port));
    }
    let guard = match options.base_port {
        0 => Some(guard_of(kept.base_port).map_err(|_| DevError::Usage {
            field: "base-port",
            reason: format!("the ports from {} on are taken by somebody else", kept.base_port),
        })?),
        _ => None,
    };
    Ok((kept, guard))
}

/// A block whose ports are all free, with its guard.
fn pick_block(nodes: u16, directory: &Path) -> Result<(u16, Option<TcpListener>), DevError> {
    let blocks = (BLOCKS_TO - BLOCKS_FROM) / BLOCK;
    let first = rand::random::<u16>() % blocks;
    for turn in 0..blocks {
        let base = BLOCKS_FROM + (first + turn) % blocks * BLOCK;
        let Ok(guard) = guard_of(base) else { continue };
        if is_reserved(base) {
            continue;
        }
        let free = (base..base + PORTS_PER_NODE * nodes)
            .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
        if free {
            // Where that fails, the block is only kept while the store runs.
            reserve(base, directory).ok();
            return Ok((base, Some(guard)));
        }
    }
    let reason = "no block of free ports was found; name one".to_owned();
    Err(DevError::Usage { field: "base-port", reason })
}

/// A store that does not run keeps its block for as long as its directory exists: it wants the same ports again.
fn is_reserved(base: u16) -> bool {
    let owner = fs::read_to_string(reservation(base)).map(PathBuf::from);
    owner.is_ok_and(|owner| owner.join(STORE_FILE).exists())
}

fn reserve(base: u16, directory: &Path) -> std::io::Result<()> {
    let (path, directory) = (reservation(base), directory.canonicalize()?);
    fs::create_dir_all(reservations())?;
    fs::write(path, directory.as_os_str().as_encoded_bytes())
}

fn reservation(base: u16) -> PathBuf {
    reservations().join(base.to_string())
}

fn reservations() -> PathBuf {
    std::env::temp_dir().join("quorate-dev-ports")
}

fn guard_of(base: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, base + BLOCK - 1))
}
