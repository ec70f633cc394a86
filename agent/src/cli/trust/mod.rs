//! `weir trust`: makes the host trust the local CA, undoes it exactly, says how things stand.

mod store;
mod system;
mod java;
mod nss;
mod environment;
mod file;
mod change;
mod status;
mod check;
pub(super) mod places;
pub(super) mod together;
pub(super) mod own_roots;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, Subcommand};

use self::store::{Host, Make, Plan, Store, system_tools};
use super::site::{Site, code};
use crate::clock::{Clock, System};
use crate::downstream::ca::{self, Authority, CaError, Root};
use crate::downstream::trust::ledger::Ledger;

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
    /// Start the clients of this host, and see which of them accept the CA
    Check(check::Check),
    /// Replace the CA by a new one, limited to the providers configured now
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Install {
    /// Trust stores to install into
    #[arg(long, value_enum, value_delimiter = ',', default_value = "system", value_name = "STORE")]
    stores: Vec<Store>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask first, at a terminal
    #[arg(long, short)]
    yes: bool,
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
        Command::Check(args) => check::run(args, site, out),
    };
    done.or_else(|error| if is_denied(&error) { denied(&error) } else { Err(error) })
}

impl Target {
    fn host<'a>(&'a self, tools: &'a [PathBuf], site: &'a Site) -> Host<'a> {
        Host { root: &self.root, tools, scratch: &site.state_dir }
    }
}

fn install(args: &Install, site: &Site, out: &mut impl Write) -> anyhow::Result<u8> {
    let tools = system_tools();
    let host = args.target.host(&tools, site);
    let mut stores = args.stores.clone();
    // The system's first: others may follow it by themselves.
    stores.sort();
    stores.dedup();
    let planned = stores.iter().map(|store| Ok((*store, store.plan(host)?)));
    let plans: Vec<(Store, Plan)> = planned.collect::<anyhow::Result<_>>()?;
    let asks = !args.dry_run && !args.yes && io::stdin().is_terminal();
    if args.dry_run || asks {
        for (store, plan) in &plans {
            announce(*store, plan, host, out)?;
        }
    }
    if args.dry_run || (asks && !is_confirmed(out)?) {
        return Ok(code::OK);
    }
    let now = System.now().wall;
    let ca = Authority::open_or_create(&site.state_dir, &site.hosts, now)?;
    let mut fresh = false;
    for (store, plan) in &plans {
        for skipped in &plan.skipped {
            writeln!(out, "skipped  {skipped}")?;
        }
        if change::is_installed(*store, plan, host, &site.state_dir, ca.root())? {
            let quiet = plan.targets.is_empty() && plans.len() > 1;
            match (quiet, plans.len()) {
                (true, _) => {}
                (_, 1) => writeln!(out, "already installed")?,
                _ => writeln!(out, "{}: already installed", store.name())?,
            }
            continue;
        }
        let written =
            change::install((*store, plan), host, &site.state_dir, ca.root(), now.try_into()?)?;
        for path in written {
            writeln!(out, "wrote  {}", path.display())?;
        }
        if *store == Store::System {
            let layout = system::detect(host.root)?;
            writeln!(out, "ran    {}", layout.refresh_command(host.root).join(" "))?;
        }
        for next in &plan.next {
            writeln!(out, "{next}")?;
        }
        fresh = true;
    }
    if fresh {
        writeln!(
            out,
            "The host now trusts {}, for {} hosts only. Programs that are running may need a \
             restart; `weir trust check --all` asks the clients that are here.",
            site.state_dir.join(ca::PUBLIC_ROOT).display(),
            ca.root().permitted().count()
        )?;
    }
    Ok(code::OK)
}

/// Says what a plan would do.
fn announce(store: Store, plan: &Plan, host: Host<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut made: Vec<PathBuf> = Vec::new();
    for target in &plan.targets {
        for directory in change::missing_directories(&target.path) {
            if !made.contains(&directory) {
                writeln!(out, "would make   {}", directory.display())?;
                made.push(directory);
            }
        }
        let what = match target.make {
            Make::KeyStore(_) | Make::Database(..) => "would add to ",
            _ if target.path.exists() => "would replace",
            _ => "would write ",
        };
        writeln!(out, "{what} {}", target.path.display())?;
    }
    if let (Store::System, Ok(layout)) = (store, system::detect(host.root)) {
        writeln!(out, "would run    {}", layout.refresh_command(host.root).join(" "))?;
    }
    for skipped in &plan.skipped {
        writeln!(out, "would skip   {skipped}")?;
    }
    Ok(())
}

