//! A wrong configuration ends the process with code 2 and names the field.

use std::process::Command;

use crate::support::QUORATE_NODE;

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(QUORATE_NODE).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_wrong_field_is_named_and_the_code_is_two() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.yaml");
    let data = directory.path().join("data");
    let good = format!(
        "store: b350de5100004000800000000000002a\nname: a\ndatacenter: dc-a\n\
         advertise_host: 127.0.0.1\ndata_dir: {}\n",
        data.display()
    );
    for (more, field) in [
        ("listen: {plain: 6379}", "listen"),
        ("listen: {plain: nowhere}", "listen.plain"),
        ("listen: {peer: \"203.0.113.1:7400\"}", "listen.peer"),
        ("zone: A_B", "zone"),
        ("log_level: \"a=b=c\"", "log_level"),
        ("limits: {connections_max: 0}", "limits.connections_max"),
        ("replication: {election_timeout_ms: 1}", "replication.election_timeout_ms"),
        ("no_such_field: 1", "no_such_field"),
    ] {
        std::fs::write(&file, format!("{good}{more}\n")).unwrap();
        let (code, text) = run(&["run", "--config", file.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{more}: {text}");
        assert!(text.contains(field), "{more}: {text}");
    }
    let (code, text) = run(&["run", "--config", "/nonexistent/node.yaml"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("--config"), "{text}");
}

#[test]
fn dev_names_the_flag_that_cannot_work() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    for (flags, field) in [
        (["--nodes", "2", "--replicas", "3"], "--replicas"),
        (["--nodes", "2", "--datacenters", "3"], "--datacenters"),
        (["--nodes", "0", "--replicas", "1"], "--nodes"),
        (["--nodes", "1", "--mode", "magic"], "--mode"),
    ] {
        let mut arguments = vec!["dev", "--data", data];
        arguments.extend(flags);
        let (code, text) = run(&arguments);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(field), "{text}");
    }
}

#[test]
fn dev_says_what_is_wrong_with_a_script() {
    let directory = tempfile::tempdir().unwrap();
    let policy = r#"{"conflicts":{"resolution":{"Custom":{"script":"1;\nsibling[0].value"}}}}"#;
    let data = directory.path().to_str().unwrap();
    let flags = ["dev", "--data", data, "--mode", "multi-leader", "--multi-leader", policy];
    let (code, text) = run(&flags);
    assert_eq!(code, Some(2), "{text}");
    let problem =
        "the script for conflicts of * cannot be read: Undefined variable: sibling (line 2";
    assert!(text.contains(problem), "{text}");
}

#[test]
fn the_version_is_shown() {
    let output = Command::new(QUORATE_NODE).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.trim(), format!("quorate-node {}", env!("CARGO_PKG_VERSION")));
}
