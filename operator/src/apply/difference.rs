//! Does a child differ from what the plan wants? Pure: two JSON values in, a yes or no out.
//!
//! A server-side apply that changes nothing is answered without a new resourceVersion, but it is still a write
//! request per child and pass. So an apply is sent only when one of two things holds:
//! - something wanted is not there ([`lacks`]): fields that others or the API server's defaults added do not count;
//! - something there is ours and no longer wanted ([`owns_more`]): read from `metadata.managedFields`, which is the
//!   API server's own record of what our last apply contained.

use serde_json::Value;

/// Whether `live` differs from `wanted` in what `field_manager` is responsible for.
pub(crate) fn differs(wanted: &Value, live: &Value, field_manager: &str) -> bool {
    lacks(wanted, live, Unit::Plain) || owns_more(wanted, live, field_manager)
}

/// What a string at this place means.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Plain,
    /// A Kubernetes quantity: the API server rewrites `0.5` as `500m` and `1024Mi` as `1Gi`.
    Quantity,
}

/// Whether something in `wanted` is absent from `live` or has another value there.
fn lacks(wanted: &Value, live: &Value, unit: Unit) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().any(|(field, wanted)| {
            let unit = match (unit, field.as_str()) {
                (Unit::Quantity, _)
                | (Unit::Plain, "requests" | "limits" | "capacity" | "sizeLimit") => Unit::Quantity,
                (Unit::Plain, _) => Unit::Plain,
            };
            lacks(wanted, live.get(field).unwrap_or(&Value::Null), unit)
        }),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() != live.len()
                || wanted.iter().zip(live).any(|(wanted, live)| lacks(wanted, live, unit))
        }
        // The API server drops what is empty.
        (wanted, Value::Null) => !is_empty(wanted),
        (Value::String(wanted), Value::String(live)) => {
            wanted != live && (unit == Unit::Plain || quantity(wanted) != quantity(live))
        }
        (wanted, live) => wanted != live,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A quantity in thousandths, when the text is one. Exponents (`1e3`) are not read: such a text only costs a
/// needless apply.
fn quantity(text: &str) -> Option<i128> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let thousandths: i128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let exact = whole.checked_mul(scale)?.checked_add(fraction)?.checked_mul(thousandths)?;
    Some(exact / scale)
}

/// Whether our last apply contained a field that `wanted` does not.
fn owns_more(wanted: &Value, live: &Value, field_manager: &str) -> bool {
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers
        .into_iter()
        .flatten()
        .filter(|entry| {
            entry["manager"] == field_manager
                && entry["operation"] == "Apply"
                && entry.get("subresource").is_none_or(|sub| sub.is_null() || sub == "")
        })
        .any(|entry| exceeds(&entry["fieldsV1"], wanted))
}

/// Whether the field set names something that is not in `wanted`. Keys of a field set (structured merge diff,
/// version 4): `f:<field>`, `k:<key fields as JSON>` for an element of a keyed list, `v:<value>` for a member of a
/// set, `i:<index>`, and `.` for the thing itself.
fn exceeds(owned: &Value, wanted: &Value) -> bool {
    let Value::Object(owned) = owned else { return false };
    owned.iter().any(|(path, below)| {
        if path == "." {
            return false;
        }
        let element = if let Some(field) = path.strip_prefix("f:") {
            wanted.get(field)
        } else if let Some(keys) = path.strip_prefix("k:") {
            keyed(wanted, keys)
        } else if let Some(member) = path.strip_prefix("v:") {
            member_of(wanted, member)
        } else {
            // An index: lists without keys are compared whole by `lacks`.
            return false;
        };
        element.is_none_or(|element| exceeds(below, element))
    })
}

/// The element of a keyed list with these key fields. A key field that the element leaves out has its default.
fn keyed<'v>(list: &'v Value, keys: &str) -> Option<&'v Value> {
    let keys: serde_json::Map<String, Value> = serde_json::from_str(keys).ok()?;
    list.as_array()?.iter().find(|element| {
        keys.iter().all(|(field, key)| element.get(field).is_none_or(|value| value == key))
    })
}

fn member_of<'v>(list: &'v Value, member: &str) -> Option<&'v Value> {
    let member: Value = serde_json::from_str(member).ok()?;
    list.as_array()?.iter().find(|value| **value == member)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ME: &str = "quorate-operator";

    fn managed(live: &mut Value, fields: Value) {
        live["metadata"]["managedFields"] =
            json!([{ "manager": ME, "operation": "Apply", "fieldsV1": fields }]);
    }

    #[test]
    fn defaults_of_the_server_are_no_difference() {
        let wanted = json!({ "spec": { "ports": [{ "name": "plain", "port": 6379 }] } });
        let live = json!({ "spec": {
            "type": "ClusterIP",
            "ports": [{ "name": "plain", "port": 6379, "protocol": "TCP", "targetPort": 6379 }],
        } });
        assert!(!differs(&wanted, &live, ME));
    }

    #[test]
    fn changed_or_missing_value_is_a_difference() {
        let wanted = json!({ "spec": { "replicas": 2 } });
        assert!(differs(&wanted, &json!({ "spec": { "replicas": 1 } }), ME));
        assert!(differs(&wanted, &json!({ "spec": {} }), ME));
        assert!(differs(&json!({ "a": [1, 2] }), &json!({ "a": [1] }), ME));
    }

    #[test]
    fn label_that_is_no_longer_wanted_is_a_difference() {
        let mut live = json!({ "metadata": { "labels": { "a": "1", "b": "2", "theirs": "3" } } });
        managed(
            &mut live,
            json!({ "f:metadata": { "f:labels": { ".": {}, "f:a": {}, "f:b": {} } } }),
        );
        assert!(!differs(&json!({ "metadata": { "labels": { "a": "1", "b": "2" } } }), &live, ME));
        assert!(differs(&json!({ "metadata": { "labels": { "a": "1" } } }), &live, ME));
    }

    #[test]
    fn keyed_elements_are_found_by_their_keys() {
        let wanted = json!({ "spec": { "ports": [{ "port": 6379 }] } });
        let mut live = json!({ "spec": { "ports": [{ "port": 6379, "protocol": "TCP" }] } });
        let owned = |port: u16| {
            let key = format!("k:{{\"port\":{port},\"protocol\":\"TCP\"}}");
            json!({ "f:spec": { "f:ports": { key: { ".": {}, "f:port": {} } } } })
        };
        managed(&mut live, owned(6379));
        assert!(!differs(&wanted, &live, ME));
        managed(&mut live, owned(6380));
        assert!(differs(&wanted, &live, ME));
    }

    #[test]
    fn quantities_are_compared_by_value_and_only_where_they_are_quantities() {
        let resources =
            |cpu: &str, memory: &str| json!({ "limits": { "cpu": cpu, "memory": memory } });
        assert!(!differs(&resources("0.5", "1024Mi"), &resources("500m", "1Gi"), ME));
        assert!(differs(&resources("0.5", "1025Mi"), &resources("500m", "1Gi"), ME));
        assert!(differs(&json!({ "value": "0.5" }), &json!({ "value": "500m" }), ME));
    }

    #[test]
    fn empty_is_absent() {
        let wanted =
            json!({ "spec": { "env": [], "affinity": { "nodeAffinity": {} }, "x": null } });
        assert!(!differs(&wanted, &json!({ "spec": {} }), ME));
    }
}
