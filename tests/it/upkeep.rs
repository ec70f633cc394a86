//! What is done to the agent while it runs: what it logs, files it watches, a pause.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use anyhow::{Context, ensure};
use harness::{Route, Stage, curl, on_stage, until};
use serde_json::json;
use tokio::process::Command;

fn log(stage: &Stage) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(stage.daemon()?.home().join("daemon.log"))?)
}

#[test]
fn what_is_logged_changes_while_the_agent_runs() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        assert_eq!(stage.told(&["log"]).await?, "info\n");
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        stage.settled(1).await?;
        ensure!(!log(stage)?.contains("DEBUG"), "{}", log(stage)?);

        let said = stage.told(&["log", "level", "info,app=debug", "--for", "1h"]).await?;
        assert!(said.starts_with("info,app=debug\nset by hand, ends in "), "{said}");
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        let calls = stage.settled(2).await?;
        let id = calls[1]["call_id"].as_str().context("an id")?.to_owned();
        let has = async |text: &str| {
            until(text, async || Ok(log(stage)?.contains(text).then_some(()))).await
        };
        has(&format!("call_id={id}")).await?;

        // Everything there is, and no key in it.
        stage.told(&["log", "level", "trace"]).await?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        stage.settled(3).await?;
        ensure!(!log(stage)?.contains("sk-test"), "a key is in the log");

        let wrong = stage.daemon()?.weir(&["log", "level", "hyper=trace"]).output().await?;
        let complaint = String::from_utf8(wrong.stderr)?;
        assert_eq!(wrong.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("there is no part `hyper`"), "{complaint}");

        stage.told(&["log", "level", "warn", "--for", "1s"]).await?;
        until(
            "the end of it",
            async || Ok((stage.told(&["log"]).await? == "info\n").then_some(())),
        )
        .await?;
        stage.told(&["log", "level", "debug"]).await?;
        assert_eq!(stage.told(&["log", "reset"]).await?, "info\n");
        // The configuration's level needs no restart either.
        let drop_in = stage.daemon()?.home().join("conf.d");
        std::fs::create_dir_all(&drop_in)?;
        std::fs::write(drop_in.join("50-log.yaml"), "log: {level: warn}\n")?;
        assert_eq!(stage.told(&["config", "reload"]).await?, "log.level: info → warn\n");
        assert_eq!(stage.told(&["log"]).await?, "warn\n");
        Ok(())
    })
}

#[test]
fn where_journald_reads_it_gets_the_fields_apart() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let line = stage.weir(&["daemon"])?.join(" ");
        let home = stage.daemon()?.home().to_owned();
        stage.stop().await?;
        // A journald of this stage's own.
        let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal";
        stage.succeed(Route::Direct, &["sh", "-c", script]).await?;
        let journald = UnixDatagram::bind("/run/systemd/journal/socket")?;
        journald.set_nonblocking(true)?;

        let stderr = std::fs::File::create(home.join("stderr"))?;
        let script = format!("export JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr); exec {line}");
        let mut daemon = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()?;
        let mut entries = String::new();
        until("an entry that says it is ready", async || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length) = journald.recv(&mut buffer) {
                entries.push_str(&String::from_utf8_lossy(&buffer[..length]));
                entries.push('\n');
            }
            Ok(entries.contains("MESSAGE=ready mode=meter").then_some(()))
        })
        .await
        .with_context(|| std::fs::read_to_string(home.join("stderr")).unwrap_or_default())?;
        let ready = entries.split("\n\n").find(|entry| entry.contains("=ready ")).context("it")?;
        for field in
            ["PRIORITY=6", "SYSLOG_IDENTIFIER=weir", "WEIR_MODE=meter", "CODE_MODULE=agent"]
        {
            assert!(ready.contains(field), "{field}: {ready}");
        }
        assert_eq!(std::fs::read_to_string(home.join("stderr"))?, "", "said once");
        daemon.kill().await?;
        Ok(())
    })
}

