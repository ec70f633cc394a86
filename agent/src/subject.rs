//! Who made a call: the process as the kernel knows it, and the workload it belongs to.
//!
//! Names end up on terminals, in metric labels and in the ledger, and most of what they are made
//! of was chosen by the process itself: every part passes [`printable`] first. Which names a
//! process can give itself is told by [`Workload::is_forgeable`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest part of a name, in characters.
const PART: usize = 64;

/// Extensions that a bare name in a rule may leave out.
const SCRIPT_EXTENSIONS: [&str; 14] = [
    ".py", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".rb", ".pl", ".sh", ".php",
    ".jar", ".R",
];

/// One process instance. `pid` alone is reused by the kernel; `(pid, start_ticks)` is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Thread-group id in the initial pid namespace; 0 where unknown.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of proc(5) `stat`); 0 where unknown.
    pub start_ticks: u64,
    /// Path of the executable; empty where it could not be read.
    pub exe: Arc<str>,
    /// Command line with anything that looks like a key redacted; empty where unknown.
    pub command: Arc<str>,
    /// Real user id.
    pub uid: u32,
    /// Name of `uid` in the user database, where it has one.
    pub user: Option<Arc<str>>,
    /// False where the process was gone before it could be examined, or keeps its executable from
    /// us, so that only what the kernel saved at connect time (uid, cgroup, `comm`) is known.
    pub verified: bool,
}

/// The stable thing a process belongs to: what spend is grouped by and rules are written for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `pod:NS/NAME`, `container:NAME`, `unit:NAME.service`, `app:NAME`, `exe:NAME` or
    /// `exe:INTERPRETER:SCRIPT`; below a user manager `user-container:UID/NAME` and
    /// `user-unit:UID/NAME`; `webhook:NAME` for calls of the agent's own on behalf of a webhook;
    /// `unattributed` where nothing is known.
    pub name: Arc<str>,
    /// The system manager's unit (`NAME.service`), or `user-unit:UID/NAME` of a user manager.
    pub unit: Option<Arc<str>>,
    /// Container name, or the first 12 digits of its id where the name is unknown;
    /// `user-container:UID/NAME` below a user manager.
    pub container: Option<Arc<str>>,
    /// `NAMESPACE/NAME` of the Kubernetes pod, or its uid where the name is unknown.
    pub pod: Option<Arc<str>>,
    /// The application group the process was folded into (`claude` for `claude → node → curl`).
    pub app: Option<Arc<str>>,
}

/// Everything known about who made a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The process that opened the connection.
    pub process: Process,
    /// The workload that process belongs to.
    pub workload: Workload,
}

/// What a workload is derived from, as found: not yet safe to show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts<'a> {
    /// `NAMESPACE/NAME` of the pod, or its uid.
    pub pod: Option<&'a str>,
    /// Container name or shortened id.
    pub container: Option<&'a str>,
    /// Unit name with its `.service`.
    pub unit: Option<&'a str>,
    /// The user whose manager `container` and `unit` lie below; that user can name them at will.
    pub manager: Option<u32>,
    /// Application group.
    pub app: Option<&'a str>,
    /// File name of the executable, normalised for interpreters (`python3`); may be empty.
    pub exe: &'a str,
    /// What an interpreter runs.
    pub script: Option<&'a str>,
}

impl Workload {
    /// Derives the workload: pod before container before unit before application group before
    /// executable.
    pub fn derive(parts: &Parts<'_>) -> Self {
        let part = |text: Option<&str>| text.map(|t| printable(t, PART));
        let pod = parts.pod.map(|pod| printable(pod, 2 * PART));
        let app = part(parts.app);
        let (container, container_name) = match (part(parts.container), parts.manager) {
            (Some(name), None) => (Some(name.clone()), Some(format!("container:{name}"))),
            (Some(name), Some(uid)) => twice(format!("user-container:{uid}/{name}")),
            (None, _) => (None, None),
        };
        let (unit, unit_name) = match (part(parts.unit), parts.manager) {
            (Some(name), None) => (Some(name.clone()), Some(format!("unit:{name}"))),
            (Some(name), Some(uid)) => {
                let bare = name.strip_suffix(".service").unwrap_or(&name);
                twice(format!("user-unit:{uid}/{bare}"))
            }
            (None, _) => (None, None),
        };
        let name = (pod.as_ref().map(|pod| format!("pod:{pod}")))
            .or(container_name)
            .or(unit_name)
            .or_else(|| app.as_ref().map(|app| format!("app:{app}")))
            .unwrap_or_else(|| program_name(parts.exe, parts.script));
        let shared = |text: Option<String>| text.map(Arc::from);
        Self {
            name: name.into(),
            unit: shared(unit),
            container: shared(container),
            pod: shared(pod),
            app: shared(app),
        }
    }

