//! Several stores at once, for `weir setup`: which there are on this host, what would change, done as
//! one and undone as one.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::change::{self, Undone};
use super::store::{Host, Plan, Store, system_tools};
use super::{announce, is_denied};
use crate::cli::site::Site;
use crate::clock::{Clock, System};
use crate::downstream::ca::Root;

/// What trusting the CA takes on this host.
pub(in crate::cli) struct Together {
    root: PathBuf,
    tools: Vec<PathBuf>,
    state_dir: PathBuf,
    ca: Root,
    stores: Vec<Wanted>,
}

struct Wanted {
    store: Store,
    plan: Plan,
    installed: bool,
}

/// What would change in one store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(in crate::cli) struct Announced {
    /// The store.
    pub store: &'static str,
    /// Whether there is nothing left to do.
    pub installed: bool,
    /// What would be done, line by line.
    pub changes: Vec<String>,
    /// What the user should know afterwards.
    pub next: Vec<String>,
}

impl Together {
    /// The system's store, those of JDKs and browsers where there are any, and with `variables` the
    /// environment's. The daemon has made the CA already.
    pub(in crate::cli) fn plan(root: &Path, variables: bool, site: &Site) -> anyhow::Result<Self> {
        let mut together = Self {
            root: root.to_owned(),
            tools: system_tools(),
            state_dir: site.state_dir.clone(),
            ca: Root::read(&site.state_dir)?,
            stores: Vec::new(),
        };
        let mut wanted = vec![Store::System, Store::Java, Store::Nss];
        wanted.extend(variables.then_some(Store::Env));
        for store in wanted {
            let plan = store.plan(together.host())?;
            // Of what is not asked for by name, only what is there.
            if plan.targets.is_empty() && matches!(store, Store::Java | Store::Nss) {
                continue;
            }
            let installed =
                change::is_installed(store, &plan, together.host(), &site.state_dir, &together.ca)?;
            together.stores.push(Wanted { store, plan, installed });
        }
        Ok(together)
    }

    /// Whether nothing is left to do.
    pub(in crate::cli) fn is_done(&self) -> bool {
        self.stores.iter().all(|wanted| wanted.installed)
    }

    /// How many hosts the CA is good for.
    pub(in crate::cli) fn hosts(&self) -> usize {
        self.ca.permitted().count()
    }

    /// What would change.
    pub(in crate::cli) fn announced(&self) -> anyhow::Result<Vec<Announced>> {
        let of = |wanted: &Wanted| {
            let mut said = Vec::new();
            if !wanted.installed {
                announce(wanted.store, &wanted.plan, self.host(), &mut said)?;
            }
            let changes = String::from_utf8_lossy(&said).lines().map(str::to_owned).collect();
            anyhow::Ok(Announced {
                store: wanted.store.name(),
                installed: wanted.installed,
                changes,
                next: wanted.plan.next.clone(),
            })
        };
        self.stores.iter().map(of).collect()
    }

    /// Installs into every store that lacks the CA, and returns what was written. On failure all of
    /// them are as they were.
    pub(in crate::cli) fn install(&self) -> anyhow::Result<Vec<PathBuf>> {
        let now = System.now().wall.try_into()?;
        let mut written = Vec::new();
        for (at, wanted) in self.stores.iter().enumerate().filter(|(_, it)| !it.installed) {
            let store = (wanted.store, &wanted.plan);
            match change::install(store, self.host(), &self.state_dir, &self.ca, now) {
                Ok(files) => written.extend(files),
                Err(error) => {
                    self.undo(&self.stores[..at]).context("undoing a failed installation")?;
                    return Err(error.context(format!("the store `{}`", wanted.store.name())));
                }
            }
        }
        Ok(written)
    }

    /// Undoes what [`Together::install`] did, and no more.
    pub(in crate::cli) fn revert(&self) -> anyhow::Result<()> {
        self.undo(&self.stores)
    }

    fn undo(&self, stores: &[Wanted]) -> anyhow::Result<()> {
        for wanted in stores.iter().rev().filter(|it| !it.installed) {
            change::undo(self.host(), &self.state_dir, Some(wanted.store))?;
        }
        Ok(())
    }

    fn host(&self) -> Host<'_> {
        Host { root: &self.root, tools: &self.tools, scratch: &self.state_dir }
    }
}

/// Undoes all that was ever installed; the paths that were undone, and those that were changed since
/// and are left.
pub(in crate::cli) fn undo_all(
    root: &Path,
    state_dir: &Path,
) -> anyhow::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let tools = system_tools();
    let host = Host { root, tools: &tools, scratch: state_dir };
    let Undone { files, merged, changed } = change::undo(host, state_dir, None)?;
    Ok((files.into_iter().chain(merged).collect(), changed))
}

/// Whether an error comes from a lack of permission.
pub(in crate::cli) fn is_permission(error: &anyhow::Error) -> bool {
    is_denied(error) || error.downcast_ref::<io::Error>().is_some_and(is_permission_io)
}

fn is_permission_io(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
