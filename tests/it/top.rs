//! `weir top` on a real terminal and `weir statusline`, with real traffic: what they show is what was
//! spent, and the terminal is given back.

use agent::demo::mock::{Script, Tokens};
use anyhow::Context;
use harness::{Route, Stage, Terminal, curl, on_stage, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const SMALL: (u16, u16) = (24, 80);

/// Two calls of one program and one of another, to two providers.
async fn play(stage: &mut Stage) -> anyhow::Result<()> {
    const CLAUDE: &str = "{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":9,\"messages\":[]}";
    let tokens = Tokens { input: 120_000, cached: 0, cache_write: 0, output: 30_000, reasoning: 0 };
    stage.provider().standing(Script { tokens, ..Script::default() });
    let config = stage.config();
    stage.start(&config).await?;
    let other = stage.scratch().join("batch-agent");
    harness::artefacts::copy("/usr/bin/curl".as_ref(), &other)?;
    let other = other.display().to_string();
    let mut claude = curl(&["-d", CLAUDE, "https://api.anthropic.com/v1/messages"]);
    claude[0] = &other;
    for words in [curl(&[]), curl(&[]), claude] {
        stage.succeed(Route::Redirect, &words).await?;
    }
    stage.settled(3).await?;
    // A connection is known when it is over, which is a little later.
    until("three connections", async || {
        let spend = stage.daemon()?.read(&["spend"]).await?;
        Ok((spend["coverage"]["metered"] == 3).then_some(()))
    })
    .await
}

fn top(stage: &Stage, more: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Terminal> {
    let line = stage.weir(&[&["top", "--interval", "1s"], more].concat())?;
    Terminal::start(&line, SMALL, |words| {
        let mut command = stage.command(Route::Direct, words)?;
        command.envs(variables.iter().copied());
        Ok(command)
    })
}

/// What a workload cost, as people are told.
async fn dollars(stage: &Stage, workload: &str) -> anyhow::Result<String> {
    let rows = stage.spend("workload").await?;
    let row = rows.iter().find(|row| row["workload"] == workload).context("the workload")?;
    let cost: f64 = row["cost_usd"].as_str().context("a cost")?.parse()?;
    Ok(if cost < 1.0 { format!("${cost:.4}") } else { format!("${cost:.2}") })
}

/// The line of the screen that has this text in it.
fn line<'a>(screen: &'a str, text: &str) -> Option<&'a str> {
    screen.lines().find(|line| line.contains(text))
}

#[test]
fn what_was_spent_is_on_the_screen_which_follows_the_keys() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        let curls = dollars(stage, "exe:curl").await?;
        let others = dollars(stage, "exe:batch-agent").await?;
        assert_ne!(curls, others);
        let mut top = top(stage, &[], &[])?;

        // Each process has a row; the tree has their sum.
        let has = |text: &str, dollars: &str, screen: &vt100::Screen| {
            line(&screen.contents(), text).is_some_and(|line| line.contains(dollars))
        };
        let opened = |screen: &vt100::Screen| has("exe:batch-agent", &others, screen);
        top.until("the processes", opened).await?;
        top.shows("3 calls").await?;
        top.press("t")?;
        top.until("the tree", |screen| has("▾ exe:curl", &curls, screen)).await?;
        top.press("t")?;

        top.press("2")?;
        let today = stage.daemon()?.read(&["status"]).await?;
        let calls = today["today"]["calls"].as_u64().context("calls")?;
        assert_eq!(calls, 3);
        top.until("the models", |screen| has("claude-sonnet-4-5", &others, screen)).await?;
        top.press("\t")?;
        top.until("the calls", |screen| screen.contents().contains("TIME▼")).await?;
        let id = stage.calls().await?[2]["call_id"].as_str().context("an id")?.to_owned();
        top.shows(&id[id.len() - 6..]).await?;
        // The newest is the first, and its story is what `explain` tells.
        top.press("\r")?;
        top.until("the call", |screen| {
            let text = screen.contents();
            [&*id, "decisions", "exe:batch-agent"].iter().all(|word| text.contains(word))
        })
        .await?;
        top.press("\u{1b}")?;
        top.shows("TIME▼").await?;

        top.press("6")?;
        top.shows("CHECK").await?;
        top.press("1")?;
        top.shows("COVERAGE").await?;
        top.press("/curl\r")?;
        top.until("the filter", |screen| {
            let text = screen.contents();
            text.contains("exe:curl") && !text.contains("exe:batch-agent")
        })
        .await?;

        // There is more on a larger terminal.
        assert!(!top.text().contains("RECEIVED"));
        top.resize(50, 200)?;
        top.shows("RECEIVED").await?;
        let rows = |screen: &vt100::Screen| screen.rows(0, 200).collect::<Vec<_>>();
        top.until("keys in the last line", |screen| rows(screen)[49].contains("q quit")).await?;
        top.resize(24, 80)?;
        // A terminal that gets smaller keeps its last lines: the first is there once all is drawn anew.
        let is_whole = |screen: &vt100::Screen| {
            let rows = rows(screen);
            rows[0].contains("weir ") && rows[23].contains("q quit")
        };
        top.until("the head and the keys", is_whole).await?;

        // A new call appears by itself.
        top.press("3")?;
        top.shows("TIME▼").await?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        let id = stage.settled(4).await?[3]["call_id"].as_str().context("an id")?.to_owned();
        top.shows(&id[id.len() - 6..]).await?;

        top.press("q")?;
        assert_eq!(top.given_back().await?, Some(0));
        Ok(())
    })
}

