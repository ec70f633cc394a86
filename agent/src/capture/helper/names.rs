//! What people call a container or pod, from the files its runtime keeps: no socket of a runtime
//! is opened, for whoever may talk to one is as good as root.
//!
//! Docker keeps a JSON file per container, Podman and CRI-O lists of theirs, and the kubelet names
//! each pod's log directory `NAMESPACE_NAME_UID`, whatever the runtime.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Largest file read; one of Podman's lists with a thousand containers stays below.
const FILE: u64 = 8 * 1024 * 1024;

/// Most directories of pods looked through.
const PODS: usize = 4096;

const DOCKER: &str = "var/lib/docker/containers";

const LISTS: [&str; 4] = [
    "var/lib/containers/storage/overlay-containers/containers.json",
    "var/lib/containers/storage/overlay-containers/volatile-containers.json",
    "run/containers/storage/overlay-containers/volatile-containers.json",
    "var/lib/containers/storage/vfs-containers/containers.json",
];

const POD_LOGS: &str = "var/log/pods";

/// The runtimes' files.
#[derive(Debug)]
pub(super) struct Names {
    root: PathBuf,
}

/// The part of Docker's `config.v2.json` that matters.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    name: String,
}

/// One entry of Podman's and CRI-O's list.
#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

impl Names {
    /// Reads below `root`, which is `/` outside tests.
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Name of the container with this full id (64 hexadecimal digits, and nothing that leads elsewhere).
    pub(super) fn container(&self, id: &str) -> Option<String> {
        is_plain(id).then(|| self.docker(id).or_else(|| self.listed(id)))?
    }

    /// `NAMESPACE/NAME` of the pod with this uid.
    pub(super) fn pod(&self, uid: &str) -> Option<String> {
        self.logged(uid)
    }

    fn docker(&self, id: &str) -> Option<String> {
        let path = self.root.join(DOCKER).join(id).join("config.v2.json");
        let config: DockerConfig = serde_json::from_slice(&read(&path).ok()?).ok()?;
        let name = config.name.trim_start_matches('/');
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn listed(&self, id: &str) -> Option<String> {
        LISTS.iter().find_map(|list| {
            let bytes = read(&self.root.join(list)).ok()?;
            let all: Vec<Listed> = serde_json::from_slice(&bytes).ok()?;
            let mine = all.into_iter().find(|listed| listed.id == id)?;
            mine.names.into_iter().next()
        })
    }

    fn logged(&self, uid: &str) -> Option<String> {
        let entries = std::fs::read_dir(self.root.join(POD_LOGS)).ok()?;
        entries.flatten().take(PODS).find_map(|entry| {
            let name = entry.file_name();
            let pod = name.to_str()?.strip_suffix(uid)?.strip_suffix('_')?;
            let (namespace, pod) = pod.split_once('_')?;
            Some(format!("{namespace}/{pod}"))
        })
    }
}

/// Whether an id can be part of a path: who asks has fewer privileges than we have.
fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4c01db0b339c1d6b1d2e2f9b1c1a3b6e8d7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b";

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn docker_names() {
        let root = tempfile::tempdir().unwrap();
        let names = Names::below(root.path());
        assert_eq!(names.container(ID), None, "not known yet");
        let file = format!("{DOCKER}/{ID}/config.v2.json");
        write(root.path(), &file, r#"{"State":{"Pid":7},"Name":"/web","Config":{"Env":["A=b"]}}"#);
        assert_eq!(names.container(ID).as_deref(), Some("web"));
        assert_eq!(names.container(&format!("../containers/{ID}")), None);
    }

    #[test]
    fn names_in_lists() {
        let root = tempfile::tempdir().unwrap();
        let names = Names::below(root.path());
        let list = format!(r#"[{{"id":"other"}},{{"id":"{ID}","names":["nightly"],"image":"x"}}]"#);
        write(root.path(), LISTS[0], "[]");
        write(root.path(), LISTS[1], "not json");
        write(root.path(), LISTS[2], &list);
        assert_eq!(names.container(ID).as_deref(), Some("nightly"));
    }

    #[test]
    fn pod_names() {
        let root = tempfile::tempdir().unwrap();
        let names = Names::below(root.path());
        let uid = "1f2e3d4c-5b6a-7988-8796-a5b4c3d2e1f0";
        assert_eq!(names.pod(uid), None);
        write(root.path(), &format!("{POD_LOGS}/prod_web-7d4b_{uid}/c/0.log"), "");
        assert_eq!(names.pod(uid).as_deref(), Some("prod/web-7d4b"));
    }
}
