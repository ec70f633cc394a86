//! The daemon and its helper process: what each may do, and what the death of either costs.

mod seen;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use harness::{Output, Route, Stage, curl, on_stage, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use self::seen::{Seen, children};

/// In the order of their numbers (linux/capability.h).
const DAC_READ_SEARCH: u64 = 1 << 2;
const DAC_OVERRIDE: u64 = 1 << 1;
const NET_ADMIN: u64 = 1 << 12;
const SYS_PTRACE: u64 = 1 << 19;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;
/// As Debian numbers `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;
/// To change the user, the group, and what may be had at all.
const SUCCEED: u64 = 1 << 6 | 1 << 7 | 1 << 8;
const HELPER: u64 = DAC_READ_SEARCH | NET_ADMIN | SYS_PTRACE | PERFMON | BPF;

/// The daemon, the helper's keeper, the helper.
fn processes(stage: &Stage) -> anyhow::Result<[Seen; 3]> {
    let daemon = stage.daemon()?.pid().context("it runs")?;
    let keeper = *children(daemon)?.first().context("the helper's keeper")?;
    let helper = *children(keeper)?.first().context("the helper")?;
    Ok([Seen::of(daemon)?, Seen::of(keeper)?, Seen::of(helper)?])
}

fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process id is not 0")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

/// Whether an answer (with its head) came without the agent.
fn is_direct(output: &Output) -> bool {
    !output.stdout.to_ascii_lowercase().contains("\nx-weir-call-id: ")
}

async fn metered(stage: &Stage) -> anyhow::Result<Option<()>> {
    let output = stage.run(Route::Redirect, &curl(&["-i", "--max-time", "10"])).await?;
    Ok((output.code == Some(0) && !is_direct(&output)).then_some(()))
}

#[test]
fn each_process_holds_what_its_work_takes_and_nothing_else() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["user"], json!("nobody"));
        stage.start(&config).await?;
        let [daemon, keeper, helper] = processes(stage)?;
        assert_eq!((&*keeper.name, &*helper.name), ("weir-keeper", "weir-helper"));
        assert_eq!(daemon.sets, [0, 0, 0], "the daemon can do nothing more than its user");
        assert_ne!(daemon.uid, 0);
        assert_eq!(helper.sets, [HELPER; 3], "{helper:?}");
        // A successor becomes its own user, too.
        assert_eq!(keeper.sets, [HELPER | SUCCEED; 3], "{keeper:?}");
        for process in [&daemon, &keeper, &helper] {
            assert!(process.no_new_privileges && process.is_closed()?, "{process:?}");
        }

        // And it works: of another user's process too, whose open files and environment are closed.
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        let call = &stage.settled(1).await?[0];
        assert_eq!(call["outcome"], "ok");
        assert_eq!(call["user"], "root", "{call}");
        assert!(call["workload"].as_str().is_some_and(|name| name.contains("curl")), "{call}");
        let explicit = ["-x", "127.0.0.1:4180"];
        stage.succeed(Route::Direct, &curl(&explicit)).await?;
        let calls = stage.settled(2).await?;
        assert!(calls.iter().all(|call| call["user"] == "root"), "{calls:?}");
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["capture"]["on"], true);
        assert!(status["warnings"].as_array().is_some_and(Vec::is_empty), "{status}");
        assert!(
            status["capabilities"]
                .as_array()
                .is_some_and(|all| all.iter().all(|it| it["ok"] == true)),
            "{status}"
        );
        // Its files are its own, and a later start as somebody else takes them over.
        assert_eq!(stage.stop().await?, Some(0));
        stage.start(&stage.config().with(&["user"], json!("root"))).await?;
        assert_eq!(stage.calls().await?.len(), 2);
        Ok(())
    })
}

