//! Which crate may depend on which: section "The rooms" of `docs/architecture.md`, enforced.

use std::collections::BTreeSet;

use anyhow::Result;
use quorate_e2e::cluster::command::output;

use crate::workspace::{Member, cargo, members};

/// Every crate of the workspace and the crates of the workspace that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("quorate-model", &[]),
    ("quorate-script", &[]),
    ("quorate-replication", &["quorate-model"]),
    ("quorate-storage", &["quorate-model"]),
    (
        "quorate-group",
        &["quorate-replication", "quorate-storage", "quorate-script", "quorate-model"],
    ),
    ("quorate-node", &["quorate-group", "quorate-replication", "quorate-storage", "quorate-model"]),
    ("quorate-api", &["quorate-model"]),
    ("quorate-plan", &["quorate-api", "quorate-script", "quorate-model"]),
    ("quorate-operator", &["quorate-plan", "quorate-api", "quorate-model"]),
    ("kubectl-quorate", &["quorate-plan", "quorate-api", "quorate-model"]),
    (
        "quorate-sim",
        &[
            "quorate-group",
            "quorate-replication",
            "quorate-storage",
            "quorate-plan",
            "quorate-api",
            "quorate-model",
        ],
    ),
    (
        "quorate-fuzz",
        &[
            "quorate-node",
            "quorate-group",
            "quorate-replication",
            "quorate-storage",
            "quorate-model",
        ],
    ),
    ("quorate-e2e", &["quorate-api", "quorate-model"]),
    ("quorate-bench", &["quorate-api", "quorate-model"]),
    ("xtask", &["quorate-e2e"]),
];

/// Crates that decide and therefore never see a runtime, a socket or an API, not through others
/// either. (The types of a resource come with `kube`'s core, which is neither.)
const PURE: &[&str] = &[
    "quorate-model",
    "quorate-script",
    "quorate-replication",
    "quorate-storage",
    "quorate-group",
    "quorate-plan",
];
const NOT_PURE: &[&str] = &["tokio", "tokio-util", "mio", "kube-client", "kube-runtime"];
const NOT_PURE_DIRECTLY: &[&str] = &["tokio", "kube"];

/// The data plane knows nothing of Kubernetes.
const NO_KUBERNETES: &[&str] = &["quorate-node"];
const KUBERNETES: &[&str] = &["kube", "kube-core", "kube-client", "kube-runtime", "k8s-openapi"];

pub(super) fn check() -> Result<Vec<String>> {
    let members = members()?;
    let mut found: Vec<String> = members.iter().flat_map(check_member).collect();
    for (crates, forbidden) in [(PURE, NOT_PURE), (NO_KUBERNETES, KUBERNETES)] {
        for name in crates {
            if members.iter().any(|member| member.name == *name) {
                found.extend(check_tree(name, forbidden)?);
            }
        }
    }
    Ok(found)
}

fn check_member(member: &Member) -> Vec<String> {
    let name = &member.name;
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| known == name) else {
        return vec![format!(
            "{name} is a new crate: say in xtask/src/tidy/arrows.rs what it uses"
        )];
    };
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(known, _)| *known).collect();
    let impure = |used: &str| PURE.contains(&name.as_str()) && NOT_PURE_DIRECTLY.contains(&used);
    normal_dependencies(member)
        .into_iter()
        .filter(|used| {
            let unlisted = ours.contains(used.as_str()) && !allowed.contains(&used.as_str());
            unlisted || impure(used)
        })
        .map(|used| format!("{name} may not depend on {used}"))
        .collect()
}

/// Tests may use anything, and so may build scripts: only what is linked counts.
fn normal_dependencies(member: &Member) -> BTreeSet<String> {
    let tables = member.manifest.get("dependencies").into_iter().chain(
        member
            .manifest
            .get("target")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(|targets| targets.values())
            .filter_map(|target| target.get("dependencies")),
    );
    tables
        .filter_map(toml::Value::as_table)
        .flat_map(|table| table.iter())
        .map(|(key, value)| {
            let renamed = value.get("package").and_then(toml::Value::as_str);
            renamed.unwrap_or(key).to_owned()
        })
        .collect()
}

fn check_tree(name: &str, forbidden: &[&str]) -> Result<Vec<String>> {
    let args = ["tree", "--package", name, "--edges", "normal", "--prefix", "none"];
    let tree = output(cargo(args).args(["--format", "{p}"]))?;
    let linked: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    Ok(forbidden
        .iter()
        .filter(|package| linked.contains(*package))
        .map(|package| format!("{name} links {package}; find the way with `cargo tree -i`"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, manifest: &str) -> Member {
        let manifest = toml::from_str(manifest).expect("the manifest is TOML");
        Member { name: name.to_owned(), manifest }
    }

    #[test]
    fn arrow_that_is_not_listed_is_found_under_any_target() {
        let manifest = "[target.'cfg(unix)'.dependencies]\nquorate-group = { workspace = true }";
        let found = check_member(&member("quorate-storage", manifest));
        assert_eq!(found, ["quorate-storage may not depend on quorate-group"]);
    }

    #[test]
    fn tests_may_use_what_the_crate_may_not() {
        let manifest = "[dev-dependencies]\nquorate-group = { workspace = true }";
        assert!(check_member(&member("quorate-storage", manifest)).is_empty());
    }

    #[test]
    fn pure_crate_may_not_use_a_runtime() {
        let found = check_member(&member("quorate-plan", "[dependencies]\nkube = '1'"));
        assert_eq!(found, ["quorate-plan may not depend on kube"]);
    }

    #[test]
    fn unknown_crate_must_be_declared() {
        assert_eq!(check_member(&member("quorate-new", "")).len(), 1);
    }
}
