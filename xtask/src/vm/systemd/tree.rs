//! A Debian with systemd, as files below one directory: made once from packages and never changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::super::apt;
use crate::shell;

/// What is installed beside the essential: what the package needs, what its clients are, and what
/// starts them.
const PACKAGES: [&str; 13] = [
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "udev",
    "kmod",
    "iproute2",
    "procps",
    "python3-minimal",
    "libpython3-stdlib",
    "curl",
    "ca-certificates",
    "openssl",
];
/// Nobody reads them there.
const LEFT_OUT: [&str; 3] = ["/usr/share/man", "/usr/share/doc", "/usr/share/locale"];
/// Units that take time and have nothing to do with what is tested.
const MASKED: [&str; 14] = [
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "serial-getty@ttyS1.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "systemd-pstore.service",
    "systemd-binfmt.service",
    "systemd-update-utmp.service",
];
/// Not those of a hundred terminals, which take an emulated machine seconds.
const DEVICES: &str = "[Service]\nExecStart=\n\
    ExecStart=-udevadm trigger --type=subsystems --action=add\n\
    ExecStart=-udevadm trigger --type=devices --action=add \
    --subsystem-nomatch=tty --subsystem-nomatch=vc --subsystem-nomatch=cpu\n";

/// The tree's directory. It is made where it is not there, or was made of something else.
pub(super) fn made(folder: &Path, mirror: Option<&str>) -> anyhow::Result<PathBuf> {
    let suite = suite();
    let recipe = format!("{suite}\n{PACKAGES:?}\n{LEFT_OUT:?}\n{MASKED:?}\n{DEVICES}");
    let tree = folder.join("tree");
    if fs::read_to_string(tree.join("recipe")).is_ok_and(|made| made == recipe) {
        return Ok(tree.join("root"));
    }
    ensure!(
        shell::runs("mmdebstrap", &["--version"]),
        "mmdebstrap is missing: install it (Debian: apt-get install mmdebstrap)"
    );
    let mirror = apt::mirror(mirror)?;
    // The last step makes it valid.
    let work = folder.join(format!("kernel-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let root = work.join("root");
    println!("vm: making a Debian {suite} from {mirror}");
    bootstrap(&root, &suite, &mirror)?;
    furnish(&root)?;
    fs::write(work.join("recipe"), recipe)?;
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    fs::rename(&work, &tree)?;
    Ok(tree.join("root"))
}

/// This machine's own where it is a Debian: what was built here runs there. Otherwise the newest.
fn suite() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"').to_owned())
    };
    let own = field("VERSION_CODENAME").filter(|_| field("ID").as_deref() == Some("debian"));
    own.unwrap_or_else(|| "trixie".to_owned())
}

fn bootstrap(root: &Path, suite: &str, mirror: &str) -> anyhow::Result<()> {
    let mut make = shell::command("mmdebstrap", &["--quiet", "--mode=root", "--variant=minbase"]);
    make.arg("--format=directory").arg("--aptopt=Acquire::Languages \"none\"");
    make.arg("--dpkgopt=force-unsafe-io");
    for place in LEFT_OUT {
        make.arg(format!("--dpkgopt=path-exclude={place}/*"));
    }
    make.arg(format!("--include={}", PACKAGES.join(","))).arg(suite).arg(root);
    shell::run(make.arg(format!("deb {mirror} {suite} main")))
}

/// What makes it a host of ours, whoever starts it.
fn furnish(root: &Path) -> anyhow::Result<()> {
    let etc = root.join("etc");
    // Known from the start: otherwise every start is the first, with all that belongs to it.
    fs::write(etc.join("machine-id"), "77656972746573747765697274657374\n")?;
    fs::write(etc.join("hostname"), "weir-test\n")?;
    fs::write(etc.join("hosts"), "127.0.0.1 localhost weir-test\n::1 localhost\n")?;
    // There is no name server.
    fs::write(etc.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
    fs::write(etc.join("fstab"), "")?;
    let units = etc.join("systemd/system");
    for unit in MASKED {
        symlink("/dev/null", units.join(unit)).with_context(|| format!("mask {unit}"))?;
    }
    let drop_in = units.join("systemd-udev-trigger.service.d");
    fs::create_dir_all(&drop_in)?;
    Ok(fs::write(drop_in.join("few.conf"), DEVICES)?)
}
