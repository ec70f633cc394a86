//! Variables for programs that bring roots of their own, for every session and service of the host.
//!
//! A value of the user's own stays. What *replaces* a program's roots points at the distribution's
//! bundle, which stays when Weir goes; only what *adds* points at our file, where a missing one is no
//! more than a warning. `NODE_USE_SYSTEM_CA` is never set: `node --use-openssl-ca` crashes beside it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::store::{Make, Plan, Target};
use crate::cli::variables::REPLACING;
use crate::downstream::trust::installed::{BUNDLES, below};

/// The CA alone, for variables that add: readable by all, wherever the state directory is.
const CA: &str = "/etc/weir/ca/weir-ca.pem";

/// Sessions of systemd's user managers, login shells, and the system's services.
pub(crate) const FILES: [&str; 3] = [
    "/etc/environment.d/60-weir.conf",
    "/etc/profile.d/weir.sh",
    "/etc/systemd/system.conf.d/60-weir.conf",
];

const REMARK: &str =
    "# Made by `weir trust install --stores env`; `weir trust uninstall` takes it away.";

/// All files of this store.
pub(crate) fn files(root: &Path) -> Vec<std::path::PathBuf> {
    std::iter::once(CA).chain(FILES).map(|path| below(root, path)).collect()
}

pub(super) fn plan(root: &Path) -> anyhow::Result<Plan> {
    let bundle = BUNDLES.into_iter().find(|path| below(root, path).is_file());
    let bundle = bundle.context("no system bundle; install the package `ca-certificates`")?;
    let variables = variables(bundle);
    let mut plan = Plan::default();
    plan.targets.push(Target { path: below(root, CA), make: Make::Pem });
    let mut text = |path, text| {
        plan.targets.push(Target { path: below(root, path), make: Make::Text(text) });
    };
    let [sessions, shells, services] = FILES;
    if below(root, "/etc/profile.d").is_dir() {
        text(shells, profile(&variables));
    }
    if below(root, "/etc/systemd").is_dir() {
        text(sessions, environment_d(&variables));
        text(services, manager(&variables));
        plan.next.push(
            "Variables reach new logins; services get them after `systemctl daemon-reexec` and a \
             restart of their own."
                .to_owned(),
        );
    }
    Ok(plan)
}

fn variables(bundle: &'static str) -> Vec<(&'static str, &'static str)> {
    let replacing = REPLACING.iter().map(|(name, _)| (*name, bundle));
    replacing
        .chain([("NODE_EXTRA_CA_CERTS", CA), ("DENO_TLS_CA_STORE", "system,mozilla")])
        .collect()
}

/// environment.d(5).
fn environment_d(variables: &[(&str, &str)]) -> String {
    lines(variables, |text, name, value| writeln!(text, "{name}=${{{name}:-{value}}}"))
}

/// For every shell that reads `/etc/profile`.
fn profile(variables: &[(&str, &str)]) -> String {
    lines(variables, |text, name, value| {
        writeln!(text, ": \"${{{name}:={value}}}\"; export {name}")
    })
}

/// systemd-system.conf(5): what a unit sets itself comes after it.
fn manager(variables: &[(&str, &str)]) -> String {
    let pairs: Vec<_> =
        variables.iter().map(|(name, value)| format!("\"{name}={value}\"")).collect();
    format!("{REMARK}\n[Manager]\nDefaultEnvironment={}\n", pairs.join(" "))
}

fn lines(
    variables: &[(&str, &str)],
    line: impl Fn(&mut String, &str, &str) -> std::fmt::Result,
) -> String {
    let mut text = format!("{REMARK}\n");
    for (name, value) in variables {
        // Writing to a string cannot fail.
        let _infallible = line(&mut text, name, value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

    #[test]
    fn what_the_user_has_set_stays() {
        let script = format!("{}env", profile(&variables(BUNDLE)));
        let shell = |given: &[(&str, &str)]| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &script]).env_clear().envs(given.iter().copied());
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        let plain = shell(&[]);
        assert!(plain.contains(&format!("SSL_CERT_FILE={BUNDLE}\n")), "{plain}");
        assert!(plain.contains(&format!("NODE_EXTRA_CA_CERTS={CA}\n")), "{plain}");
        assert!(!plain.contains("NODE_USE_SYSTEM_CA"), "{plain}");
        let own = shell(&[("SSL_CERT_FILE", "/mine")]);
        assert!(own.contains("SSL_CERT_FILE=/mine\n"), "{own}");
    }

    #[test]
    fn managers_get_one_line_each() {
        let text = manager(&[("A", "1"), ("B", "2,3")]);
        assert!(text.ends_with("[Manager]\nDefaultEnvironment=\"A=1\" \"B=2,3\"\n"), "{text}");
        assert!(environment_d(&[("A", "1")]).ends_with("\nA=${A:-1}\n"));
    }
}