    /// What a webhook's calls count for. No process can come by such a name: what processes are
    /// called stands behind other words.
    pub fn webhook(name: &str) -> Self {
        let name = Arc::from(format!("webhook:{name}"));
        Self { name, unit: None, container: None, pod: None, app: None }
    }

    /// The bare names by which a rule may mean this workload, most specific first: for
    /// `exe:python3:agent.py` these are `agent.py` and `agent`, for `unit:batch-agent.service`
    /// `batch-agent.service` and `batch-agent`.
    pub fn stems(&self) -> Vec<&str> {
        let Some((kind, rest)) = self.name.split_once(':') else { return Vec::new() };
        // Names below a user manager carry `UID/` first.
        let own = rest.split_once('/').map_or(rest, |(_uid, own)| own);
        match kind {
            "exe" => match rest.split_once(':') {
                Some((interpreter, script)) => script_stems(interpreter, script),
                None => vec![rest],
            },
            "unit" => unit_stems(rest),
            "user-unit" => unit_stems(own),
            "user-container" => vec![own],
            "pod" => pod_stems(rest),
            _ => vec![rest],
        }
    }

    /// Whether the process, or its user, could have chosen this name. Names of pods, of the
    /// system's containers and of its units are given by root; a program can be called anything.
    /// Whatever *grants* something must not rest on a forgeable name.
    pub fn is_forgeable(&self) -> bool {
        !["pod:", "container:", "unit:", "webhook:"].iter().any(|kind| self.name.starts_with(kind))
    }
}

/// Makes `text` safe for a terminal, a label and a log line, at most `limit` characters long.
///
/// Control characters, line separators and everything that changes the direction of text are
/// escaped. What is cut off leaves a checksum behind, so that long names differing only at their
/// end stay different.
pub fn printable(text: &str, limit: usize) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    if let Some((cut, _)) = safe.char_indices().nth(limit.saturating_sub(9))
        && safe.chars().nth(limit).is_some()
    {
        safe.truncate(cut);
        return format!("{safe}~{:08x}", checksum(text));
    }
    safe
}

fn is_deceptive(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// FNV-1a: it tells names apart and must not change between releases, nothing more.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn twice(name: String) -> (Option<String>, Option<String>) {
    (Some(name.clone()), Some(name))
}

fn program_name(exe: &str, script: Option<&str>) -> String {
    match (exe, script) {
        ("", _) => "unattributed".to_owned(),
        (exe, None) => format!("exe:{}", printable(exe, PART)),
        (exe, Some(script)) => {
            format!("exe:{}:{}", printable(exe, PART), printable(script, PART))
        }
    }
}

fn script_stems<'a>(interpreter: &str, script: &'a str) -> Vec<&'a str> {
    let mut stems = vec![script];
    let shorter = match SCRIPT_EXTENSIONS.iter().find_map(|end| script.strip_suffix(end)) {
        Some(bare) => Some(bare),
        // A main class goes by its simple name, a module by its package.
        None if interpreter == "java" => script.rsplit_once('.').map(|(_package, class)| class),
        None if interpreter.starts_with("py") => script.split_once('.').map(|(top, _)| top),
        None => None,
    };
    stems.extend(shorter.filter(|s| !s.is_empty()));
    stems
}

fn unit_stems(unit: &str) -> Vec<&str> {
    let mut stems = vec![unit];
    let bare = unit.strip_suffix(".service").unwrap_or(unit);
    if bare != unit {
        stems.push(bare);
    }
    // An instance also answers to its template.
    stems.extend(bare.split_once('@').map(|(template, _)| template).filter(|t| !t.is_empty()));
    stems
}

