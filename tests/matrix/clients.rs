//! The clients, and how each is told of roots that it would not find by itself.

use std::path::PathBuf;

use anyhow::Context;
use harness::{Stage, artefacts, curl};

/// Questions asked of every client, each over a connection of its own.
pub(crate) const ROUNDS: usize = 4;

/// A client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Where its roots come from.
    pub(crate) roots: Roots,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Started anew for every question.
    Curl,
    /// The same.
    Wget,
    /// The same, and prints the page.
    Chromium,
    /// Asks all questions in one run.
    Python,
    Node,
    Bun,
    Deno,
    Go,
    Java,
}

/// Where a client's roots come from, so that the stage can make it accept its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roots {
    /// The system's bundle or directory.
    System,
    /// Its own, and those of the file that a variable names.
    Own(&'static str),
    /// The key store that Debian's package keeps beside the bundle.
    Java,
    /// A database in its user's home.
    Nss,
}

/// In the order of the table.
pub(crate) const ALL: [Client; 9] = [
    client("curl", Kind::Curl, Roots::System),
    client("wget", Kind::Wget, Roots::System),
    client("python", Kind::Python, Roots::System),
    client("node", Kind::Node, Roots::Own("NODE_EXTRA_CA_CERTS")),
    client("bun", Kind::Bun, Roots::System),
    client("deno", Kind::Deno, Roots::Own("DENO_CERT")),
    client("go", Kind::Go, Roots::System),
    client("java", Kind::Java, Roots::Java),
    client("chromium", Kind::Chromium, Roots::Nss),
];

const fn client(name: &'static str, kind: Kind, roots: Roots) -> Client {
    Client { name, kind, roots }
}

impl Client {
    /// What says which version it is.
    pub(crate) fn version(self) -> anyhow::Result<Vec<String>> {
        Ok(match self.kind {
            Kind::Curl => words(&["curl", "--version"]),
            Kind::Wget => words(&["wget", "--version"]),
            Kind::Chromium => words(&["chromium", "--version"]),
            Kind::Python => words(&["python3", "--version"]),
            Kind::Node => words(&["node", "--version"]),
            Kind::Bun => vec![runtime("@oven", "bin/bun")?, "--version".to_owned()],
            Kind::Deno => vec![runtime("@deno", "deno")?, "--version".to_owned()],
            Kind::Go => words(&["go", "version"]),
            Kind::Java => words(&["java", "--version"]),
        })
    }

    /// The command that asks, and how often it has to be started.
    pub(crate) fn command(self, stage: &Stage) -> anyhow::Result<(Vec<String>, usize)> {
        let script =
            |name: &str| artefacts::script(&format!("matrix/{name}")).display().to_string();
        let mjs = script("ask.mjs");
        Ok(match self.kind {
            Kind::Curl => (words(&curl(&["-o", "/dev/null", "-w", "%{http_code}\\n"])), ROUNDS),
            Kind::Wget => (words(&WGET), ROUNDS),
            Kind::Chromium => {
                let profile = stage.scratch().join("profile").display().to_string();
                let mut command = words(&CHROMIUM);
                command.push(format!("--user-data-dir={profile}"));
                command.push("https://api.openai.com/v1/models".to_owned());
                (command, ROUNDS)
            }
            Kind::Python => (vec!["python3".to_owned(), script("ask.py")], 1),
            Kind::Node => (vec!["node".to_owned(), mjs], 1),
            Kind::Bun => (vec![runtime("@oven", "bin/bun")?, mjs], 1),
            Kind::Deno => {
                let options = ["run", "--no-prompt", "--allow-net", "--quiet"];
                let command = [runtime("@deno", "deno")?].into_iter().chain(words(&options));
                (command.chain([mjs]).collect(), 1)
            }
            Kind::Go => (vec![home()?.join("ask-go").display().to_string()], 1),
            Kind::Java => (words(&["java", "-cp", &home()?.display().to_string(), "Ask"]), 1),
        })
    }

    /// What a run of it that was answered prints.
    pub(crate) fn is_answer(self, line: &str) -> bool {
        match self.kind {
            // The page of a JSON document; those of errors have none.
            Kind::Chromium => line.contains("<pre>{"),
            Kind::Wget => line.contains("200 OK"),
            _ => line == "200",
        }
    }
}

const WGET: [&str; 8] = [
    "wget",
    "--tries=1",
    "--timeout=20",
    "--server-response",
    "--output-document=/dev/null",
    "--header=authorization: Bearer sk-test",
    "--post-data={\"model\":\"gpt-4o-mini\",\"messages\":[]}",
    "https://api.openai.com/v1/chat/completions",
];

/// It would refuse to run as root with its sandbox, and would talk to its maker.
const CHROMIUM: [&str; 8] = [
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--dump-dom",
];

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn home() -> anyhow::Result<PathBuf> {
    artefacts::client("matrix").context("`cargo xtask matrix` installs them")
}

/// A runtime as its packages bring it, one for each machine.
fn runtime(scope: &str, program: &str) -> anyhow::Result<String> {
    let scope = home()?.join("node_modules").join(scope);
    let mut found: Vec<PathBuf> = std::fs::read_dir(&scope)
        .with_context(|| scope.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path().join(program)))
        .filter(|path| path.is_file() && !path.to_string_lossy().contains("musl"))
        .collect();
    found.sort();
    let first = found.first().with_context(|| format!("no runtime in {}", scope.display()))?;
    Ok(first.display().to_string())
}
