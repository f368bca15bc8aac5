//! A resource that cannot work is refused with a sentence, and does not stop others.

use anyhow::ensure;

use crate::scenario::{in_a_namespace, on_a_store, store_manifest};

#[test]
fn a_store_that_cannot_work_is_refused_with_the_fix() {
    in_a_namespace("refused", |given| {
        for (change, to, sentence) in [
            ("{name: dc-b}", "{name: dc-a}", "two of spec.datacenters have one name"),
            ("nodes: 3", "nodes: 2", "raise spec.nodes"),
            ("shards: 3", "shards: 0", "spec.shards"),
            ("shards: 3", "shards: 3\n  wings: 2", "wings"),
        ] {
            let manifest = store_manifest(3).replacen(change, to, 1);
            let refused = given.kubectl.output_of_input(
                ["apply", "--validate=strict", "--namespace", given.namespace(), "--filename", "-"],
                &manifest,
            );
            let Err(error) = refused else { anyhow::bail!("{manifest} was accepted") };
            let error = format!("{error:#}");
            ensure!(error.contains(sentence), "{error} does not say {sentence:?}");
        }
        Ok(())
    });
}

#[test]
fn what_cannot_change_is_refused_on_a_running_store() {
    on_a_store("immutable", |given| {
        for (spec, sentence) in [
            (serde_json::json!({ "shards": 4 }), "spec.shards cannot change"),
            (serde_json::json!({ "storage": { "size": "128Mi" } }), "storage"),
        ] {
            let Err(error) = given.patch_spec(&spec) else { anyhow::bail!("{spec} was accepted") };
            ensure!(format!("{error:#}").contains(sentence), "{error:#} does not say {sentence:?}");
        }
        Ok(())
    });
}