/// A pod answers to its own name and to that of what made it: generated endings are left out, for
/// a rule must outlive the pod.
fn pod_stems(pod: &str) -> Vec<&str> {
    let mut stems = vec![pod];
    let Some((_, name)) = pod.split_once('/') else { return stems };
    stems.push(name);
    if let Some(owner) = pod_owner(name) {
        stems.push(&pod[..pod.len() - (name.len() - owner.len())]);
        stems.push(owner);
    }
    stems
}

fn pod_owner(name: &str) -> Option<&str> {
    // Kubernetes draws generated endings from consonants and digits only, so that no word appears.
    let drawn = |text: &str| text.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
    let (owner, end) = name.rsplit_once('-')?;
    if end.bytes().all(|b| b.is_ascii_digit()) && end.len() < 5 {
        return Some(owner);
    }
    if end.len() != 5 || !drawn(end) {
        return None;
    }
    match owner.rsplit_once('-') {
        Some((deployment, set)) if (6..=10).contains(&set.len()) && drawn(set) => Some(deployment),
        _ => Some(owner),
    }
}

/// A workload picked by what the kernel itself can tell apart: cgroups and users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// A unit of the system's manager, with its ending.
    Unit(Arc<str>),
    /// A container by its name, or by at least 12 digits of its id.
    Container(Arc<str>),
    /// A user by name or uid.
    User(Arc<str>),
}

impl Pick {
    /// Reads `unit:NAME`, `container:NAME` or `user:NAME`; `None` for anything else.
    pub fn parse(word: &str) -> Option<Self> {
        let (kind, name) = word.split_once(':')?;
        if name.is_empty() || name.chars().any(|c| c.is_control() || c == '*' || c == '/') {
            return None;
        }
        match kind {
            "unit" if name.contains('.') => Some(Self::Unit(name.into())),
            "unit" => Some(Self::Unit(format!("{name}.service").into())),
            "container" => Some(Self::Container(name.into())),
            "user" => Some(Self::User(name.into())),
            _ => None,
        }
    }
}

