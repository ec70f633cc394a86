//! `weir setup`: from an agent that only observes to the first dollar, and back.

use std::time::Duration;

use agent::clock::{Clock, System};
use agent::demo::daemon::Config;
use anyhow::Context;
use harness::{Output, Route, Stage, curl, on_stage, until};
use serde_json::{Value, json};

/// Copies in place of what installing trust may change, seen on this stage only. The roots below
/// `/etc/ssl/certs` are the stage's own already, and so is `/etc/hosts`: these two stay.
const COPIES: &str = r#"
set -e
copies=$(mktemp -d)
mount -t tmpfs none "$copies"
touch "$copies/hosts"
mkdir "$copies/certs"
mount --bind /etc/hosts "$copies/hosts"
mount --bind /etc/ssl/certs "$copies/certs"
for place in etc usr/local/share usr/lib/jvm root home opt; do
    test -d /$place || continue
    name=$(echo $place | tr / -)
    mkdir "$copies/$name" "$copies/$name.work"
    mount -t overlay none -o "lowerdir=/$place,upperdir=$copies/$name,workdir=$copies/$name.work" /$place
done
mount --bind "$copies/hosts" /etc/hosts
mount --bind "$copies/certs" /etc/ssl/certs
umount -l "$copies"
rmdir "$copies"
mkdir -p /usr/local/share/ca-certificates
"#;

const ANCHOR: &str = "/usr/local/share/ca-certificates/weir.crt";

/// A program that runs on, and read its roots before there was anything else to trust.
const OLD: &str = "
import time, urllib.request, urllib.error
try:
    urllib.request.urlopen('https://api.openai.com/v1/models').read()
except urllib.error.HTTPError:
    pass
print('done', flush=True)
time.sleep(100)
";

/// As a package leaves it: observing, with no CA anywhere.
async fn installed(stage: &mut Stage) -> anyhow::Result<Config> {
    stage.succeed(Route::Direct, &["sh", "-c", COPIES]).await?;
    let config =
        stage.config().with(&["mode"], json!("observe")).with(&["trust", "assume"], json!(false));
    stage.start_untrusted(&config).await?;
    Ok(config)
}

async fn setup(stage: &Stage, more: &[&str]) -> anyhow::Result<Output> {
    let line = stage.weir(&[&["setup"], more].concat())?;
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    stage.run(Route::Redirect, &line).await
}

async fn mode(stage: &Stage) -> anyhow::Result<Value> {
    Ok(stage.daemon()?.read(&["mode"]).await?["effective"].clone())
}

#[test]
fn an_installed_agent_is_two_commands_from_the_first_dollar() -> anyhow::Result<()> {
    on_stage(async |stage| {
        installed(stage).await?;
        let old = stage.command(Route::Redirect, &["python3", "-c", OLD])?.spawn()?;
        let old_pid = old.id().context("it runs")?;
        stage.process(old_pid).await?;

        // The plan, which changes nothing.
        let plan = setup(stage, &["--json"]).await?;
        let plan: Value = serde_json::from_str(&plan.stdout).context(plan.stderr)?;
        assert_eq!(plan["done"], false);
        assert_eq!(plan["stores"][0]["store"], "system");
        assert!(plan["stores"][0]["changes"].to_string().contains(ANCHOR), "{plan}");
        assert_eq!(
            (&plan["mode"]["from"], &plan["mode"]["to"]),
            (&json!("observe"), &json!("meter"))
        );
        assert_eq!(plan["call"]["paid"], true);
        let restart = plan["restart"].as_array().context("a list")?;
        assert!(restart.iter().any(|row| row["pid"] == old_pid), "{plan}");
        let shown = setup(stage, &["--dry-run"]).await?;
        assert!(
            shown.stdout.contains("OPENAI_API_KEY") && shown.stdout.contains("less than $0.001")
        );
        assert!(shown.stdout.contains("metered once they are restarted"), "{}", shown.stdout);
        // Nobody can be asked here.
        let unasked = setup(stage, &[]).await?;
        assert_eq!(unasked.code, Some(2), "{}", unasked.stderr);
        assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
        assert!(!std::fs::exists(ANCHOR)?);
        assert_eq!(mode(stage).await?, "observe");

        let begun = System.now().mono;
        let done = setup(stage, &["--yes"]).await?;
        let took = System.now().mono - begun;
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        assert!(took < Duration::from_mins(2), "{took:?}");
        assert_eq!(mode(stage).await?, "meter");
        let calls = stage.settled(1).await?;
        assert_eq!((&calls[0]["workload"], &calls[0]["status"]), (&json!("exe:weir"), &json!(200)));
        let cost = calls[0]["cost_usd"].as_str().context("a cost")?;
        assert!(done.stdout.contains(&format!("${cost}")), "{}", done.stdout);
        assert!(done.stdout.contains("coverage ") && done.stdout.contains("WORKLOAD"));
        assert!(!done.stdout.contains("sk-test") && !done.stderr.contains("sk-test"));

        // A new process of any program is metered from here on.
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        stage.settled(2).await?;

        let again = setup(stage, &["--yes"]).await?;
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        assert!(again.stdout.starts_with("already set up"), "{}", again.stdout);
        assert_eq!(stage.calls().await?.len(), 2, "no other call was paid for");

        let undone = setup(stage, &["--undo"]).await?;
        assert_eq!(undone.code, Some(0), "{}", undone.stderr);
        assert!(!std::fs::exists(ANCHOR)?);
        assert_eq!(mode(stage).await?, "observe");
        let left = stage.weir(&["doctor", "--leftovers"])?;
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        let left = stage.run(Route::Direct, &left).await?.stdout;
        assert!(!left.contains("system") && !left.contains(ANCHOR), "{left}");
        drop(old);
        Ok(())
    })
}

