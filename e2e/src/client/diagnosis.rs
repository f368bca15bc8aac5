//! What is printed when a test fails: the state, events and last log lines of a namespace.

use super::Connected;

const LOG_LINES: &str = "--tail=40";

/// Prints all it can learn; what cannot be learnt is named and skipped.
#[expect(clippy::print_stderr, reason = "it explains a failed test")]
pub(super) fn print(connected: &Connected, namespace: &str) {
    let Ok(kubectl) = connected.cluster.kubectl() else { return };
    let run = |args: &[&str]| {
        let bound = ["--namespace", namespace, "--request-timeout=10s"];
        kubectl
            .output(bound.into_iter().chain(args.iter().copied()))
            .unwrap_or_else(|error| format!("{error:#}\n"))
    };
    eprintln!("==== what namespace {namespace} looked like");
    eprintln!("{}", run(&["get", "pods,pvc,services,statefulsets", "--output=wide"]));
    eprintln!("{}", run(&["get", "replicatedstores", "--output=yaml"]));
    eprintln!("{}", run(&["get", "events", "--sort-by=.lastTimestamp"]));
    let names = run(&["get", "pods", "--output=name"]);
    for pod in names.lines().filter(|line| line.starts_with("pod/")) {
        eprintln!("==== log of {pod}");
        eprintln!("{}", run(&["logs", pod, "--all-containers", LOG_LINES]));
        let before = run(&["logs", pod, "--all-containers", "--previous", LOG_LINES]);
        if !before.contains("not found") {
            eprintln!("==== log of {pod} before its last restart\n{before}");
        }
    }
}
