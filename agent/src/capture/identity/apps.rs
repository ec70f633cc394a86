//! Application groups: the known program at whose request a process runs.
//!
//! A coding agent makes calls itself and through whatever it starts (`claude → node → curl`); all
//! of it is one application. The nearest known ancestor counts. The search ends at a shell that
//! waits for a person on a terminal of its own: what is typed there is not the doing of the editor
//! or multiplexer that opened the terminal.

use std::collections::HashMap;
use std::sync::Arc;

use super::cgroup::Placement;
use super::lineage::{Ancestor, ancestors};
use super::script::Program;
use crate::capture::helper::{Helper, Stat};

/// Coding agents by the names their programs, scripts and packages carry.
const KNOWN: [(&str, &[&str]); 18] = [
    ("aider", &["aider", "aider-chat"]),
    ("amp", &["amp"]),
    ("claude", &["claude", "claude-code"]),
    ("cline", &["cline"]),
    ("codex", &["codex"]),
    ("continue", &["cn", "continue"]),
    ("copilot", &["copilot"]),
    ("crush", &["crush"]),
    ("cursor", &["cursor", "cursor-agent"]),
    ("droid", &["droid"]),
    ("gemini", &["gemini", "gemini-cli"]),
    ("goose", &["goose", "goosed"]),
    ("kiro", &["kiro", "kiro-cli"]),
    ("opencode", &["opencode"]),
    ("openhands", &["openhands"]),
    ("plandex", &["plandex"]),
    ("qwen", &["qwen", "qwen-code"]),
    ("windsurf", &["windsurf"]),
];

/// The names that make an application group.
#[derive(Debug)]
pub(super) struct Apps {
    groups: HashMap<Box<str>, Arc<str>>,
}

impl Apps {
    /// The known agents, and `more`: names of programs or scripts, each a group of its own.
    pub(super) fn known_and(more: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut apps = Self::only(more);
        for (app, names) in KNOWN {
            let app: Arc<str> = app.into();
            for &name in names {
                apps.groups.entry(name.into()).or_insert_with(|| Arc::clone(&app));
            }
        }
        apps
    }

    /// Just these.
    pub(super) fn only(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let group = |name: String| (name.clone().into(), name.into());
        Self { groups: names.into_iter().map(|name| group(name.into())).collect() }
    }

    /// The group a process belongs to: its own or that of the nearest ancestor that has one.
    pub(super) fn group(
        &self,
        own: &Program,
        stat: &Stat,
        placement: &Placement,
        helper: &Helper,
    ) -> Option<Arc<str>> {
        if let Some(app) = self.named(own) {
            return Some(app);
        }
        if own.is_prompt && stat.leads_terminal {
            return None;
        }
        for ancestor in ancestors(helper, stat) {
            // What runs outside the container is no ancestor in any sense that matters here.
            if is_outside(&ancestor, placement) {
                return None;
            }
            if let Some(app) = self.named(&ancestor.program) {
                return Some(app);
            }
            if ancestor.program.is_prompt && ancestor.facts.stat.leads_terminal {
                return None;
            }
        }
        None
    }

    fn named(&self, program: &Program) -> Option<Arc<str>> {
        let script = program.script.as_deref();
        let stem = script.and_then(|script| script.split('.').next());
        [Some(program.exe.as_str()), script, stem, program.package.as_deref()]
            .into_iter()
            .flatten()
            .find_map(|name| self.groups.get(name).cloned())
    }
}

fn is_outside(ancestor: &Ancestor, placement: &Placement) -> bool {
    placement.container.is_some()
        && Placement::of_lines(&ancestor.facts.cgroups).container != placement.container
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(exe: &str, script: Option<&str>, package: Option<&str>) -> Option<String> {
        let program = Program {
            exe: exe.to_owned(),
            script: script.map(str::to_owned),
            package: package.map(str::to_owned),
            ..Program::default()
        };
        Apps::known_and(["night-shift"]).named(&program).map(|app| app.to_string())
    }

    #[test]
    fn programs_scripts_and_packages_are_known_by_name() {
        for (exe, script, package, expected) in [
            ("claude", None, None, Some("claude")),
            ("node", Some("claude"), None, Some("claude")),
            ("node", Some("gemini.js"), None, Some("gemini")),
            ("node", Some("cli.js"), Some("claude-code"), Some("claude")),
            ("python3", Some("aider"), None, Some("aider")),
            ("python3", Some("aider.main"), None, Some("aider")),
            ("bash", Some("night-shift"), None, Some("night-shift")),
            ("cursor-agent", None, None, Some("cursor")),
            ("curl", None, None, None),
            ("python3", Some("agent.py"), None, None),
        ] {
            assert_eq!(named(exe, script, package).as_deref(), expected, "{exe} {script:?}");
        }
    }
}
