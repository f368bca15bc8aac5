//! An amount of a compute resource, written as a string (`500m`, `2Gi`) or as a whole number.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::text_or_number;

/// Kubernetes takes `cpu: 1` and `cpu: "1"` alike; so does this. Held and written as the string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Amount(pub String);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text_or_number::deserialize(from, "a quantity such as 500m, 2Gi or 1").map(Self)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": r"^([0-9]+|[0-9]*\.[0-9]+|[0-9]+\.)(([KMGTPE]i)|[numkMGTPE]|[eE][-+]?[0-9]+)?$",
            "maxLength": 32,
        })
    }
}
