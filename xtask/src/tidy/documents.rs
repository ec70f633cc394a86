//! What the documents say that a program can check: links lead somewhere, metrics exist. Commands are
//! checked beside the command line itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Problem, source::Source};
use crate::shell;

/// How the names of our metrics begin.
const PREFIXES: [&str; 3] = ["llm_", "weir_", "circuit_breaker_"];

/// What a histogram's samples add to its name.
const SAMPLES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Directories without documents of ours.
const PASSED_OVER: [&str; 3] = ["target", "node_modules", ".git"];

pub(super) fn check(sources: &[Source], problems: &mut Vec<Problem>) -> anyhow::Result<()> {
    let metrics = metrics(sources);
    let root = shell::root();
    let mut paths = Vec::new();
    find(&root, &mut paths)?;
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(&path)?;
        let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let mut report = |line, message| {
            problems.push(Problem { path: shown.clone(), line, message });
        };
        for (line, name) in words(&text).filter(|(_, name)| !is_known(&metrics, name)) {
            report(line, format!("there is no metric {name}"));
        }
        for (line, target) in links(&text).filter(|(_, target)| !leads_somewhere(&path, target)) {
            report(line, format!("{target} leads nowhere"));
        }
    }
    Ok(())
}

/// The names under which metrics are registered.
fn metrics(sources: &[Source]) -> BTreeSet<String> {
    let registered = sources.iter().filter(|source| {
        source.path.starts_with("agent/src/metrics/") && !source.path.ends_with("/tests.rs")
    });
    let literals = registered.flat_map(|source| source.text.split('"').skip(1).step_by(2));
    let named = literals.filter(|text| PREFIXES.iter().any(|prefix| text.starts_with(prefix)));
    named.filter(|text| text.bytes().all(is_of_name)).map(str::to_owned).collect()
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

fn is_known(metrics: &BTreeSet<String>, name: &str) -> bool {
    let whole = SAMPLES.iter().find_map(|sample| name.strip_suffix(sample));
    metrics.contains(name) || whole.is_some_and(|whole| metrics.contains(whole))
}

/// Words that look like our metrics, with their lines. One that ends in an underscore is a family.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().zip(1..).flat_map(|(line, number)| {
        let words = line.split(|sign: char| !sign.is_ascii() || !is_of_name(sign as u8));
        let ours = |word: &&str| PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        words.filter(ours).filter(|word| !word.ends_with('_')).map(move |word| (number, word))
    })
}

/// Targets of links outside of code, with their lines.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(number, line)| {
        let starts = line.match_indices("](").map(|(at, mark)| at + mark.len());
        starts.filter_map(move |at| Some((number, line[at..].split_once(')')?.0)))
    })
}

/// Lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((number, line))
    })
}

fn leads_somewhere(from: &Path, target: &str) -> bool {
    if target.starts_with("https://") || target.starts_with("http://") {
        return true;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => from.to_owned(),
        file => from.with_file_name("").join(file),
    };
    if heading.is_empty() {
        return path.exists();
    }
    let Ok(text) = fs::read_to_string(path) else { return false };
    prose(&text).any(|(_, line)| {
        let title = line.trim_start_matches('#');
        title.len() < line.len() && anchor(title.trim()) == heading
    })
}

/// How a heading is linked to: small letters, hyphens for blanks, no other signs.
fn anchor(title: &str) -> String {
    let kept =
        title.chars().filter(|sign| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_'));
    kept.map(|sign| if sign == ' ' { '-' } else { sign.to_ascii_lowercase() }).collect()
}

fn find(directory: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if !PASSED_OVER.iter().any(|passed| name == *passed) {
                find(&path, paths)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_known_by_where_they_are_registered() {
        let source = |path: &str, text: &str| Source::new(path.to_owned(), text.to_owned());
        let sources = [
            source("agent/src/metrics/mod.rs", "x(\"weir_a_seconds\", \"weir_b says\")"),
            source("agent/src/llm/mod.rs", "x(\"llm_elsewhere\")"),
        ];
        let metrics = metrics(&sources);
        assert_eq!(metrics.iter().collect::<Vec<_>>(), ["weir_a_seconds"]);
        assert!(is_known(&metrics, "weir_a_seconds_bucket"));
        assert!(!is_known(&metrics, "weir_a_seconds_total"));
        let text = "`weir_a_seconds{x=\"y\"}`\nrate(llm_c[5m]), llm_*, a_weir_b, X-weir_";
        assert_eq!(words(text).collect::<Vec<_>>(), [(1, "weir_a_seconds"), (2, "llm_c")]);
    }

    #[test]
    fn links_are_looked_for_outside_of_code() {
        let text = "[a](b.md) [c](#d)\n```\n[e](f)\n```\n[g](h.md#i)";
        assert_eq!(links(text).collect::<Vec<_>>(), [(1, "b.md"), (1, "#d"), (5, "h.md#i")]);
    }

    #[test]
    fn a_link_to_a_heading_needs_it() {
        let readme = shell::root().join("README.md");
        assert!(leads_somewhere(&readme, "#figures"));
        assert!(leads_somewhere(&readme, "agent/docs/capture.md#quic-ech-no-name"));
        assert!(!leads_somewhere(&readme, "#nothing-of-the-kind"));
        assert!(!leads_somewhere(&readme, "agent/docs/nothing.md"));
        let anchored = anchor("A client says \"self-signed\" or `x y`");
        assert_eq!(anchored, "a-client-says-self-signed-or-x-y");
    }
}
