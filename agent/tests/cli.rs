//! The built command line against an admin server whose agent is made up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "cli/alerts.rs"]
mod alerts;
#[path = "cli/errors.rs"]
mod errors;
#[path = "cli/http.rs"]
mod http;
#[path = "cli/upkeep.rs"]
mod upkeep;
mod fake;
mod policies;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use fake::{HOSTILE, NOBODY, Ran, Stage, assert_fits, call, id};

/// Lines without the blanks at their ends, so that goldens can be written plainly.
fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn status_is_healthy_or_says_why_not() {
    let stage = Stage::new();
    let ran = stage.run("status");
    assert_eq!(ran.code, 0);
    assert_fits(&ran.out);
    assert_eq!(
        lines(&ran.ok())[..12],
        [
            "weir 0.1.0  metering  since 2099-01-01 09:12:00 (up 0s)  pid 99",
            "today      $18.42  coverage 93% (31 of 33 connections)",
            "           412 calls  149k in (148k cached)  830 out",
            "           2 calls of unknown cost not in it → weir price unknown",
            "added      0.3ms p50, 1.1ms p99",
            "capture    on: connect4",
            "           sockops: CAP_BPF (bytes are not counted)",
            "containers network namespaces: 3 metered, 1 not (port_taken)",
            "proxy      127.0.0.1:4180",
            "trust      installed in the system store",
            "policies   4: 1 shadow, none acts in this mode",
            "WORKLOAD TODAY                                             CALLS      COST  COV",
        ]
    );
    stage.agent.warn("cursor is \u{1b}[31muntrusted", "weir trust install");
    let ran = stage.run("status");
    assert_eq!(ran.code, 10);
    ran.assert_harmless();
    assert!(ran.out.starts_with("weir 0.1.0  metering (degraded)  since"));
    assert!(
        ran.out
            .ends_with("warnings\n  ! cursor is \\u{1b}[31muntrusted\n    → weir trust install\n")
    );
    let json = stage.run("status --json").json();
    assert_eq!(json["state"], "degraded");
    assert_eq!(json["today"]["cost_usd"], "18.42");
}

#[test]
fn spend_shows_coverage_beside_every_figure() {
    let stage = Stage::new();
    let out = stage.run("spend --since 2020-01-01").ok();
    assert_fits(&out);
    assert_eq!(
        lines(&out),
        [
            "since 2020-01-01 00:00:00",
            "coverage 93% (31 of 33 connections)",
            "not metered: 2 untrusted",
            "",
            "WORKLOAD                                  CALLS    IN  CACHED  OUT     COST  COV",
            "exe:python3:agent.py                        412  149k    148k  830   $18.42  99%",
            "exe:\\u{1b}[2J\\u{1b}]0;x\\u{7}\\u{9b}K\\u{2…      9  149k    148k  830  $0.0145  99%",
            "unit:etl.service                              2  149k    148k  830        ?  99%",
            "TOTAL                                       423  149k    148k  830   $18.44  93%",
            "",
            "2 calls of unknown cost not in it → weir price unknown",
        ]
    );
    assert_fits(&stage.run("spend daily --by workload,model,user").ok());
    let json = stage.run("spend --json").json();
    assert_eq!(json["rows"][0]["workload"], "exe:python3:agent.py");
    assert_eq!(json["rows"][0]["cost_usd"], "18.424");
    assert_eq!(json["rows"][0]["cache_read_tokens"], 148_000);
    assert_eq!(json["rows"][1]["workload"], HOSTILE);
}

#[test]
fn periods_are_those_of_the_users_calendar() {
    let stage = Stage::new();
    // A rule instead of a name: there may be no zone database.
    for zone in ["<-03>3", "UTC"] {
        let out = stage.command("spend daily --json").env("TZ", zone).output().unwrap();
        let since = Ran::of(out).json()["since"].as_str().unwrap().to_owned();
        assert!(since.ends_with(":00:00Z"), "{zone}: {since}");
        assert_eq!(since.contains("T00:"), zone == "UTC", "{zone}: {since}");
    }
}

