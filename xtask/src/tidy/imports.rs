//! Who may import whom, as tables: our own modules, and where third-party crates are allowed.

use super::{Problem, source::Source};

/// A module of `agent` and what it may use of the others; `*` is everything. A path allows what
/// is below it. What is not listed may use nothing.
const MODULES: [(&str, &[&str]); 27] = [
    ("main", &["cli"]),
    ("app", &["*"]),
    ("cli", &["*"]),
    ("capture", &["subject", "clock", "drain"]),
    ("subject", &[]),
    (
        "downstream",
        &[
            "capture::origin",
            "capture::identity",
            "capture::owner",
            // Tunnels, and the link that is dialled before the client is answered.
            "upstream",
            "llm::providers",
            "llm::call",
            "subject",
            "record",
            "pipeline",
            "webhooks",
            "clock",
            "drain",
            "pulse",
        ],
    ),
    ("pipeline", &["policy", "secret", "llm", "upstream", "record", "subject", "clock", "drain"]),
    ("policy", &["llm", "subject", "record", "clock"]),
    ("upstream", &["clock", "drain"]),
    ("llm", &[]),
    ("record", &["llm", "subject"]),
    ("ledger", &["record", "llm", "subject", "clock", "drain"]),
    // The ledger's health is a metric, and so is that of alerts.
    (
        "metrics",
        &[
            "record",
            "llm",
            "subject",
            "clock",
            "drain",
            "ledger::Health",
            "alerts::Health",
            "alerts::settings",
            "webhooks::Health",
        ],
    ),
    ("watch", &["policy", "record", "llm", "subject"]),
    // A collector is dialled and verified as providers are.
    ("telemetry", &["record", "llm", "subject", "clock", "drain", "upstream", "secret"]),
    ("audit", &["record", "llm", "subject", "clock", "drain"]),
    // Receivers are dialled and verified as providers are: our mark, no root of our own.
    ("alerts", &["record", "llm", "subject", "clock", "drain", "upstream", "secret"]),
    // A webhook's call is made as the clients' are, and its answer posted as alerts are.
    (
        "webhooks",
        &["alerts", "pipeline", "upstream", "llm", "record", "subject", "clock", "drain", "secret"],
    ),
    ("secret", &[]),
    // What is told on it is made by whoever tells.
    ("events", &["clock"]),
    (
        "config",
        // What the configuration says of alerts is read into the types that act on it.
        &[
            "policy",
            "llm",
            "subject",
            "secret",
            "alerts::settings",
            "alerts::template",
            "alerts::guard",
            "webhooks::settings",
            "telemetry::settings",
            "watch::settings",
        ],
    ),
    (
        "admin",
        &[
            "config", "ledger", "metrics", "policy", "record", "subject", "llm", "clock", "drain",
            "events",
        ],
    ),
    ("demo", &["clock", "drain"]),
    ("clock", &[]),
    ("pulse", &["clock"]),
    ("drain", &["pulse"]),
    ("lib", &[]),
];

