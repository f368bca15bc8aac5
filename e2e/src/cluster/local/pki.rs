//! The cluster's certificates and the credentials made from them.
//!
//! One authority, one certificate per component with the name that Kubernetes' own default roles
//! expect; so the local cluster authorises like any other. Made once with `openssl` and kept
//! until `down`: the programs live hours, the certificates ten years.

use std::path::Path;

use anyhow::Result;

use super::super::command::{command, output};
use super::state::{State, write_file};
use super::topology::{API_SERVICE_ADDRESS, HUB_ADDRESS, Topology};

const DAYS: &str = "3650";

/// Credentials of the control plane's own parts: file name and the name Kubernetes gives it.
const CLIENTS: [(&str, &str); 5] = [
    ("admin", "/O=system:masters/CN=quorate-admin"),
    ("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet"),
    ("kube-controller-manager", "/CN=system:kube-controller-manager"),
    ("kube-scheduler", "/CN=system:kube-scheduler"),
    ("kube-proxy", "/CN=system:kube-proxy"),
];

pub(super) fn ensure(state: &State, topology: &Topology) -> Result<()> {
    authority(state)?;
    account_key(state)?;
    let names = format!(
        "IP:127.0.0.1,IP:{HUB_ADDRESS},IP:{API_SERVICE_ADDRESS},DNS:localhost,DNS:kubernetes,\
         DNS:kubernetes.default,DNS:kubernetes.default.svc,\
         DNS:kubernetes.default.svc.cluster.local"
    );
    certificate(state, "apiserver", "/CN=kube-apiserver", &names)?;
    for (file, subject) in CLIENTS {
        certificate(state, file, subject, &format!("DNS:{file}"))?;
    }
    for node in &topology.nodes {
        let subject = format!("/O=system:nodes/CN=system:node:{}", node.name);
        let names = format!("IP:{},DNS:{}", node.address(), node.name);
        certificate(state, &node.name, &subject, &names)?;
    }
    Ok(())
}

/// A kubeconfig for one of the certificates. It names files of the state folder, so it is worth
/// nothing elsewhere and dies with the cluster.
pub(super) fn write_kubeconfig(state: &State, path: &Path, user: &str, server: &str) -> Result<()> {
    let authority = state.pki("ca.crt");
    let certificate = state.pki(&format!("{user}.crt"));
    let key = state.pki(&format!("{user}.key"));
    let content = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: quorate-local\n\
         clusters:\n- name: quorate-local\n  cluster:\n    server: {server}\n    \
         certificate-authority: {}\n\
         users:\n- name: {user}\n  user:\n    client-certificate: {}\n    client-key: {}\n\
         contexts:\n- name: quorate-local\n  context:\n    cluster: quorate-local\n    \
         user: {user}\n",
        authority.display(),
        certificate.display(),
        key.display()
    );
    write_file(path, &content)
}

fn authority(state: &State) -> Result<()> {
    let (key, certificate) = (state.pki("ca.key"), state.pki("ca.crt"));
    if certificate.exists() {
        return Ok(());
    }
    let partial = state.pki("ca.partial");
    let mut make = openssl(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
    make.args(["ec_paramgen_curve:P-256", "-noenc", "-subj", "/CN=quorate-local", "-days", DAYS]);
    output(make.arg("-keyout").arg(key).arg("-out").arg(&partial))?;
    Ok(std::fs::rename(partial, certificate)?)
}

/// The key that signs service account tokens, and its public half.
fn account_key(state: &State) -> Result<()> {
    let (key, public) = (state.pki("accounts.key"), state.pki("accounts.pub"));
    if public.exists() {
        return Ok(());
    }
    let mut make = openssl(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]);
    output(make.arg(&key))?;
    let partial = state.pki("accounts.partial");
    output(openssl(["ec", "-pubout", "-in"]).arg(&key).arg("-out").arg(&partial))?;
    Ok(std::fs::rename(partial, public)?)
}

fn certificate(state: &State, file: &str, subject: &str, names: &str) -> Result<()> {
    let certificate = state.pki(&format!("{file}.crt"));
    if certificate.exists() {
        return Ok(());
    }
    let partial = state.pki(&format!("{file}.partial"));
    let mut make = openssl(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
    make.args(["ec_paramgen_curve:P-256", "-noenc", "-days", DAYS, "-subj", subject])
        .arg("-CA")
        .arg(state.pki("ca.crt"))
        .arg("-CAkey")
        .arg(state.pki("ca.key"))
        .arg("-keyout")
        .arg(state.pki(&format!("{file}.key")))
        .args(["-addext", &format!("subjectAltName={names}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", "keyUsage=critical,digitalSignature"])
        .args(["-addext", "extendedKeyUsage=serverAuth,clientAuth"]);
    output(make.arg("-out").arg(&partial))?;
    Ok(std::fs::rename(partial, certificate)?)
}

fn openssl<'a>(args: impl IntoIterator<Item = &'a str>) -> std::process::Command {
    command("openssl", args)
}
