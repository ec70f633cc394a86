//! Which of the clients on this host will trust the CA, found out by asking them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use memchr::memmem;
use serde::Deserialize;

use super::Row;
use crate::cli::variables::Environment;
use crate::downstream::ca::Root;
use crate::downstream::trust::installed::contains;

/// Tells where this Python looks for roots, and which client libraries it has.
const PYTHON: &str = "
import importlib.metadata as m, json, platform, ssl
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
p = ssl.get_default_verify_paths()
print(json.dumps({'version': platform.python_version(), 'file': p.openssl_cafile,
    'directory': p.openssl_capath,
    'packages': {n: version(n) for n in ('openai', 'anthropic', 'requests', 'httpx', 'boto3')}}))
";

/// Beyond this, a client is not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The checks, one row for each client that is installed.
pub(super) fn rows(env: &Environment, ca: &Root, installed: bool, rows: &mut Vec<Row>) {
    rows.extend(find(env, "curl").map(|_| curl(env, ca, installed)));
    rows.extend(find(env, "python3").and_then(|path| python(&path, env, ca)));
    rows.extend(find(env, "node").and_then(|path| node(&path, env, ca)));
    rows.extend(find(env, "java").and_then(|path| java(&path, ca)));
}

fn curl(env: &Environment, ca: &Root, installed: bool) -> Row {
    let own = ["CURL_CA_BUNDLE", "SSL_CERT_FILE"].into_iter().find(|name| env.contains_key(*name));
    let trusts = own.map_or(installed, |name| points_to(env, name, ca));
    if trusts {
        Row::pass("curl", "trusts the CA")
    } else {
        let fix = "`weir trust install`, or `weir run -- curl …`";
        Row::warn("curl", "does not trust the CA", fix)
    }
}

/// What a Python says of itself.
#[derive(Debug, Deserialize)]
struct Python {
    version: String,
    file: PathBuf,
    directory: PathBuf,
    packages: std::collections::BTreeMap<String, Option<String>>,
}

fn python(path: &Path, env: &Environment, ca: &Root) -> Option<Row> {
    let output = ask(path, &["-c", PYTHON])?;
    Some(judge_python(&serde_json::from_str(&output).ok()?, env, ca))
}

fn judge_python(python: &Python, env: &Environment, ca: &Root) -> Row {
    let name = format!("python {}", python.version);
    let system = if env.contains_key("SSL_CERT_FILE") {
        points_to(env, "SSL_CERT_FILE", ca)
    } else {
        contains(&python.file, ca.certificate()).unwrap_or(false)
            || directory_contains(&python.directory, ca)
    };
    if !system {
        let fix = if env.contains_key("SSL_CERT_FILE") {
            "unset SSL_CERT_FILE, or `weir run -- python3 …`".to_owned()
        } else {
            let looks = python.directory.display();
            format!("`weir trust install` where it looks at {looks}; else `weir run -- python3 …`")
        };
        return Row::warn(name, "its ssl module does not trust the CA", fix);
    }
    // Libraries that bring their own roots and need a variable to look elsewhere.
    let blind: Vec<_> = python
        .packages
        .iter()
        .filter_map(|(package, version)| Some((package.as_str(), version.as_deref()?)))
        .filter(|(package, version)| {
            let major: u32 = version.split('.').next().and_then(|v| v.parse().ok()).unwrap_or(0);
            let variables: &[&str] = match *package {
                "openai" if major < 3 => &["SSL_CERT_FILE"],
                "anthropic" if major < 1 => &["SSL_CERT_FILE"],
                "httpx" => &["SSL_CERT_FILE"],
                "requests" => &["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"],
                "boto3" => &["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"],
                _ => return false,
            };
            !variables.iter().any(|variable| points_to(env, variable, ca))
        })
        .map(|(package, version)| format!("{package} {version}"))
        .collect();
    if blind.is_empty() {
        Row::pass(name, "trusts the CA")
    } else {
        let detail = format!("trusts the CA, but not through {}", blind.join(", "));
        Row::warn(name, detail, "`weir run -- python3 …`, or `eval \"$(weir env)\"`")
    }
}

fn node(path: &Path, env: &Environment, ca: &Root) -> Option<Row> {
    let name = format!("node {}", ask(path, &["--version"])?.trim().trim_start_matches('v'));
    Some(if points_to(env, "NODE_EXTRA_CA_CERTS", ca) {
        Row::pass(name, "trusts the CA by NODE_EXTRA_CA_CERTS")
    } else {
        let detail = "has its own roots, whatever the system store says";
        Row::warn(name, detail, "`weir run -- node …`, or `eval \"$(weir env)\"`")
    })
}