/// Who has no key pays nothing, and sees that calls are read all the same.
#[test]
fn without_a_key_the_refusal_is_the_first_call() -> anyhow::Result<()> {
    on_stage(async |stage| {
        installed(stage).await?;
        let line = stage.weir(&["setup", "--yes"])?;
        let words = ["env", "-u", "OPENAI_API_KEY", "-u", "ANTHROPIC_API_KEY"];
        let line: Vec<&str> = words.into_iter().chain(line.iter().map(String::as_str)).collect();
        let done = stage.run(Route::Redirect, &line).await?;
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("costs nothing"), "{}", done.stdout);
        let calls = stage.settled(1).await?;
        assert_eq!((&calls[0]["status"], &calls[0]["workload"]), (&json!(401), &json!("exe:weir")));
        assert!(done.stdout.contains("  401  "), "{}", done.stdout);
        Ok(())
    })
}

#[test]
fn a_program_of_the_users_own_makes_the_first_call() -> anyhow::Result<()> {
    on_stage(async |stage| {
        installed(stage).await?;
        let own = "curl -sS -o /dev/null -H 'authorization: Bearer sk-test' \
                   -d '{\"model\":\"gpt-4o-mini\",\"messages\":[]}' \
                   https://api.openai.com/v1/chat/completions";
        let done = setup(stage, &["--yes", "--call", own]).await?;
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("call   exe:curl"), "{}", done.stdout);
        Ok(())
    })
}

#[test]
fn a_step_that_fails_leaves_everything_as_it_was() -> anyhow::Result<()> {
    on_stage(async |stage| {
        installed(stage).await?;
        let broken = stage.scratch().join("update-ca-certificates");
        // Fails once; what undoes it works again.
        let script = format!(
            "set -e
            cp /usr/sbin/update-ca-certificates {0}.real
            echo '#!/bin/sh' >{0}
            echo 'test -e {0}.tried && exec {0}.real \"$@\"' >>{0}
            echo 'touch {0}.tried; echo no room >&2; exit 1' >>{0}
            chmod 755 {0} {0}.real
            mount --bind {0} /usr/sbin/update-ca-certificates",
            broken.display()
        );
        stage.succeed(Route::Direct, &["sh", "-c", &script]).await?;
        let failed = setup(stage, &["--yes"]).await?;
        assert_eq!(failed.code, Some(1), "{}", failed.stdout);
        assert!(failed.stderr.contains("trust cannot be installed"), "{}", failed.stderr);
        assert!(failed.stderr.contains("no room"), "{}", failed.stderr);
        assert!(!std::fs::exists(ANCHOR)?);
        assert_eq!(mode(stage).await?, "observe");
        assert_eq!(stage.calls().await?.len(), 0);
        Ok(())
    })
}

#[test]
fn without_an_agent_it_says_how_to_start_one() -> anyhow::Result<()> {
    on_stage(async |stage| {
        installed(stage).await?;
        let line = stage.weir(&["setup", "--yes"])?;
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        stage.stop().await?;
        let refused = stage.run(Route::Redirect, &line).await?;
        assert_eq!(refused.code, Some(69), "{}", refused.stderr);
        assert!(refused.stderr.contains("systemctl start weir"), "{}", refused.stderr);
        Ok(())
    })
}

/// The plan is told again and again while the agent learns who is there.
#[test]
fn the_plan_names_who_has_to_be_restarted() -> anyhow::Result<()> {
    on_stage(async |stage| {
        installed(stage).await?;
        let plan = setup(stage, &["--json", "--no-call"]).await?;
        let plan: Value = serde_json::from_str(&plan.stdout).context(plan.stderr)?;
        assert_eq!((&plan["restart"], &plan["call"]), (&json!([]), &Value::Null));
        let old = stage.command(Route::Redirect, &["python3", "-c", OLD])?.spawn()?;
        let pid = old.id().context("it runs")?;
        until("its name in the plan", async || {
            let plan = setup(stage, &["--json"]).await?;
            let plan: Value = serde_json::from_str(&plan.stdout)?;
            Ok((plan["restart"][0]["pid"] == pid).then_some(()))
        })
        .await?;
        drop(old);
        Ok(())
    })
}
