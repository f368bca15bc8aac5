//! The control plane in the hub namespace: etcd, API server, controllers, scheduler, volumes;
//! and the relay through which the machine's own programs reach the API server.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::super::command::{command, succeeds};
use super::super::progress::{Probe, Progress};
use super::super::tools::Tools;
use super::pki;
use super::process::{self, Component, Ensured};
use super::state::{State, write_file};
use super::topology::{HUB_ADDRESS, HUB_NAMESPACE, SERVICE_CIDR};

pub(super) const API_SERVER: &str = "kube-apiserver";
const PREFERRED_PORT: u16 = 6443;
const READY_LIMIT: Duration = Duration::from_secs(90);
const RELAY: &str = "relay";
const RESTARTS_MAX: u32 = 5;

/// Starts what does not run and waits until the API server answers.
pub(super) fn ensure(state: &State, tools: &Tools, progress: &Progress) -> Result<()> {
    write_credentials(state)?;
    let first = [etcd(state, tools), api_server(state, tools)];
    let mut started = ensure_relay(state, tools)?;
    for component in &first {
        started |= component.ensure(state)? == Ensured::Started;
    }
    if started {
        progress.step("control plane: starting");
    }
    wait_until_ready(state, tools, &first, progress)?;
    for component in [controllers(state, tools), scheduler(state, tools), volumes(state, tools)] {
        component.ensure(state)?;
    }
    Ok(())
}

/// Waits until the API server says that it is ready. Those of `components` that end while we
/// wait are started again a few times: the API server gives up when etcd is slow to come.
pub(super) fn wait_until_ready(
    state: &State,
    tools: &Tools,
    components: &[Component],
    progress: &Progress,
) -> Result<()> {
    let mut restarts = 0;
    progress.wait("the API server", READY_LIMIT, || {
        for component in components {
            if component.ensure(state)? == Ensured::Started {
                restarts += 1;
                if restarts > RESTARTS_MAX {
                    let tail = process::log_tail(state, &component.name);
                    bail!("{} does not stay up:\n{tail}", component.name);
                }
            }
        }
        let kubectl = tools.component("kubectl");
        let mut probe = command(&kubectl.to_string_lossy(), ["get", "--raw", "/readyz"]);
        probe.arg("--request-timeout=3s").arg("--kubeconfig").arg(state.kubeconfig());
        Ok(if succeeds(&mut probe) {
            Probe::Ready(())
        } else {
            Probe::Waiting("it is not ready".to_owned())
        })
    })
}

pub(super) fn api_server(state: &State, tools: &Tools) -> Component {
    let file = |name: &str| state.pki(name).display().to_string();
    let args = vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        format!("--advertise-address={HUB_ADDRESS}"),
        "--secure-port=6443".to_owned(),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--kubelet-client-certificate={}", file("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", file("apiserver-kubelet.key")),
        "--profiling=false".to_owned(),
    ];
    in_hub(tools, API_SERVER, args, vec![state.pki("apiserver.crt")])
}

fn etcd(state: &State, tools: &Tools) -> Component {
    let args = vec![
        "--name=quorate-local".to_owned(),
        format!("--data-dir={}", state.path("etcd").display()),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-cluster=quorate-local=http://127.0.0.1:2380".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    in_hub(tools, "etcd", args, Vec::new())
}

fn controllers(state: &State, tools: &Tools) -> Component {
    let file = |name: &str| state.pki(name).display().to_string();
    let config = credentials(state, "kube-controller-manager");
    let args = vec![
        format!("--kubeconfig={}", config.display()),
        format!("--service-account-private-key-file={}", file("accounts.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        // A lost node is noticed in seconds, as tests of lost nodes need.
        "--node-monitor-grace-period=16s".to_owned(),
    ];
    in_hub(tools, "kube-controller-manager", args, vec![config])
}

fn scheduler(state: &State, tools: &Tools) -> Component {
    let config = credentials(state, "kube-scheduler");
    let args =
        vec![format!("--kubeconfig={}", config.display()), "--leader-elect=false".to_owned()];
    in_hub(tools, "kube-scheduler", args, vec![config])
}

fn volumes(state: &State, tools: &Tools) -> Component {
    let config = credentials(state, "admin");
    let args = vec![
        format!("--kubeconfig={}", config.display()),
        format!("--root={}", state.path("nodes").display()),
    ];
    in_hub(tools, "quorate-volumes", args, vec![config])
}

fn in_hub(tools: &Tools, name: &str, args: Vec<String>, inputs: Vec<PathBuf>) -> Component {
    Component {
        name: name.to_owned(),
        namespace: Some(HUB_NAMESPACE.to_owned()),
        program: tools.component(name),
        args,
        inputs,
    }
}

fn relay(tools: &Tools, port: u16) -> Component {
    Component {
        name: RELAY.to_owned(),
        namespace: None,
        program: tools.component("quorate-relay"),
        args: vec![
            format!("--listen=127.0.0.1:{port}"),
            format!("--netns=/run/netns/{HUB_NAMESPACE}"),
            "--to=127.0.0.1:6443".to_owned(),
        ],
        inputs: Vec::new(),
    }
}

/// Keeps the port that an earlier run chose unless somebody else took it meanwhile.
fn ensure_relay(state: &State, tools: &Tools) -> Result<bool> {
    let path = state.path("run/api-port");
    let recorded = fs::read_to_string(&path).ok().and_then(|port| port.trim().parse().ok());
    let port = match recorded {
        Some(port) if process::running(state, RELAY).is_some() || is_free(port) => port,
        Some(_) | None => choose_port()?,
    };
    write_file(&path, &format!("{port}\n"))?;
    let server = format!("https://127.0.0.1:{port}");
    pki::write_kubeconfig(state, &state.kubeconfig(), "admin", &server)?;
    Ok(relay(tools, port).ensure(state)? == Ensured::Started)
}

fn choose_port() -> Result<u16> {
    if is_free(PREFERRED_PORT) {
        return Ok(PREFERRED_PORT);
    }
    let any = TcpListener::bind(("127.0.0.1", 0)).context("no port is free on loopback")?;
    Ok(any.local_addr()?.port())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Where the credentials of a part of the control plane lie.
pub(super) fn credentials(state: &State, user: &str) -> PathBuf {
    state.path(&format!("pki/{user}.kubeconfig"))
}

fn write_credentials(state: &State) -> Result<()> {
    for user in ["admin", "kube-controller-manager", "kube-scheduler"] {
        let path = credentials(state, user);
        pki::write_kubeconfig(state, &path, user, "https://127.0.0.1:6443")?;
    }
    let path = credentials(state, "kube-proxy");
    pki::write_kubeconfig(state, &path, "kube-proxy", &format!("https://{HUB_ADDRESS}:6443"))
}