#[test]
fn csv_is_read_back_as_it_was() {
    let out = Stage::new().run("spend monthly --by workload --csv").ok();
    let mut reader = csv::Reader::from_reader(out.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let at = |name: &str| header.iter().position(|title| title == name).unwrap();
    assert_eq!(&rows[0][at("period")], "2026-11-20");
    assert_eq!(&rows[0][at("cost_usd")], "18.424");
    assert_eq!(&rows[2][at("unpriced_calls")], "2");
}

#[test]
fn calls_are_listed() {
    let stage = Stage::new();
    let out = stage.run("calls").ok();
    assert_fits(&out);
    assert_eq!(
        lines(&out),
        [
            "TIME     WORKLOAD           MODEL        STAT    IN   OUT     COST   TOOK ID",
            "02 Jan   exe:python3:agent… gpt-5-2025-… 200   149k   830  $0.0145   1.8s 000080",
            "02 Jan   exe:curl           gpt-5-2025-… 429   149k   830        ?   1.8s 0000G0",
            "02 Jan   unit:etl.service   gpt-5        gone  149k   830  $0.0145   1.8s 0000R0",
            "02 Jan   exe:\\u{1b}[2J\\u{1… gpt-5-2025-… 200   149k   830  $0.0145   1.8s 000100",
        ]
    );
    assert_eq!(lines(&stage.run("calls --status 4xx").ok()).len(), 2);
    assert_eq!(lines(&stage.run("calls --outcome client_abort --kind call").ok()).len(), 2);
    let json = stage.run("calls --json --workload exe:curl").json();
    assert_eq!(json["rows"][0]["outcome"], "rate_limited");
    assert_eq!(json["rows"][0]["cost_usd"], serde_json::Value::Null);
    assert!(stage.run("calls -o dict").ok().contains("  cost_usd               0.0145\n"));
    assert_eq!(stage.run("calls --status 9xx").code, 2);
    assert_eq!(stage.run("calls --since soon").code, 2);
}

#[test]
fn following_goes_on_with_calls_as_they_end() {
    let mut stage = Stage::new();
    let mut weir = stage
        .command("calls -f -o json --workload exe:curl")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(weir.stdout.take().unwrap()).lines();
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&out.next().unwrap().unwrap()).unwrap() };
    // The past comes first; by then the follower is subscribed.
    assert_eq!(next()["call_id"], id(2).0.to_string());
    assert_eq!(stage.agent.followers(), 1);
    // A call that is in the past already, one that was not asked for, and one that was.
    for (number, workload) in [(2, "exe:curl"), (9, "exe:other"), (10, "exe:curl")] {
        stage.agent.end(call(number, 0, workload));
    }
    assert_eq!(next()["call_id"], id(10).0.to_string());
    assert_eq!(stage.stop(), 0, "a follower does not hold up the agent's end");
    assert_eq!(Ran::of(weir.wait_with_output().unwrap()).code, 69);
}

#[test]
fn ps_names_the_coverage_of_each_process() {
    let out = Stage::new().run("ps").ok();
    assert_eq!(
        lines(&out)[..4],
        [
            " PID  WORKLOAD          USER    PROVIDER     CONNS  CALLS    COST  COVERAGE",
            "4711  exe:python3:age…  root    anthropic+1  1,234    412  $18.42  metered",
            " 988  exe:\\u{1b}[2J\\u…  root    anthropic+1  1,234      0       -  needs-restart",
            "  12  unit:etl.service  nobody  anthropic+1  1,234    412  $18.42  observed",
        ]
    );
    assert!(out.ends_with("it started before the CA was installed\n    → restart it\n"));
}

