//! `weir log`, `weir pause`, `weir bypass`, `weir debug`, `weir setup` before it changes anything.

use crate::fake::{Stage, assert_fits};
use crate::lines;

#[test]
fn the_log_is_shown_and_set() {
    let stage = Stage::new();
    assert_eq!(stage.run("log").ok(), "info\n");
    assert_eq!(stage.run("log --json").json()["output"], "stderr");
    let said = stage.run("log level debug --for 10m").ok();
    assert!(said.starts_with("debug\nset by hand, ends in "), "{said}");
    assert!(said.ends_with("(configuration: info)\n"), "{said}");
    let said = stage.run("log level info,upstream=debug").ok();
    assert!(said.contains("until the agent ends, or: weir log reset"), "{said}");
    assert_eq!(stage.run("log reset").ok(), "info\n");
    let wrong = stage.run("log level loud");
    assert_eq!(wrong.code, 1);
    assert_eq!(wrong.err, "weir: `loud` is not a level\n  → weir log level debug\n");
    assert_eq!(stage.run("log level debug --for soon").code, 2);
    assert_eq!(stage.run_as_nobody("log").code, 0, "what is logged is no secret");
    assert_eq!(stage.run_as_nobody("log level debug").code, 77);
}

#[test]
fn a_pause_has_a_length() {
    let stage = Stage::new();
    let said = stage.run("pause 10m").ok();
    assert_eq!(said, "paused for 600 s: not intercepting; weir up ends it earlier\n");
    assert_eq!(stage.run("pause 2h --json").json()["on"], false);
    for wrong in ["pause", "pause 10", "pause 0s", "pause soon"] {
        assert_eq!(stage.run(wrong).code, 2, "{wrong}");
    }
    let long = stage.run("pause 90d");
    assert!(long.code == 1 && long.err.contains("31 days"), "{long:?}");
    assert_eq!(stage.run_as_nobody("pause 1s").code, 77);
}

#[test]
fn bypasses_are_added_listed_and_removed() {
    let stage = Stage::new();
    let out = stage.run("bypass list").ok();
    assert_fits(&out);
    assert_eq!(lines(&out), ["WHAT  NAME   ENDS", "unit  vault  never"]);
    let out = stage.run("bypass add --host api.openai.com --for 2h").ok();
    assert!(lines(&out)[2].starts_with("host  api.openai.com  in "), "{out}");
    assert_eq!(stage.run("bypass rm --unit vault").ok(), "nobody is left alone\n");
    assert_eq!(stage.run("bypass list --json").json()["rows"][0]["kind"], "unit");
    for wrong in ["bypass add", "bypass add --unit a --host b", "bypass rm"] {
        assert_eq!(stage.run(wrong).code, 2, "{wrong}");
    }
    let all = stage.run("bypass add --exe *");
    assert!(all.code == 1 && all.err.contains("weir pause"), "{all:?}");
    assert_eq!(stage.run_as_nobody("bypass list").code, 77);
}

#[test]
fn a_bundle_holds_what_a_report_needs_and_no_key() {
    let stage = Stage::new();
    let dir = stage.dir.path();
    let config = dir.join("weir.yaml");
    let key = "sk-ant-api03-AAAABBBBCCCCDDDD";
    let text = format!("providers: {{openai: {{api_key: {key}}}}}\n");
    std::fs::write(&config, text).unwrap();
    let file = dir.join("report.tar.gz");
    let args = format!(
        "debug bundle --config {} --state-dir {} --output {}",
        config.display(),
        dir.display(),
        file.display()
    );
    let said = stage.run(&args).ok();
    assert!(said.starts_with(&format!("{}\n", file.display())), "{said}");
    let tar = |words: &[&str]| {
        let output = std::process::Command::new("tar").args(words).arg(&file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let names = tar(&["-tzf"]);
    for name in ["about.txt", "config.yaml", "status.json", "metrics.txt", "doctor.txt", "log.json"]
    {
        assert!(names.contains(&format!("/{name}\n")), "{name}: {names}");
    }
    let all = tar(&["-xOzf"]);
    assert!(all.contains("[redacted]") && all.contains("llm_calls_total 1"));
    assert!(!all.contains(key));
    let again = stage.run(&args);
    assert!(again.code == 1 && again.err.contains("exists"), "{again:?}");
}

#[test]
fn setup_begins_with_an_agent_that_runs() {
    let mut stage = Stage::new();
    // The made-up agent has another state directory than this command.
    let elsewhere = stage.run("setup --dry-run --state-dir /nonexistent");
    assert_ne!(elsewhere.code, 0, "{elsewhere:?}");
    stage.stop();
    let none = stage.run("setup --dry-run");
    assert_eq!(none.code, 69, "{none:?}");
    assert!(none.err.contains("systemctl start weir"), "{none:?}");
    assert_eq!(stage.run("setup --undo --env").code, 2);
    assert_eq!(stage.run("setup --call x --no-call").code, 2);
}