impl std::fmt::Display for Pick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unit(name) => write!(f, "unit:{name}"),
            Self::Container(name) => write!(f, "container:{name}"),
            Self::User(name) => write!(f, "user:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exe(exe: &'static str, script: Option<&'static str>) -> Parts<'static> {
        Parts { exe, script, ..Parts::default() }
    }

    #[test]
    fn what_root_named_comes_before_what_the_process_named() {
        let all = Parts {
            pod: Some("prod/web-0"),
            container: Some("web"),
            unit: Some("batch-agent.service"),
            manager: None,
            app: Some("claude"),
            exe: "python3",
            script: Some("agent.py"),
        };
        let name = |parts: &Parts<'_>| Workload::derive(parts).name.to_string();
        assert_eq!(name(&all), "pod:prod/web-0");
        let no_pod = Parts { pod: None, ..all };
        assert_eq!(name(&no_pod), "container:web");
        let no_container = Parts { container: None, ..no_pod };
        assert_eq!(name(&no_container), "unit:batch-agent.service");
        let no_unit = Parts { unit: None, ..no_container };
        assert_eq!(name(&no_unit), "app:claude");
        assert_eq!(name(&Parts { app: None, ..no_unit }), "exe:python3:agent.py");
        assert_eq!(name(&exe("curl", None)), "exe:curl");
        assert_eq!(name(&Parts::default()), "unattributed");
        let workload = Workload::derive(&all);
        assert_eq!(workload.unit.as_deref(), Some("batch-agent.service"));
        assert_eq!(workload.app.as_deref(), Some("claude"));
    }

    #[test]
    fn nothing_below_a_user_manager_passes_for_the_systems_own() {
        let forged = Parts {
            unit: Some("batch-agent.service"),
            manager: Some(1000),
            ..exe("python3", None)
        };
        let workload = Workload::derive(&forged);
        assert_eq!(&*workload.name, "user-unit:1000/batch-agent");
        assert_eq!(workload.unit.as_deref(), Some("user-unit:1000/batch-agent"));
        assert!(workload.is_forgeable());
        let forged = Parts { container: Some("web"), ..forged };
        let workload = Workload::derive(&forged);
        assert_eq!(&*workload.name, "user-container:1000/web");
        assert_eq!(workload.container.as_deref(), Some("user-container:1000/web"));
        assert!(workload.is_forgeable());
        // A program may carry any name; it stays behind `exe:`.
        let workload = Workload::derive(&exe("unit:ssh.service", None));
        assert_eq!(&*workload.name, "exe:unit:ssh.service");
        assert!(workload.is_forgeable());
        assert!(!Workload::derive(&Parts { manager: None, ..forged }).is_forgeable());
    }

    #[test]
    fn a_webhook_is_no_process() {
        let webhook = Workload::webhook("triage");
        assert_eq!((&*webhook.name, webhook.stems()), ("webhook:triage", vec!["triage"]));
        assert!(!webhook.is_forgeable());
        for forged in [
            exe("webhook:triage", None),
            exe("webhook", Some("triage")),
            Parts { app: Some("webhook:triage"), ..Parts::default() },
            Parts { unit: Some("webhook:triage"), manager: Some(1000), ..Parts::default() },
        ] {
            assert_ne!(Workload::derive(&forged).name, webhook.name);
        }
    }

    #[test]
    fn bare_names_of_rules() {
        let stems = |name: &str| {
            let workload = Workload { name: name.into(), ..Workload::derive(&Parts::default()) };
            workload.stems().join(" ")
        };
        for (name, expected) in [
            ("exe:curl", "curl"),
            ("exe:python3:agent.py", "agent.py agent"),
            ("exe:python3:pkg.cli", "pkg.cli pkg"),
            ("exe:node:server.mjs", "server.mjs server"),
            ("exe:java:app.jar", "app.jar app"),
            ("exe:java:com.acme.Main", "com.acme.Main Main"),
            ("exe:bash:nightly", "nightly"),
            ("app:claude", "claude"),
            ("unit:batch-agent.service", "batch-agent.service batch-agent"),
            ("unit:worker@7.service", "worker@7.service worker@7 worker"),
            ("user-unit:1000/notes", "notes"),
            ("container:web", "web"),
            ("user-container:1000/web", "web"),
            (
                "pod:prod/web-7d4b9c6f5-x2x4z",
                "prod/web-7d4b9c6f5-x2x4z web-7d4b9c6f5-x2x4z prod/web web",
            ),
            ("pod:prod/db-0", "prod/db-0 db-0 prod/db db"),
            ("pod:prod/agent-fzk2x", "prod/agent-fzk2x agent-fzk2x prod/agent agent"),
            ("pod:prod/my-agent", "prod/my-agent my-agent"),
            ("unattributed", ""),
        ] {
            assert_eq!(stems(name), expected, "{name}");
        }
    }

    #[test]
    fn hostile_names_are_harmless() {
        let name = |exe_name: &'static str| Workload::derive(&exe(exe_name, None)).name.to_string();
        assert_eq!(name("a\x1b[31mb\nc"), "exe:a\\u{1b}[31mb\\u{a}c");
        assert_eq!(name("moc.\u{202e}exe"), "exe:moc.\\u{202e}exe");
        assert_eq!(name("naïve ✓"), "exe:naïve ✓");
        assert_eq!(printable("\u{2028}\u{9b}\0", 64), "\\u{2028}\\u{9b}\\u{0}");
    }

    #[test]
    fn long_names_are_cut_but_stay_different() {
        let (one, other) = (format!("{}1", "ä".repeat(5000)), format!("{}2", "ä".repeat(5000)));
        let (one, other) = (printable(&one, 64), printable(&other, 64));
        assert_eq!(one.chars().count(), 64);
        assert_ne!(one, other);
        assert_eq!(printable(&"x".repeat(64), 64), "x".repeat(64));
        assert_eq!(printable(&"x".repeat(65), 64).len(), 64);
    }

    #[test]
    fn what_the_kernel_can_tell_apart_can_be_picked() {
        for (word, read) in [
            ("unit:batch", Some("unit:batch.service")),
            ("unit:batch.service", Some("unit:batch.service")),
            ("container:web", Some("container:web")),
            ("user:1000", Some("user:1000")),
            ("exe:python", None),
            ("batch", None),
            ("unit:", None),
            ("unit:a/b", None),
            ("unit:*", None),
        ] {
            assert_eq!(Pick::parse(word).map(|pick| pick.to_string()).as_deref(), read, "{word}");
        }
    }
}
