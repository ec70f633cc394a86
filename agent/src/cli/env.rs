//! `weir env`: the variables of `weir run`, for a shell to take over: `eval "$(weir env)"`.

use std::io::{self, Write};
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::site::{Site, code};
use super::variables::{Variables, environment, variables};

/// Prints the variables that make programs trust the local CA.
#[derive(Debug, Args)]
pub(super) struct EnvArgs {
    /// Language to print them in
    #[arg(long, value_enum, default_value_t = Shell::Bash)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// For bash, zsh and sh
    Bash,
    /// For fish
    Fish,
    /// For programs
    Json,
}

/// Prints the variables; returns the exit code. `redirecting` as for `run`.
pub(super) fn run(args: &EnvArgs, site: &Site, redirecting: bool) -> anyhow::Result<u8> {
    let found = variables(&environment(), site, Path::new("/"), redirecting)?;
    if args.shell != Shell::Json {
        for note in &found.notes {
            writeln!(io::stderr(), "weir: {note}")?;
        }
    }
    print(&found, args.shell, &mut io::stdout().lock())?;
    Ok(code::OK)
}

fn print(found: &Variables, shell: Shell, out: &mut impl Write) -> io::Result<()> {
    match shell {
        Shell::Bash => {
            for (name, value) in &found.set {
                // Nothing but the quote itself is special between single quotes.
                writeln!(out, "export {name}='{}'", value.replace('\'', r"'\''"))?;
            }
            Ok(())
        }
        Shell::Fish => {
            for (name, value) in &found.set {
                let value = value.replace('\\', r"\\").replace('\'', r"\'");
                writeln!(out, "set -gx {name} '{value}'")?;
            }
            Ok(())
        }
        Shell::Json => {
            let report = json!({"schema_version": 1, "variables": found.set, "notes": found.notes});
            writeln!(out, "{report:#}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const ODD: &str = r#"/tmp/a'b $(touch x) `id` "q" \ end"#;

    fn printed(shell: Shell) -> String {
        let set = [("SSL_CERT_FILE".to_owned(), ODD.to_owned())].into();
        let mut out = Vec::new();
        print(&Variables { set, notes: vec!["n".to_owned()] }, shell, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_shell_reads_back_exactly_what_was_meant() {
        for shell in ["sh", "bash"] {
            let script = format!("{}printf %s \"$SSL_CERT_FILE\"", printed(Shell::Bash));
            let output = Command::new(shell).args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), ODD, "{shell}");
        }
    }

    #[test]
    fn fish_is_quoted_by_its_own_rules() {
        let expected = r#"set -gx SSL_CERT_FILE '/tmp/a\'b $(touch x) `id` "q" \\ end'"#;
        assert_eq!(printed(Shell::Fish).trim_end(), expected);
    }

    #[test]
    fn json_carries_the_notes() {
        let report: serde_json::Value = serde_json::from_str(&printed(Shell::Json)).unwrap();
        assert_eq!(report["schema_version"], 1);
        assert_eq!(report["variables"]["SSL_CERT_FILE"], ODD);
        assert_eq!(report["notes"][0], "n");
    }
}
