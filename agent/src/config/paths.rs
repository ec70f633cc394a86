//! Where everything lives: the configuration, the state, the sockets.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Paths given on the command line; each replaces a default.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// `--state-dir DIR`.
    pub state: Option<PathBuf>,
    /// `--run-dir DIR`.
    pub run: Option<PathBuf>,
}

/// Where everything lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Main configuration file.
    pub config: PathBuf,
    /// Whether `config` was named by the user: then it must exist.
    pub config_named: bool,
    /// State directory (ledger, CA).
    pub state: PathBuf,
    /// Directory of the admin socket.
    pub run: PathBuf,
    /// Whether `run` was named by the user: then no other socket is tried.
    pub run_named: bool,
}

const SYSTEM_RUN: &str = "/run/weir";

impl Paths {
    /// The system's paths for root, XDG directories for everyone else, and what was overridden.
    pub fn find(overrides: Overrides) -> Self {
        #[expect(clippy::disallowed_methods, reason = "config reads the environment")]
        let variable = |name: &str| std::env::var_os(name);
        Self::decide(overrides, rustix::process::geteuid().is_root(), &variable)
    }

    fn decide(
        overrides: Overrides,
        root: bool,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Self {
        // XDG base directory specification: relative values are to be ignored.
        let absolute =
            |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || absolute("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let (config, state, run) = if root {
            ("/etc/weir".into(), "/var/lib/weir".into(), SYSTEM_RUN.into())
        } else {
            let config = absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home().join(".config"));
            let state = absolute("XDG_STATE_HOME").unwrap_or_else(|| home().join(".local/state"));
            let run = absolute("XDG_RUNTIME_DIR")
                .map_or_else(|| state.join("weir/run"), |run| run.join("weir"));
            (config.join("weir"), state.join("weir"), run)
        };
        Self {
            config_named: overrides.config.is_some(),
            config: overrides.config.unwrap_or_else(|| config.join("weir.yaml")),
            state: overrides.state.unwrap_or(state),
            run_named: overrides.run.is_some(),
            run: overrides.run.unwrap_or(run),
        }
    }

    /// Directory whose `*.yaml` are merged over the main file, in lexical order.
    pub fn conf_d(&self) -> PathBuf {
        self.config.parent().unwrap_or_else(|| Path::new("")).join("conf.d")
    }

    /// What is merged last, over everything, in this environment.
    pub fn overlay(&self, environment: &str) -> PathBuf {
        self.overlays().join(environment).with_added_extension("yaml")
    }

    /// Directory of all environments' overlays.
    pub fn overlays(&self) -> PathBuf {
        self.config.parent().unwrap_or_else(|| Path::new("")).join("environments")
    }

    /// The admin socket this instance listens on.
    pub fn socket(&self) -> PathBuf {
        self.run.join("weir.sock")
    }

    /// Sockets a command asks, first to last: the user's own agent, then the host's.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let mut sockets = vec![self.socket()];
        let system = Path::new(SYSTEM_RUN).join("weir.sock");
        if !self.run_named && !sockets.contains(&system) {
            sockets.push(system);
        }
        sockets
    }

    /// The ledger.
    pub fn ledger(&self) -> PathBuf {
        self.state.join("ledger.db")
    }

    /// The public root certificate.
    pub fn root_certificate(&self) -> PathBuf {
        self.state.join("weir-ca.pem")
    }

    /// Private directory of the CA.
    pub fn ca(&self) -> PathBuf {
        self.state.join("ca")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(overrides: Overrides, root: bool, variables: &[(&str, &str)]) -> Paths {
        Paths::decide(overrides, root, &|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn root_has_the_systems_paths() {
        let found = paths(Overrides::default(), true, &[("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(found.config, Path::new("/etc/weir/weir.yaml"));
        assert_eq!(found.conf_d(), Path::new("/etc/weir/conf.d"));
        assert_eq!(found.ledger(), Path::new("/var/lib/weir/ledger.db"));
        assert_eq!(found.sockets(), [Path::new("/run/weir/weir.sock")]);
    }

    #[test]
    fn others_have_xdg_directories_and_may_ask_the_hosts_agent() {
        let run = ("XDG_RUNTIME_DIR", "/run/user/7");
        let found = paths(Overrides::default(), false, &[("HOME", "/home/a"), run]);
        assert_eq!(found.config, Path::new("/home/a/.config/weir/weir.yaml"));
        assert_eq!(found.state, Path::new("/home/a/.local/state/weir"));
        let sockets = ["/run/user/7/weir/weir.sock", "/run/weir/weir.sock"].map(PathBuf::from);
        assert_eq!(found.sockets(), sockets);
        let found =
            paths(Overrides::default(), false, &[("HOME", "/h"), ("XDG_STATE_HOME", "relative")]);
        assert_eq!(found.run, Path::new("/h/.local/state/weir/run"));
    }

    #[test]
    fn flags_override_everything() {
        let overrides = Overrides {
            config: Some("/t/w.yaml".into()),
            state: Some("/t/s".into()),
            run: Some("/t/r".into()),
        };
        let found = paths(overrides, true, &[]);
        assert_eq!(found.conf_d(), Path::new("/t/conf.d"));
        assert_eq!(found.root_certificate(), Path::new("/t/s/weir-ca.pem"));
        assert_eq!(found.sockets(), [Path::new("/t/r/weir.sock")]);
        assert!(found.config_named);
    }
}
