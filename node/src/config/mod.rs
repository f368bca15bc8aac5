//! A node's configuration: parsed once at start into types that cannot hold a wrong value.
//!
//! Sources, the later wins: defaults, the YAML file, environment variables, flags. Every error names the field as the
//! file spells it. Nothing here reads a socket or a clock.

mod error;
mod file;
mod leaderless;

#[cfg(test)]
mod config_test;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use quorate_group::host;
use quorate_model::{Datacenter, StoreId, Zone};
use quorate_storage::state::lsm;

pub use error::ConfigError;
use file::{File, linger};

/// Everything that a node is told from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    pub store: StoreId,
    pub name: String,
    pub datacenter: Datacenter,
    pub zone: Option<Zone>,
    /// The host that others reach this node by: a DNS name or an IP address, without a port.
    pub advertise_host: String,
    pub data_dir: PathBuf,
    pub listen: Listen,
    /// Peer addresses `host:port` to try beside those in the topology. Every address that a name resolves to is
    /// dialled, so that nodes find each other when all of them came back with new addresses.
    pub seeds: Vec<String>,
    pub log_level: String,
    pub log_format: LogFormat,
    /// For how long clients are still served after the node was told to stop.
    pub linger: Duration,
    pub limits: Limits,
    pub host: host::Settings,
    pub state: lsm::Settings,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    pub plain: SocketAddr,
    pub cluster: SocketAddr,
    pub peer: SocketAddr,
    pub admin: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

/// The bounds of what clients can make a node hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Client connections over both ports; one more is answered with an error and closed.
    pub connections_max: usize,
    /// Bytes of requests and answers that one connection may have in flight.
    pub connection_inflight_bytes_max: usize,
    /// The same over all connections.
    pub inflight_bytes_max: usize,
    /// The size of one command with all its arguments.
    pub request_bytes_max: usize,
    /// How long a client's request may take before it is answered with what is known.
    pub request_timeout: Duration,
}

/// What flags and environment variables say: text, so that every field is validated in one place.
#[derive(Clone, Default, Debug, clap::Args)]
pub struct Overrides {
    /// The store's identity: 32 hexadecimal digits, dashes ignored
    #[arg(long, env = "QUORATE_STORE")]
    pub store: Option<String>,
    /// This node's name, for people
    #[arg(long, env = "QUORATE_NAME")]
    pub name: Option<String>,
    /// The datacenter that this node is in
    #[arg(long, env = "QUORATE_DATACENTER")]
    pub datacenter: Option<String>,
    /// The zone within the datacenter
    #[arg(long, env = "QUORATE_ZONE")]
    pub zone: Option<String>,
    /// The host that others reach this node by
    #[arg(long, env = "QUORATE_ADVERTISE_HOST")]
    pub advertise_host: Option<String>,
    /// For how many milliseconds clients are still served after the node was told to stop
    #[arg(long, env = "QUORATE_LINGER_MS")]
    pub linger_ms: Option<u64>,
    /// Where the log and the state are kept
    #[arg(long, env = "QUORATE_DATA_DIR")]
    pub data_dir: Option<String>,
    /// Peer addresses to try beside the topology's, separated by commas
    #[arg(long, env = "QUORATE_SEEDS")]
    pub seeds: Option<String>,
    /// error, warn, info, debug or trace, or a tracing filter
    #[arg(long, env = "QUORATE_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// text or json
    #[arg(long, env = "QUORATE_LOG_FORMAT")]
    pub log_format: Option<String>,
    /// Address and port for plain Redis clients
    #[arg(long, env = "QUORATE_LISTEN_PLAIN")]
    pub listen_plain: Option<String>,
    /// Address and port for Redis Cluster clients
    #[arg(long, env = "QUORATE_LISTEN_CLUSTER")]
    pub listen_cluster: Option<String>,
    /// Address and port for the links between nodes
    #[arg(long, env = "QUORATE_LISTEN_PEER")]
    pub listen_peer: Option<String>,
    /// Address and port of the admin HTTP API
    #[arg(long, env = "QUORATE_LISTEN_ADMIN")]
    pub listen_admin: Option<String>,
}