#[test]
fn the_terminal_is_given_back_by_signals_and_control_c() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        for signal in [None, Some(Signal::TERM), Some(Signal::INT)] {
            let mut top = top(stage, &[], &[])?;
            top.shows("exe:curl").await?;
            match signal {
                None => top.press("\u{3}")?,
                Some(signal) => {
                    let pid = i32::try_from(top.pid().context("it runs")?)?;
                    kill_process(Pid::from_raw(pid).context("not 0")?, signal)?;
                }
            }
            assert_eq!(top.given_back().await?, Some(0), "{signal:?}");
        }
        Ok(())
    })
}

#[test]
fn an_agent_that_is_gone_is_waited_for() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        let mut top = top(stage, &[], &[])?;
        top.shows("exe:curl").await?;
        stage.crash().await;
        top.shows("no agent answers").await?;
        // What was known is still there, and keys work.
        assert!(top.text().contains("exe:curl"), "{}", top.text());
        top.press("6")?;
        top.shows("CHECK").await?;
        let config = stage.config();
        stage.start(&config).await?;
        top.until("another answer", |screen| {
            let text = screen.contents();
            !text.contains("no agent answers") && text.contains("metering")
        })
        .await?;
        top.press("q")?;
        assert_eq!(top.given_back().await?, Some(0));
        Ok(())
    })
}

/// The numbers of all SGR sequences (ECMA-48, 8.3.117) in what was written.
fn renditions(raw: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(raw);
    let mut found = Vec::new();
    for sequence in text.split("\u{1b}[").skip(1) {
        let end = sequence.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(0);
        if sequence[end..].starts_with('m') {
            found.extend(sequence[..end].split(';').map(|number| number.parse().unwrap_or(0)));
        }
    }
    found
}

/// Flags, variables, and whether there are colours then.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], bool);

#[test]
fn colours_are_left_out_where_nobody_wants_them() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        let is_colour = |number: &u16| matches!(number, 30..=38 | 40..=48 | 90..=97 | 100..=107);
        let cases: [Case<'_>; 3] =
            [(&[], &[], true), (&[], &[("NO_COLOR", "1")], false), (&["--no-color"], &[], false)];
        for (more, variables, coloured) in cases {
            let mut top = top(stage, more, variables)?;
            top.shows("exe:curl").await?;
            for tab in ["2", "3", "4", "5", "6", "?"] {
                top.press(tab)?;
            }
            top.shows("Shift-Tab").await?;
            top.press("\u{3}")?;
            top.given_back().await?;
            let found = renditions(top.raw());
            assert_eq!(found.iter().any(is_colour), coloured, "{more:?} {variables:?} {found:?}");
        }
        Ok(())
    })
}