#[test]
fn watched_files_are_taken_over_and_bad_ones_are_not() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage
            .config()
            .with(&["mode"], json!("enforce"))
            .with(&["config", "watch"], json!(true));
        stage.start(&config).await?;
        let conf_d = stage.daemon()?.home().join("conf.d");
        std::fs::create_dir_all(&conf_d)?;
        let file = conf_d.join("50-prod.yaml");
        std::fs::write(&file, "rate_limits: {curl: {requests_per_minute: 7}}\n")?;
        let has = async |policy: &str| {
            until(policy, async || {
                Ok(stage.told(&["policy", "list"]).await?.contains(policy).then_some(()))
            })
            .await
        };
        has("rate_limits.curl").await?;
        std::fs::write(&file, "rate_limits: {curl: {requests_per_minute: x}}\n")?;
        until("a complaint", async || Ok(log(stage)?.contains("the old one holds").then_some(())))
            .await?;
        has("rate_limits.curl").await?;
        // As editors do it: another file in its place.
        let fresh = conf_d.join(".50-prod.yaml.new");
        std::fs::write(&fresh, "rate_limits: {wget: {requests_per_minute: 7}}\n")?;
        std::fs::rename(&fresh, &file)?;
        has("rate_limits.wget").await?;
        Ok(())
    })
}

async fn is_metered(stage: &Stage) -> anyhow::Result<bool> {
    let output = stage.succeed(Route::Redirect, &curl(&["-i"])).await?;
    Ok(output.stdout.to_ascii_lowercase().contains("\nx-weir-call-id: "))
}

#[test]
fn a_pause_ends_by_itself_and_outlives_a_restart() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        assert!(is_metered(stage).await?);
        let said = stage.told(&["pause", "3s"]).await?;
        assert!(said.starts_with("paused until "), "{said}");
        assert!(!is_metered(stage).await?);
        until("the end of the pause", async || Ok(is_metered(stage).await?.then_some(()))).await?;
        assert!(!stage.daemon()?.home().join("state/pause.json").exists());

        stage.told(&["pause", "1h"]).await?;
        assert_eq!(stage.stop().await?, Some(0));
        stage.start(&config).await?;
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["capture"]["on"], false, "{status}");
        assert!(status["capture"]["reason"].to_string().contains("paused until"), "{status}");
        assert!(!is_metered(stage).await?);
        stage.told(&["up"]).await?;
        assert!(is_metered(stage).await?);
        assert!(!stage.daemon()?.home().join("state/pause.json").exists());

        // What is said to be down stays so, whatever pause there was.
        stage.told(&["pause", "1h"]).await?;
        stage.told(&["down"]).await?;
        assert!(!stage.daemon()?.home().join("state/pause.json").exists());
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["capture"]["reason"], "weir down");
        let wrong = stage.daemon()?.weir(&["pause", "soon"]).output().await?;
        assert_eq!(wrong.status.code(), Some(2));
        Ok(())
    })
}

#[test]
fn who_is_bypassed_is_relayed_untouched_also_after_a_restart() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        assert!(is_metered(stage).await?);
        stage.told(&["bypass", "add", "--exe", "curl"]).await?;
        assert!(!is_metered(stage).await?);
        let relayed = stage.metric::<u64>("weir_connections_total", "reason=\"bypassed\"").await?;
        assert_eq!(relayed, 1);
        // Somebody else is metered as before.
        let python = "import urllib.request as r\n\
            ask = r.Request('https://api.openai.com/v1/models', headers={'authorization': 'Bearer sk-test'})\n\
            print(r.urlopen(ask).headers.get('x-weir-call-id'))";
        let other = stage.run(Route::Redirect, &["python3", "-c", python]).await?;
        assert_eq!(other.code, Some(0), "{other:?}");
        assert_ne!(other.stdout.trim(), "None", "{other:?}");

        assert_eq!(stage.stop().await?, Some(0));
        stage.start(&config).await?;
        assert!(!is_metered(stage).await?);
        stage.told(&["bypass", "rm", "--exe", "curl"]).await?;
        assert!(is_metered(stage).await?);
        Ok(())
    })
}
