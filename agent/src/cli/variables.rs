//! The environment variables that make one process tree trust the local CA, and, where the kernel
//! does not redirect, go through the daemon.
//!
//! What the user has set stays in force: a bundle of theirs is extended, a proxy of theirs is left
//! alone. `NODE_USE_SYSTEM_CA` is never set: `node --use-openssl-ca` refuses to start beside it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::bundle::Bundles;
use super::site::Site;
use crate::downstream::ca::{CaError, PUBLIC_ROOT, Root};
use crate::downstream::trust::installed::system_bundle;
use crate::capture::TRUST_VARIABLE;

/// Variables that replace what a program trusts, each with the one its programs fall back to.
pub(super) const REPLACING: [(&str, Option<&str>); 5] = [
    ("SSL_CERT_FILE", None),
    ("CURL_CA_BUNDLE", Some("SSL_CERT_FILE")),
    ("REQUESTS_CA_BUNDLE", Some("CURL_CA_BUNDLE")),
    ("AWS_CA_BUNDLE", Some("REQUESTS_CA_BUNDLE")),
    ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", None),
];

/// The same, for programs that are content with those above unless the user has set these.
const REPLACING_IF_SET: [&str; 3] =
    ["NIX_SSL_CERT_FILE", "CODEX_CA_CERTIFICATE", "HTTPLIB2_CA_CERTS"];

/// Variables that name certificates to trust besides the program's own.
const ADDING: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// What is never to go through the proxy.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The user's environment; entries that are no UTF-8 are none of ours.
pub(super) type Environment = BTreeMap<String, String>;

/// This process's environment.
pub(super) fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// What to set, and what the user should know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// Names and values.
    pub set: BTreeMap<String, String>,
    /// Remarks, each one line.
    pub notes: Vec<String>,
}

/// Finds the variables for a process started in environment `env`. `system_root` is `/` but for
/// tests; `redirecting` says whether the kernel brings connections to the daemon.
pub(super) fn variables(
    env: &Environment,
    site: &Site,
    system_root: &Path,
    redirecting: bool,
) -> anyhow::Result<Variables> {
    let root = Root::read(&site.state_dir).map_err(|error| match error {
        CaError::Missing { .. } => anyhow::anyhow!(
            "there is no local CA in {} yet: start the daemon, or run `weir trust install`",
            site.state_dir.display()
        ),
        other => other.into(),
    })?;
    let bundles = Bundles::new(&root, &site.state_dir, caches(env))?;
    let mut found = Variables::default();
    let system = system_bundle(system_root);
    if system.is_none() {
        found.notes.push(
            "no system bundle of certificates: only Node and Deno will trust the CA; install the \
             package `ca-certificates`"
                .to_owned(),
        );
    }
    let theirs = |name| env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut to_extend = Vec::new();
    for (name, fallback) in REPLACING {
        let base = theirs(name).or_else(|| fallback.and_then(theirs)).or_else(|| system.clone());
        to_extend.extend(base.map(|base| (name, base)));
    }
    for name in REPLACING_IF_SET {
        to_extend.extend(theirs(name).map(|base| (name, base)));
    }
    for name in ADDING {
        match theirs(name) {
            Some(base) if base.is_file() => to_extend.push((name, base)),
            // A file that is missing adds nothing.
            _ => {
                let ca = path_text(&site.state_dir.join(PUBLIC_ROOT))?;
                found.set.insert(name.to_owned(), ca);
            }
        }
    }
    for (name, base) in to_extend {
        if base.is_file() {
            let bundle = bundles.superset(&base).with_context(|| name.to_owned())?;
            found.set.insert(name.to_owned(), path_text(&bundle)?);
        } else {
            // A directory or a missing file: theirs, and not ours to mend.
            found.notes.push(format!("{name}: {} is no file; left as it is", base.display()));
        }
    }
    found.set.insert(TRUST_VARIABLE.to_owned(), root.fingerprint().to_owned());
    if !redirecting {
        proxy(env, site.explicit_addr, &mut found);
    }
    // What is there already need not be set again.
    found.set.retain(|name, value| env.get(name) != Some(value));
    Ok(found)
}

