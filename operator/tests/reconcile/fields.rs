//! Field ownership as the API server keeps it, reduced to what the operator's children use: maps, keyed lists, and
//! lists that are replaced whole.

use serde_json::{Map, Value, json};

/// The fields by which the API server knows the elements of a list.
const KEYS: [&str; 4] = ["name", "type", "uid", "containerPort"];

/// Server-side apply: `wanted` goes in, and what `manager` applied before and no longer wants goes out.
pub(crate) fn apply(live: &mut Value, wanted: &Value, manager: &str, status: bool) {
    let subresource = if status { "status" } else { "" };
    let ours = |entry: &Value| {
        entry["manager"] == manager
            && entry["operation"] == "Apply"
            && entry["subresource"].as_str().unwrap_or("") == subresource
    };
    let mut managers = live["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mut wanted = wanted.clone();
    let parts: &[&str] = if status { &["status"] } else { &["metadata", "spec", "data"] };
    wanted.as_object_mut().unwrap().retain(|part, _| {
        parts.contains(&part.as_str()) || (!status && !["status"].contains(&part.as_str()))
    });
    let mut owned = wanted.clone();
    for field in ["apiVersion", "kind"] {
        owned.as_object_mut().unwrap().remove(field);
    }
    if let Some(metadata) = owned.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["name", "namespace", "uid", "resourceVersion"] {
            metadata.remove(field);
        }
    }
    let fields = field_set(&owned);
    if let Some(entry) = managers.iter().find(|entry| ours(entry)) {
        let before = entry["fieldsV1"].clone();
        remove(live, &before, &fields);
    }
    managers.retain(|entry| !ours(entry));
    managers.push(json!({
        "manager": manager, "operation": "Apply", "subresource": subresource,
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    }));
    merge_keyed(live, &wanted);
    live["metadata"]["managedFields"] = Value::Array(managers);
}

/// RFC 7386.
pub(crate) fn merge(live: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *live = patch.clone();
        return;
    };
    if !live.is_object() {
        *live = json!({});
    }
    let live = live.as_object_mut().unwrap();
    for (field, value) in patch {
        if value.is_null() {
            live.remove(field);
        } else {
            merge(live.entry(field.clone()).or_insert(Value::Null), value);
        }
    }
}

/// What a real API server adds by itself.
pub(crate) fn add_defaults(plural: &str, object: &mut Value) {
    let mut default = |pointer: &[&str], value: Value| {
        let mut at = &mut *object;
        for step in pointer {
            at = &mut at[*step];
        }
        if at.is_null() {
            *at = value;
        }
    };
    match plural {
        "services" => {
            default(&["spec", "sessionAffinity"], json!("None"));
            default(&["spec", "clusterIP"], json!("10.96.0.7"));
        }
        "statefulsets" => {
            default(&["spec", "revisionHistoryLimit"], json!(10));
            default(&["spec", "template", "spec", "dnsPolicy"], json!("ClusterFirst"));
        }
        _ => {}
    }
}

fn key_of(element: &Value) -> Option<(&'static str, &Value)> {
    KEYS.into_iter().find_map(|key| element.get(key).map(|value| (key, value)))
}

fn is_keyed(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(|element| key_of(element).is_some())
}

fn step(element: &Value) -> String {
    let (key, value) = key_of(element).unwrap();
    format!("k:{}", json!({ key: value }))
}

fn field_set(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let below =
                fields.iter().map(|(field, value)| (format!("f:{field}"), field_set(value)));
            Value::Object(below.collect())
        }
        Value::Array(list) if is_keyed(list) => {
            let below = list.iter().map(|element| (step(element), field_set(element)));
            Value::Object(below.collect())
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Value::Object(Map::new())
        }
    }
}

/// Removes from `live` the leaves of `before` that `after` does not have.
fn remove(live: &mut Value, before: &Value, after: &Value) {
    for (path, below) in before.as_object().unwrap() {
        let leaf = below.as_object().unwrap().is_empty();
        let still = after.get(path);
        if let Some(field) = path.strip_prefix("f:") {
            let Some(fields) = live.as_object_mut() else { continue };
            match (still, leaf) {
                (None, true) => {
                    fields.remove(field);
                }
                (still, _) => {
                    let nothing = json!({});
                    if let Some(value) = fields.get_mut(field) {
                        remove(value, below, still.unwrap_or(&nothing));
                        if still.is_none() && value.as_object().is_some_and(Map::is_empty) {
                            fields.remove(field);
                        }
                    }
                }
            }
        } else if let Some(list) = live.as_array_mut() {
            match still {
                None => list.retain(|element| step(element) != *path),
                Some(still) => {
                    let found = list.iter_mut().find(|element| step(element) == *path);
                    found.into_iter().for_each(|element| remove(element, below, still));
                }
            }
        }
    }
}

fn merge_keyed(live: &mut Value, wanted: &Value) {
    match (&mut *live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for (field, value) in wanted {
                merge_keyed(live.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(live), Value::Array(wanted)) if is_keyed(live) && is_keyed(wanted) => {
            for element in wanted {
                match live.iter_mut().find(|there| step(there) == step(element)) {
                    Some(there) => merge_keyed(there, element),
                    None => live.push(element.clone()),
                }
            }
        }
        _ => *live = wanted.clone(),
    }
}