#[test]
fn explain_shows_what_was_decided() {
    let stage = Stage::new();
    let out = stage.run("explain 0000G0").ok();
    assert_eq!(
        lines(&out),
        [
            "call       01DXJT49FR00000000000000G0",
            "what       chat POST http://api.openai.com:8080/v1/chat/completions",
            "model      gpt-5, answered by gpt-5-2025-08-07",
            "who        exe:curl  pid 4711  user root",
            "           python3 agent.py --key [redacted]",
            "when       2020-01-02 09:42:03, took 1.8s (provider 1.8s, first token 211ms)",
            "result     429 rate_limited, streamed; 1.2 KiB up, 41.0 KiB down",
            "tokens     input 1,200, cache read 148,000, output 780, reasoning 50 (reported)",
            "cost       unknown, metered",
            "note       usage_injected",
            "attempt 1    900µs  openai gpt-5: 503 rate_limited, 1.8s, ?",
            "attempt 2     1.2s  openai gpt-5: 429 rate_limited, 1.8s, ?",
            "decisions",
            "     +12µs  route             provider openai  host api.openai.com",
            "    +130µs  rate_limits.curl  pass             requests_per_minute 2 → 3 of 5",
            "    +134µs  budgets.*         would refuse     $9.99 of $10.00",
            "     +1.1s  retry             retry            503 once, in 100ms",
            "  (would: a shadow, a canary for others, not enforcing, or refused by another)",
        ]
    );
    let whole = stage.run(&format!("explain {}", id(1).0)).ok();
    assert!(whole.contains(&format!("repeats    {}\n", id(9).0)), "{whole}");
    let who = "pid 4711  user root  team research  agent planner  account ac1d\n";
    assert!(whole.contains(who), "{whole}");
    assert!(whole.contains("cost       $0.0145, metered, prices of 2026-11-01\n"));
    let json = stage.run(&format!("explain --json {}", id(1).0)).json();
    assert_eq!(json["decisions"][0]["rule"], "route");
    assert!(stage.run("explain 988").ok().contains("fix        restart it\n"));
    for unknown in ["7", "ZZZZZZ", "../../etc", "01DXJT49FR00000000000000ZZ"] {
        assert_eq!(stage.run(&format!("explain {unknown}")).code, 1, "{unknown}");
    }
}

#[test]
fn prices_are_shown_exactly() {
    let stage = Stage::new();
    for name in ["gpt-5", "openai/gpt-5"] {
        let out = stage.run(&format!("price show {name}")).ok();
        assert!(out.contains("  cache read          $0.125 per million tokens\n"), "{out}");
    }
    assert_eq!(stage.run("price show nope").code, 1);
    assert_fits(&stage.run("price list").ok());
    assert_fits(&stage.run("price unknown").ok());
    assert_eq!(stage.run("price list --json").json()["rows"][0]["output_usd"], "10.00");
}

#[test]
fn mode_and_capture_change() {
    let stage = Stage::new();
    assert_eq!(stage.run("mode").ok(), "meter\n");
    assert_eq!(stage.run("mode observe").ok(), "observe\n");
    let ran = stage.run("mode meter");
    assert_eq!(ran.code, 10);
    assert_eq!(ran.out, "observe (meter was asked for: the CA is not installed)\n");
    let ran = stage.run("mode enforce");
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err, "weir: there are no policies to enforce\n  → weir mode meter\n");
    assert_eq!(stage.run("mode everything").code, 2);
    assert_eq!(stage.run("down").ok(), "down: not intercepting\n");
    assert_eq!(stage.run("up --json").json()["on"], true);
}

#[test]
fn other_users_see_their_own_and_change_nothing() {
    if !rustix::process::geteuid().is_root() {
        // Only root can become another user to ask as.
        return;
    }
    let stage = Stage::new();
    let rows = |ran: Ran| ran.json()["rows"].as_array().unwrap().clone();
    let calls = rows(stage.run_as_nobody("calls --json"));
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["uid"], NOBODY);
    assert_eq!(rows(stage.run("calls --json")).len(), 4);
    assert_eq!(rows(stage.run_as_nobody("spend --json")).len(), 1);
    assert_eq!(rows(stage.run_as_nobody("ps --json")).len(), 1);
    let top = stage.run_as_nobody("status --json").json()["top"].clone();
    assert_eq!(top.as_array().unwrap().len(), 1);
    assert_eq!(stage.run_as_nobody(&format!("explain {}", id(3).0)).code, 0);
    let ran = stage.run_as_nobody(&format!("explain {}", id(1).0));
    assert_eq!((ran.code, &*ran.err), (1, "weir: no call with this id is known\n"));
    for change in ["mode off", "down", "up"] {
        let ran = stage.run_as_nobody(change);
        assert_eq!(ran.code, 77, "{change}");
        assert!(ran.err.ends_with("  → try again with sudo\n"), "{}", ran.err);
    }
    assert_eq!(stage.run("mode").ok(), "meter\n");
}

