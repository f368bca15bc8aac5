//! Every field of a configuration is validated and named when it is wrong.

use super::*;

const GOOD: &str = "
store: b350de51-0000-4000-8000-00000000002a
name: store-dc-a-0
datacenter: dc-a
advertise_host: 10.0.0.7
";

fn parse(more: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("{GOOD}{more}"), Overrides::default())
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = parse("").unwrap();
    assert_eq!(config.listen.plain.port(), 6379);
    assert_eq!(config.listen.cluster.port(), 6380);
    assert_eq!(config.listen.peer.port(), 7400);
    assert_eq!(config.listen.admin.port(), 7480);
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/quorate"));
    assert_eq!(config.zone, None);
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!(config.host.request_timeout, config.limits.request_timeout);
}

#[test]
fn overrides_win_over_the_file() {
    let overrides = Overrides {
        datacenter: Some("dc-b".to_owned()),
        listen_plain: Some("127.0.0.1:0".to_owned()),
        seeds: Some("a:1, b:2".to_owned()),
        ..Overrides::default()
    };
    let config = Config::parse(&format!("{GOOD}seeds: [\"c:3\"]"), overrides).unwrap();
    assert_eq!(config.datacenter.as_str(), "dc-b");
    assert_eq!(config.listen.plain.port(), 0);
    assert_eq!(config.seeds, ["a:1", "b:2"]);
}

#[test]
fn an_error_names_the_field() {
    for (more, field) in [
        ("zone: Not_A_Label", "zone"),
        ("listen: {plain: nonsense}", "listen.plain"),
        ("listen: {plain: \"0.0.0.0:7400\"}", "listen.peer"),
        ("log_level: \"a=b=c\"", "log_level"),
        ("log_format: xml", "log_format"),
        ("seeds: [nowhere]", "seeds"),
        ("request_timeout_ms: 0", "request_timeout_ms"),
        ("linger_ms: 100000", "linger_ms"),
        ("limits: {connections_max: 0}", "limits.connections_max"),
        ("limits: {request_bytes_max: 1000000000}", "limits.request_bytes_max"),
        ("replication: {election_timeout_ms: 100}", "replication.election_timeout_ms"),
        ("storage: {segment_bytes: 1}", "storage.segment_bytes"),
        ("leaderless: {exchange_interval_ms: 1}", "leaderless.exchange_interval_ms"),
        ("leaderless: {exchange_bytes_per_second: 0}", "leaderless.exchange_bytes_per_second"),
        ("leaderless: {collect_interval_ms: 1}", "leaderless.collect_interval_ms"),
        ("data_dir: \"\"", "data_dir"),
        ("colour: red", "colour"),
        ("limits: {connections_max: many}", "limits.connections_max"),
    ] {
        let error = parse(more).unwrap_err().to_string();
        assert!(error.contains(field), "{more}: {error}");
    }
}

#[test]
fn a_missing_field_is_named() {
    for field in ["store", "name", "datacenter", "advertise_host"] {
        let text: String =
            GOOD.lines().filter(|l| !l.starts_with(field)).map(|l| format!("{l}\n")).collect();
        let error = Config::parse(&text, Overrides::default()).unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")), "{error}");
    }
}

#[test]
fn a_host_with_a_port_is_refused() {
    let text = GOOD.replace("10.0.0.7", "10.0.0.7:6379");
    let error = Config::parse(&text, Overrides::default()).unwrap_err().to_string();
    assert!(error.contains("advertise_host"), "{error}");
    let text = GOOD.replace("10.0.0.7", "\"fd00::7\"");
    assert_eq!(Config::parse(&text, Overrides::default()).unwrap().advertise_host, "fd00::7");
}
