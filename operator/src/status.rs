//! Writes the status, and tells events. Only what differs is written, and only over the resource that was observed:
//! the resourceVersion is a precondition, so a stale view can neither go back in a term nor choose a first node twice.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::PostParams;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use quorate_api::ReplicatedStore;
use quorate_plan::{EventKind, Report};

use crate::apply::FIELD_MANAGER;
use crate::context::Context;
use crate::error::{Error, Verb};
use crate::metrics::Written;

/// The API server refuses longer notes.
const NOTE_BYTES_MAX: usize = 1_024;
const ACTION: &str = "Reconcile";

/// Writes `report` over `resource`, as it was observed, and tells its events.
pub(crate) async fn publish(
    context: &Context,
    resource: &ReplicatedStore,
    report: Report,
) -> Result<(), Error> {
    let Report { status, events } = report;
    if resource.status.as_ref() != Some(&status) {
        write(context, resource, ReplicatedStore { status: Some(status), ..resource.clone() })
            .await?;
    }
    for event in events {
        let kind = match event.kind {
            EventKind::Normal => EventType::Normal,
            EventKind::Warning => EventType::Warning,
        };
        tell(context, &resource.object_ref(&()), kind, event.reason.as_str(), event.note).await;
    }
    Ok(())
}

/// Tells one event. An event that is lost is only logged: nothing depends on it.
pub(crate) async fn tell(
    context: &Context,
    about: &ObjectReference,
    type_: EventType,
    reason: &str,
    mut note: String,
) {
    note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: ACTION.to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder().publish(&event, about).await {
        tracing::warn!(%error, reason, "an event could not be told");
    }
}

async fn write(
    context: &Context,
    seen: &ReplicatedStore,
    wanted: ReplicatedStore,
) -> Result<(), Error> {
    debug_assert!(wanted.metadata.resource_version == seen.metadata.resource_version);
    let namespace = seen.namespace().unwrap_or_default();
    let stores: Api<ReplicatedStore> = Api::namespaced(context.client.clone(), &namespace);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
    let name = seen.name_any();
    stores.replace_status(&name, &params, &wanted).await.map_err(|source| Error::Api {
        verb: Verb::UpdateStatus,
        kind: ReplicatedStore::kind(&()).into_owned(),
        name,
        source,
    })?;
    context.metrics.wrote(Written::Status);
    Ok(())
}
