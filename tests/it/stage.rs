//! The stage itself: isolated, with names and roots of its own, and gone afterwards.

use std::path::PathBuf;
use std::sync::mpsc;

use harness::{Route, on_stage};

const CURL: [&str; 10] = [
    "curl",
    "-sS",
    "--max-time",
    "10",
    "-H",
    "authorization: Bearer sk-t",
    "-d",
    "{\"model\":\"gpt-4o-mini\",\"messages\":[]}",
    "https://api.openai.com/v1/chat/completions",
    "--fail",
];

#[test]
fn an_unmodified_client_reaches_the_mock_by_name() -> anyhow::Result<()> {
    on_stage(async |stage| {
        for family in ["-4", "-6"] {
            let command = [&CURL[..], &[family]].concat();
            let output = stage.run(Route::Direct, &command).await?;
            assert_eq!(output.code, Some(0), "{}", output.stderr);
            assert!(output.stdout.contains("chat.completion"));
        }
        assert_eq!(stage.provider().stats().billed, 2);
        Ok(())
    })
}

#[test]
fn a_command_runs_in_the_stages_cgroup() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let output = stage.run(Route::Redirect, &["cat", "/proc/self/cgroup"]).await?;
        let name = stage.inner().cgroup().path().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(output.stdout.contains(&name), "{}", output.stdout);
        Ok(())
    })
}

#[test]
fn nothing_else_is_reachable_and_nothing_stays() -> anyhow::Result<()> {
    let (send, receive) = mpsc::channel::<[PathBuf; 2]>();
    on_stage(async move |stage| {
        let routes = stage.run(Route::Direct, &["cat", "/proc/net/route"]).await?;
        assert_eq!(routes.stdout.lines().count(), 1, "only the heading: {}", routes.stdout);
        // A process left behind does not keep the cgroup.
        let sleeper = stage.command(Route::Redirect, &["sleep", "60"])?.spawn()?;
        send.send([stage.inner().cgroup().path().into(), stage.scratch().into()])?;
        std::mem::forget(sleeper);
        Ok(())
    })?;
    let hosts = std::fs::read_to_string("/etc/hosts")?;
    assert!(!hosts.contains("192.0.2.10"), "the host's file is untouched");
    for path in receive.iter().flatten() {
        assert!(!path.exists(), "{} is left", path.display());
    }
    Ok(())
}
