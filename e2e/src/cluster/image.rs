//! Container images made by hand: an OCI archive is a tar of a few JSON files and one layer.
//!
//! The same files give the same bytes (no times, fixed owners, sorted entries), so an image's
//! digest changes exactly when its content does, and a cluster that has it is left alone.
//! Layout: the OCI image layout specification, with the reference names that containerd reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::command::{command, output};
use super::hex;

/// The user that images run as: the `nonroot` of many base images.
const NONROOT: u32 = 65532;
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Raised when a recipe changes what it puts around the program.
const RECIPE_VERSION: u32 = 1;

/// An image on disk, ready to be loaded into a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    pub path: PathBuf,
    /// Every name under which a pod may ask for it, for example `localhost/quorate-node:dev`.
    pub references: Vec<String>,
    /// The digest of the manifest, `sha256:…`.
    pub digest: String,
}

/// What an image has besides its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Nothing: the program is static.
    Empty,
    /// The libraries of this machine that the program names, and what the C library expects.
    HostLibraries,
}

/// The archive of an image called `name` that runs `program`. An archive in `folder` that was
/// made from this very file is taken as it is.
pub fn archive(name: &str, program: &Path, base: Base, folder: &Path) -> Result<Archive> {
    let meta = program.metadata().with_context(|| format!("there is no {}", program.display()))?;
    let modified = meta.modified()?.duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let length = meta.len();
    let source = format!("{RECIPE_VERSION} {base:?} {} {length} {modified}", program.display());
    let note = folder.join(format!("{name}.json"));
    let known: Option<(String, Archive)> =
        fs::read(&note).ok().and_then(|content| serde_json::from_slice(&content).ok());
    if let Some((known_source, archive)) = known
        && known_source == source
        && archive.path.exists()
    {
        return Ok(archive);
    }
    let recipe = match base {
        Base::Empty => Recipe::of_static_program(name, program)?,
        Base::HostLibraries => Recipe::of_program(name, program)?,
    };
    let archive = recipe.write(folder)?;
    fs::write(note, serde_json::to_vec(&(source, &archive))?)?;
    Ok(archive)
}

/// What goes into an image.
#[derive(Debug)]
struct Recipe {
    name: String,
    entrypoint: String,
    user: u32,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    mode: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(Vec<u8>),
    Folder,
}

impl Recipe {
    fn of_static_program(name: &str, program: &Path) -> Result<Self> {
        let mut recipe = Self::empty(name, program)?;
        recipe.add_file(&recipe.entrypoint.clone(), program, 0o755)?;
        Ok(recipe)
    }

    fn of_program(name: &str, program: &Path) -> Result<Self> {
        let mut recipe = Self::of_static_program(name, program)?;
        for library in shared_libraries(program)? {
            recipe.add_file(&library.to_string_lossy(), &library, 0o755)?;
        }
        recipe.add_text(
            "/etc/passwd",
            &format!("root:x:0:0::/:/none\nnonroot:x:{NONROOT}:{NONROOT}::/tmp:/none\n"),
        );
        recipe.add_text("/etc/group", &format!("root:x:0:\nnonroot:x:{NONROOT}:\n"));
        recipe.add_text("/etc/nsswitch.conf", "hosts: files dns\n");
        let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
        if certificates.exists() {
            recipe.add_file("/etc/ssl/certs/ca-certificates.crt", certificates, 0o644)?;
        }
        recipe.add_folder("/tmp", 0o1777);
        recipe.add_folder("/data", 0o777);
        recipe.user = NONROOT;
        Ok(recipe)
    }

    fn empty(name: &str, program: &Path) -> Result<Self> {
        let file = program.file_name().context("a program has a file name")?.to_string_lossy();
        Ok(Self {
            name: name.to_owned(),
            entrypoint: format!("/usr/local/bin/{file}"),
            user: 0,
            entries: Vec::new(),
        })
    }

    fn add_file(&mut self, path: &str, source: &Path, mode: u32) -> Result<()> {
        let content =
            fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.add(path, mode, Content::File(content));
        Ok(())
    }

    fn add_text(&mut self, path: &str, text: &str) {
        self.add(path, 0o644, Content::File(text.as_bytes().to_vec()));
    }

    fn add_folder(&mut self, path: &str, mode: u32) {
        self.add(path, mode, Content::Folder);
    }

    fn add(&mut self, path: &str, mode: u32, content: Content) {
        let path = path.trim_start_matches('/').to_owned();
        self.entries.push(Entry { path, mode, content });
    }

