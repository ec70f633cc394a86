//! Structure that no compiler checks: who imports whom, how long files are, what is banned where, and
//! what the documents name.
//!
//! Each rule is a table or a few lines; a broken one names file, line and the rule.

mod source;
mod imports;
mod shape;
mod purity;
mod documents;

use std::fmt;

use anyhow::bail;

/// A rule broken at a place.
struct Problem {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks all sources and prints what is wrong.
pub(crate) fn run() -> anyhow::Result<()> {
    let problems = check()?;
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        many => bail!("{many} structural problems"),
    }
}

fn check() -> anyhow::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let sources = source::all()?;
    for source in &sources {
        shape::check(source, &mut problems);
        purity::check(source, &mut problems);
        imports::check(source, &mut problems);
    }
    documents::check(&sources, &mut problems)?;
    Ok(problems)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        let problems = super::check().unwrap();
        let listed: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(listed.is_empty(), "\n{}", listed.join("\n"));
    }
}
