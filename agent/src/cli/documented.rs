//! Every command that the documents show is one that the program understands.

use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use super::Cli;

/// The README and the pages beside it.
fn documents() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(own.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        pages.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    found.push(own.with_file_name("README.md"));
    found.sort();
    found
}

/// Command lines in blocks of code, and what looks like one in the text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    lines: Vec<String>,
    spans: Vec<String>,
}

impl Shown {
    fn of(text: &str) -> Self {
        let mut shown = Self::default();
        let mut prose = String::new();
        // Parts alternate: text, code, text, …
        for (index, part) in text.split("```").enumerate() {
            if index % 2 == 0 {
                prose.push_str(part);
            } else {
                let (language, block) = part.split_once('\n').unwrap_or((part, ""));
                if matches!(language, "" | "sh") {
                    shown.lines.extend(commands(block));
                }
            }
        }
        // A line's end may be between two words of one.
        let words = |span: &str| span.split_whitespace().collect::<Vec<_>>().join(" ");
        let spans = prose.split('`').skip(1).step_by(2).map(words);
        shown.spans.extend(spans.filter(|span| span.starts_with("weir ")));
        shown
    }
}

/// The commands in a block. Where prompts are shown, everything else is output.
fn commands(block: &str) -> impl Iterator<Item = String> {
    let prompted = block.lines().any(|line| line.trim_start().starts_with("$ "));
    block.lines().filter_map(move |line| {
        let line = line.trim_start();
        let line = if prompted { line.strip_prefix("$ ")? } else { line };
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        let line = line.strip_prefix("target/release/").unwrap_or(line);
        line.starts_with("weir ").then(|| line.to_owned())
    })
}

/// The words of the first command of a line.
fn first(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for sign in line.chars() {
        match (sign, quote) {
            ('#', None) if words.last().is_some_and(String::is_empty) => break,
            (';' | '|' | '&' | '>', None) => break,
            (' ', None) => words.push(String::new()),
            (sign, Some(open)) if sign == open => quote = None,
            ('"' | '\'', None) => quote = Some(sign),
            (sign, _) => words.last_mut().unwrap().push(sign),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What the program has against a command line.
fn complaint(line: &str) -> Option<clap::Error> {
    let shown = |error: &clap::Error| {
        !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
    };
    Cli::try_parse_from(first(line)).err().filter(shown)
}

/// Whether what is shown in the text may be left at that: a command by its name alone, or with words
/// that stand for a value.
fn is_short(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::ValueValidation
    )
}

#[test]
fn commands_in_the_documents_are_understood() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for path in documents() {
        let shown = Shown::of(&std::fs::read_to_string(&path).unwrap());
        let lines = shown.lines.iter().filter_map(|line| Some((line, complaint(line)?)));
        let spans = shown
            .spans
            .iter()
            .filter_map(|span| Some((span, complaint(span).filter(|error| !is_short(error))?)));
        for (line, error) in lines.chain(spans) {
            wrong.push(format!("{}: {line}\n{error}", path.display()));
        }
        seen += shown.lines.len() + shown.spans.len();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 50, "only {seen} commands were found: the documents are read wrongly");
}

#[test]
fn blocks_are_told_from_text_and_commands_from_output() {
    let text = "`weir  status` and `weir`, `weir\nps`\n```\n$ weir status; echo $?\nweir 0.1.0  off\n```\n\
        ```sh\nsudo target/release/weir up  # again\nls\n```\n```yaml\nweir mode\n```\n";
    let expected = Shown {
        lines: vec!["weir status; echo $?".to_owned(), "weir up  # again".to_owned()],
        spans: vec!["weir status".to_owned(), "weir ps".to_owned()],
    };
    assert_eq!(Shown::of(text), expected);
    assert_eq!(first("weir run -- 'a b' x#y | z"), ["weir", "run", "--", "a b", "x#y"]);
}

#[test]
fn what_the_program_does_not_have_is_noticed() {
    for line in ["weir no-such-command", "weir status --no-such-flag", "weir mode sideways"] {
        assert!(complaint(line).is_some_and(|error| !is_short(&error)), "{line}");
    }
    for span in ["weir policy enable|disable NAME", "weir trust", "weir explain ID"] {
        assert!(complaint(span).is_none_or(|error| is_short(&error)), "{span}");
    }
}