impl Config {
    /// Reads the configuration from the text of a YAML file (empty text is an empty file) and the overrides.
    ///
    /// # Errors
    /// The first field that is missing or wrong.
    pub fn parse(text: &str, overrides: Overrides) -> Result<Self, ConfigError> {
        let file = if text.trim().is_empty() {
            File::default()
        } else {
            serde_yaml::from_str(text).map_err(ConfigError::File)?
        };
        let listen = Listen {
            plain: address("listen.plain", overrides.listen_plain, file.listen.plain, 6379)?,
            cluster: address(
                "listen.cluster",
                overrides.listen_cluster,
                file.listen.cluster,
                6380,
            )?,
            peer: address("listen.peer", overrides.listen_peer, file.listen.peer, 7400)?,
            admin: address("listen.admin", overrides.listen_admin, file.listen.admin, 7480)?,
        };
        refuse_shared_ports(&listen)?;
        let limits = file.limits.parse(file.request_timeout_ms)?;
        let catch_up_bytes_per_second = file.replication.parse_snapshot_rate()?;
        let replication = file.replication.parse()?;
        let state = file.storage.parse_state()?;
        let host = file.storage.parse(replication, limits.request_timeout, file.requests_max)?;
        let leaderless = file.leaderless.parse()?;
        let host = host::Settings { catch_up_bytes_per_second, leaderless, ..host };
        let zone = overrides.zone.or(file.zone).filter(|zone| !zone.is_empty());
        Ok(Self {
            store: required("store", overrides.store.or(file.store))?,
            name: label("name", overrides.name.or(file.name))?,
            datacenter: named("datacenter", overrides.datacenter.or(file.datacenter))?,
            zone: zone.map(|zone| named("zone", Some(zone))).transpose()?,
            advertise_host: advertised(overrides.advertise_host.or(file.advertise_host))?,
            data_dir: directory(overrides.data_dir.or(file.data_dir))?,
            listen,
            seeds: seeds(overrides.seeds, file.seeds)?,
            log_level: level(overrides.log_level.or(file.log_level))?,
            log_format: overrides
                .log_format
                .or(file.log_format)
                .map_or(Ok(LogFormat::Text), |f| {
                    f.parse().map_err(|reason| ConfigError::field("log_format", reason))
                })?,
            linger: linger(overrides.linger_ms.or(file.linger_ms))?,
            limits,
            host,
            state,
        })
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is neither text nor json")),
        }
    }
}

fn required<T: FromStr<Err: ToString>>(
    field: &'static str,
    text: Option<String>,
) -> Result<T, ConfigError> {
    let text = text.filter(|text| !text.is_empty()).ok_or(ConfigError::Missing { field })?;
    text.parse().map_err(|error: T::Err| ConfigError::field(field, error.to_string()))
}

fn named(field: &'static str, text: Option<String>) -> Result<Datacenter, ConfigError> {
    let text = text.filter(|text| !text.is_empty()).ok_or(ConfigError::Missing { field })?;
    Datacenter::new(text).map_err(|error| ConfigError::field(field, error.to_string()))
}

fn label(field: &'static str, text: Option<String>) -> Result<String, ConfigError> {
    let text = text.filter(|text| !text.is_empty()).ok_or(ConfigError::Missing { field })?;
    if text.len() > 253 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::field(field, "use 1 to 253 printable ASCII characters"));
    }
    Ok(text)
}

fn advertised(text: Option<String>) -> Result<String, ConfigError> {
    let field = "advertise_host";
    let host = label(field, text)?;
    let is_ip = host.parse::<std::net::IpAddr>().is_ok();
    if !is_ip && host.contains([':', '/', '[', ']']) {
        let reason = format!("{host:?} is not a host: give a DNS name or an IP address, no port");
        return Err(ConfigError::field(field, reason));
    }
    Ok(host)
}

fn directory(text: Option<String>) -> Result<PathBuf, ConfigError> {
    let text = text.unwrap_or_else(|| "/var/lib/quorate".to_owned());
    if text.is_empty() {
        return Err(ConfigError::Missing { field: "data_dir" });
    }
    Ok(PathBuf::from(text))
}

fn address(
    field: &'static str,
    over: Option<String>,
    file: Option<String>,
    port: u16,
) -> Result<SocketAddr, ConfigError> {
    match over.or(file) {
        None => Ok(SocketAddr::from(([0, 0, 0, 0], port))),
        Some(text) => text.parse().map_err(|_| {
            let reason =
                format!("{text:?} is not an IP address with a port, such as 0.0.0.0:{port}");
            ConfigError::field(field, reason)
        }),
    }
}

fn refuse_shared_ports(listen: &Listen) -> Result<(), ConfigError> {
    let named = [
        ("listen.plain", listen.plain),
        ("listen.cluster", listen.cluster),
        ("listen.peer", listen.peer),
        ("listen.admin", listen.admin),
    ];
    for (at, (field, address)) in named.iter().enumerate() {
        if let Some((other, _)) = named[..at]
            .iter()
            .find(|(_, other)| address.port() != 0 && other.port() == address.port())
        {
            let reason = format!("port {} is also {other}'s", address.port());
            return Err(ConfigError::field(field, reason));
        }
    }
    Ok(())
}

fn seeds(over: Option<String>, file: Vec<String>) -> Result<Vec<String>, ConfigError> {
    let seeds = match over {
        Some(text) => {
            text.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
        }
        None => file,
    };
    for seed in &seeds {
        let valid = seed.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0)
        });
        if !valid {
            return Err(ConfigError::field("seeds", format!("{seed:?} is not host:port")));
        }
    }
    Ok(seeds)
}

fn level(text: Option<String>) -> Result<String, ConfigError> {
    let text = text.unwrap_or_else(|| "info".to_owned());
    text.parse::<tracing_subscriber::EnvFilter>()
        .map_err(|error| ConfigError::field("log_level", error.to_string()))?;
    Ok(text)
}
