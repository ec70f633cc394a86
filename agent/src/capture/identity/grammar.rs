//! How the usual interpreters read their command lines: enough of it to find the script.
//!
//! An option missing here at worst makes its value pass for the script.

/// How the arguments of one interpreter are read.
pub(super) struct Grammar {
    /// Short options after which there is no script: the code itself follows.
    pub(super) code: &'static str,
    /// Short options with a value, attached or next.
    pub(super) value: &'static str,
    /// Short options whose value is always attached, or that need none.
    pub(super) attached: &'static str,
    /// Short options whose value is the script.
    pub(super) script: &'static str,
    /// Words and long options after which there is no script.
    pub(super) no_script: &'static [&'static str],
    /// Long options with a value in the next argument.
    pub(super) long_value: &'static [&'static str],
    /// Long options whose value is the script.
    pub(super) long_script: &'static [&'static str],
    /// Words to skip before the script.
    pub(super) verbs: &'static [&'static str],
    /// Whether a bare argument can be the script.
    pub(super) positional: bool,
    /// Whether long options begin with a single dash.
    pub(super) single_dash: bool,
    /// Whether this is a shell, which takes commands from a person when it has no script.
    pub(super) shell: bool,
}

const PLAIN: Grammar = Grammar {
    code: "",
    value: "",
    attached: "",
    script: "",
    no_script: &[],
    long_value: &[],
    long_script: &[],
    verbs: &[],
    positional: true,
    single_dash: false,
    shell: false,
};

const PYTHON: Grammar = Grammar {
    code: "c",
    value: "WX",
    script: "m",
    long_value: &["--check-hash-based-pycs"],
    ..PLAIN
};

const NODE: Grammar = Grammar {
    code: "ep",
    value: "rC",
    no_script: &["--eval", "--print", "--run", "--test"],
    long_value: &[
        "--require",
        "--import",
        "--loader",
        "--experimental-loader",
        "--conditions",
        "--env-file",
        "--env-file-if-exists",
        "--title",
        "--input-type",
        "--icu-data-dir",
        "--openssl-config",
        "--redirect-warnings",
        "--diagnostic-dir",
        "--disable-warning",
        "--watch-path",
    ],
    verbs: &["inspect"],
    ..PLAIN
};

const DENO: Grammar = Grammar {
    value: "cL",
    no_script: &["eval", "repl", "task", "fmt", "lint", "check", "install", "compile", "lsp"],
    long_value: &["--config", "--import-map", "--lock", "--cert", "--location", "--ext", "--port"],
    verbs: &["run", "serve", "test", "bench", "x"],
    ..PLAIN
};

const BUN: Grammar = Grammar {
    code: "ep",
    value: "rc",
    no_script: &["--eval", "--print", "install", "add", "remove", "update", "build", "repl"],
    long_value: &["--preload", "--require", "--import", "--cwd", "--config", "--env-file"],
    verbs: &["run", "x", "test"],
    ..PLAIN
};

const SHELL: Grammar = Grammar {
    code: "cs",
    value: "oO",
    long_value: &["--rcfile", "--init-file"],
    shell: true,
    ..PLAIN
};

const RUBY: Grammar =
    Grammar { code: "e", value: "IrCE", attached: "WxTKFil0", script: "S", ..PLAIN };

const PERL: Grammar = Grammar { code: "eE", value: "I", attached: "MmCDdFilx0V", ..PLAIN };

const PHP: Grammar = Grammar {
    code: "rBREaSivm",
    value: "dczt",
    script: "f",
    no_script: &["--run", "--server", "--interactive"],
    long_value: &["--define", "--php-ini", "--docroot", "--zend-extension"],
    long_script: &["--file"],
    ..PLAIN
};

/// `Rscript` turns into `R` with `--file=`.
const R: Grammar = Grammar {
    code: "e",
    script: "f",
    no_script: &["--args"],
    long_script: &["--file"],
    positional: false,
    ..PLAIN
};

const JAVA: Grammar = Grammar {
    long_value: &[
        "-cp",
        "-classpath",
        "--class-path",
        "-p",
        "--module-path",
        "--upgrade-module-path",
        "--add-modules",
        "--add-opens",
        "--add-exports",
        "--add-reads",
        "--enable-native-access",
        "--source",
    ],
    long_script: &["-jar", "-m", "--module"],
    single_dash: true,
    ..PLAIN
};

/// The interpreter that an executable's file name stands for: its name without version, and its
/// grammar. `python3.12` is `python3`, `php8.2` is `php`, `nodejs` is `node`.
pub(super) fn interpreter(file: &str) -> Option<(&str, &'static Grammar)> {
    for python in ["python", "pypy"] {
        if let Some(version) = file.strip_prefix(python) {
            let known = version.is_empty() || version.starts_with(['2', '3']);
            let name = &file[..python.len() + usize::from(!version.is_empty())];
            return known.then_some((name, &PYTHON));
        }
    }
    let name = file.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let grammar = match name {
        "node" => &NODE,
        "nodejs" => return Some(("node", &NODE)),
        "deno" => &DENO,
        "bun" => &BUN,
        "sh" | "bash" | "rbash" | "dash" | "ash" | "zsh" | "ksh" | "mksh" | "fish" => &SHELL,
        "ruby" => &RUBY,
        "perl" => &PERL,
        "php" => &PHP,
        "R" => &R,
        "java" => &JAVA,
        _ => return None,
    };
    Some((name, grammar))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_not_part_of_the_name() {
        let name = |file| interpreter(file).map_or("", |(name, _)| name);
        for (file, expected) in [
            ("python3.12", "python3"),
            ("python3", "python3"),
            ("python", "python"),
            ("python2.7", "python2"),
            ("python3.13t", "python3"),
            ("python3-dbg", "python3"),
            ("pypy3.10", "pypy3"),
            ("nodejs", "node"),
            ("node", "node"),
            ("node18", "node"),
            ("php8.2", "php"),
            ("perl5.36.0", "perl"),
            ("ruby3.1", "ruby"),
            ("bash", "bash"),
            ("dash", "dash"),
            ("java", "java"),
            ("R", "R"),
            ("bun", "bun"),
            ("deno", "deno"),
            ("pythonista", ""),
            ("node-exporter", ""),
            ("php-fpm8.2", ""),
            ("curl", ""),
            ("", ""),
        ] {
            assert_eq!(name(file), expected, "{file}");
        }
    }
}