/// A third-party crate and the modules that may use it. Crates not listed may be used anywhere.
const CRATES: [(&str, &[&str]); 30] = [
    ("anyhow", &["main", "app", "cli", "demo"]),
    ("aya", &["capture"]),
    ("aya_log", &["capture"]),
    ("axum", &["admin"]),
    ("bpe_openai", &["llm::tokens"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("comfy_table", &["cli"]),
    ("crossterm", &["cli::top"]),
    ("csv", &["cli", "admin"]),
    ("genai_prices", &["llm"]),
    // Why a stream failed; hyper speaks it everywhere else.
    ("h2", &["upstream"]),
    ("hickory_resolver", &["capture"]),
    ("moka", &["downstream", "pipeline", "capture"]),
    ("opentelemetry_proto", &["telemetry"]),
    ("prometheus", &["metrics"]),
    ("prost", &["telemetry"]),
    ("ratatui", &["cli::top"]),
    // The mock provider is its own authority, as the public CAs are for the real ones.
    ("rcgen", &["downstream::ca", "downstream::certs", "demo::mock::ca"]),
    ("rusqlite", &["ledger"]),
    ("rustls_native_certs", &["upstream"]),
    // The configuration's schema, and the API's: of the types that are read and written there.
    ("schemars", &["config", "admin", "events", "record", "llm::call"]),
    ("sd_notify", &["app::service"]),
    ("serde_saphyr", &["config"]),
    ("socket2", &["capture", "downstream", "upstream"]),
    ("strsim", &["config", "admin"]),
    (
        "tokio_tungstenite",
        &["pipeline::websocket", "pipeline::upgrade", "pipeline::tests", "demo::mock"],
    ),
    ("webpki_roots", &["upstream"]),
    ("x509_parser", &["downstream", "upstream", "cli"]),
];

pub(super) fn check(source: &Source, problems: &mut Vec<Problem>) {
    let Some(module) = source.module() else { return };
    let mut report = |at: usize, message: String| {
        let line = source.code[..at].lines().count().max(1);
        problems.push(Problem { path: source.path.clone(), line, message });
    };
    let top = module.split("::").next().unwrap_or_default();
    let allowed = MODULES.iter().find(|(name, _)| *name == top).map(|(_, allowed)| *allowed);
    let Some(allowed) = allowed else {
        return report(0, format!("module `{top}` is not in the import table of `xtask tidy`"));
    };
    for (at, used) in used(&source.code, &module) {
        let is_own = used == top || used.starts_with(&format!("{top}::"));
        if !is_own && !allowed.iter().any(|path| *path == "*" || is_within(&used, path)) {
            report(at, format!("`{top}` may not use `{used}`"));
        }
    }
    for (name, homes) in CRATES {
        if homes.iter().any(|home| is_within(&module, home)) {
            continue;
        }
        for at in words(&source.code, name) {
            report(at, format!("`{name}` belongs to {}", homes.join(", ")));
        }
    }
}

/// Whether `path` is `root` or below it. A use of a whole module whose parts only are allowed is
/// not within: `crate::capture` against `capture::origin`.
fn is_within(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every path into our own modules, with its place: `crate::…`, `crate::{…}`, `super::super::…`.
fn used(code: &str, module: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        for path in paths(&code[at + "crate::".len()..]) {
            found.push((at, path));
        }
    }
    // `super` of a top-level module is the crate's root.
    let climb = "super::".repeat(module.split("::").count());
    for (at, _) in code.match_indices(&climb) {
        if !code[..at].ends_with("super::") {
            let rest = &code[at + climb.len()..];
            found.extend(paths(rest).into_iter().map(|path| (at, path)));
        }
    }
    found
}

/// The paths a use tree starts with, two segments deep: `a::b`, or `{a::b, c}`.
fn paths(tree: &str) -> Vec<String> {
    let Some(group) = tree.strip_prefix('{') else { return vec![path(tree)] };
    let mut depth = 1;
    let mut items = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match c {
            _ if depth == 0 => break,
            ',' if depth == 1 => items.push(String::new()),
            _ => items.last_mut().into_iter().for_each(|item| item.push(c)),
        }
    }
    items.iter().map(|item| path(item.trim())).filter(|path| !path.is_empty()).collect()
}

fn path(text: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let whole: String = text.chars().take_while(|&c| is_part(c)).collect();
    whole.split("::").filter(|part| !part.is_empty()).take(2).collect::<Vec<_>>().join("::")
}

/// Places where `name` stands as a crate: `name::…`, not part of a longer word or path.
fn words(code: &str, name: &str) -> Vec<usize> {
    let starts = |at: usize| {
        let before = &code[..at];
        before.ends_with("::{")
            || !before.ends_with(|c: char| c.is_alphanumeric() || "_:.".contains(c))
    };
    let pattern = format!("{name}::");
    code.match_indices(&pattern).map(|(at, _)| at).filter(|&at| starts(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, code: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check(&Source::new(path.to_owned(), format!("//! X.\n{code}")), &mut problems);
        problems.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn the_table_decides_in_every_form_of_import() {
        let broken = ["`policy` may not use `drain::Drain`"];
        assert_eq!(problems("agent/src/policy/a.rs", "use crate::drain::Drain;"), broken);
        let group = "use crate::{clock::Now, drain::Drain};";
        assert_eq!(problems("agent/src/policy/a.rs", group), broken);
        assert_eq!(
            problems("agent/src/policy/a.rs", "fn f(x: super::super::drain::Drain)"),
            broken
        );
        assert!(
            problems("agent/src/policy/a.rs", "use super::b; use crate::policy::c;").is_empty()
        );
    }

    #[test]
    fn a_part_of_a_module_can_be_allowed() {
        let file = "agent/src/downstream/accept.rs";
        assert!(problems(file, "use crate::capture::origin::Origin;").is_empty());
        assert_eq!(problems(file, "use crate::capture::targets;").len(), 1);
    }

    #[test]
    fn crates_are_pinned() {
        assert_eq!(problems("agent/src/llm/a.rs", "use rusqlite::Connection;").len(), 1);
        assert!(problems("agent/src/ledger/a.rs", "use rusqlite::Connection;").is_empty());
        assert!(problems("agent/src/llm/a.rs", "fn f(x: my_rusqlite::X)").is_empty());
    }

    #[test]
    fn a_module_without_an_entry_is_a_problem() {
        assert_eq!(problems("agent/src/surprise.rs", "").len(), 1);
    }
}
