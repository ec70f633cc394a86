//! The demo, as a user meets it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::{Route, artefacts, on_stage};

#[test]
fn its_programs_reach_the_provider_without_an_agent() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../agent/src/demo/workloads");
        for (interpreter, script) in [
            ("sh", "ticker.sh"),
            ("python3", "summarise.py"),
            ("python3", "chat.py"),
            ("python3", "impatient.py"),
            ("node", "agent.mjs"),
        ] {
            let before = stage.provider().stats().billed;
            let script = scripts.join(script).display().to_string();
            let output = stage.run(Route::Direct, &[interpreter, &script, "1"]).await?;
            assert_eq!(output.code, Some(0), "{script}: {}", output.stderr);
            assert!(stage.provider().stats().billed > before, "{script} asked nothing");
        }
        Ok(())
    })
}

#[test]
fn it_plays_attributes_every_call_and_leaves_nothing() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() && !artefacts::is_required() {
        return Ok(());
    }
    let demo = Command::new(artefacts::weir()?)
        .args(["demo", "--seconds", "4"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let name = format!("weir-demo-{}-", demo.id());
    let output = demo.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for workload in ["exe:curl", "exe:python3:chat.py", "exe:python3:impatient.py"] {
        assert!(told.contains(workload), "{workload} is not in\n{told}");
    }
    let left: Vec<PathBuf> = std::fs::read_dir(std::env::temp_dir())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().contains(&name))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}