/// As the service starts it: its own user, and the helper's capabilities as ambient ones.
#[test]
fn started_without_root_it_splits_no_less() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let (weir, cgroup) = (harness::artefacts::weir()?, stage.inner().cgroup().path());
        let capabilities = "-all,+bpf,+net_admin,+perfmon,+sys_ptrace,+dac_read_search";
        // Into the cgroup first: entering one later takes more than these.
        let script = format!(
            "#!/bin/sh\n\
             echo 0 > '{cgroup}/cgroup.procs'\n\
             exec setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs \
             --inh-caps {capabilities} --bounding-set {capabilities} --ambient-caps {capabilities} \
             '{weir}' \"$@\"\n",
            cgroup = cgroup.display(),
            weir = weir.display(),
        );
        let program = stage.scratch().join("as-a-service");
        harness::artefacts::program(&script, &program)?;
        for part in ["state", "run"] {
            let path = stage.home().join(part);
            std::fs::create_dir_all(&path)?;
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY))?;
        }
        stage.start_by(&program, &stage.config()).await?;
        let [daemon, keeper, helper] = processes(stage)?;
        assert_eq!([daemon.uid, keeper.uid, helper.uid], [NOBODY; 3]);
        // The bound stays, which takes a capability to lower; nothing can be had up to it.
        assert_eq!(daemon.sets, [0, 0, HELPER]);
        assert_eq!((daemon.ambient, keeper.ambient, helper.ambient), (0, HELPER, HELPER));
        for process in [&keeper, &helper] {
            assert_eq!(process.sets, [HELPER; 3], "{process:?}");
        }
        for process in [&daemon, &keeper, &helper] {
            assert!(process.no_new_privileges && process.is_closed()?, "{process:?}");
        }

        let root = std::fs::read_to_string(stage.daemon()?.root())?;
        stage.inner().trust(&[&root])?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        let call = &stage.settled(1).await?[0];
        assert_eq!((&call["outcome"], &call["user"]), (&json!("ok"), &json!("root")), "{call}");
        assert!(call["workload"].as_str().is_some_and(|name| name.contains("curl")), "{call}");
        let status = stage.daemon()?.read(&["status"]).await?;
        assert!(status["warnings"].as_array().is_some_and(Vec::is_empty), "{status}");
        let capabilities = status["capabilities"].as_array().context("capabilities")?;
        assert!(capabilities.iter().all(|it| it["ok"] == true), "{status}");

        kill(helper.pid)?;
        until("another helper", async || {
            let Ok([_, _, next]) = processes(stage) else { return Ok(None) };
            Ok((next.pid != helper.pid && next.sets == [HELPER; 3]).then_some(()))
        })
        .await?;
        until("a metered connection", async || metered(stage).await).await
    })
}

#[test]
fn without_its_user_the_daemon_is_root_without_roots_powers_and_says_so() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let freeze = json!({"*": {"requests_per_day": 100_000, "on_breach": "freeze"}});
        let config = stage
            .config()
            .with(&["user"], json!("nobody-by-this-name"))
            .with(&["rate_limits"], freeze);
        stage.start(&config).await?;
        let [daemon, _, helper] = processes(stage)?;
        assert_eq!((daemon.uid, &*daemon.sets), (0, &[0, 0, 0][..]));
        assert_eq!(helper.sets, [HELPER | DAC_OVERRIDE; 3], "a policy freezes");
        let status = stage.daemon()?.read(&["status"]).await?;
        let warnings = status["warnings"].to_string();
        assert!(warnings.contains("there is no user nobody-by-this-name"), "{warnings}");
        metered(stage).await?.context("a metered call")
    })
}

#[test]
fn a_killed_helper_sends_connections_direct_until_the_next_one_is_there() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["user"], json!("nobody"));
        stage.start(&config).await?;
        let [daemon, keeper, helper] = processes(stage)?;
        metered(stage).await?.context("a metered call")?;

        // Held down, so that there is a time without: it cannot start another.
        let stopped = Pid::from_raw(i32::try_from(keeper.pid)?).context("a process")?;
        kill_process(stopped, Signal::STOP)?;
        kill(helper.pid)?;
        let direct = until("a direct connection", async || {
            let output = stage.succeed(Route::Redirect, &curl(&["-i"])).await?;
            Ok(is_direct(&output).then_some(()))
        })
        .await;
        let told = until("a word of it", async || {
            let status = stage.daemon()?.read(&["status"]).await?;
            let told = status["warnings"].to_string().contains("its helper process ended");
            Ok(told.then_some(status))
        })
        .await;
        kill_process(stopped, Signal::CONT)?;
        direct?;
        assert_eq!(told?["capture"]["on"], false);

        until("a metered connection", async || metered(stage).await).await?;
        let [same, _, next] = processes(stage)?;
        assert_eq!(same.pid, daemon.pid, "the daemon went on");
        assert_ne!(next.pid, helper.pid);
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["capture"]["on"], true, "{status}");
        Ok(())
    })
}

#[test]
fn a_helper_that_hangs_is_replaced() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["user"], json!("nobody"));
        stage.start(&config).await?;
        let [_, _, helper] = processes(stage)?;
        kill_process(
            Pid::from_raw(i32::try_from(helper.pid)?).context("a process")?,
            Signal::STOP,
        )?;
        // Its answer is waited for, then it is given up; nobody's call fails over it.
        stage.succeed(Route::Redirect, &curl(&["--max-time", "20"])).await?;
        until("another helper", async || {
            let Ok([_, _, next]) = processes(stage) else { return Ok(None) };
            Ok((next.pid != helper.pid).then_some(()))
        })
        .await?;
        until("a metered connection", async || metered(stage).await).await
    })
}

#[test]
fn a_killed_daemon_takes_its_helper_and_the_programs_with_it() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["user"], json!("nobody"));
        stage.start(&config).await?;
        let [_, keeper, helper] = processes(stage)?;
        stage.crash().await;
        let output = stage.succeed(Route::Redirect, &curl(&["-i"])).await?;
        assert!(is_direct(&output), "{}", output.stdout);
        until("the helper's end", async || {
            let gone = |seen: &Seen| !PathBuf::from(format!("/proc/{}/fd/0", seen.pid)).exists();
            Ok((gone(&keeper) && gone(&helper)).then_some(()))
        })
        .await?;
        // The cgroup is free: the next agent does not take the old one's programs for another's.
        stage.start(&config).await?;
        metered(stage).await?.context("a metered call")
    })
}

