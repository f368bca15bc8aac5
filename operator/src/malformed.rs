//! A resource that does not parse at all, say one written under another version of the schema. Its owner is told in
//! its own status; nothing of its store is touched but the labels by which clients find its leaders, and no other store
//! notices.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::runtime::events::EventType;
use kube::{Api, Resource};
use quorate_api::{ReplicatedStore, ReplicatedStoreStatus};
use serde_json::{Value, json};

use crate::apply::FIELD_MANAGER;
use crate::context::Context;
use crate::error::{Error, Verb};
use crate::memory::StoreKey;
use crate::metrics::Written;
use crate::reconcile::label_leaders;
use crate::{observe, status};

const REASON: &str = "Malformed";

/// Says in the status why the resource is left alone. The rest of the status stays as it is.
pub(crate) async fn report(
    context: &Context,
    store: &StoreKey,
    invalid: &InvalidObject,
) -> Result<(), Error> {
    let message = format!(
        "the resource cannot be read ({}): correct the field or apply it again; the store is left as it is",
        invalid.error
    );
    let kind = ApiResource::erase::<ReplicatedStore>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &store.namespace, &kind);
    let failed = |verb, source| Error::Api {
        verb,
        kind: kind.kind.clone(),
        name: store.name.clone(),
        source,
    };
    let Some(live) = api.get_opt(&store.name).await.map_err(|e| failed(Verb::Read, e))? else {
        return Ok(());
    };
    // A status that does not parse remembers no terms: then labels cannot be told from older ones, and stay.
    let status = live.data.get("status").cloned().unwrap_or_else(|| json!({}));
    if let Ok(status) = serde_json::from_value::<ReplicatedStoreStatus>(status) {
        let observed = Box::pin(observe::observe(context, store, status)).await?;
        context.memory.leaders_are_seen(store);
        label_leaders(context, store, invalid.metadata.uid.clone(), &observed).await?;
    }
    if says(&live.data, &message) {
        return Ok(());
    }
    let generation = invalid.metadata.generation.unwrap_or_default();
    let status = json!({ "status": {
        "observedGeneration": generation,
        "phase": "Invalid",
        "message": message,
        "conditions": [{
            "type": "Ready",
            "status": "False",
            "reason": REASON,
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": observe::now(),
        }],
    }});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
    api.patch_status(&store.name, &params, &Patch::Merge(status))
        .await
        .map_err(|source| failed(Verb::UpdateStatus, source))?;
    context.metrics.wrote(Written::Status);
    let about = ObjectReference {
        api_version: Some(kind.api_version.clone()),
        kind: Some(ReplicatedStore::kind(&()).into_owned()),
        name: Some(store.name.clone()),
        namespace: Some(store.namespace.clone()),
        uid: invalid.metadata.uid.clone(),
        ..ObjectReference::default()
    };
    status::tell(context, &about, EventType::Warning, REASON, message).await;
    Ok(())
}

fn says(resource: &Value, message: &str) -> bool {
    let conditions = resource.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition["type"] == "Ready"
            && condition["status"] == "False"
            && condition["message"] == message
    })
}
