//! Rollback files over the admin API: listed, read, done again, deleted.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use quorate_group::Operation;
use quorate_group::host::ReadLevel;
use quorate_group::keyspace::{LostOutcome, LostWrite, lost_writes};
use quorate_model::Slot;
use quorate_model::admin::{ErrorCode, Replayed, RollbackFile};
use serde::Serialize;

use super::Admin;
use super::answers::Refused;
use crate::peer::Remote;
use crate::rollback::{Contents, Lost, Rollbacks};

/// One lost write, as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    index: u64,
    /// Text where it is UTF-8; bytes that are not are replaced.
    key: String,
    /// What the key would hold; absent for a deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    /// The command, where the log's format was `Statement`.
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
    deleted: bool,
}

pub(super) async fn list(State(admin): State<Admin>) -> Json<Vec<RollbackFile>> {
    Json(admin.rollbacks.get().map(Rollbacks::list).unwrap_or_default())
}

pub(super) async fn read(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    let contents = open(&admin, name).await?;
    let mut text = String::new();
    for (index, write) in writes(contents.lost)? {
        let line = serde_json::to_string(&shown(index, &write));
        text += &line.map_err(|error| Refused::new(ErrorCode::Unknown, error.to_string()))?;
        text.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}

/// Does every write again, in the order of the log, over whatever stands there now. Stops at the first that is not acknowledged;
/// doing it all once more does no harm, but for statements.
pub(super) async fn replay(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<Replayed>, Refused> {
    let contents = open(&admin, name).await?;
    let shards = admin.requester.table().view().topology.as_ref().map(|one| one.shard_count());
    let Some(shards) = shards else {
        return Err(Refused::new(ErrorCode::NoLeader, "the node is blank"));
    };
    let mut done = 0;
    for (_, write) in writes(contents.lost)? {
        let shard = Slot::of_key(&write.key).shard(shards);
        let operation = Operation::Write(write.again());
        let level = ReadLevel::Linearizable;
        admin.requester.write(shard, Remote::Execute { shard, operation, level }).await?;
        done += 1;
    }
    Ok(Json(Replayed { writes: done }))
}

pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<()>, Refused> {
    let deleted = on_files(&admin, &name, Rollbacks::delete).await?;
    if deleted { Ok(Json(())) } else { Err(unknown(&name)) }
}

async fn open(admin: &Admin, name: String) -> Result<Contents, Refused> {
    on_files(admin, &name, Rollbacks::read).await?.ok_or_else(|| unknown(&name))
}

/// Does something with the file of this name where it may block.
async fn on_files<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    admin: &Admin,
    name: &str,
    act: impl FnOnce(&Rollbacks, &str) -> Result<T, E> + Send + 'static,
) -> Result<T, Refused> {
    let rollbacks = admin.rollbacks.get().cloned().ok_or_else(|| unknown(name))?;
    let name = name.to_owned();
    let failed =
        |error: &dyn std::fmt::Display| Refused::new(ErrorCode::Unknown, error.to_string());
    match tokio::task::spawn_blocking(move || act(&rollbacks, &name)).await {
        Ok(done) => done.map_err(|error| failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

fn unknown(name: &str) -> Refused {
    Refused::new(ErrorCode::Invalid, format!("there is no rollback file {name:?} on this node"))
}

fn writes(lost: Vec<Lost>) -> Result<Vec<(u64, LostWrite)>, Refused> {
    let mut writes = Vec::new();
    for Lost { index, command } in lost {
        let of_entry = lost_writes(command)
            .map_err(|error| Refused::new(ErrorCode::Invalid, error.to_string()))?;
        writes.extend(of_entry.into_iter().map(|write| (index.0, write)));
    }
    Ok(writes)
}

fn shown(index: u64, write: &LostWrite) -> Shown {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let key = text(&write.key);
    match &write.outcome {
        LostOutcome::String { value, expiry } => Shown {
            index,
            key,
            value: Some(text(value)),
            expires_at: expiry.map(|at| at.0),
            statement: None,
            deleted: false,
        },
        LostOutcome::Deleted => {
            Shown { index, key, value: None, expires_at: None, statement: None, deleted: true }
        }
        LostOutcome::Statement(write) => Shown {
            index,
            key,
            value: None,
            expires_at: None,
            statement: Some(format!("{write:?}")),
            deleted: false,
        },
        LostOutcome::Renamed { from } => Shown {
            index,
            key,
            value: Some(format!("renamed from {}", text(from))),
            expires_at: None,
            statement: None,
            deleted: false,
        },
        LostOutcome::Elements { put, removed, expiry, .. } => Shown {
            index,
            key,
            value: Some(format!("{} elements put, {} removed", put.len(), removed.len())),
            expires_at: expiry.map(|at| at.0),
            statement: None,
            deleted: false,
        },
    }
}
