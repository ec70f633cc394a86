//! What every file looks like: a first line that says what it is for, one job's length, no
//! leftovers.

use super::{Problem, source::Source};

const LONGEST: usize = 400;

/// Written apart, so that this file does not break its own rule.
const LEFTOVERS: [&str; 6] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("#[ign", "ore"),
    concat!("#[all", "ow("),
];

pub(super) fn check(source: &Source, problems: &mut Vec<Problem>) {
    let mut report = |line, message: String| {
        problems.push(Problem { path: source.path.clone(), line, message });
    };
    if !source.text.starts_with("//!") {
        report(1, "starts without `//!`: say what the file is for".to_owned());
    }
    // A file of tests is as long as what it tests is wide.
    let lines = source.code.lines().count();
    if lines > LONGEST && !source.path.starts_with("tests/it/") {
        report(0, format!("{lines} lines without tests, at most {LONGEST}: give it one job"));
    }
    for (index, line) in source.text.lines().enumerate() {
        for leftover in LEFTOVERS {
            if line.contains(leftover) {
                report(index + 1, format!("`{leftover}` has no place in what is committed"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check(&Source::new("agent/src/x.rs".to_owned(), text.to_owned()), &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn counts_lines_without_inline_tests() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}", "// x\n".repeat(500));
        assert!(problems(&format!("//! Fine.\n{tests}")).is_empty());
        assert_eq!(problems(&format!("//! Long.\n{}", "x();\n".repeat(400))).len(), 1);
    }

    #[test]
    fn wants_a_purpose_and_no_leftovers() {
        assert_eq!(problems("fn main() {}").len(), 1);
        assert_eq!(problems(&format!("//! X.\n{}\"later\")", LEFTOVERS[0])).len(), 1);
    }
}
