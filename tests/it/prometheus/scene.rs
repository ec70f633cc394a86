//! What has to happen on the stage for every panel of the dashboards to have something to show.

use std::time::Duration;

use agent::demo::daemon::Config;
use agent::demo::mock::{Ending, Script, Tokens};
use agent::demo::stage::Cgroup;
use anyhow::{Context, ensure};
use harness::{Output, Route, Stage, curl, urllib, within};
use serde_json::json;

/// So many tokens of gpt-4o-mini cost $0.0003.
const TOKENS: Tokens =
    Tokens { input: 1_200, cached: 800, cache_write: 0, output: 300, reasoning: 100 };
/// Bounded by what it really uses, so that budgets reserve no more.
const ASK: &str = "{\"model\":\"gpt-4o-mini\",\"max_tokens\":400,\"messages\":[]}";
const STREAM: &str =
    "{\"model\":\"gpt-4o-mini\",\"max_tokens\":400,\"stream\":true,\"messages\":[]}";
/// What curl exits with where the answer is an error.
const HTTP_ERROR: i32 = 22;
/// The workload that the dashboard of one workload shows: a container, so that it has a control
/// group.
pub(super) const WORKLOAD: &str = "container:box";

/// Policies act, a budget is small, and somebody is told.
pub(super) fn config(stage: &Stage) -> Config {
    let hook = json!({"webhook": {"url": "http://127.0.0.1:9/nobody"}, "allow_private": true});
    stage
        .config()
        .with(&["mode"], json!("enforce"))
        .with(&["reliability", "retry"], json!({"attempts": 2, "base": "20ms"}))
        .with(&["failover"], json!({"max_retries": 1, "chains": {"gpt-4o": ["gpt-4o-mini"]}}))
        .with(&["rate_limits", "container:box"], json!({"requests_per_hour": 1_000_000}))
        .with(&["budgets", "container:drained"], json!({"daily_limit_usd": 0.0006}))
        .with(&["alerts", "channels", "ops"], hook)
}

/// The workloads of a scene.
pub(super) struct Scene {
    workload: Cgroup,
    drained: Cgroup,
}

impl Scene {
    /// Makes their control groups; the daemon has to run.
    pub(super) fn set(stage: &Stage) -> anyhow::Result<Self> {
        stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
        let group = |name: &str| stage.inner().cgroup().child(&format!("lxc.payload.{name}"));
        Ok(Self { workload: group("box")?, drained: group("drained")? })
    }

    /// Whether the group of the workload tells its memory: on hosts of both versions it may not.
    pub(super) fn tells_memory(&self) -> bool {
        self.workload.path().join("memory.current").exists()
    }

    /// What is seen once is enough: a refusal, an open breaker, failures, a failover, a model
    /// without a price, a client that does not accept the CA.
    pub(super) async fn upsets(&self, stage: &Stage) -> anyhow::Result<()> {
        self.spend_all(stage).await?;
        let unavailable = Ending::Status { code: 503, retry_after: None };
        let failure = Script { ending: unavailable, ..Script::default() };
        for _ in 0..2 {
            stage.provider().once(failure);
        }
        let failed = stage.run(Route::Redirect, &curl(&["-d", ASK])).await?;
        ensure!(failed.code == Some(HTTP_ERROR), "{failed:?}");
        stage.provider().once(failure);
        let other = "{\"model\":\"gpt-4o\",\"max_tokens\":400,\"messages\":[]}";
        stage.succeed(Route::Redirect, &curl(&["-d", other])).await?;
        let unpriced = "{\"model\":\"made-up-1\",\"max_tokens\":400,\"messages\":[]}";
        stage.succeed(Route::Redirect, &curl(&["-d", unpriced])).await?;
        stage.told(&["breaker", "trip", "anthropic"]).await?;

        let roots = stage.scratch().join("provider-ca.pem");
        let roots = format!("SSL_CERT_FILE={}", roots.display());
        // Beside the file, the directory of the system would count.
        let nothing = "SSL_CERT_DIR=/nonexistent";
        // It accepts the provider's own CA and not the agent's.
        let twice = urllib(2);
        let distrustful = ["env", &roots, nothing, "python3", "-c", &twice];
        let seen = stage.succeed(Route::Redirect, &distrustful).await?;
        ensure!(seen.stdout == "SSLCertVerificationError\n200\n", "{seen:?}");
        Ok(())
    }

    /// Calls until the small budget refuses one.
    pub(super) async fn spend_all(&self, stage: &Stage) -> anyhow::Result<()> {
        within(Duration::from_mins(1), "a refusal by the budget", async || {
            let output = inside(stage, &self.drained, ASK).await?;
            ensure!(matches!(output.code, Some(0 | HTTP_ERROR)), "{output:?}");
            Ok((output.code == Some(HTTP_ERROR)).then_some(()))
        })
        .await
    }

    /// A little of everything that is counted all the time.
    pub(super) async fn round(&self, stage: &Stage) -> anyhow::Result<()> {
        stage.succeed(Route::Redirect, &curl(&["-d", STREAM])).await?;
        let output = inside(stage, &self.workload, ASK).await?;
        ensure!(output.code == Some(0), "{output:?}");
        Ok(())
    }
}

/// A call from within a group.
async fn inside(stage: &Stage, group: &Cgroup, body: &str) -> anyhow::Result<Output> {
    const JOIN: &str = "echo $$ >\"$0/cgroup.procs\" && exec \"$@\"";
    let path = group.path().to_str().context("a path that is text")?;
    let mut command = vec!["/bin/sh", "-c", JOIN, path];
    command.extend(curl(&["-d", body]));
    stage.run(Route::Redirect, &command).await
}
