//! The Go programs of the cluster, built once per version into the tool cache.
//!
//! Each tool lives in `<cache>/bin/<tool>-<key>`, where the key is a hash of everything that
//! decides its content: sources, pinned modules, flags, the Go version. So a change builds a new
//! one, nothing is ever overwritten in use, and the clone stays clean. Modules are pinned by the
//! committed `go.sum`; no tool chain is downloaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::command::{command, find, output, visible};
use super::progress::Progress;

const GO_MINOR_MIN: u32 = 26;
const KUBERNETES_VERSION: &str = "1.34.4";
const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";
const KUBECONFORM: &str = "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0";

/// The programs that the local cluster runs, in the order of `COMPONENTS`.
#[derive(Debug, Clone)]
pub struct Tools {
    /// One program for the control plane, the node agents and kubectl, called by links.
    pub kube: PathBuf,
    pub coredns: PathBuf,
    pub pause: PathBuf,
    pub toolbox: PathBuf,
}

const LINKS: [&str; 10] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
    "quorate-relay",
    "quorate-volumes",
    "quorate-wan",
];

impl Tools {
    pub fn ensure(progress: &Progress) -> Result<Self> {
        let kube = go_module("kube", ".", &LINKS, progress, "Kubernetes, about 5 minutes cold")?;
        let dns = go_module("dns", ".", &[], progress, "CoreDNS, about a minute cold")?;
        let pause = go_module("pod", "./pause", &[], progress, "the pause program")?;
        let toolbox = go_module("pod", "./toolbox", &[], progress, "the toolbox program")?;
        link_for_users(&kube.join("kubectl"), "kubectl")?;
        Ok(Self {
            kube,
            coredns: dns.join("dns"),
            pause: pause.join("pause"),
            toolbox: toolbox.join("toolbox"),
        })
    }

    /// The path of one component of the Kubernetes program.
    pub fn component(&self, name: &str) -> PathBuf {
        debug_assert!(LINKS.contains(&name));
        self.kube.join(name)
    }
}

pub fn helm(progress: &Progress) -> Result<PathBuf> {
    go_program("helm", HELM, progress)
}

pub fn kubeconform(progress: &Progress) -> Result<PathBuf> {
    go_program("kubeconform", KUBECONFORM, progress)
}

/// kubectl: our own when it was ever built, since it has the cluster's version; else any.
pub fn kubectl(progress: &Progress) -> Result<PathBuf> {
    let ours = cache_dir().join("bin/kubectl");
    if ours.exists() {
        return Ok(ours);
    }
    match find("kubectl") {
        Some(path) => Ok(path),
        None => Ok(Tools::ensure(progress)?.component("kubectl")),
    }
}

/// `$QUORATE_CACHE`, else `~/.cache/quorate`: everything that outlives `down`.
pub fn cache_dir() -> PathBuf {
    if let Some(set) = std::env::var_os("QUORATE_CACHE") {
        return PathBuf::from(set);
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    PathBuf::from(home).join(".cache/quorate")
}

/// The folder of the Go sources and manifests in the clone.
pub fn local_sources() -> PathBuf {
    repository().join("e2e/local")
}

fn go_module(
    module: &str,
    package: &str,
    links: &[&str],
    progress: &Progress,
    what: &str,
) -> Result<PathBuf> {
    let sources = local_sources().join(module);
    let name = if package == "." { module } else { package.trim_start_matches("./") };
    let flags = linker_flags();
    let key = module_key(&sources, &flags, &go_version()?)?;
    let bin = cache_dir().join("bin").join(format!("{name}-{key}"));
    if !bin.join(name).exists() {
        progress.step(&format!("building {what}"));
        let partial = start_partial(&bin)?;
        let mut build = go(["build", "-trimpath", "-ldflags", &flags, "-o"]);
        build.arg(partial.join(name)).arg(package).current_dir(&sources);
        visible(build.env("GOFLAGS", "-mod=readonly"))?;
        for link in links {
            std::os::unix::fs::symlink(name, partial.join(link))?;
        }
        fs::rename(&partial, &bin).with_context(|| format!("cannot finish {}", bin.display()))?;
    }
    Ok(bin)
}

fn go_program(name: &str, source: &str, progress: &Progress) -> Result<PathBuf> {
    let version = source.rsplit('@').next().unwrap_or_default();
    let bin = cache_dir().join("bin").join(format!("{name}-{version}"));
    if !bin.join(name).exists() {
        go_version()?;
        progress.step(&format!("building {name} {version}"));
        let partial = start_partial(&bin)?;
        let mut install = go(["install", "-trimpath", source]);
        visible(install.env("GOBIN", &partial).env("GOFLAGS", "").current_dir(&partial))?;
        fs::rename(&partial, &bin)?;
    }
    link_for_users(&bin.join(name), name)?;
    Ok(bin.join(name))
}

/// An empty folder beside the final one: an interrupted build leaves nothing that looks done.
fn start_partial(bin: &Path) -> Result<PathBuf> {
    let partial = bin.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    if bin.exists() {
        fs::remove_dir_all(bin)?;
    }
    fs::create_dir_all(&partial)?;
    Ok(partial)
}

/// A stable path for people: `<cache>/bin/<name>` points at the newest build.
fn link_for_users(target: &Path, name: &str) -> Result<()> {
    let link = cache_dir().join("bin").join(name);
    if fs::read_link(&link).is_ok_and(|current| current == target) {
        return Ok(());
    }
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link)?;
    }
    std::os::unix::fs::symlink(target, &link)?;
    Ok(())
}

fn go<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut go = command("go", args);
    go.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local");
    go
}

fn go_version() -> Result<String> {
    let needed = format!("Go 1.{GO_MINOR_MIN} or newer is needed to build the cluster's programs");
    if find("go").is_none() {
        bail!("{needed}: there is no `go` in PATH");
    }
    let version = output(&mut go(["env", "GOVERSION"]))?.trim().to_owned();
    let minor = version
        .strip_prefix("go1.")
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|minor| minor.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < GO_MINOR_MIN) {
        bail!("{needed}: `go` is {version}");
    }
    Ok(version)
}

/// The version that components and kubectl report; charts read it as the cluster's.
fn linker_flags() -> String {
    let package = "k8s.io/component-base/version";
    let (major, rest) = KUBERNETES_VERSION.split_once('.').unwrap_or((KUBERNETES_VERSION, ""));
    let minor = rest.split('.').next().unwrap_or_default();
    format!(
        "-s -w -X {package}.gitVersion=v{KUBERNETES_VERSION} -X {package}.gitMajor={major} \
         -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean"
    )
}

fn module_key(sources: &Path, flags: &str, go_version: &str) -> Result<String> {
    let mut files = Vec::new();
    collect_files(sources, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    hash.update(flags);
    hash.update(go_version);
    for file in files {
        hash.update(file.strip_prefix(sources)?.to_string_lossy().as_bytes());
        hash.update(fs::read(&file)?);
    }
    Ok(super::hex(&hash.finalize())[..12].to_owned())
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The root of the clone in which this runs: cargo says where it is, or one of the folders above. It is looked up at run
/// time, because several clones may share one target directory, and a program that was built for one would read another.
pub fn repository() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let by_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let here = std::env::current_dir().ok();
        let is_root = |folder: &&Path| folder.join("e2e/local").is_dir();
        let mut starts = by_cargo.iter().chain(&here).flat_map(|start| start.ancestors());
        starts.find(is_root).map_or_else(|| PathBuf::from("."), Path::to_owned)
    })
}
