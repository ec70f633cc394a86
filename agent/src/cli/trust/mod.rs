//! `weir trust`: makes the host trust the local CA, undoes it exactly, says how things stand.

mod change;
mod status;
mod system;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::site::{Site, code};
use crate::clock::{Clock, System};
use crate::downstream::ca::{self, Authority, CaError, Root};

/// Manages who trusts the local CA.
#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the host trust the local CA (and make the CA where there is none)
    Install(Install),
    /// Undo what `install` did
    Uninstall(Uninstall),
    /// Show the CA, and where it is trusted
    Status(Status),
    /// Replace the CA by a new one, limited to the providers configured now
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Install {
    /// Trust stores to install into
    #[arg(long, value_delimiter = ',', default_value = "system", value_name = "STORE")]
    stores: Vec<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Uninstall {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Rotate {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Target {
    /// Root directory of the system to change: another than this one's for images
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
}

/// Runs the command; returns the exit code.
pub(super) fn run(args: &TrustArgs, site: &Site) -> anyhow::Result<u8> {
    let out = &mut io::stdout().lock();
    let done = match &args.command {
        Command::Install(args) => install(args, site, out),
        Command::Uninstall(args) => uninstall(args, site, out),
        Command::Rotate(args) => rotate(args, site, out),
        Command::Status(args) => status::print(&args.target.root, args.json, site, out),
    };
    done.or_else(|error| if is_denied(&error) { denied(&error) } else { Err(error) })
}

fn install(args: &Install, site: &Site, out: &mut impl Write) -> anyhow::Result<u8> {
    if let Some(other) = args.stores.iter().find(|store| *store != change::STORE) {
        bail!("the trust store `{other}` is not available; available: {}", change::STORE);
    }
    let root = &args.target.root;
    let plan = change::plan(root)?;
    if args.dry_run {
        for directory in &plan.directories {
            writeln!(out, "would make   {}", directory.display())?;
        }
        writeln!(out, "would write  {}", plan.anchor.display())?;
        writeln!(out, "would run    {}", plan.refresh)?;
        return Ok(code::OK);
    }
    let now = System.now().wall;
    let ca = Authority::open_or_create(&site.state_dir, &site.hosts, now)?;
    if change::is_installed(root, &site.state_dir, ca.root())? {
        writeln!(out, "already installed")?;
        return Ok(code::OK);
    }
    change::install(&plan, root, &site.state_dir, ca.root(), now.try_into()?)?;
    writeln!(out, "wrote  {}", plan.anchor.display())?;
    writeln!(out, "ran    {}", plan.refresh)?;
    writeln!(
        out,
        "The host now trusts {}, for {} hosts only. Programs that are running may need a restart; \
         `weir doctor` says which clients need more.",
        site.state_dir.join(ca::PUBLIC_ROOT).display(),
        ca.root().permitted().count()
    )?;
    Ok(code::OK)
}

fn uninstall(args: &Uninstall, site: &Site, out: &mut impl Write) -> anyhow::Result<u8> {
    let undone = change::undo(&args.target.root, &site.state_dir)?;
    for path in &undone.files {
        writeln!(out, "undid  {}", path.display())?;
    }
    for path in &undone.changed {
        writeln!(
            out,
            "kept   {}: changed since it was installed; remove it by hand",
            path.display()
        )?;
    }
    if undone == change::Undone::default() {
        writeln!(out, "nothing is installed")?;
    }
    Ok(if undone.changed.is_empty() { code::OK } else { code::FAILURE })
}

fn rotate(args: &Rotate, site: &Site, out: &mut impl Write) -> anyhow::Result<u8> {
    let (root, state_dir) = (&args.target.root, &site.state_dir);
    let was_installed = match Root::read(state_dir) {
        Ok(old) => change::in_bundle(root, &old)?,
        Err(CaError::Missing { .. } | CaError::Broken { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let undone = change::undo(root, state_dir)?;
    if let Some(path) = undone.changed.first() {
        bail!("{} was changed since it was installed; remove it by hand first", path.display());
    }
    ca::remove(state_dir)?;
    let now = System.now().wall;
    let fresh = Authority::open_or_create(state_dir, &site.hosts, now)?;
    writeln!(out, "made   {}", state_dir.join(ca::PUBLIC_ROOT).display())?;
    if was_installed {
        let plan = change::plan(root)?;
        change::install(&plan, root, state_dir, fresh.root(), now.try_into()?)?;
        writeln!(out, "wrote  {}", plan.anchor.display())?;
    }
    writeln!(
        out,
        "Restart the daemon to use it; until then it passes through what it can't serve."
    )?;
    Ok(code::OK)
}

fn is_denied(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = match cause.downcast_ref() {
            Some(CaError::Io { error, .. }) => Some(error),
            _ => cause.downcast_ref::<io::Error>(),
        };
        io.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

fn denied(error: &anyhow::Error) -> anyhow::Result<u8> {
    writeln!(io::stderr(), "weir: {error:#}; this needs root")?;
    Ok(code::PERMISSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::trust::installed::{below, system_bundle};
    use crate::downstream::trust::ledger::Ledger;
    use clap::Parser;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        trust: TrustArgs,
    }

    /// A Debian system below a temporary directory, with two roots of its own in the store, and an
    /// empty state directory.
    struct Host {
        dir: tempfile::TempDir,
        site: Site,
    }

    impl Host {
        /// `None` where this machine has no program for Debian's store.
        fn debian() -> Option<Self> {
            if !Path::new("/usr/sbin/update-ca-certificates").exists() {
                eprintln!("update-ca-certificates is not installed: passed over");
                return None;
            }
            let dir = tempfile::tempdir().unwrap();
            let site = Site {
                state_dir: dir.path().join("state"),
                explicit_addr: "127.0.0.1:4180".parse().unwrap(),
                daemon_socket: dir.path().join("run/weir.sock"),
                hosts: vec!["api.openai.com".to_owned()],
            };
            let host = Self { dir, site };
            for directory in [
                "/usr/share/ca-certificates/corp",
                "/usr/local/share/ca-certificates",
                "/etc/ssl/certs",
                "/etc/ca-certificates/update.d",
            ] {
                fs::create_dir_all(below(&host.root(), directory)).unwrap();
            }
            let now = System.now().wall;
            for name in ["one", "two"] {
                let other = host.dir.path().join(name);
                Authority::open_or_create(&other, &["corp.example"], now).unwrap();
                let corp = below(&host.root(), "/usr/share/ca-certificates/corp").join(name);
                fs::copy(other.join(ca::PUBLIC_ROOT), corp.with_extension("crt")).unwrap();
            }
            let config = below(&host.root(), "/etc/ca-certificates.conf");
            fs::write(config, "corp/one.crt\ncorp/two.crt\n").unwrap();
            system::detect(&host.root()).unwrap().refresh(&host.root()).unwrap();
            Some(host)
        }

        fn root(&self) -> PathBuf {
            self.dir.path().join("root")
        }

        fn anchor(&self) -> PathBuf {
            below(&self.root(), "/usr/local/share/ca-certificates/weir.crt")
        }

        /// Runs `weir trust …`; the exit code and what it printed.
        fn weir(&self, words: &[&str]) -> (u8, String) {
            let root = self.root();
            let line = ["trust"].iter().chain(words).copied();
            let cli = Cli::parse_from(line.chain(["--root", root.to_str().unwrap()]));
            let mut out = Vec::new();
            let code = match &cli.trust.command {
                Command::Install(args) => install(args, &self.site, &mut out),
                Command::Uninstall(args) => uninstall(args, &self.site, &mut out),
                Command::Rotate(args) => rotate(args, &self.site, &mut out),
                Command::Status(args) => {
                    status::print(&args.target.root, args.json, &self.site, &mut out)
                }
            };
            (code.unwrap(), String::from_utf8(out).unwrap())
        }

        /// Every file and link below the root with a digest of its content.
        fn snapshot(&self) -> BTreeMap<PathBuf, String> {
            let mut found = BTreeMap::new();
            let mut left = vec![self.root()];
            while let Some(path) = left.pop() {
                let meta = fs::symlink_metadata(&path).unwrap();
                let content = if meta.is_dir() {
                    left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                    String::new()
                } else if meta.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else {
                    change::digest_of(&path).unwrap()
                };
                found.insert(path, content);
            }
            found
        }

        fn trusts(&self) -> bool {
            let ca = Root::read(&self.site.state_dir).unwrap();
            change::in_bundle(&self.root(), &ca).unwrap()
        }
    }

    #[test]
    fn install_and_uninstall_leave_the_host_as_it_was() {
        let Some(host) = Host::debian() else { return };
        let before = host.snapshot();
        let (code, said) = host.weir(&["install"]);
        assert_eq!(code, code::OK, "{said}");
        assert!(host.trusts());
        let installed = host.snapshot();
        assert_eq!(host.weir(&["install"]), (code::OK, "already installed\n".to_owned()));
        assert_eq!(host.snapshot(), installed);

        assert_eq!(host.weir(&["uninstall"]).0, code::OK);
        assert_eq!(host.snapshot(), before);
        assert!(!host.trusts());
        let nothing = (code::OK, "nothing is installed\n".to_owned());
        assert_eq!(host.weir(&["uninstall"]), nothing);
    }

    #[test]
    fn a_dry_run_touches_nothing() {
        let Some(host) = Host::debian() else { return };
        let before = host.snapshot();
        let (code, said) = host.weir(&["install", "--dry-run"]);
        assert!(code == code::OK && said.contains("weir.crt"), "{said}");
        assert_eq!(host.snapshot(), before);
        assert!(!host.site.state_dir.exists());
    }

    #[test]
    fn a_missing_directory_is_made_and_taken_away_again() {
        let Some(host) = Host::debian() else { return };
        fs::remove_dir(below(&host.root(), "/usr/local/share/ca-certificates")).unwrap();
        fs::remove_dir(below(&host.root(), "/usr/local/share")).unwrap();
        let before = host.snapshot();
        host.weir(&["install"]);
        assert!(host.trusts());
        host.weir(&["uninstall"]);
        assert_eq!(host.snapshot(), before);
    }

    #[test]
    fn what_was_there_before_comes_back() {
        let Some(host) = Host::debian() else { return };
        let theirs = fs::read(host.dir.path().join("one").join(ca::PUBLIC_ROOT)).unwrap();
        fs::write(host.anchor(), &theirs).unwrap();
        host.weir(&["install"]);
        assert!(host.trusts());
        host.weir(&["uninstall"]);
        assert_eq!(fs::read(host.anchor()).unwrap(), theirs);
    }

    #[test]
    fn what_somebody_changed_since_is_left_and_said() {
        let Some(host) = Host::debian() else { return };
        host.weir(&["install"]);
        fs::write(host.anchor(), "edited by hand").unwrap();
        let (code, said) = host.weir(&["uninstall"]);
        assert!(code == code::FAILURE && said.contains("changed since"), "{said}");
        assert_eq!(fs::read_to_string(host.anchor()).unwrap(), "edited by hand");
        fs::remove_file(host.anchor()).unwrap();
        assert_eq!(host.weir(&["uninstall"]).0, code::OK);
        assert!(!host.trusts());
    }

    #[test]
    fn a_crash_in_the_middle_is_undone() {
        let Some(host) = Host::debian() else { return };
        let before = host.snapshot();
        host.weir(&["install"]);
        // As if it had died after the ledger and before the rest.
        let ledger = Ledger::load(&host.site.state_dir).unwrap().unwrap();
        host.weir(&["uninstall"]);
        ledger.save(&host.site.state_dir).unwrap();
        assert_eq!(host.weir(&["uninstall"]).0, code::OK);
        assert_eq!(host.snapshot(), before);
        assert_eq!(Ledger::load(&host.site.state_dir).unwrap(), None);
        // And as if it had died then, and was tried again.
        ledger.save(&host.site.state_dir).unwrap();
        assert_eq!(host.weir(&["install"]).0, code::OK);
        assert!(host.trusts());
    }

    #[test]
    fn an_installation_that_fails_leaves_nothing() {
        let Some(host) = Host::debian() else { return };
        fs::remove_dir_all(below(&host.root(), "/etc/ssl/certs")).unwrap();
        let plan = change::plan(&host.root()).unwrap();
        let now = System.now().wall;
        let state = &host.site.state_dir;
        let ca = Authority::open_or_create(state, &host.site.hosts, now).unwrap();
        let at = now.try_into().unwrap();
        let failed = change::install(&plan, &host.root(), state, ca.root(), at);
        assert!(failed.is_err());
        assert!(!host.anchor().exists());
    }

    #[test]
    fn rotation_replaces_what_is_trusted() {
        let Some(mut host) = Host::debian() else { return };
        host.weir(&["install"]);
        let old = Root::read(&host.site.state_dir).unwrap();
        host.site.hosts.push("llm.corp.example".to_owned());
        let (_, said) = host.weir(&["status"]);
        assert!(said.contains("llm.corp.example: not covered"), "{said}");
        assert_eq!(host.weir(&["rotate"]).0, code::OK);
        let new = Root::read(&host.site.state_dir).unwrap();
        assert!(new.covers("llm.corp.example"));
        assert!(host.trusts());
        assert!(!change::in_bundle(&host.root(), &old).unwrap());
    }

    #[test]
    fn status_says_how_things_stand() {
        let Some(host) = Host::debian() else { return };
        assert_eq!(host.weir(&["status"]).0, code::DEGRADED);
        host.weir(&["install"]);
        let (code, said) = host.weir(&["status"]);
        assert!(code == code::OK && said.contains("installed since"), "{said}");
        let (code, said) = host.weir(&["status", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, &report["schema_version"]), (code::OK, &serde_json::json!(1)));
        assert_eq!(report["ca"]["hosts"][0], "api.openai.com");
        assert_eq!(report["stores"][0]["installed"], true);
        let bundle = system_bundle(&host.root()).unwrap();
        assert_eq!(report["stores"][0]["bundle"], bundle.to_str().unwrap());
        fs::remove_file(host.anchor()).unwrap();
        assert_eq!(host.weir(&["status"]).0, code::DEGRADED);
    }

    #[test]
    fn a_lack_of_permission_is_recognised_wherever_it_came_from() {
        let denial = || io::Error::from(io::ErrorKind::PermissionDenied);
        let wrapped = anyhow::Error::from(denial()).context("/etc/x");
        let ca = CaError::Io { path: "/var/lib/weir".into(), error: denial() };
        assert!(is_denied(&wrapped) && is_denied(&ca.into()));
        assert!(!is_denied(&anyhow::anyhow!("something else")));
    }

    #[test]
    fn a_store_we_do_not_have_is_refused_by_name() {
        let Some(host) = Host::debian() else { return };
        let cli = Cli::parse_from(["trust", "install", "--stores", "system,java"]);
        let Command::Install(args) = &cli.trust.command else { panic!() };
        let error = install(args, &host.site, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("`java` is not available"), "{error}");
    }
}
