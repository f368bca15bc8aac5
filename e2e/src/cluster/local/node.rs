//! One Kubernetes node: containerd, kubelet and kube-proxy in a network namespace of their own.
//!
//! Everything a node writes lies in its folder. Images are loaded before the kubelet starts,
//! since there is no registry to fall back to.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::command::{command, output};
use super::super::image::Archive;
use super::super::progress::{Probe, Progress};
use super::super::tools::Tools;
use super::control_plane::credentials;
use super::process::{self, Component, Ensured, Identity};
use super::state::{State, write_file};
use super::topology::{DNS_ADDRESS, HUB_ADDRESS, Node, POD_CIDR};
use super::{cgroup, network, pki};

const CONTAINERD_LIMIT: Duration = Duration::from_secs(30);
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// Makes the node run, with these images. Says whether its kubelet had to be started.
pub(super) fn ensure(
    state: &State,
    tools: &Tools,
    node: &Node,
    images: &[Archive],
) -> Result<Ensured> {
    cgroup::ensure(&node.name)?;
    write_configuration(state, node)?;
    containerd(state, node).ensure(state)?;
    wait_for_containerd(state, node)?;
    load_images(state, node, images)?;
    proxy(state, tools, node).ensure(state)?;
    kubelet(state, tools, node).ensure(state)
}

/// Loads those images that the node does not have in this version. True when there was any.
pub(super) fn load_images(state: &State, node: &Node, images: &[Archive]) -> Result<bool> {
    let present = ctr(state, node, &["images", "list"])?;
    let has = |reference: &str, digest: &str| {
        present.lines().any(|line| {
            let mut fields = line.split_whitespace();
            fields.next() == Some(reference) && fields.any(|field| field == digest)
        })
    };
    let mut loaded = false;
    for image in images {
        if image.references.iter().all(|reference| has(reference, &image.digest)) {
            continue;
        }
        ctr(state, node, &["images", "import", &image.path.to_string_lossy()])
            .with_context(|| format!("{} does not take an image", node.name))?;
        loaded = true;
    }
    Ok(loaded)
}

/// Ends everything on the node at once, as a power cut would. Its volumes stay.
pub(super) fn stop(state: &State, node: &Node) -> Result<()> {
    for component in component_names(node) {
        process::stop(state, &component)?;
    }
    // The shims that hold containers are orphans of containerd; they live in its namespace.
    // They go before their containers, else they would still report clean exits.
    for pid in network::processes(&node.namespace()) {
        if let Some(process) = Identity::of(pid) {
            process.kill()?;
        }
    }
    cgroup::kill_all(&node.name)
}

/// `ctr` against the node's containerd, in the namespace that the kubelet uses.
pub(super) fn ctr(state: &State, node: &Node, args: &[&str]) -> Result<String> {
    let socket = socket(state, node);
    let address = socket.to_string_lossy();
    output(command("ctr", ["--address", &*address, "--namespace", "k8s.io"]).args(args))
}

fn component_names(node: &Node) -> [String; 3] {
    ["kubelet", "kube-proxy", "containerd"].map(|part| format!("{}-{part}", node.name))
}

fn socket(state: &State, node: &Node) -> PathBuf {
    state.node(&node.name).join("containerd.sock")
}

fn kubeconfig(state: &State, node: &Node) -> PathBuf {
    state.node(&node.name).join("kubelet.kubeconfig")
}

fn containerd(state: &State, node: &Node) -> Component {
    let config = state.node(&node.name).join("containerd.toml");
    Component {
        name: format!("{}-containerd", node.name),
        namespace: Some(node.namespace()),
        program: PathBuf::from("containerd"),
        args: vec!["--config".to_owned(), config.display().to_string()],
        inputs: vec![config],
    }
}

fn kubelet(state: &State, tools: &Tools, node: &Node) -> Component {
    let folder = state.node(&node.name);
    let config = folder.join("kubelet.yaml");
    let labels = format!(
        "topology.kubernetes.io/region={},topology.kubernetes.io/zone={}",
        node.datacenter, node.zone
    );
    Component {
        name: format!("{}-kubelet", node.name),
        namespace: Some(node.namespace()),
        program: tools.component("kubelet"),
        args: vec![
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", kubeconfig(state, node).display()),
            format!("--root-dir={}", folder.join("kubelet").display()),
            format!("--cert-dir={}", folder.join("kubelet-pki").display()),
            format!("--hostname-override={}", node.name),
            format!("--node-ip={}", node.address()),
            format!("--node-labels={labels}"),
        ],
        inputs: vec![config, kubeconfig(state, node)],
    }
}