/// Sends HTTPS through the daemon's explicit proxy, unless the user has one of their own.
fn proxy(env: &Environment, address: SocketAddr, found: &mut Variables) {
    let url = format!("http://{}", reachable(address));
    let names = ["HTTPS_PROXY", "https_proxy"];
    let theirs = names.iter().find_map(|name| {
        env.get(*name).filter(|value| !value.is_empty() && **value != url).map(|v| (name, v))
    });
    if let Some((name, _)) = theirs {
        found.notes.push(format!("{name} is set: left as it is, so calls are not metered"));
        return;
    }
    for name in names {
        found.set.insert(name.to_owned(), url.clone());
    }
    // Node 24 and newer look at proxy variables only when told to.
    if !env.contains_key("NODE_USE_ENV_PROXY") {
        found.set.insert("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned());
    }
    let exempt = ["NO_PROXY", "no_proxy"].iter().find_map(|name| env.get(*name));
    let mut exempt: Vec<_> =
        exempt.into_iter().flat_map(|list| list.split(',')).map(str::trim).collect();
    exempt.retain(|host| !host.is_empty());
    if exempt.contains(&"*") {
        found.notes.push("NO_PROXY is `*`: calls go past the proxy and are not metered".to_owned());
    }
    exempt.extend(
        LOOPBACK.iter().filter(|host| !exempt.contains(*host)).copied().collect::<Vec<_>>(),
    );
    for name in ["NO_PROXY", "no_proxy"] {
        found.set.insert(name.to_owned(), exempt.join(","));
    }
}

/// An address to connect to, where the daemon listens on all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Where a user without access to the state directory keeps bundles.
fn caches(env: &Environment) -> Vec<PathBuf> {
    let cache = env.get("XDG_CACHE_HOME").map(PathBuf::from);
    let home = env.get("HOME").map(|home| Path::new(home).join(".cache"));
    cache
        .or(home)
        .filter(|path| path.is_absolute())
        .map(|path| path.join("weir"))
        .into_iter()
        .collect()
}

fn path_text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, System};
    use crate::downstream::ca::Authority;
    use crate::downstream::trust::installed::below;
    use std::fs;

    /// A host with a system bundle and a CA that is not in it.
    struct Host {
        dir: tempfile::TempDir,
        site: Site,
    }

    impl Host {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let site = Site {
                state_dir: dir.path().join("state"),
                explicit_addr: "0.0.0.0:4180".parse().unwrap(),
                daemon_socket: dir.path().join("run/weir.sock"),
                hosts: vec!["api.openai.com".to_owned()],
            };
            let now = System.now().wall;
            Authority::open_or_create(&site.state_dir, &site.hosts, now).unwrap();
            let host = Self { dir, site };
            fs::create_dir_all(host.bundle().parent().unwrap()).unwrap();
            fs::write(host.bundle(), "# system\n").unwrap();
            host
        }

        fn bundle(&self) -> PathBuf {
            below(self.dir.path(), "/etc/ssl/certs/ca-certificates.crt")
        }

        fn ca(&self) -> String {
            self.site.state_dir.join(PUBLIC_ROOT).to_str().unwrap().to_owned()
        }

        fn file(&self, name: &str, content: &str) -> String {
            let path = self.dir.path().join(name);
            fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        }

        fn variables(&self, env: &[(&str, &str)], redirecting: bool) -> Variables {
            let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            variables(&env, &self.site, self.dir.path(), redirecting).unwrap()
        }
    }

    fn text(path: &str) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn replacing_variables_get_a_superset_and_adding_ones_the_ca() {
        let host = Host::new();
        let found = host.variables(&[], true);
        let bundle = &found.set["SSL_CERT_FILE"];
        let content = text(bundle);
        assert!(content.starts_with("# system\n") && content.ends_with(&text(&host.ca())));
        for (name, _) in REPLACING {
            assert_eq!(&found.set[name], bundle, "{name}");
        }
        for name in ADDING {
            assert_eq!(found.set[name], host.ca(), "{name}");
        }
        let root = Root::read(&host.site.state_dir).unwrap();
        assert_eq!(found.set[TRUST_VARIABLE], root.fingerprint());
        assert!(!found.set.contains_key("NODE_USE_SYSTEM_CA"));
        assert!(!found.set.keys().any(|name| name.to_lowercase().contains("proxy")));
        assert!(found.notes.is_empty(), "{:?}", found.notes);
    }

    #[test]
    fn where_the_ca_is_installed_variables_point_at_the_distributions_bundle() {
        let host = Host::new();
        fs::write(host.bundle(), text(&host.ca())).unwrap();
        let found = host.variables(&[], true);
        assert_eq!(found.set["SSL_CERT_FILE"], host.bundle().to_str().unwrap());
    }

    #[test]
    fn the_users_own_bundles_are_extended_not_replaced() {
        let host = Host::new();
        let corp = host.file("corp.pem", "# corp\n");
        let node = host.file("node.pem", "# node\n");
        let found = host.variables(
            &[
                ("CURL_CA_BUNDLE", &corp),
                ("NODE_EXTRA_CA_CERTS", &node),
                ("NIX_SSL_CERT_FILE", &corp),
            ],
            true,
        );
        // `requests` reads curl's variable when its own is not set.
        for name in ["CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NIX_SSL_CERT_FILE"] {
            assert!(text(&found.set[name]).starts_with("# corp"), "{name}");
        }
        assert!(text(&found.set["SSL_CERT_FILE"]).starts_with("# system"));
        let node = text(&found.set["NODE_EXTRA_CA_CERTS"]);
        assert!(node.starts_with("# node") && node.ends_with(&text(&host.ca())));
        assert!(!found.set.contains_key("CODEX_CA_CERTIFICATE"));
    }

    #[test]
    fn what_cannot_be_extended_is_left_and_said() {
        let host = Host::new();
        let found = host.variables(&[("REQUESTS_CA_BUNDLE", "/nonexistent/ca.pem")], true);
        assert!(!found.set.contains_key("REQUESTS_CA_BUNDLE"));
        assert!(found.notes[0].contains("left as it is"), "{:?}", found.notes);

        fs::remove_file(host.bundle()).unwrap();
        let found = host.variables(&[], true);
        assert!(!found.set.contains_key("SSL_CERT_FILE"), "never the CA alone");
        assert_eq!(found.set["NODE_EXTRA_CA_CERTS"], host.ca());
        assert_eq!(found.notes.len(), 1);
    }

    #[test]
    fn it_is_idempotent() {
        let host = Host::new();
        let first = host.variables(&[], false);
        let env: Vec<_> = first.set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(host.variables(&env, false), Variables::default());
    }

    #[test]
    fn without_redirection_https_goes_through_the_proxy() {
        let host = Host::new();
        let found = host.variables(&[("NO_PROXY", "corp.example, 127.0.0.1")], false);
        assert_eq!(found.set["HTTPS_PROXY"], "http://127.0.0.1:4180");
        assert_eq!(found.set["https_proxy"], "http://127.0.0.1:4180");
        assert_eq!(found.set["NODE_USE_ENV_PROXY"], "1");
        assert_eq!(found.set["NO_PROXY"], "corp.example,127.0.0.1,localhost,::1");
        assert_eq!(found.set["no_proxy"], found.set["NO_PROXY"]);
        assert!(!found.set.contains_key("HTTP_PROXY"));
    }

    #[test]
    fn a_proxy_of_the_users_stays() {
        let host = Host::new();
        let found = host.variables(&[("https_proxy", "http://corp:3128")], false);
        assert!(!found.set.keys().any(|name| name.to_lowercase().contains("proxy")));
        assert!(found.notes[0].contains("not metered"), "{:?}", found.notes);
    }

    #[test]
    fn without_a_ca_it_says_how_to_get_one() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site { state_dir: dir.path().to_owned(), ..Host::new().site };
        let error = variables(&Environment::new(), &site, dir.path(), true).unwrap_err();
        assert!(error.to_string().contains("weir trust install"), "{error}");
    }
}