fn java(path: &Path, ca: &Root) -> Option<Row> {
    let home = path.canonicalize().ok()?.parent()?.parent()?.to_path_buf();
    let store = ["lib/security/cacerts", "jre/lib/security/cacerts"]
        .iter()
        .map(|below| home.join(below))
        .find(|store| store.exists())?;
    let name = format!("java ({})", home.display());
    // Both of its formats hold certificates as they are.
    let content = std::fs::read(&store).ok()?;
    Some(if memmem::find(&content, ca.certificate()).is_some() {
        Row::pass(name, "trusts the CA")
    } else {
        Row::warn(
            name,
            format!("the CA is not in {}", store.display()),
            "`weir trust install` with the package `ca-certificates-java`; for a JDK with a store \
             of its own, `keytool -importcert -cacerts -alias weir -file weir-ca.pem`",
        )
    })
}

/// Whether the file a variable names contains the CA.
fn points_to(env: &Environment, name: &str, ca: &Root) -> bool {
    env.get(name).is_some_and(|path| contains(Path::new(path), ca.certificate()).unwrap_or(false))
}

/// Whether a directory of certificates contains the CA.
fn directory_contains(directory: &Path, ca: &Root) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        // The links named by hash lead to the same files.
        path.extension().is_some_and(|ext| ext == "pem" || ext == "crt")
            && contains(&path, ca.certificate()).unwrap_or(false)
    })
}

/// The program as a shell would find it.
fn find(env: &Environment, program: &str) -> Option<PathBuf> {
    let path = env.get("PATH")?;
    std::env::split_paths(path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// What a program prints; `None` where it fails or takes too long.
fn ask(program: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(program).args(args);
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use crate::clock::{Clock, System};
    use crate::downstream::ca::{Authority, PUBLIC_ROOT};
    use std::fs;

    fn site() -> (tempfile::TempDir, Root, String) {
        let dir = tempfile::tempdir().unwrap();
        let now = System.now().wall;
        Authority::open_or_create(dir.path(), &["api.openai.com"], now).unwrap();
        let ca = Root::read(dir.path()).unwrap();
        let path = dir.path().join(PUBLIC_ROOT).to_str().unwrap().to_owned();
        (dir, ca, path)
    }

    fn env(entries: &[(&str, &str)]) -> Environment {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn described(directory: &Path, packages: &[(&str, &str)]) -> Python {
        Python {
            version: "3.13.0".to_owned(),
            file: "/nonexistent".into(),
            directory: directory.to_owned(),
            packages: packages
                .iter()
                .map(|(name, version)| ((*name).to_owned(), Some((*version).to_owned())))
                .collect(),
        }
    }

    #[test]
    fn python_is_judged_by_its_paths_and_its_libraries() {
        let (dir, ca, path) = site();
        let elsewhere = tempfile::tempdir().unwrap();
        let judge = |directory, packages: &[(&str, &str)], variables: &[(&str, &str)]| {
            judge_python(&described(directory, packages), &env(variables), &ca)
        };
        assert_eq!(judge(elsewhere.path(), &[], &[]).status, Status::Warn);
        assert_eq!(judge(elsewhere.path(), &[], &[("SSL_CERT_FILE", &path)]).status, Status::Pass);
        let current = [("openai", "3.54.0"), ("anthropic", "1.2.0")];
        assert_eq!(judge(dir.path(), &current, &[]).status, Status::Pass);
        let old = [("openai", "1.109.1"), ("anthropic", "1.2.0"), ("requests", "2.32.0")];
        let row = judge(dir.path(), &old, &[]);
        assert!(row.detail.ends_with("through openai 1.109.1, requests 2.32.0"), "{}", row.detail);
        let set = [("SSL_CERT_FILE", path.as_str()), ("REQUESTS_CA_BUNDLE", &path)];
        assert_eq!(judge(dir.path(), &old, &set).status, Status::Pass);
    }

    #[test]
    fn java_is_judged_by_its_own_store() {
        let (dir, ca, _) = site();
        let home = dir.path().join("jdk");
        fs::create_dir_all(home.join("bin")).unwrap();
        fs::create_dir_all(home.join("lib/security")).unwrap();
        fs::write(home.join("bin/java"), "").unwrap();
        let store = home.join("lib/security/cacerts");
        fs::write(&store, "others").unwrap();
        assert_eq!(java(&home.join("bin/java"), &ca).unwrap().status, Status::Warn);
        fs::write(&store, [b"others", ca.certificate().as_ref(), b"more"].concat()).unwrap();
        assert_eq!(java(&home.join("bin/java"), &ca).unwrap().status, Status::Pass);
    }

    #[test]
    fn installed_clients_are_asked() {
        let (_dir, ca, path) = site();
        let search: Environment =
            crate::cli::variables::environment().into_iter().filter(|(n, _)| n == "PATH").collect();
        let mut found = Vec::new();
        rows(&search, &ca, false, &mut found);
        for row in &found {
            assert_eq!(row.status, Status::Warn, "{row:?}");
            assert!(row.fix.is_some());
        }
        let mut trusting = search;
        for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"]
        {
            trusting.insert(name.to_owned(), path.clone());
        }
        let mut found = Vec::new();
        rows(&trusting, &ca, true, &mut found);
        found.retain(|row| !row.check.starts_with("java"));
        assert!(found.iter().all(|row| row.status == Status::Pass), "{found:?}");
    }
}