    /// Writes the archive to `folder/<name>.tar`. It is named `localhost/<name>:dev` and also by
    /// the first digits of its digest, for users of the image who must notice a new one.
    fn write(mut self, folder: &Path) -> Result<Archive> {
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        self.entries.dedup_by(|a, b| a.path == b.path);
        let layer = Blob::new(self.layer()?);
        let config = Blob::new(self.config(&layer.digest).to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(CONFIG_TYPE),
            "layers": [layer.descriptor(LAYER_TYPE)],
        });
        let manifest = Blob::new(manifest.to_string().into_bytes());
        let digest = manifest.digest.clone();
        let short = &digest["sha256:".len()..][..12];
        let references: Vec<String> =
            ["dev", short].iter().map(|tag| format!("localhost/{}:{tag}", self.name)).collect();
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index(&manifest, &references).to_string().into_bytes()),
        ];
        for blob in [config, manifest, layer] {
            files.push((format!("blobs/{}", blob.digest.replace(':', "/")), blob.content));
        }
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in &files {
            append(&mut archive, path, 0o644, content)?;
        }
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.tar", self.name));
        let partial = path.with_extension("partial");
        fs::write(&partial, archive.into_inner()?)?;
        fs::rename(&partial, &path)?;
        Ok(Archive { path, references, digest })
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        for entry in &self.entries {
            match &entry.content {
                Content::File(content) => append(&mut layer, &entry.path, entry.mode, content)?,
                Content::Folder => {
                    let mut header = header(entry.mode, tar::EntryType::Directory);
                    layer.append_data(&mut header, format!("{}/", entry.path), &[][..])?;
                }
            }
        }
        Ok(layer.into_inner()?)
    }

    fn config(&self, layer_digest: &str) -> serde_json::Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": [self.entrypoint],
                "User": format!("{}:{}", self.user, self.user),
                "Env": ["PATH=/usr/local/bin"],
                "WorkingDir": "/",
            },
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        })
    }
}

/// The names that Go and the image specification use for this machine.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = output(&mut command("ldd", [program]))?;
    let mut libraries: Vec<PathBuf> = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(PathBuf::from)
        .collect();
    let libc = libraries
        .iter()
        .find(|path| path.file_name().is_some_and(|name| name == "libc.so.6"))
        .cloned();
    let Some(libc) = libc else {
        bail!("{} does not name a C library: {listed}", program.display());
    };
    // Loaded by name when a host is looked up, so it is not among the listed ones.
    let resolver = libc.with_file_name("libresolv.so.2");
    if resolver.exists() {
        libraries.push(resolver);
    }
    Ok(libraries)
}

fn index(manifest: &Blob, references: &[String]) -> serde_json::Value {
    let manifests: Vec<serde_json::Value> = references
        .iter()
        .map(|reference| {
            let mut named = manifest.descriptor(MANIFEST_TYPE);
            named["platform"] = json!({ "architecture": architecture(), "os": "linux" });
            named["annotations"] = json!({
                "io.containerd.image.name": reference,
                "org.opencontainers.image.ref.name": reference,
            });
            named
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests })
}

/// Content with its digest, which is computed once: an image has tens of megabytes.
struct Blob {
    content: Vec<u8>,
    digest: String,
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        let digest = format!("sha256:{}", hex(&Sha256::digest(&content)));
        Self { content, digest }
    }

    fn descriptor(&self, media_type: &str) -> serde_json::Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.content.len() })
    }
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = header(mode, tar::EntryType::Regular);
    header.set_size(content.len() as u64);
    Ok(archive.append_data(&mut header, path, content)?)
}

fn header(mode: u32, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_entry_type(kind);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive_of(content: &str, folder: &Path) -> Archive {
        let program = folder.join("program");
        fs::write(&program, content).expect("a temporary folder can be written");
        Recipe::of_static_program("sample", &program)
            .and_then(|recipe| recipe.write(folder))
            .expect("an archive of one file can be written")
    }

    #[test]
    fn digest_depends_on_content_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let first = archive_of("one", folder.path());
        let again = archive_of("one", folder.path());
        let other = archive_of("two", folder.path());
        assert_eq!(first.digest, again.digest);
        assert_ne!(first.digest, other.digest);
        assert_eq!(first.references[0], "localhost/sample:dev");
    }

    #[test]
    fn archive_holds_every_blob_that_the_index_reaches() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let archive = archive_of("one", folder.path());
        let file = fs::File::open(&archive.path).expect("the archive exists");
        let mut paths = Vec::new();
        for entry in tar::Archive::new(file).entries().expect("it is a tar") {
            let entry = entry.expect("each entry is whole");
            paths.push(entry.path().expect("paths are short").display().to_string());
        }
        assert_eq!(paths.len(), 5);
        assert!(paths.contains(&format!("blobs/{}", archive.digest.replace(':', "/"))));
    }
}
