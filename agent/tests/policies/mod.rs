//! Policies, limits, budgets and breakers on the command line and the socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::fake::{NOBODY, Ran, Stage, assert_fits};
use super::http::http;
use super::lines;

/// Asks over the socket, as whoever runs the test.
fn ask(stage: &Stage, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
    let mut stream = UnixStream::connect(stage.socket()).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body = serde_json::from_str(body).unwrap_or_default();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

#[test]
fn policies_are_listed_with_how_far_they_go() {
    let stage = Stage::new();
    stage.run("policy shadow rate_limits.batch-agent");
    let out = stage.run("policy list").ok();
    assert_fits(&out);
    assert_eq!(
        lines(&out),
        [
            "POLICY                   GOES     SAYS                      PASSED  ACTED  WOULD",
            "rate_limits.batch-agent  shadow*  5 requests/min, 100 req…   1,234      7      0",
            "budgets.nightly          shadow   $10.00/day                 1,234      7      0",
            "failover.meta/llama-3    enforce  exe:\\u{1b}[2J\\u{1b}]0;x…   1,234      7      0",
            "breaker.openai           enforce  5 in a row, 50% of 20 i…   1,234      7      0",
            "",
            "* set by hand, not by the configuration → weir policy reset POLICY",
            "policies only decide in this mode → weir mode enforce",
        ]
    );
    let json = stage.run("policy list --json").json();
    assert_eq!(json["rows"][0]["enforcement"], "shadow");
    assert_eq!(json["rows"][0]["overridden"], true);
    assert_eq!(json["acting"], false);
}

#[test]
fn toggling_is_seen_at_once_and_undone_by_one_command() {
    let stage = Stage::new();
    let name = "rate_limits.batch-agent";
    let goes = || stage.run(&format!("policy show {name} --json")).json()["policy"].clone();
    for (command, word) in [
        ("shadow", "shadow"),
        ("disable", "off"),
        ("canary", "canary:25"),
        ("reset", "enforce"),
        ("enable", "enforce"),
    ] {
        let share = if command == "canary" { " 25" } else { "" };
        let told = stage.run(&format!("policy {command} {name}{share}")).ok();
        assert!(told.starts_with(&format!("{name}: {word}")), "{told}");
        let by_hand = "(set by hand; the configuration says enforce)";
        assert_eq!(told.contains(by_hand), word != "enforce", "{told}");
        assert_eq!(goes()["enforcement"], word);
    }
    assert_eq!(
        stage.run(&format!("policy enable {name}")).ok(),
        "rate_limits.batch-agent: enforce\n  \
         ! policies only decide in this mode\n    \
         → weir mode enforce\n"
    );
    stage.run(&format!("policy shadow {name}"));
    let status = stage.run("status").ok();
    let line =
        "           rate_limits.batch-agent is shadow, set by hand (configuration: enforce)\n";
    assert!(status.contains(line), "{status}");
    for wrong in ["canary rate_limits.batch-agent 101", "canary rate_limits.batch-agent", "on x"] {
        assert_eq!(stage.run(&format!("policy {wrong}")).code, 2, "{wrong}");
    }
}

#[test]
fn a_policy_is_shown_with_those_it_counts() {
    let stage = Stage::new();
    let out = stage.run("policy show rate_limits.batch-agent").ok();
    assert_fits(&out);
    assert_eq!(
        lines(&out)[..6],
        [
            "policy     rate_limits.batch-agent",
            "about      batch-agent",
            "says       5 requests/min, 100 requests/h",
            "goes       enforce",
            "calls      since the start passed 1,234, acted on 7, would have on 0",
            "mode       policies only decide in this mode → weir mode enforce",
        ]
    );
    assert!(lines(&out)[7].starts_with("SUBJECT  "), "{out}");
    assert!(
        stage.run("policy show budgets.nightly").ok().contains("\nnightly of user:root    day")
    );
    assert!(stage.run("policy show breaker.openai").ok().contains("\nopenai/gpt-4o"));
    let model = stage.run("policy show failover.meta/llama-3 --json").json();
    assert_eq!(model["policy"]["name"], "failover.meta/llama-3");
}

#[test]
fn an_unknown_name_is_answered_with_what_may_have_been_meant() {
    let stage = Stage::new();
    for (command, complaint) in [
        (
            "policy show batch-agnt",
            "weir: there is no policy `batch-agnt`; did you mean `rate_limits.batch-agent`?\n  \
             → weir policy list\n",
        ),
        ("policy disable zzz", "weir: there is no policy `zzz`\n  → weir policy list\n"),
        (
            "budget check nightli",
            "weir: there is no budget `nightli`; did you mean `budgets.nightly`?\n  \
             → weir budget list\n",
        ),
        (
            "breaker trip opnai",
            "weir: there is no breaker `opnai`; did you mean `openai`?\n  → weir breaker list\n",
        ),
    ] {
        let ran = stage.run(command);
        assert_eq!((ran.code, &*ran.err), (1, complaint), "{command}");
    }
}

#[test]
fn a_test_says_its_verdict_by_its_exit_code() {
    let stage = Stage::new();
    let ran =
        stage.run("policy test --workload batch-agent --model gpt-4o --user alice --at 2030-01-01");
    assert_eq!((ran.code, &*ran.err), (11, ""));
    assert_fits(&ran.out);
    assert_eq!(
        lines(&ran.out),
        [
            "verdict    refuse, by rate_limits.batch-agent",
            "who        exe:batch-agent  user alice",
            "what       openai gpt-4o (prod)",
            "bound      1,000 tokens in, 4,096 out, at most ?",
            "when       2030-01-01 00:00:00",
            "mode       policies only decide in this mode → weir mode enforce",
            "decisions",
            "            budgets.nightly          would refuse  $9.99 of $10.00",
            "            rate_limits.batch-agent  refuse        requests_per_minute 5 of 5",
            "  (would: a shadow, a canary for others, not enforcing, or refused by another)",
        ]
    );
    let json = stage.run("policy test --workload a --model gpt-5 --team x --at +2h --json");
    assert_eq!(json.code, 0);
    let json = json.json();
    assert_eq!((&json["verdict"], &json["call"]["user"]), (&"pass".into(), &"member".into()));
    assert_eq!(stage.run("policy test --model gpt-5").code, 2);
    assert_eq!(stage.run("policy test --workload a --model b --at soon").code, 2);
}

#[test]
fn usage_says_what_is_left_and_when_it_is_back() {
    let stage = Stage::new();
    let out = stage.run("usage batch-agent").ok();
    assert_fits(&out);
    let cells: Vec<&str> = lines(&out)[1].split_whitespace().collect();
    assert_eq!(cells[0], "batch-agent");
    assert_eq!(cells[2..7], ["requests/min", "3", "5", "2", "in"]);
    assert_fits(&stage.run("usage").ok());
    assert_eq!(
        stage.run("usage nobody-known").ok(),
        "nothing was used of any limit by nobody-known\n"
    );
    let json = stage.run("usage --json").json();
    assert_eq!(json["rows"][1]["used"], "1.50");
    assert_eq!(json["rows"][0]["limit"], 5);
}

#[test]
fn where_no_limits_are_set_the_answer_says_how_to_set_some() {
    let stage = Stage::new();
    stage.agent.unset_limits();
    for (command, what, sections) in [
        ("usage", "limits or budgets", "rate_limits or budgets"),
        ("usage batch-agent", "limits or budgets", "rate_limits or budgets"),
        ("budget list", "budgets", "budgets"),
        (
            "policy test --workload a --model gpt-5",
            "limits, budgets or guardrails",
            "rate_limits, budgets or guardrails",
        ),
    ] {
        let out = stage.run(command).ok();
        assert_fits(&out);
        let expected = format!(
            "no {what} are set\n    → add {sections} to the configuration\n    \
             → or take the stock ones for users and teams: profile: standard\n"
        );
        assert!(out.ends_with(&expected), "{command}: {out}");
    }
    assert_eq!(stage.run("usage --json").json()["rows"], serde_json::json!([]));
}

#[test]
fn a_spent_budget_is_an_exit_code() {
    let stage = Stage::new();
    let out = stage.run("budget list").ok();
    assert_fits(&out);
    assert_eq!(
        lines(&out),
        [
            "BUDGET                  PER   SPENT  RESERVED   LIMIT  USED  RUNS OUT  RESETS",
            "nightly                 day   $9.10   $0.2000  $10.00   93%  now       -",
            "nightly of user:nobody  day   $1.00   $0.2000  $10.00   12%  now       -",
            "nightly of user:root    day  $10.00   $0.2000  $10.00  102%  spent     -",
        ]
    );
    let near = stage.run("budget check nightly --subject nightly");
    assert_eq!(near.code, 0);
    assert_eq!(
        near.out,
        "near  nightly: $9.10 of $10.00 per day (93%), $0.2000 reserved, $0.7000 left, \
         runs out now; then deny\n"
    );
    assert_eq!(stage.run("budget check nightly --subject nightly --at 90").code, 11);
    assert_eq!(stage.run("budget check budgets.nightly --subject user:nobody").code, 0);
    let over = stage.run("budget check nightly --json");
    assert_eq!(over.code, 11);
    assert_eq!(over.json()["over"], true);
    let nothing = stage.run("budget check nightly --subject user:x");
    assert_eq!(nothing.ok(), "ok    nightly: nothing was spent\n");
}

#[test]
fn breakers_are_tripped_and_reset_by_hand() {
    let stage = Stage::new();
    let out = stage.run("breaker list").ok();
    assert_fits(&out);
    assert!(lines(&out)[1].starts_with("openai     "), "{out}");
    let tripped = stage.run("breaker trip openai").ok();
    assert_eq!(
        tripped,
        "openai: open (until: weir breaker reset openai)\n  \
         ! breakers reject nothing in this mode\n    → weir mode enforce\n"
    );
    assert!(stage.run("breaker list").ok().contains("on reset"));
    let json = stage.run("breaker reset openai --json").json();
    assert_eq!((&json["state"], &json["name"]), (&"closed".into(), &"openai".into()));
    assert_eq!(stage.run("breaker reset openai/gpt-4o --json").json()["state"], "open");
}

#[test]
fn bodies_and_names_that_make_no_sense_are_answered_clearly() {
    let stage = Stage::new();
    let policy = "/api/policies/rate_limits.batch-agent";
    for (path, body, status, complaint) in [
        (policy, "{}", 400, "missing field `enforcement`"),
        (policy, r#"{"enforcement":"on"}"#, 400, "none of off, shadow, enforce, canary:PERCENT"),
        (policy, r#"{"enforcement":"canary:101"}"#, 400, "canary:PERCENT (0 to 100)"),
        (policy, "off", 400, "expected value"),
        ("/api/policies/nothing", r#"{"enforcement":null}"#, 404, "no policy `nothing`"),
        ("/api/breakers/openai", r#"{"state":"half-open"}"#, 400, "expected `open` or `closed`"),
        ("/api/breakers/nothing", r#"{"state":"open"}"#, 404, "no breaker `nothing`"),
    ] {
        let (found, answer) = ask(&stage, "PUT", path, body);
        // Axum tells syntax (400) from sense (422): both are the client's.
        let client = matches!((status, found), (400, 400 | 422)) || found == status;
        let message = answer["detail"].as_str().unwrap_or_default();
        assert!(client && message.contains(complaint), "{path} {body}: {found} {answer}");
    }
    let (status, answer) = ask(&stage, "PUT", policy, r#"{"enforcement":"canary:5"}"#);
    assert_eq!((status, &answer["policy"]["enforcement"]), (200, &"canary:5".into()));
    let (status, answer) = ask(&stage, "GET", "/api/breakers/openai%2Fgpt-4o", "");
    assert_eq!((status, &answer["state"]), (200, &"open".into()));
    assert_eq!(ask(&stage, "GET", "/api/breakers/openai/gpt-4o", "").0, 200);
    let (status, answer) = ask(&stage, "GET", "/api/policies/test?workload=a", "");
    assert_eq!(status, 400, "{answer}");
    assert_eq!(ask(&stage, "GET", "/api/usage?who=al", "").0, 400);
    let (_, answer) = ask(&stage, "GET", &format!("/api/ratelimit/usage?user_id={NOBODY}"), "");
    assert_eq!(answer["rows"].as_array().unwrap().len(), 1);
    let (_, same) = ask(&stage, "GET", "/api/ratelimit/usage?user_id=nobody", "");
    assert_eq!(same["rows"], answer["rows"]);
}

#[test]
fn users_see_their_own_usage_and_switch_nothing() {
    let stage = Stage::new();
    for path in ["/api/policies", "/api/usage", "/api/budgets", "/api/breakers"] {
        let (status, _) = http(&stage, &format!("GET {path} HTTP/1.1\nhost: localhost"));
        assert_eq!(status, 401, "{path} over HTTP");
    }
    if !rustix::process::geteuid().is_root() {
        // Only root can become another user to ask as.
        return;
    }
    let rows = |ran: Ran| ran.json()["rows"].as_array().unwrap().clone();
    let usage = rows(stage.run_as_nobody("usage --json"));
    assert_eq!((usage.len(), &usage[0]["uid"]), (1, &NOBODY.into()));
    let budgets = rows(stage.run_as_nobody("budget list --json"));
    assert_eq!((budgets.len(), &budgets[0]["subject"]), (1, &"user:nobody".into()));
    let policies = rows(stage.run_as_nobody("policy list --json"));
    assert_eq!((policies.len(), &policies[0]["passed"]), (4, &serde_json::Value::Null));
    let shown = stage.run_as_nobody("policy show rate_limits.batch-agent --json").json();
    assert_eq!(shown["usage"].as_array().unwrap().len(), 1);
    assert_eq!(stage.run_as_nobody("budget check nightly").code, 0, "their own has money left");
    let others = stage.run_as_nobody("budget check nightly --subject nightly");
    assert_eq!(others.code, 77, "{}", others.out);
    for change in [
        "policy disable rate_limits.batch-agent",
        "policy reset nothing",
        "policy test --workload a --model gpt-5",
        "breaker trip openai",
    ] {
        let ran = stage.run_as_nobody(change);
        assert_eq!(ran.code, 77, "{change}");
        assert!(ran.err.ends_with("  → try again with sudo\n"), "{}", ran.err);
    }
    assert_eq!(rows(stage.run("breaker list --json"))[0]["state"], "closed");
}