#[test]
fn without_a_daemon_it_says_how_to_start_one() {
    let mut stage = Stage::new();
    assert_eq!(stage.stop(), 0);
    assert!(!stage.socket().exists());
    for args in ["status", "spend", "calls -f", "ps", "explain 1", "price list", "mode off", "up"] {
        let ran = stage.run(args);
        assert_eq!(ran.code, 69, "{args}");
        assert!(ran.err.ends_with("  → start it: systemctl start weir, or: weir daemon\n"));
    }
}

#[test]
fn config_needs_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weir.yaml");
    std::fs::write(&file, "mode: metre\nlisten: {proxi: off}\n").unwrap();
    let weir = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("--config").arg(&file).args(args).env_clear().env("HOME", dir.path());
        Ran::of(command.output().unwrap())
    };
    let ran = weir(&["config", "check"]);
    assert_eq!((ran.code, &*ran.out), (78, ""));
    let file_name = file.display();
    assert_eq!(
        lines(&ran.err),
        [
            format!(
                "{file_name}:1:7: mode: `metre` is not one of off, observe, meter, enforce \
                 (did you mean `meter`?)"
            ),
            format!(
                "{file_name}:2:10: listen.proxi: this key is not known to weir {} \
                 (did you mean `proxy`?)",
                env!("CARGO_PKG_VERSION")
            ),
        ]
    );
    let json = weir(&["config", "check", "--json"]).json();
    assert_eq!(json["problems"][1]["place"]["column"], 10);
    assert_eq!(weir(&["daemon"]).code, 78);
    std::fs::write(&file, "mode: meter\n").unwrap();
    assert_eq!(weir(&["config", "check"]).ok(), format!("ok: {file_name}\n"));
    let shown = weir(&["config", "show"]).ok();
    assert!(shown.contains(&format!("mode: meter  # {file_name}:1\n")), "{shown}");
    assert_eq!(weir(&["config", "show", "--json"]).json()["config"]["mode"], "meter");
    let schema: serde_json::Value =
        serde_json::from_str(&weir(&["config", "schema"]).ok()).unwrap();
    assert!(schema["properties"]["providers"].is_object());
}

#[test]
fn the_command_line_itself() {
    let stage = Stage::new();
    assert!(stage.run("--version").ok().starts_with("weir "));
    assert!(stage.run("spend --help").ok().contains("--by <WHAT>"));
    let ran = stage.run("spent");
    assert_eq!((ran.code, &*ran.out), (2, ""));
    assert!(ran.err.contains("'spend'"), "{}", ran.err);
    assert_eq!(stage.run("spend --json --csv").code, 2);
    assert!(stage.run("completions bash").ok().contains("complete -F"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut weir = Stage::new()
        .command("completions zsh")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(weir.stdout.take());
    let ran = Ran::of(weir.wait_with_output().unwrap());
    assert_eq!((ran.code, &*ran.err), (0, ""));
}

#[test]
fn a_reload_tells_what_changed_and_is_for_administrators() {
    let stage = Stage::new();
    let ran = stage.run("config reload");
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<_> = ran.out.lines().collect();
    assert!(lines[0].starts_with("environment: prod → "), "{}", ran.out);
    assert_eq!(lines[1], "rate_limits.a: added, {requests_per_minute: 5}");
    assert_eq!(lines[2], "needs a restart: listen.admin: off → on");
    assert!(!ran.out.contains('\u{1b}'), "what a file says does not reach the terminal raw");
    if rustix::process::geteuid().is_root() {
        assert_eq!(stage.run_as_nobody("config reload").code, 77);
    }
}
