//! The writes that failovers took back: which node keeps which file, what is in one, do it again, delete it.
//!
//! The nodes that keep the files are asked, through the API server; the operator has no part in it.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use quorate_model::admin::{Replayed, RollbackFile};
use quorate_plan::names;

use crate::fetch::ask_node;
use crate::table::Table;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The files that the nodes of a store keep.
    List { store: String },
    /// The writes in a file, a JSON object a line. Keys and values are in it.
    Show(File),
    /// Does the writes of a file again, in their order, over what was written since.
    Replay(File),
    /// Deletes a file for good.
    Delete(File),
}

#[derive(clap::Args)]
pub(crate) struct File {
    store: String,
    /// Its name, as `list` shows it.
    file: String,
    /// The pod that keeps it; needed only when several keep one of that name.
    #[arg(long)]
    pod: Option<String>,
}

pub(crate) async fn run(
    client: &Client,
    namespace: &str,
    command: &Command,
) -> anyhow::Result<String> {
    let store = Store { client, namespace };
    match command {
        Command::List { store: name } => {
            let (files, silent) = store.files(name).await?;
            Ok(list(&files, &silent))
        }
        Command::Show(file) => store.ask_keeper(file, Method::GET, "").await.map(|(_, text)| text),
        Command::Replay(file) => {
            let (pod, text) = store.ask_keeper(file, Method::POST, "/replay").await?;
            let replayed: Replayed = serde_json::from_str(&text)?;
            Ok(format!("{} writes of {} on {pod} are done again\n", replayed.writes, file.file))
        }
        Command::Delete(file) => {
            let (pod, _) = store.ask_keeper(file, Method::DELETE, "").await?;
            Ok(format!("{} on {pod} is deleted\n", file.file))
        }
    }
}

/// Files by pod.
type Files = BTreeMap<String, Vec<RollbackFile>>;

struct Store<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Store<'_> {
    /// What each pod keeps, and why others did not say.
    async fn files(&self, store: &str) -> anyhow::Result<(Files, BTreeMap<String, String>)> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let of_store = ListParams::default().labels(&names::selector(store));
        let pods = pods.list(&of_store).await.context("cannot list the store's pods")?;
        ensure!(!pods.items.is_empty(), "there is no pod of a store {store} in {}", self.namespace);
        let (mut files, mut silent) = (Files::new(), BTreeMap::new());
        for pod in pods {
            let pod = pod.name_any();
            let answer =
                ask_node(self.client, self.namespace, &pod, Method::GET, "/v1/rollbacks").await;
            match answer.and_then(|text| Ok(serde_json::from_str::<Vec<RollbackFile>>(&text)?)) {
                Ok(found) => drop(files.insert(pod, found)),
                Err(error) => drop(silent.insert(pod, format!("{error:#}"))),
            }
        }
        Ok((files, silent))
    }

    /// Asks the pod that keeps the file; its name and its answer.
    async fn ask_keeper(
        &self,
        file: &File,
        method: Method,
        what: &str,
    ) -> anyhow::Result<(String, String)> {
        let (files, silent) = self.files(&file.store).await?;
        let pod = keeper(&files, &silent, file)?;
        let path = format!("/v1/rollbacks/{}{what}", file.file);
        let answer = ask_node(self.client, self.namespace, &pod, method, &path).await;
        let answer = answer.with_context(|| format!("{pod} refused"))?;
        Ok((pod, answer))
    }
}

fn keeper(files: &Files, silent: &BTreeMap<String, String>, file: &File) -> anyhow::Result<String> {
    let keep = files.iter().filter(|(pod, kept)| {
        file.pod.as_ref().is_none_or(|wanted| wanted == *pod)
            && kept.iter().any(|kept| kept.name == file.file)
    });
    let pods: Vec<&String> = keep.map(|(pod, _)| pod).collect();
    match pods.as_slice() {
        [pod] => Ok((*pod).clone()),
        [] if silent.is_empty() => bail!("no pod keeps a file {}", file.file),
        [] => {
            let silent: Vec<&str> = silent.keys().map(String::as_str).collect();
            bail!("no pod that answers keeps a file {}; silent: {}", file.file, silent.join(", "))
        }
        [..] => bail!("several pods keep a file {}: choose one with --pod", file.file),
    }
}

fn list(files: &Files, silent: &BTreeMap<String, String>) -> String {
    let mut table =
        Table::new(["POD", "FILE", "GROUP", "TERM", "INDEXES", "WRITES", "BYTES", "NOTE"]);
    let mut none = true;
    for (pod, kept) in files {
        for file in kept {
            none = false;
            let note = if file.led { "" } else { "may be a part: this node did not lead" };
            table.row([
                pod.clone(),
                file.name.clone(),
                file.group.to_string(),
                file.term.to_string(),
                format!("{}-{}", file.first, file.last),
                file.writes.to_string(),
                file.bytes.to_string(),
                note.to_owned(),
            ]);
        }
    }
    let mut text =
        if none { "No node that answers keeps a file.\n".to_owned() } else { table.to_string() };
    for (pod, reason) in silent {
        text.push_str(&format!("{pod} did not say: {reason}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use quorate_model::{GroupId, LogIndex, ShardId, Term, WallTime};

    use super::*;

    fn kept(name: &str) -> RollbackFile {
        RollbackFile {
            name: name.to_owned(),
            group: GroupId::Shard(ShardId(1)),
            term: Term(4),
            first: LogIndex(7),
            last: LogIndex(9),
            writes: 3,
            bytes: 120,
            saved_at: WallTime(1),
            led: true,
        }
    }

    fn file(name: &str, pod: Option<&str>) -> File {
        File { store: "orders".into(), file: name.into(), pod: pod.map(str::to_owned) }
    }

    #[test]
    fn the_keeper_of_a_file_is_found_or_asked_for() {
        let files = Files::from([
            ("a-0".to_owned(), vec![kept("x"), kept("y")]),
            ("b-0".to_owned(), vec![kept("y")]),
        ]);
        let silent = BTreeMap::new();
        assert_eq!(keeper(&files, &silent, &file("x", None)).unwrap(), "a-0");
        assert_eq!(keeper(&files, &silent, &file("y", Some("b-0"))).unwrap(), "b-0");
        let several = keeper(&files, &silent, &file("y", None)).unwrap_err().to_string();
        assert!(several.contains("--pod"), "{several}");
        let silent = BTreeMap::from([("c-0".to_owned(), "no answer".to_owned())]);
        let unknown = keeper(&files, &silent, &file("z", None)).unwrap_err().to_string();
        assert!(unknown.contains("silent: c-0"), "{unknown}");
    }

    #[test]
    fn files_are_listed_with_their_place_in_the_log() {
        let files = Files::from([("a-0".to_owned(), vec![kept("x")])]);
        let text = list(&files, &BTreeMap::from([("b-0".to_owned(), "no answer".to_owned())]));
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["a-0", "x", "shard-1", "4", "7-9", "3", "120", "-"]);
        assert!(text.ends_with("b-0 did not say: no answer\n"));
    }
}
