//! Distribution packages: which, how their absence shows, and how they are installed.

use std::path::Path;

use anyhow::bail;

use crate::shell;

/// A package and how to see that it is there.
struct Package {
    name: &'static str,
    purpose: &'static str,
    is_there: fn() -> bool,
    /// Whether nothing can be built without it.
    is_vital: bool,
}

const PACKAGES: [Package; 12] = [
    vital("gcc", "C parts of the dependencies", || shell::runs("cc", &["--version"])),
    vital("libc6-dev", "C parts of the dependencies", || {
        Path::new("/usr/include/stdlib.h").is_file()
    }),
    useful("ca-certificates", "the bundle that demo and tests extend", || {
        Path::new("/etc/ssl/certs/ca-certificates.crt").is_file()
    }),
    useful("curl", "a client of demo and tests", || shell::runs("curl", &["--version"])),
    useful("openssl", "checks of the CA's certificates", || shell::runs("openssl", &["version"])),
    useful("python3-venv", "the Python SDKs of the client tests", || {
        shell::runs("python3", &["-c", "import venv, ensurepip"])
    }),
    vital("nodejs", "installs the dashboard's charts; runs tests", || {
        shell::runs("node", &["--version"])
    }),
    vital("npm", "installs the dashboard's charts", || shell::runs("npm", &["--version"])),
    useful("chromium", "the dashboard's tests, a client of the matrix", || {
        shell::runs("chromium", &["--version"])
    }),
    useful("iproute2", "network namespaces in tests", || shell::runs("ip", &["-V"])),
    useful("mmdebstrap", "the files of a host with systemd", || {
        shell::runs("mmdebstrap", &["--version"])
    }),
    useful("prometheus", "promtool, which checks the metrics", || {
        shell::runs("promtool", &["--version"])
    }),
];

const BENCH: [Package; 2] = [
    useful("nginx-light", "the yardstick of the benchmark", || shell::runs("nginx", &["-v"])),
    useful("bpftool", "run statistics of the hooks", || shell::runs("bpftool", &["version"])),
];

/// Clients too large for every test run: more than a gigabyte.
const MATRIX: [Package; 4] = [
    useful("golang-go", "a client of the matrix", || shell::runs("go", &["version"])),
    useful("default-jdk-headless", "a client of the matrix", || {
        shell::runs("javac", &["-version"])
    }),
    useful("libnss3-tools", "the store of Chromium in the matrix", || {
        Path::new("/usr/bin/certutil").is_file()
    }),
    useful("wget", "a client of the matrix", || shell::runs("wget", &["--version"])),
];

const fn vital(name: &'static str, purpose: &'static str, is_there: fn() -> bool) -> Package {
    Package { name, purpose, is_there, is_vital: true }
}

const fn useful(name: &'static str, purpose: &'static str, is_there: fn() -> bool) -> Package {
    Package { name, purpose, is_there, is_vital: false }
}

/// Installs what is missing where root and apt are at hand; elsewhere says what to install, and
/// fails only if nothing can be built without it.
pub(crate) fn install(bench: bool) -> anyhow::Result<()> {
    let extra = if bench { &BENCH[..] } else { &[] };
    add(PACKAGES.iter().chain(extra))
}

/// The clients that only the matrix asks.
pub(crate) fn matrix() -> anyhow::Result<()> {
    add(MATRIX.iter())
}

fn add(wanted: impl Iterator<Item = &'static Package>) -> anyhow::Result<()> {
    let missing: Vec<&Package> = wanted.filter(|package| !(package.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        println!("setup: {} is missing ({})", package.name, package.purpose);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if shell::is_root() && shell::runs("apt-get", &["--version"]) {
        return apt(&names);
    }
    let advice = format!("install with your package manager: {}", names.join(" "));
    if missing.iter().any(|package| package.is_vital) {
        bail!("{advice}");
    }
    println!("setup: {advice} (what needs them is skipped until then)");
    Ok(())
}

fn apt(names: &[&str]) -> anyhow::Result<()> {
    // nginx and prometheus come with services that would start at once: this machine's policy
    // is asked first, and for the time of the installation it says no.
    let _silence = Silence::keep()?;
    shell::run(&mut shell::command("apt-get", &["update", "-q"]))?;
    let mut install =
        shell::command("apt-get", &["install", "-y", "-q", "--no-install-recommends"]);
    shell::run(install.args(names).env("DEBIAN_FRONTEND", "noninteractive"))
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While held, packages may not start services. An existing policy is left alone.
struct Silence {
    is_ours: bool,
}

impl Silence {
    fn keep() -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt;

        if Path::new(POLICY).exists() {
            return Ok(Self { is_ours: false });
        }
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
        std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { is_ours: true })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if self.is_ours && std::fs::remove_file(POLICY).is_err() {
            println!("setup: remove {POLICY} by hand: services are not started while it is there");
        }
    }
}