#[test]
fn a_second_agent_is_told_who_was_there_first() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["user"], json!("nobody"));
        stage.start(&config).await?;
        let [_, _, helper] = processes(stage)?;
        let home = stage.scratch().join("second");
        let second = config
            .with(&["listen"], json!({"proxy": "127.0.0.1:0", "admin": "127.0.0.1:0"}))
            .with(&["capture", "enabled"], json!(true));
        let refused =
            agent::demo::daemon::Daemon::start(&harness::artefacts::weir()?, &home, &second).await;
        let told = refused.err().context("there is one already")?.to_string();
        let expected =
            format!("another Weir is attached to this cgroup already (pid {}", helper.pid);
        assert!(told.contains(&expected), "{told}");
        tokio::time::timeout(Duration::from_mins(1), metered(stage)).await??.context("the first")
    })
}

#[test]
fn a_preflight_loads_the_programs_and_leaves_nothing_behind() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["user"], json!("nobody"));
        stage.start(&config).await?;
        let output = stage.daemon()?.weir(&["doctor", "--preflight", "--json"]).output().await?;
        anyhow::ensure!(output.status.code() == Some(0), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let row = |check: &str| {
            let rows = report["rows"].as_array().into_iter().flatten();
            rows.clone().find(|row| row["check"] == check).cloned().unwrap_or_default()
        };
        for check in ["kernel", "cgroup v2", "capabilities", "connect4", "sockops", "user"] {
            assert_eq!(row(check)["status"], "PASS", "{check}: {report}");
        }
        assert_eq!(row("connect4")["detail"], "loads and links");
        assert!(row("listen.proxy")["detail"].to_string().contains("the running agent's"));
        let left = std::fs::read_dir(stage.inner().cgroup().path())?.flatten();
        let mut left = left.filter(|it| it.file_name().to_string_lossy().contains("preflight"));
        assert!(left.next().is_none(), "a cgroup is left");
        metered(stage).await?.context("the running agent is not disturbed")?;
        Ok(())
    })
}

/// The error number of one connect(2), 0 for none.
async fn knocked(stage: &Stage, at: &str) -> anyhow::Result<i64> {
    let to = format!("to={at}:443");
    let words = [env!("CARGO_BIN_EXE_actor"), "knock", &to, "times=1"];
    let output = stage.succeed(Route::Redirect, &words).await?;
    let told: serde_json::Value = serde_json::from_str(&output.stdout)?;
    Ok(told["error"].as_i64().unwrap_or(0))
}

#[test]
fn where_it_is_wanted_a_dead_agent_is_not_got_past_until_somebody_says_so() -> anyhow::Result<()> {
    on_stage(async |stage| {
        // The stage has its own view of what is mounted.
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("bpf", "/sys/fs/bpf", "bpf", flags, None)?;
        let (target, bystander) = ("192.0.2.10", harness::BYSTANDER.1.to_string());
        let (refused, nobody) = (i64::from(libc::EPERM), i64::from(libc::ECONNREFUSED));
        let config = stage
            .config()
            .with(&["user"], json!("nobody"))
            .with(&["on_agent_failure"], json!("closed"));
        stage.start(&config).await?;
        metered(stage).await?.context("a metered call")?;

        stage.crash().await;
        assert_eq!(knocked(stage, target).await?, refused);
        assert_eq!(knocked(stage, &bystander).await?, nobody, "others are not guarded");
        stage.start(&config).await?;
        until("a metered connection", async || metered(stage).await).await?;

        // One that hangs is as good as dead.
        stage.signal(Signal::STOP)?;
        let hung = until("a refusal", async || {
            Ok((knocked(stage, target).await? == refused).then_some(()))
        })
        .await;
        stage.signal(Signal::CONT)?;
        hung?;
        until("a metered connection", async || metered(stage).await).await?;

        // An agent that only watches, or was told to let go, leaves nothing behind.
        for words in [&["mode", "observe"][..], &["down"]] {
            stage.told(&["mode", "meter"]).await?;
            stage.told(words).await?;
            assert_eq!(knocked(stage, target).await?, 0, "after {words:?}");
            stage.crash().await;
            assert_eq!(knocked(stage, target).await?, 0, "after {words:?} and a crash");
            stage.start(&config).await?;
        }

        stage.told(&["mode", "meter"]).await?;
        stage.crash().await;
        assert_eq!(knocked(stage, target).await?, refused);
        let weir = harness::artefacts::weir()?;
        let run = stage.scratch().join("weir/run");
        let words = [weir.to_str(), Some("--run-dir"), run.to_str(), Some("down")];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        stage.succeed(Route::Direct, &words).await?;
        assert_eq!(knocked(stage, target).await?, 0, "the guard was removed without an agent");
        Ok(())
    })
}
