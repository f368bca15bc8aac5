//! The API server's own schemas, one file per kind, as kubeconform wants them.
//!
//! The server describes all kinds in one document with references between them. A file per kind
//! has them resolved, and refuses fields that the server does not know, as the server does in
//! strict mode.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

const REFERENCE: &str = "#/definitions/";
/// Deeper nesting is a kind that contains itself; from there on anything is accepted.
const DEPTH_MAX: usize = 24;

pub(crate) fn write(openapi: &str, folder: &Path) -> Result<()> {
    let document: Value = serde_json::from_str(openapi)?;
    let definitions = &document["definitions"];
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let all = definitions.as_object().context("the document has definitions")?;
    for schema in all.values() {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        // Those with several are options of requests, no kinds of their own.
        let Some([kind]) = kinds.map(Vec::as_slice) else { continue };
        let resolved = resolve(schema, definitions, DEPTH_MAX);
        fs::write(folder.join(file_name(kind)), serde_json::to_vec(&resolved)?)?;
    }
    Ok(())
}

/// `deployment-apps-v1.json`, `service-v1.json`: only the group's first part counts.
fn file_name(kind: &Value) -> String {
    let text = |field: &str| kind[field].as_str().unwrap_or_default().to_lowercase();
    let group = text("group");
    let group = group.split('.').next().unwrap_or_default();
    let separator = if group.is_empty() { "" } else { "-" };
    format!("{}{separator}{group}-{}.json", text("kind"), text("version"))
}

fn resolve(schema: &Value, definitions: &Value, depth: usize) -> Value {
    if depth == 0 {
        return json!({});
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix(REFERENCE)) {
        return resolve(&definitions[name], definitions, depth - 1);
    }
    let Some(object) = schema.as_object() else { return schema.clone() };
    let mut resolved = serde_json::Map::new();
    for (key, value) in object {
        let value = match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties
                .iter()
                .map(|(name, schema)| (name.clone(), resolve(schema, definitions, depth - 1)))
                .collect::<serde_json::Map<String, Value>>()
                .into(),
            ("items" | "additionalProperties", nested @ Value::Object(_)) => {
                resolve(nested, definitions, depth - 1)
            }
            (_, other) => other.clone(),
        };
        resolved.insert(key.clone(), value);
    }
    if resolved.get("format").is_some_and(|format| format == "int-or-string") {
        return json!({ "type": ["integer", "string"] });
    }
    if resolved.contains_key("properties") && !resolved.contains_key("additionalProperties") {
        resolved.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    resolved.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_and_unknown_fields_refused() {
        let definitions = json!({ "a": { "properties": { "x": { "type": "string" } } } });
        let schema = json!({ "properties": { "spec": { "$ref": "#/definitions/a" } } });
        let resolved = resolve(&schema, &definitions, DEPTH_MAX);
        assert_eq!(resolved["properties"]["spec"]["properties"]["x"]["type"], "string");
        assert_eq!(resolved["properties"]["spec"]["additionalProperties"], false);
    }

    #[test]
    fn kind_that_contains_itself_ends() {
        let definitions = json!({ "a": { "properties": { "x": { "$ref": "#/definitions/a" } } } });
        let resolved = resolve(&definitions["a"], &definitions, DEPTH_MAX);
        assert!(resolved["properties"]["x"]["properties"].is_object());
    }

    #[test]
    fn files_are_named_as_the_checker_asks_for_them() {
        let kind = json!({ "group": "rbac.authorization.k8s.io", "kind": "Role", "version": "v1" });
        assert_eq!(file_name(&kind), "role-rbac-v1.json");
        assert_eq!(file_name(&json!({ "kind": "Service", "version": "v1" })), "service-v1.json");
    }
}
