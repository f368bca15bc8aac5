//! Network namespaces and links: the hub, one namespace per node, and routes between them.
//!
//! Every step asks for the wanted state and may be repeated. Nothing here touches the machine's
//! own network: the hub has no way out.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::super::command::{command, output, succeeds};
use super::topology::{HUB_ADDRESS, HUB_NAMESPACE, Node, Topology};

/// Makes all namespaces and links as they should be.
pub(super) fn ensure(topology: &Topology) -> Result<()> {
    ensure_namespace(HUB_NAMESPACE)?;
    ip(&["-n", HUB_NAMESPACE, "address", "replace", &format!("{HUB_ADDRESS}/32"), "dev", "lo"])?;
    for node in &topology.nodes {
        ensure_node(node)?;
    }
    Ok(())
}

pub(super) fn remove(topology: &Topology) -> Result<()> {
    let nodes = topology.nodes.iter().map(Node::namespace);
    for namespace in nodes.chain([HUB_NAMESPACE.to_owned()]) {
        if Path::new("/run/netns").join(&namespace).exists() {
            ip(&["netns", "delete", &namespace])?;
        }
    }
    // The tool makes this folder a mount of its own the first time; the last one removes it.
    let folder = Path::new("/run/netns");
    let empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if empty {
        succeeds(&mut command("umount", [folder]));
        fs::remove_dir(folder).ok();
    }
    Ok(())
}

/// The processes that live in a namespace (those of pods live in namespaces of their own).
pub(super) fn processes(namespace: &str) -> Vec<i32> {
    let listed = output(&mut command("ip", ["netns", "pids", namespace])).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// `ip` with arguments, in the machine's own namespace unless they say otherwise.
pub(super) fn ip(args: &[&str]) -> Result<String> {
    output(&mut command("ip", args))
}

fn ensure_namespace(name: &str) -> Result<()> {
    let path = Path::new("/run/netns").join(name);
    // After a reboot the file may be left while the namespace is gone.
    let usable = succeeds(&mut command("nsenter", [&format!("--net={}", path.display()), "true"]));
    if !usable {
        if path.exists() {
            fs::remove_file(&path)?;
        }
        ip(&["netns", "add", name])?;
    }
    ip(&["-n", name, "link", "set", "lo", "up"])?;
    // Packets come back by another way than they went when a link is delayed: no path filter.
    let settings = "cd /proc/sys/net/ipv4 && echo 1 >ip_forward && \
                    echo 0 >conf/all/rp_filter && echo 0 >conf/default/rp_filter";
    let enter = format!("--net={}", path.display());
    output(&mut command("nsenter", [&enter, "sh", "-c", settings]))?;
    Ok(())
}

fn ensure_node(node: &Node) -> Result<()> {
    let (namespace, link) = (node.namespace(), node.link());
    ensure_namespace(&namespace)?;
    if ip(&["-n", HUB_NAMESPACE, "link", "show", &link]).is_err() {
        ip(&[
            "-n",
            HUB_NAMESPACE,
            "link",
            "add",
            &link,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &namespace,
        ])?;
    }
    let (gateway, address) = (format!("{}/24", node.gateway()), format!("{}/24", node.address()));
    ip(&["-n", HUB_NAMESPACE, "address", "replace", &gateway, "dev", &link])?;
    ip(&["-n", HUB_NAMESPACE, "link", "set", &link, "up"])?;
    ip(&["-n", &namespace, "address", "replace", &address, "dev", "eth0"])?;
    ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
    ip(&["-n", &namespace, "route", "replace", "default", "via", &node.gateway()])?;
    ip(&["-n", HUB_NAMESPACE, "route", "replace", &node.pod_cidr(), "via", &node.address()])?;
    Ok(())
}
