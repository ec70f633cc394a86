//! `weir escalations` and `weir webhook`.

use crate::fake::{ESCALATION, Stage, assert_fits};
use crate::lines;

#[test]
fn escalations_are_listed_with_their_rate() {
    let stage = Stage::new();
    let out = stage.run("escalations list").ok();
    assert_fits(&out);
    assert_eq!(
        lines(&out),
        [
            "ID                          STATE  COUNT  CLASS       WORKLOAD",
            "01JD0000000000000000000001  open   1,204  overloaded  exe:\\u{1b}[2J\\u{1b}]0;x\\u…",
            "  2020-01-02 09:50:03  failover.gpt-5: 3 attempts failed",
            "    → weir explain 01DXJT49FR0000000000000080",
            "01JD0000000000000000000001  open   1,204  overloaded  exe:theirs",
            "  2020-01-02 09:50:03  failover.gpt-5: 3 attempts failed",
            "    → weir explain 01DXJT49FR0000000000000080",
            "1.2% of 412 calls in the last 24 hours were escalated (5); the aim is below 5%",
        ]
    );
    let all = stage.run("escalations list --all --json").json();
    assert_eq!(all["rows"].as_array().unwrap().len(), 3);
    assert_eq!(all["rows"][2]["state"], "resolved");
    assert_eq!(all["rate"]["escalated"], 5);
}

#[test]
fn users_see_their_own_escalations_and_change_none() {
    let stage = Stage::new();
    let own = stage.run_as_nobody("escalations list --json").json();
    assert_eq!(own["rows"].as_array().unwrap().len(), 1);
    assert_eq!(own["rows"][0]["workload"], "exe:theirs");
    assert_eq!(own["rate"], serde_json::Value::Null);
    let refused = stage.run_as_nobody(&format!("escalations ack {ESCALATION}"));
    assert_eq!(refused.code, 77, "{refused:?}");
    assert_eq!(stage.run_as_nobody("webhook test ops").code, 77);
    let history = stage.run_as_nobody("webhook history --json").json();
    let rows = history["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "what they posted themselves: {history}");
    assert_eq!((&rows[0]["direction"], &rows[0]["status"]), (&"inbound".into(), &"failed".into()));
}

#[test]
fn a_change_is_made_in_the_name_of_who_asks() {
    let stage = Stage::new();
    let out = stage.run(&format!("escalations ack {ESCALATION}")).ok();
    assert_eq!(out, format!("{ESCALATION} acked: 3 attempts failed\n"));
    let ran = stage.run(&format!("escalations resolve {ESCALATION} --json"));
    let row: serde_json::Value = serde_json::from_str(&ran.ok()).unwrap();
    assert_eq!((&row["state"], &row["by"]), (&"resolved".into(), &0.into()));
    let unknown = stage.run("escalations ack NONE");
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("no escalation with this id is known"), "{}", unknown.err);
    assert_eq!(stage.run("escalations ack ../mode").code, 1);
}

#[test]
fn the_history_says_what_failed() {
    let stage = Stage::new();
    let out = stage.run("webhook history").ok();
    assert_fits(&out);
    assert_eq!(
        lines(&out),
        [
            "AT                   DIR  NAME    STATUS     TRIES  ABOUT             BY",
            "2020-01-02 09:40:00  in   triage  ok             2  callback sent     gpt-4o-mi…",
            "2020-01-02 09:42:03  out  ops     delivered      1  budget_threshold  budgets.c…",
            "2020-01-02 09:42:03  out  ops     dead           8  budget_threshold  budgets.c…",
            "  the receiver answered 400 Bad Request",
            "2020-01-02 09:50:00  in   triage  failed         2  callback dead",
            "  \\u{1b}[2Jthe answer was 500",
            "  the receiver answered 410",
        ]
    );
    let dead = stage.run("webhook history --status dead --channel ops --json").json();
    assert_eq!(dead["rows"].as_array().unwrap().len(), 1);
    assert_eq!(dead["rows"][0]["direction"], "outbound");
    let last = stage.run("webhook history --direction outbound --last 1 --json").json();
    assert_eq!(last["rows"][0]["status"], "dead");
    assert_eq!(stage.run("webhook history --channel none").ok(), "nothing was sent or received\n");
}

#[test]
fn the_history_knows_both_directions() {
    let stage = Stage::new();
    let all = stage.run("webhook history --json").json();
    let rows = all["rows"].as_array().unwrap();
    let directions: Vec<_> = rows.iter().map(|row| row["direction"].as_str().unwrap()).collect();
    assert_eq!(directions, ["inbound", "outbound", "outbound", "inbound"], "by time");
    let row = &rows[0];
    assert_eq!((&row["webhook"], &row["workload"]), (&"triage".into(), &"webhook:triage".into()));
    assert_eq!((&row["cost_usd"], &row["poster"]["pid"]), (&"0.0145".into(), &7.into()));
    let last = stage.run("webhook history --last 1 --json").json();
    assert_eq!(last["rows"][0]["id"], rows[3]["id"]);
    let ok = stage.run("webhook history --direction inbound --status ok --json").json();
    assert_eq!(ok["rows"].as_array().unwrap().len(), 1);
    let none = stage.run("webhook history --direction inbound --status delivered --json").json();
    assert_eq!(none["rows"], serde_json::json!([]));
    let dead = stage.run("webhook history --status dead --json").json();
    let dead = dead["rows"].as_array().unwrap();
    let dead: Vec<_> = dead.iter().map(|row| (&row["direction"], &row["status"])).collect();
    let callback = (&"inbound".into(), &"failed".into());
    assert_eq!(dead, [(&"outbound".into(), &"dead".into()), callback]);
    let one = stage.run("webhook history --channel triage --status failed --json").json();
    assert_eq!(one["rows"][0]["callback"]["status"], "dead");
}

#[test]
fn a_test_says_whether_it_arrived() {
    let stage = Stage::new();
    assert_eq!(stage.run("webhook test ops").ok(), "delivered\n");
    let down = stage.run("webhook test down");
    assert_eq!(down.code, 1);
    assert!(down.err.contains("not delivered: the receiver answered 503; it is tried again"));
    let none = stage.run("webhook test none");
    assert_eq!(none.code, 1);
    assert!(none.err.contains("there is no alert channel `none`"), "{}", none.err);
}
