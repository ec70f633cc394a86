//! The configuration: one YAML file, its drop-ins and its environment's overlay, read into values
//! that cannot be wrong.
//!
//! Raw types mirror the file, checked types are what the agent uses; in between every problem is
//! found at once, with its place. A configuration with a problem is never used in part.

mod problem;
mod tree;
mod read;
mod value;
mod amount;
mod secret;
mod raw;
mod checked;
mod check;
mod show;
mod change;
mod stamp;
pub mod paths;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::change::Change;
pub use self::checked::{
    Alerts, Capture, Config, EndpointCredential, EndpointEntry, Host, Ledger, Limits, Listen, Log,
    Metrics, NetworkProxy, PriceOverride, ProviderEntry, Rates, Tracing,
};
pub use self::paths::{Overrides, Paths};
pub use self::problem::{Place, Problem, Problems};
pub use self::raw::{
    Format, Level, LogFormat, Mode, OnAgentFailure, OnUntrusted, Profile, UnknownPrice,
};
pub use self::secret::{SecretError, SecretSource};
pub use self::show::Origin;
pub use self::stamp::Stamp;
pub use self::value::{Fsync, Toggle, WordError};

use self::problem::Trail;
use self::raw::Raw;
use self::tree::Node;

/// Reads the main file, the drop-ins beside it and what its environment lays over them
/// (`environments/NAME.yaml`). Without any file the defaults hold, unless the
/// main file was named by the user.
pub fn load(paths: &Paths) -> Result<Config, Problems> {
    effective(paths).map(|effective| effective.config)
}

/// A configuration together with where each of its values was written.
#[derive(Debug)]
pub struct Effective {
    /// The values.
    pub config: Config,
    /// The files read, in the order in which they were merged.
    pub files: Vec<PathBuf>,
    raw: serde_json::Value,
    tree: Node,
}

impl Effective {
    /// Every key with its value and its origin, as YAML.
    pub fn yaml(&self) -> String {
        show::yaml(&self.raw, &|trail| check::origin(&self.tree, trail))
    }

    /// Every key with its value.
    pub fn json(&self) -> &serde_json::Value {
        &self.raw
    }

    /// Every value with its key and where it was written: `FILE:LINE`, or `default`.
    pub fn origins(&self) -> Vec<Origin> {
        show::flat(&self.raw, &|trail| check::origin(&self.tree, trail))
    }

    /// What differs in another one.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        change::between(&self.raw, &new.raw)
    }

    /// What a running agent takes over of another one: all but what needs a restart, which is told
    /// again the next time.
    #[must_use]
    pub fn taking(&self, mut new: Self) -> Self {
        for change in self.changes(&new).iter().filter(|change| change.needs_restart()) {
            change::put_back(&mut new.raw, change);
        }
        new.config = change::without_restart(&self.config, new.config);
        new
    }
}

/// As [`load`], keeping what `weir config show` needs.
pub fn effective(paths: &Paths) -> Result<Effective, Problems> {
    let mut problems = Vec::new();
    let (tree, files) = merged(paths, &mut problems);
    let read: Option<(Raw, Node)> = read::read(tree.clone(), &mut problems);
    let shown = read.as_ref().and_then(|(raw, _)| serde_json::to_value(raw).ok());
    let checked = read.map(|(raw, kept)| check::check(raw, (&tree, &kept), &mut problems));
    match (checked, shown) {
        (Some(config), Some(raw)) if problems.is_empty() => {
            Ok(Effective { config, files, raw, tree })
        }
        _ => {
            let order = |problem: &Problem| {
                let place = problem.place.as_ref()?;
                let file = files.iter().position(|file| **file == *place.file);
                Some((file, place.line, place.column))
            };
            problems.sort_by_key(order);
            Err(Problems(problems))
        }
    }
}

/// JSON Schema of the configuration file, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Raw).to_value()
}

fn merged(paths: &Paths, problems: &mut Vec<Problem>) -> (Node, Vec<PathBuf>) {
    let main: Arc<Path> = Arc::from(paths.config.as_path());
    let mut tree = Node::empty(&main);
    let mut files = Vec::new();
    if paths.config_named || paths.config.exists() {
        files.push(paths.config.clone());
    }
    files.extend(drop_ins(&paths.conf_d(), problems));
    for path in &files {
        read_over(&mut tree, path, problems);
    }
    if let Some(environment) = environment(&tree) {
        let overlay = paths.overlay(&environment);
        if overlay.exists() {
            read_over(&mut tree, &overlay, problems);
            files.push(overlay);
        }
        if self::environment(&tree).is_none_or(|now| now != environment) {
            let what = format!("this file is for `{environment}` and may not leave it");
            let place = tree.find(&environment_key()).map(|node| node.at.clone());
            problems.push(Problem { place, path: "environment".to_owned(), what, hint: None });
        }
    }
    (tree, files)
}

fn read_over(tree: &mut Node, path: &Path, problems: &mut Vec<Problem>) {
    match std::fs::read_to_string(path) {
        Ok(text) => tree.merge(tree::parse(&text, &Arc::from(path), problems)),
        Err(fault) => problems.push(unreadable(path, &fault)),
    }
}

fn environment_key() -> Trail {
    Trail::default().key("environment")
}

/// The environment that was chosen, where its name can be one of a file.
fn environment(tree: &Node) -> Option<String> {
    match &tree.find(&environment_key())?.value {
        tree::Value::Text(name) if !name.starts_with('.') && !name.contains('/') => {
            Some(name.clone())
        }
        _ => None,
    }
}

fn drop_ins(dir: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(fault) => {
            problems.push(unreadable(dir, &fault));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        // Editors leave hidden files behind.
        .filter(|path| {
            path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
        })
        .collect();
    files.sort();
    files
}

fn unreadable(path: &Path, fault: &std::io::Error) -> Problem {
    let what = format!("{}: cannot be read: {fault}", path.display());
    Problem { place: None, path: String::new(), what, hint: None }
}

#[cfg(test)]
mod tests;
