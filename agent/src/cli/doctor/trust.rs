//! The local CA and the host's trust in it.

use std::path::Path;

use super::Row;
use crate::cli::site::Site;
use crate::cli::variables::{Environment, REPLACING};
use crate::clock::{Clock, System};
use crate::downstream::ca::{CaError, RENEW_BEFORE, Root};
use crate::downstream::trust::installed::{contains, since, system_bundle};

/// Checks the CA itself, and returns it where there is one.
pub(super) fn ca(site: &Site, rows: &mut Vec<Row>) -> Option<Root> {
    let ca = match Root::read(&site.state_dir) {
        Ok(ca) => ca,
        Err(CaError::Missing { .. }) => {
            let fix = "run `weir trust install` to meter tokens and cost; observing needs no CA";
            rows.push(Row::warn("CA", "none yet", fix));
            return None;
        }
        Err(error) => {
            rows.push(Row::fail("CA", error.to_string(), "run `weir trust rotate`"));
            return None;
        }
    };
    let now = System.now().wall;
    let hosts = ca.permitted().count();
    rows.push(match ca.not_after().duration_since(now) {
        _ if now < ca.not_before() => {
            Row::fail("CA", "not valid yet: the clock is behind", "set the clock")
        }
        Err(_) => Row::fail("CA", "expired: nothing can be metered", "run `weir trust rotate`"),
        Ok(left) => {
            let days = left.as_secs() / 86_400;
            let detail = format!("limited to {hosts} hosts, good for {days} days");
            if left < RENEW_BEFORE {
                Row::warn("CA", detail, "run `weir trust rotate`")
            } else {
                Row::pass("CA", detail)
            }
        }
    });
    let outside: Vec<_> =
        site.hosts.iter().filter(|host| !ca.covers(host)).map(String::as_str).collect();
    if !outside.is_empty() {
        let detail = format!("not covered, so not metered: {}", outside.join(", "));
        rows.push(Row::warn("CA hosts", detail, "run `weir trust rotate`"));
    }
    Some(ca)
}

/// Checks the system's store; true where the CA is in it.
pub(super) fn store(ca: &Root, site: &Site, root: &Path, rows: &mut Vec<Row>) -> bool {
    let Some(bundle) = system_bundle(root) else {
        let fix = "install the package `ca-certificates`";
        rows.push(Row::fail("system store", "there is none", fix));
        return false;
    };
    if since(root, &site.state_dir, ca).is_some() {
        rows.push(Row::pass("system store", format!("the CA is in {}", bundle.display())));
        true
    } else {
        rows.push(Row::warn(
            "system store",
            format!("the CA is not in {}", bundle.display()),
            "run `weir trust install`, or start programs with `weir run`",
        ));
        false
    }
}

/// Checks the environment this was started in, which is likely that of the user's programs.
pub(super) fn environment(env: &Environment, ca: &Root, rows: &mut Vec<Row>) {
    for (name, _) in REPLACING {
        let Some(path) = env.get(name).filter(|path| !path.is_empty()) else { continue };
        match contains(Path::new(path), ca.certificate()) {
            Ok(true) => {}
            Ok(false) => rows.push(Row::warn(
                name,
                format!("replaces the system store by {path}, which lacks the CA"),
                "unset it, or start programs with `weir run`, which extends it",
            )),
            Err(error) => rows.push(Row::warn(
                name,
                format!("{path}: {error}"),
                "unset it: programs that read it fail or trust nobody",
            )),
        }
    }
    let proxy =
        ["HTTPS_PROXY", "https_proxy"].iter().find_map(|name| Some((name, env.get(*name)?)));
    if let Some((name, _)) = proxy.filter(|(_, url)| !url.is_empty()) {
        // Its value may carry a password.
        rows.push(Row::warn(
            *name,
            "is set: connections through a proxy are not redirected",
            "exempt the providers with NO_PROXY, or use Weir as the proxy",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use crate::downstream::ca::{Authority, LIFETIME, PUBLIC_ROOT};
    use crate::downstream::trust::installed::below;
    use std::fs;
    use std::time::Duration;

    fn site(dir: &Path) -> Site {
        Site {
            state_dir: dir.join("state"),
            explicit_addr: "127.0.0.1:4180".parse().unwrap(),
            daemon_socket: dir.join("run/weir.sock"),
            hosts: vec!["api.openai.com".to_owned()],
        }
    }

    /// A CA made this long ago, and what is said of it.
    fn aged(ago: Duration) -> Row {
        let dir = tempfile::tempdir().unwrap();
        let site = site(dir.path());
        Authority::open_or_create(&site.state_dir, &site.hosts, System.now().wall - ago).ok();
        let mut rows = Vec::new();
        ca(&site, &mut rows);
        rows.remove(0)
    }

    #[test]
    fn the_cas_age_decides() {
        assert_eq!(aged(Duration::ZERO).status, Status::Pass);
        assert_eq!(aged(LIFETIME.saturating_sub(RENEW_BEFORE / 2)).status, Status::Warn);
        assert_eq!(aged(LIFETIME + Duration::from_hours(1)).status, Status::Fail);
    }

    #[test]
    fn without_a_ca_the_way_to_one_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut rows = Vec::new();
        assert!(ca(&site(dir.path()), &mut rows).is_none());
        assert_eq!(rows[0].status, Status::Warn);
        assert!(rows[0].fix.as_ref().unwrap().contains("weir trust install"));
    }

    #[test]
    fn store_and_environment_are_compared_with_the_ca() {
        let dir = tempfile::tempdir().unwrap();
        let mut site = site(dir.path());
        let now = System.now().wall;
        Authority::open_or_create(&site.state_dir, &site.hosts, now).unwrap();
        site.hosts.push("llm.corp.example".to_owned());
        let mut rows = Vec::new();
        let ca = ca(&site, &mut rows).unwrap();
        assert!(rows[1].detail.contains("llm.corp.example"), "{rows:?}");

        let mut rows = Vec::new();
        assert!(!store(&ca, &site, dir.path(), &mut rows));
        let bundle = below(dir.path(), "/etc/ssl/certs/ca-certificates.crt");
        fs::create_dir_all(bundle.parent().unwrap()).unwrap();
        fs::write(&bundle, "").unwrap();
        assert!(!store(&ca, &site, dir.path(), &mut rows));
        fs::copy(site.state_dir.join(PUBLIC_ROOT), &bundle).unwrap();
        assert!(store(&ca, &site, dir.path(), &mut rows));
        let statuses: Vec<_> = rows.iter().map(|row| row.status).collect();
        assert_eq!(statuses, [Status::Fail, Status::Warn, Status::Pass]);

        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "").unwrap();
        let mut rows = Vec::new();
        let set = |name: &str, value: &Path| (name.to_owned(), value.to_str().unwrap().to_owned());
        let env = [
            set("SSL_CERT_FILE", &bundle),
            set("CURL_CA_BUNDLE", &empty),
            set("AWS_CA_BUNDLE", Path::new("/nonexistent")),
            set("HTTPS_PROXY", Path::new("http://user:secret@corp:3128")),
        ];
        environment(&env.into(), &ca, &mut rows);
        let named: Vec<_> = rows.iter().map(|row| row.check.as_str()).collect();
        assert_eq!(named, ["CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "HTTPS_PROXY"]);
        assert!(rows.iter().all(|row| row.status == Status::Warn));
        assert!(!format!("{rows:?}").contains("secret"));
    }
}