fn proxy(state: &State, tools: &Tools, node: &Node) -> Component {
    let config = state.node(&node.name).join("proxy.yaml");
    Component {
        name: format!("{}-kube-proxy", node.name),
        namespace: Some(node.namespace()),
        program: tools.component("kube-proxy"),
        args: vec![format!("--config={}", config.display())],
        inputs: vec![config],
    }
}

fn wait_for_containerd(state: &State, node: &Node) -> Result<()> {
    let what = format!("containerd of {}", node.name);
    let waited = Progress::quiet().wait(&what, CONTAINERD_LIMIT, || {
        Ok(match UnixStream::connect(socket(state, node)) {
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::Waiting(error.to_string()),
        })
    });
    waited.with_context(|| process::log_tail(state, &format!("{}-containerd", node.name)))
}

fn write_configuration(state: &State, node: &Node) -> Result<()> {
    let folder = state.node(&node.name);
    fs::create_dir_all(folder.join("volumes"))?;
    let server = format!("https://{HUB_ADDRESS}:6443");
    pki::write_kubeconfig(state, &kubeconfig(state, node), &node.name, &server)?;
    write_file(&folder.join("resolv.conf"), "")?;
    write_file(&folder.join("cni/10-pods.conflist"), &cni_configuration(node, &folder))?;
    write_file(&folder.join("containerd.toml"), &containerd_configuration(&folder))?;
    write_file(&folder.join("kubelet.yaml"), &kubelet_configuration(state, node, &folder))?;
    write_file(&folder.join("proxy.yaml"), &proxy_configuration(state, node))
}

/// Point-to-point links instead of a bridge: every packet of a pod is routed, so service
/// addresses also work between pods of one node without the kernel's bridge filter.
fn cni_configuration(node: &Node, folder: &Path) -> String {
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": format!("quorate-local-{}", node.name),
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": folder.join("cni-addresses"),
                    "ranges": [[{ "subnet": node.pod_cidr() }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
    .to_string()
}

fn containerd_configuration(folder: &Path) -> String {
    let folder = folder.display();
    let plugins = CNI_FOLDERS
        .into_iter()
        .find(|path| Path::new(path).join("ptp").exists())
        .unwrap_or(CNI_FOLDERS[0]);
    format!(
        r#"version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-run"
[grpc]
address = "{folder}/containerd.sock"
[ttrpc]
address = "{folder}/containerd.ttrpc.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:dev"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{folder}/runc"
SystemdCgroup = false
"#
    )
}

fn kubelet_configuration(state: &State, node: &Node, folder: &Path) -> String {
    let file = |name: String| state.pki(&name).display().to_string();
    let path = |name: &str| folder.join(name).display().to_string();
    // JSON is YAML. The images are nowhere else, so nothing may ever be collected; and a process
    // that a test kills again and again must come back as fast as it does the first time.
    serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": file("ca.crt".to_owned()) },
        },
        "authorization": { "mode": "Webhook" },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup::kubelet_root(&node.name),
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{}", path("containerd.sock")),
        "crashLoopBackOff": { "maxContainerRestartPeriod": "5s" },
        "evictionHard": {
            "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%",
        },
        "failSwapOn": false,
        "featureGates": { "KubeletCrashLoopBackOffMax": true },
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "4s",
        "podLogsDir": path("pod-logs"),
        "resolvConf": path("resolv.conf"),
        "tlsCertFile": file(format!("{}.crt", node.name)),
        "tlsPrivateKeyFile": file(format!("{}.key", node.name)),
        "volumePluginDir": path("volume-plugins"),
    })
    .to_string()
}

fn proxy_configuration(state: &State, node: &Node) -> String {
    serde_json::json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": credentials(state, "kube-proxy") },
        "clusterCIDR": POD_CIDR,
        "conntrack": { "maxPerCore": 0, "min": 0 },
        "hostnameOverride": node.name,
        "mode": "iptables",
    })
    .to_string()
}