#[test]
fn without_a_terminal_or_an_agent_it_says_so() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let line = stage.weir(&["top"])?;
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let refused = stage.run(Route::Direct, &words).await?;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
        for word in ["needs a terminal", "weir status --watch", "weir ps --json"] {
            assert!(refused.stderr.contains(word), "{}", refused.stderr);
        }
        let words = stage.weir(&["top"])?;
        stage.stop().await?;
        let mut top = Terminal::start(&words, SMALL, |words| stage.command(Route::Direct, words))?;
        top.shows("no agent answers").await?;
        assert_eq!(top.given_back().await?, Some(69));
        assert!(!top.raw().windows(8).any(|bytes| bytes == b"\x1b[?1049h"), "the screen changed");
        Ok(())
    })
}

#[test]
fn the_status_line_is_what_was_spent() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        let total = stage.daemon()?.read(&["spend"]).await?;
        let total: f64 = total["total"]["cost_usd"].as_str().context("a cost")?.parse()?;
        let stock = stage.told(&["statusline"]).await?;
        assert_eq!(stock, format!("${total:.4} today · 3 calls · 2 workloads · coverage 100%\n"));
        let curls = dollars(stage, "exe:curl").await?;
        let own = stage.told(&["statusline", "--workload", "exe:curl"]).await?;
        assert_eq!(own, format!("{curls} today · 2 calls · coverage 100%\n"));
        let filled = [
            "statusline",
            "--format",
            "{{{calls}}} {mode} {budget} {state} {workloads} {breakers}",
        ];
        assert_eq!(stage.told(&filled).await?, "{3} metering - healthy 2 0\n");

        let line = stage.weir(&["statusline", "--format", "{cost}"])?;
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let wrong = stage.run(Route::Direct, &words).await?;
        assert_eq!(wrong.code, Some(2));
        assert!(wrong.stderr.contains("there are today, calls, "), "{}", wrong.stderr);
        Ok(())
    })
}

/// Makes a call, then asks for the line as a program does that was started by it.
const ASKS: &str = "
import subprocess, sys, urllib.request
ask = urllib.request.Request('https://api.openai.com/v1/chat/completions', sys.argv[1].encode(),
                             {'authorization': 'Bearer sk-t'})
urllib.request.urlopen(ask).read()
while True:
    line = subprocess.run(['sh', '-c', '\"$@\"; true', 'sh'] + sys.argv[2:], stdout=subprocess.PIPE)
    if b' 1 call' in line.stdout:
        break
sys.stdout.buffer.write(line.stdout)
";

#[test]
fn a_program_is_told_of_its_own_calls() -> anyhow::Result<()> {
    on_stage(async |stage| {
        play(stage).await?;
        let body = json!({"model": "gpt-4o-mini", "messages": []}).to_string();
        let line = stage.weir(&["statusline", "--self"])?;
        let mut words = vec!["python3", "-c", ASKS, &body];
        words.extend(line.iter().map(String::as_str));
        let told = stage.succeed(Route::Redirect, &words).await?;
        let rows = stage.spend("workload").await?;
        let own = rows.iter().filter_map(|row| row["workload"].as_str());
        let own = own.into_iter().find(|name| name.starts_with("exe:python3")).context("python")?;
        let cost = dollars(stage, own).await?;
        assert!(told.stdout.starts_with(&format!("{cost} today · 1 call")), "{}", told.stdout);
        // The same of a process by its id; of one that made none, there is nothing to tell.
        let none = stage.told(&["statusline", "--pid", "1"]).await?;
        assert_eq!(none, "$0.00 today · 0 calls\n");
        Ok(())
    })
}

#[test]
fn a_prompt_is_not_broken_by_an_agent_that_is_off() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let loud = stage.weir(&["statusline"])?;
        let quiet = stage.weir(&["statusline", "--quiet"])?;
        stage.stop().await?;
        let run = async |line: &[String]| {
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            stage.run(Route::Direct, &words).await
        };
        let output = run(&quiet).await?;
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "weir: off\n"));
        assert_eq!(output.stderr, "");
        let output = run(&loud).await?;
        assert_eq!((output.code, output.stdout.as_str()), (Some(69), ""));
        assert!(output.stderr.contains("no agent answers"), "{}", output.stderr);
        Ok(())
    })
}
