//! Source files as the rules see them: production code apart from inline tests, and code apart
//! from comments and strings.

use std::fs;
use std::path::Path;

use crate::shell;

const CRATES: [&str; 5] = ["agent", "agent-common", "agent-ebpf", "xtask", "tests"];

/// A Rust file.
pub(super) struct Source {
    /// From the workspace's root.
    pub(super) path: String,
    /// All of it.
    pub(super) text: String,
    /// The part before the inline tests, with comments and string contents blanked out; lines are
    /// where they were.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: String, text: String) -> Self {
        let end = if is_test(&path) { Some(0) } else { text.find("#[cfg(test)]\nmod ") };
        let production = end.map_or(text.as_str(), |at| &text[..at]);
        Self { code: blanked(production), path, text }
    }

    /// The module path inside `agent`: `capture::origin`. `None` outside of it and for the files
    /// that hold it together.
    pub(super) fn module(&self) -> Option<String> {
        let inside = self.path.strip_prefix("agent/src/")?.strip_suffix(".rs")?;
        let inside = inside.strip_suffix("/mod").unwrap_or(inside);
        (inside != "lib").then(|| inside.replace('/', "::"))
    }

    /// Lines of production code, with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Whether a file holds nothing but a module's tests (`mod tests;`).
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/src/") && path.contains("/tests/")
}

/// Every Rust file of the workspace's crates.
pub(super) fn all() -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for name in CRATES {
        walk(&shell::root().join(name), &mut sources)?;
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn walk(directory: &Path, sources: &mut Vec<Source>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            if name != "target" && name != "node_modules" {
                walk(&path, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(shell::root()).unwrap_or(&path);
            sources.push(Source::new(shown.display().to_string(), fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// Replaces comments and the contents of strings by spaces. Knows line and nested block comments,
/// plain and raw strings, and character literals as far as rustfmt's output needs.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_length(rest),
            'r' if is_raw(&out, rest) => raw_length(rest),
            '\'' => character_length(rest),
            _ => 0,
        };
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn is_raw(before: &str, rest: &str) -> bool {
    let starts_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let follows_byte = before.ends_with('b');
    (starts_word || follows_byte) && rest[1..].trim_start_matches('#').starts_with('"')
}

fn raw_length(rest: &str) -> usize {
    let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let open = 2 + hashes;
    rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
}

/// `'x'` and `'\n'`; a lifetime has no closing quote that near.
fn character_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let Some((_, first)) = chars.next() else { return 0 };
    if first == '\\' {
        return rest[2..].find('\'').map_or(0, |at| at + 3);
    }
    match chars.next() {
        Some((index, '\'')) => index + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_strings_only() {
        let text = "a // crate::x\nb(\"crate::\\\"y\", r#\"c\"d\"#, '\"', 'a') /* e\n */ f::<'_>()";
        let code = blanked(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.split_whitespace().collect::<String>(), "ab(,,,)f::<'_>()");
    }

    #[test]
    fn names_modules_as_rust_does() {
        let module = |path: &str| Source::new(path.to_owned(), String::new()).module();
        assert_eq!(module("agent/src/capture/mod.rs").as_deref(), Some("capture"));
        assert_eq!(module("agent/src/llm/usage.rs").as_deref(), Some("llm::usage"));
        assert_eq!(module("agent/src/lib.rs"), None);
        assert_eq!(module("xtask/src/main.rs"), None);
    }
}
