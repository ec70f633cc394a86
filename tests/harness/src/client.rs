//! Programs as users run them: started in or outside the captured cgroup, with the environment
//! their way into the agent needs and nothing else of the test's.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::stage::Stage;

/// No client needs longer, even on a loaded machine; the longest waits for a limit of a minute.
const LONGEST: Duration = Duration::from_mins(2);
/// The bundle the stage has extended, for clients that bring their own roots (certifi, Node).
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A `curl` command that asks gpt-4o-mini, unless `more` says otherwise, and fails on an error.
pub fn curl<'a>(more: &[&'a str]) -> Vec<&'a str> {
    const BODY: &str = "{\"model\":\"gpt-4o-mini\",\"messages\":[]}";
    let mut command = vec!["curl", "-sS", "--fail-with-body", "--max-time", "30"];
    command.extend(["-H", "authorization: Bearer sk-test"]);
    if !more.contains(&"-d") {
        command.extend(["-d", BODY]);
    }
    command.extend(more);
    if !more.iter().any(|word| word.starts_with("http")) {
        command.push("https://api.openai.com/v1/chat/completions");
    }
    command
}

/// A Python that asks so many times, one after the other, and prints the status of each or the name
/// of what went wrong.
pub fn urllib(times: usize) -> String {
    format!(
        "
import urllib.request, urllib.error
for _ in range({times}):
    request = urllib.request.Request(
        'https://api.openai.com/v1/chat/completions', b'{{\"model\":\"gpt-4o-mini\",\"messages\":[]}}',
        {{'authorization': 'Bearer sk-test'}})
    try:
        print(urllib.request.urlopen(request).status)
    except urllib.error.URLError as error:
        print(type(error.reason).__name__)
"
    )
}

/// How a client's calls reach the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Straight: outside the captured cgroup.
    Direct,
    /// Redirected by the kernel half.
    Redirect,
    /// Through `HTTPS_PROXY`.
    Proxy,
    /// To the gateway's base URLs.
    BaseUrl,
}

/// What a client left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its process id: `exec` keeps it, so it is what the agent saw.
    pub pid: u32,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// What a program that was started leaves behind at its end.
    pub async fn of(child: Child) -> anyhow::Result<Self> {
        let pid = child.id().context("a child that was not waited for has an id")?;
        let output =
            timeout(LONGEST, child.wait_with_output()).await.context("it took too long")??;
        Ok(Self {
            pid,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Stage {
    /// Runs a program to its end.
    pub async fn run(&self, route: Route, command: &[&str]) -> anyhow::Result<Output> {
        let child = self.command(route, command)?.spawn().context("start the client")?;
        Output::of(child).await.with_context(|| format!("{command:?}"))
    }

    /// Runs a program that has to succeed.
    pub async fn succeed(&self, route: Route, command: &[&str]) -> anyhow::Result<Output> {
        let output = self.run(route, command).await?;
        let Output { code, stdout, stderr, .. } = &output;
        ensure!(*code == Some(0), "{command:?} ended with {code:?}\n{stdout}\n{stderr}");
        Ok(output)
    }

    /// A program ready to start, for tests that interfere with it while it runs.
    pub fn command(&self, route: Route, command: &[&str]) -> anyhow::Result<Command> {
        let (program, arguments) = command.split_first().context("a command has a program")?;
        let mut command = match route {
            Route::Redirect => self.inner().cgroup().command(program),
            _ => std::process::Command::new(program),
        };
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.scratch())
            .env("LANG", "C.UTF-8")
            .env("OPENAI_API_KEY", "sk-test-openai")
            .env("ANTHROPIC_API_KEY", "sk-test-anthropic")
            .env("SSL_CERT_FILE", BUNDLE)
            .env("NODE_EXTRA_CA_CERTS", BUNDLE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match route {
            Route::Direct | Route::Redirect => {}
            Route::Proxy => {
                command.env("HTTPS_PROXY", "http://127.0.0.1:4180");
                command.env("NODE_USE_ENV_PROXY", "1");
            }
            Route::BaseUrl => {
                command.env("OPENAI_BASE_URL", "http://127.0.0.1:4180/openai/v1");
                command.env("ANTHROPIC_BASE_URL", "http://127.0.0.1:4180/anthropic");
            }
        }
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        Ok(command)
    }
}