fn is_confirmed(out: &mut impl Write) -> io::Result<bool> {
    write!(out, "Go on? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn uninstall(args: &Uninstall, site: &Site, out: &mut impl Write) -> anyhow::Result<u8> {
    let tools = system_tools();
    let undone = change::undo(args.target.host(&tools, site), &site.state_dir, None)?;
    for path in &undone.files {
        writeln!(out, "undid  {}", path.display())?;
    }
    for path in &undone.merged {
        writeln!(
            out,
            "undid  {}: changed since it was installed; only what is Weir's was taken out",
            path.display()
        )?;
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
    let (tools, state_dir) = (system_tools(), &site.state_dir);
    let host = args.target.host(&tools, site);
    let mut stores = installed_stores(state_dir)?;
    match Root::read(state_dir) {
        Ok(old) if change::in_bundle(host.root, &old)? => stores.push(Store::System),
        Ok(_) | Err(CaError::Missing { .. } | CaError::Broken { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    stores.sort();
    stores.dedup();
    let undone = change::undo(host, state_dir, None)?;
    if let Some(path) = undone.changed.first() {
        bail!("{} was changed since it was installed; remove it by hand first", path.display());
    }
    ca::remove(state_dir)?;
    let now = System.now().wall;
    let fresh = Authority::open_or_create(state_dir, &site.hosts, now)?;
    writeln!(out, "made   {}", state_dir.join(ca::PUBLIC_ROOT).display())?;
    for store in stores {
        let plan = store.plan(host)?;
        let at = now.try_into()?;
        for path in change::install((store, &plan), host, state_dir, fresh.root(), at)? {
            writeln!(out, "wrote  {}", path.display())?;
        }
    }
    writeln!(
        out,
        "Restart the daemon to use it. Until then it shows clients the old CA, which costs each of them a \
         call: `weir mode observe` before spares them."
    )?;
    Ok(code::OK)
}

/// The stores that the ledger says something was written to.
fn installed_stores(state_dir: &Path) -> anyhow::Result<Vec<Store>> {
    let ledger = Ledger::load(state_dir)?;
    let files = ledger.iter().flat_map(|ledger| &ledger.files);
    Ok(files.filter_map(|file| Store::named(&file.store)).collect())
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
    use clap::Parser;
    use std::collections::BTreeMap;
    use std::fs;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        trust: TrustArgs,
    }

    /// A Debian system below a temporary directory, with two roots of its own in the store, and an
    /// empty state directory.
    struct Debian {
        dir: tempfile::TempDir,
        site: Site,
    }

    impl Debian {
        /// `None` where this machine has no program for Debian's store.
        fn set() -> Option<Self> {
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
                Command::Check(args) => check::run(args, &self.site, &mut out),
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
                    file::digest_of(&path).unwrap()
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
        let Some(host) = Debian::set() else { return };
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
        let Some(host) = Debian::set() else { return };
        let before = host.snapshot();
        let (code, said) = host.weir(&["install", "--dry-run"]);
        assert!(code == code::OK && said.contains("weir.crt"), "{said}");
        assert_eq!(host.snapshot(), before);
        assert!(!host.site.state_dir.exists());
    }

    #[test]
    fn a_missing_directory_is_made_and_taken_away_again() {
        let Some(host) = Debian::set() else { return };
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
        let Some(host) = Debian::set() else { return };
        let theirs = fs::read(host.dir.path().join("one").join(ca::PUBLIC_ROOT)).unwrap();
        fs::write(host.anchor(), &theirs).unwrap();
        host.weir(&["install"]);
        assert!(host.trusts());
        host.weir(&["uninstall"]);
        assert_eq!(fs::read(host.anchor()).unwrap(), theirs);
    }

    #[test]
    fn what_somebody_changed_since_is_left_and_said() {
        let Some(host) = Debian::set() else { return };
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
        let Some(host) = Debian::set() else { return };
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
        let Some(host) = Debian::set() else { return };
        fs::remove_dir_all(below(&host.root(), "/etc/ssl/certs")).unwrap();
        let (root, tools) = (host.root(), system_tools());
        let there = Host { root: &root, tools: &tools, scratch: &host.site.state_dir };
        let plan = Store::System.plan(there).unwrap();
        let now = System.now().wall;
        let state = &host.site.state_dir;
        let ca = Authority::open_or_create(state, &host.site.hosts, now).unwrap();
        let at = now.try_into().unwrap();
        let failed = change::install((Store::System, &plan), there, state, ca.root(), at);
        assert!(failed.is_err());
        assert!(!host.anchor().exists());
    }

    #[test]
    fn rotation_replaces_what_is_trusted() {
        let Some(mut host) = Debian::set() else { return };
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
        let Some(host) = Debian::set() else { return };
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

    /// A JDK with a key store of its own, made by the `keytool` of this machine; false without one.
    fn put_jdk(host: &Debian) -> bool {
        let store = below(&host.root(), "/opt/jdk-25/lib/security/cacerts");
        fs::create_dir_all(store.parent().unwrap()).unwrap();
        let theirs = host.dir.path().join("one").join(ca::PUBLIC_ROOT);
        let made = std::process::Command::new("keytool")
            .args(["-importcert", "-noprompt", "-alias", "corp", "-storepass", "changeit", "-file"])
            .arg(theirs)
            .arg("-keystore")
            .arg(&store)
            .output();
        made.is_ok_and(|output| output.status.success())
    }

    fn put_etc(host: &Debian) {
        for directory in ["/etc/profile.d", "/etc/systemd", "/usr/bin"] {
            fs::create_dir_all(below(&host.root(), directory)).unwrap();
        }
        fs::write(below(&host.root(), "/usr/bin/chromium"), "").unwrap();
    }

    fn put_all(host: &Debian) -> bool {
        put_etc(host);
        put_jdk(host)
    }

    #[test]
    fn all_stores_are_undone_byte_for_byte() {
        let Some(host) = Debian::set() else { return };
        let has_java = put_all(&host);
        let before = host.snapshot();
        let (code, said) = host.weir(&["install", "--stores", "system,java,nss,env", "--yes"]);
        assert_eq!(code, code::OK, "{said}");
        let etc = |path: &str| fs::read_to_string(below(&host.root(), path)).unwrap_or_default();
        assert!(etc("/etc/profile.d/weir.sh").contains("NODE_EXTRA_CA_CERTS"), "{said}");
        assert!(etc("/etc/environment.d/60-weir.conf").contains("SSL_CERT_FILE"));
        assert!(etc("/etc/systemd/system.conf.d/60-weir.conf").contains("DefaultEnvironment="));
        assert!(etc("/etc/chromium/policies/managed/weir.json").contains("CACertificates"));
        assert!(etc("/etc/weir/ca/weir-ca.pem").starts_with("-----BEGIN"));
        if has_java {
            let store = fs::read(below(&host.root(), "/opt/jdk-25/lib/security/cacerts")).unwrap();
            assert!(store.len() > 500 && said.contains("jdk-25"), "{said}");
        }
        let installed = host.snapshot();
        let (code, said) = host.weir(&["install", "--stores", "env,system,java,nss"]);
        assert!(code == code::OK && said.contains("env: already installed"), "{said}");
        assert_eq!(host.snapshot(), installed);
        let (_, said) = host.weir(&["status"]);
        assert!(said.contains("env     ") && said.contains("60-weir.conf"), "{said}");

        assert_eq!(host.weir(&["uninstall"]).0, code::OK);
        assert_eq!(host.snapshot(), before);
        assert_eq!(Ledger::load(&host.site.state_dir).unwrap(), None);
        let left: Vec<_> = fs::read_dir(&host.site.state_dir).unwrap().flatten().collect();
        let names: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
        assert!(names.iter().all(|name| name == "ca" || name == ca::PUBLIC_ROOT), "{names:?}");
    }

    #[test]
    fn stores_are_added_one_by_one_and_rotated_together() {
        let Some(host) = Debian::set() else { return };
        put_etc(&host);
        let before = host.snapshot();
        host.weir(&["install"]);
        let since = Ledger::load(&host.site.state_dir).unwrap().unwrap().installed_at;
        host.weir(&["install", "--stores", "env"]);
        let ledger = Ledger::load(&host.site.state_dir).unwrap().unwrap();
        assert_eq!(ledger.installed_at, since, "programs started in between trust the CA");
        assert_eq!(host.weir(&["rotate"]).0, code::OK);
        let pem = fs::read_to_string(host.site.state_dir.join(ca::PUBLIC_ROOT)).unwrap();
        let copy = below(&host.root(), "/etc/weir/ca/weir-ca.pem");
        assert_eq!(fs::read_to_string(copy).unwrap(), pem);
        assert!(host.trusts());
        host.weir(&["uninstall"]);
        assert_eq!(host.snapshot(), before);
    }

    #[test]
    fn what_others_added_to_our_files_stays() {
        let Some(host) = Debian::set() else { return };
        let has_java = put_all(&host);
        host.weir(&["install", "--stores", "system,java,env"]);
        let shell = below(&host.root(), "/etc/profile.d/weir.sh");
        let ours = fs::read_to_string(&shell).unwrap();
        fs::write(&shell, format!("{ours}export THEIRS=1\n")).unwrap();
        let theirs = fs::read_to_string(host.dir.path().join("two").join(ca::PUBLIC_ROOT)).unwrap();
        let both = format!("{theirs}{}", fs::read_to_string(host.anchor()).unwrap());
        fs::write(host.anchor(), both).unwrap();
        let store = below(&host.root(), "/opt/jdk-25/lib/security/cacerts");
        if has_java {
            let two = host.dir.path().join("two").join(ca::PUBLIC_ROOT);
            let added = std::process::Command::new("keytool")
                .args(["-importcert", "-noprompt", "-alias", "two", "-storepass", "changeit"])
                .arg("-file")
                .arg(two)
                .arg("-keystore")
                .arg(&store)
                .output();
            assert!(added.unwrap().status.success());
        }
        let (code, said) = host.weir(&["uninstall"]);
        assert_eq!(code, code::OK, "{said}");
        assert!(said.contains("only what is Weir's was taken out"), "{said}");
        assert_eq!(fs::read_to_string(&shell).unwrap(), "export THEIRS=1\n");
        assert_eq!(fs::read_to_string(host.anchor()).unwrap(), theirs);
        assert!(!host.trusts());
        if has_java {
            let list = std::process::Command::new("keytool")
                .args(["-list", "-storepass", "changeit", "-keystore"])
                .arg(&store)
                .output()
                .unwrap();
            let list = String::from_utf8_lossy(&list.stdout).into_owned();
            assert!(list.contains("two") && !list.contains("weir,"), "{list}");
        }
    }

    #[test]
    fn users_databases_are_changed_in_their_name_and_restored() {
        let Some(host) = Debian::set() else { return };
        #[expect(clippy::disallowed_methods, reason = "this machine's own tools are run")]
        let tools: Vec<PathBuf> = std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).collect())
            .unwrap_or_default();
        let home = below(&host.root(), "/home/ada");
        let database = home.join(".pki/nssdb");
        fs::create_dir_all(&database).unwrap();
        let us = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let line = format!("ada:x:{}:{}::/home/ada:/bin/sh\n", us.0, us.1);
        fs::write(below(&host.root(), "/etc/passwd"), line).unwrap();
        let (root, scratch) = (host.root(), host.site.state_dir.clone());
        let Some(certutil) = store::find(&tools, "certutil") else {
            // Without the tool it is said which package has it.
            fs::write(database.join("cert9.db"), "").unwrap();
            let (_, said) = host.weir(&["install", "--stores", "nss", "--dry-run"]);
            assert!(said.contains("libnss3-tools"), "{said}");
            return;
        };
        let directory = format!("sql:{}", database.display());
        let made = std::process::Command::new(&certutil)
            .args(["-N", "--empty-password", "-d", &directory])
            .status();
        assert!(made.unwrap().success());
        let before = host.snapshot();
        let there = Host { root: &root, tools: &tools, scratch: &scratch };
        let now = System.now().wall;
        let ca = Authority::open_or_create(&scratch, &host.site.hosts, now).unwrap();
        let plan = Store::Nss.plan(there).unwrap();
        let at = now.try_into().unwrap();
        let install = || change::install((Store::Nss, &plan), there, &scratch, ca.root(), at);
        install().unwrap();
        let has = |name: &str| {
            let listed = std::process::Command::new(&certutil)
                .args(["-L", "-n", name, "-d", &directory])
                .output();
            listed.unwrap().status.success()
        };
        assert!(has("weir"));
        change::undo(there, &scratch, None).unwrap();
        assert_eq!(host.snapshot(), before);

        // One that was changed since keeps what is not ours.
        install().unwrap();
        let two = host.dir.path().join("two").join(ca::PUBLIC_ROOT);
        let added = std::process::Command::new(&certutil)
            .args(["-A", "-n", "two", "-t", "C,,", "-d", &directory, "-i"])
            .arg(two)
            .status();
        assert!(added.unwrap().success());
        let undone = change::undo(there, &scratch, None).unwrap();
        assert_eq!(undone.changed, [] as [PathBuf; 0]);
        assert!(has("two") && !has("weir"));
    }

    #[test]
    fn a_store_we_do_not_have_is_refused_by_name() {
        let refused = Cli::try_parse_from(["trust", "install", "--stores", "system,keychain"]);
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("keychain") && error.contains("java"), "{error}");
    }
}
