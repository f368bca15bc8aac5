//! The YAML file as it is written, and the numbers in it brought within their bounds or refused.

use std::time::Duration;

use quorate_group::host;
use quorate_replication::single_leader;
use quorate_storage::state::lsm;
use serde::Deserialize;

use super::leaderless::LeaderlessFile;
use super::{ConfigError, Limits};

/// A frame between nodes carries one request at least; see `peer::frame::BODY_BYTES_MAX`.
const REQUEST_BYTES_CEILING: u64 = 32 << 20;

#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) store: Option<String>,
    pub(super) name: Option<String>,
    pub(super) datacenter: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) advertise_host: Option<String>,
    pub(super) data_dir: Option<String>,
    pub(super) seeds: Vec<String>,
    pub(super) log_level: Option<String>,
    pub(super) log_format: Option<String>,
    pub(super) linger_ms: Option<u64>,
    pub(super) request_timeout_ms: Option<u64>,
    pub(super) requests_max: Option<u64>,
    pub(super) listen: ListenFile,
    pub(super) limits: LimitsFile,
    pub(super) replication: ReplicationFile,
    pub(super) leaderless: LeaderlessFile,
    pub(super) storage: StorageFile,
}

#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListenFile {
    pub(super) plain: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) peer: Option<String>,
    pub(super) admin: Option<String>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    connections_max: Option<u64>,
    connection_inflight_bytes_max: Option<u64>,
    inflight_bytes_max: Option<u64>,
    request_bytes_max: Option<u64>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReplicationFile {
    heartbeat_ms: Option<u64>,
    election_timeout_ms: Option<u64>,
    preference_delay_ms: Option<u64>,
    transfer_timeout_ms: Option<u64>,
    append_bytes_max: Option<u64>,
    uncommitted_bytes_max: Option<u64>,
    catch_up_bytes_per_second: Option<u64>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StorageFile {
    flush_bytes: Option<u64>,
    segment_bytes: Option<u64>,
    log_kept_bytes: Option<u64>,
    log_held_bytes: Option<u64>,
    snapshot_chunk_bytes: Option<u64>,
    disk_stall_ms: Option<u64>,
    block_cache_bytes: Option<u64>,
    row_cache_bytes: Option<u64>,
}

impl LimitsFile {
    pub(super) fn parse(self, request_timeout_ms: Option<u64>) -> Result<Limits, ConfigError> {
        let request_bytes_max = within(
            "limits.request_bytes_max",
            self.request_bytes_max,
            16 << 20,
            1 << 10,
            REQUEST_BYTES_CEILING,
        )?;
        let per_connection = within(
            "limits.connection_inflight_bytes_max",
            self.connection_inflight_bytes_max,
            (32 << 20).max(request_bytes_max),
            request_bytes_max,
            1 << 40,
        )?;
        let inflight = within(
            "limits.inflight_bytes_max",
            self.inflight_bytes_max,
            (256 << 20).max(per_connection),
            per_connection,
            1 << 40,
        )?;
        let timeout = within("request_timeout_ms", request_timeout_ms, 5_000, 10, 600_000)?;
        let connections =
            within("limits.connections_max", self.connections_max, 10_000, 1, 1_000_000)?;
        Ok(Limits {
            connections_max: size(connections),
            connection_inflight_bytes_max: size(per_connection),
            inflight_bytes_max: size(inflight),
            request_bytes_max: size(request_bytes_max),
            request_timeout: Duration::from_millis(timeout),
        })
    }
}

impl ReplicationFile {
    /// How much the node sends in a second to followers that catch up.
    pub(super) fn parse_snapshot_rate(&self) -> Result<u64, ConfigError> {
        within(
            "replication.catch_up_bytes_per_second",
            self.catch_up_bytes_per_second,
            host::Settings::default().catch_up_bytes_per_second,
            0,
            1 << 40,
        )
    }

    pub(super) fn parse(self) -> Result<single_leader::Settings, ConfigError> {
        let base = single_leader::Settings::default();
        let heartbeat =
            within("replication.heartbeat_ms", self.heartbeat_ms, ms(base.heartbeat), 5, 60_000)?;
        // Fewer than three heartbeats in an election timeout would turn one lost packet into an election.
        let election = within(
            "replication.election_timeout_ms",
            self.election_timeout_ms,
            ms(base.election_timeout).max(3 * heartbeat),
            3 * heartbeat,
            600_000,
        )?;
        let preference = within(
            "replication.preference_delay_ms",
            self.preference_delay_ms,
            ms(base.preference_delay),
            0,
            600_000,
        )?;
        let transfer = within(
            "replication.transfer_timeout_ms",
            self.transfer_timeout_ms,
            ms(base.transfer_timeout),
            10,
            60_000,
        )?;
        let append = within(
            "replication.append_bytes_max",
            self.append_bytes_max,
            base.append_bytes_max as u64,
            4 << 10,
            16 << 20,
        )?;
        let uncommitted = within(
            "replication.uncommitted_bytes_max",
            self.uncommitted_bytes_max,
            base.uncommitted_bytes_max as u64,
            append,
            1 << 40,
        )?;
        Ok(single_leader::Settings {
            heartbeat: Duration::from_millis(heartbeat),
            election_timeout: Duration::from_millis(election),
            preference_delay: Duration::from_millis(preference),
            transfer_timeout: Duration::from_millis(transfer),
            append_bytes_max: size(append),
            uncommitted_bytes_max: size(uncommitted),
            ..base
        })
    }
}

impl StorageFile {
    pub(super) fn parse_state(&self) -> Result<lsm::Settings, ConfigError> {
        let block_cache_bytes = within(
            "storage.block_cache_bytes",
            self.block_cache_bytes,
            lsm::Settings::default().block_cache_bytes,
            1 << 20,
            1 << 44,
        )?;
        let row_cache_bytes = within(
            "storage.row_cache_bytes",
            self.row_cache_bytes,
            lsm::Settings::default().row_cache_bytes,
            0,
            1 << 44,
        )?;
        Ok(lsm::Settings { block_cache_bytes, row_cache_bytes })
    }

    pub(super) fn parse(
        self,
        replication: single_leader::Settings,
        request_timeout: Duration,
        requests_max: Option<u64>,
    ) -> Result<host::Settings, ConfigError> {
        let base = host::Settings::default();
        let requests =
            within("requests_max", requests_max, base.requests_max as u64, 1, 10_000_000)?;
        let flush =
            within("storage.flush_bytes", self.flush_bytes, base.flush_bytes, 64 << 10, 1 << 40)?;
        let segment = within(
            "storage.segment_bytes",
            self.segment_bytes,
            base.segment_bytes,
            64 << 10,
            1 << 32,
        )?;
        let kept = within(
            "storage.log_kept_bytes",
            self.log_kept_bytes,
            base.log_kept_bytes.max(segment),
            segment,
            1 << 44,
        )?;
        let held =
            within("storage.log_held_bytes", self.log_held_bytes, base.log_held_bytes, 0, 1 << 44)?;
        let chunk = within(
            "storage.snapshot_chunk_bytes",
            self.snapshot_chunk_bytes,
            base.snapshot_chunk_bytes as u64,
            4 << 10,
            16 << 20,
        )?;
        let stall =
            within("storage.disk_stall_ms", self.disk_stall_ms, ms(base.disk_stall), 50, 600_000)?;
        Ok(host::Settings {
            replication,
            requests_max: size(requests),
            request_timeout,
            flush_bytes: flush,
            segment_bytes: segment,
            log_kept_bytes: kept,
            log_held_bytes: held,
            snapshot_chunk_bytes: size(chunk),
            disk_stall: Duration::from_millis(stall),
            ..base
        })
    }
}

pub(super) fn within(
    field: &'static str,
    given: Option<u64>,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64, ConfigError> {
    let value = given.unwrap_or(default);
    if value < least || value > most {
        return Err(ConfigError::field(field, format!("{value} is not within {least} to {most}")));
    }
    Ok(value)
}

pub(super) fn linger(given: Option<u64>) -> Result<Duration, ConfigError> {
    within("linger_ms", given, 0, 0, 60_000).map(Duration::from_millis)
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
