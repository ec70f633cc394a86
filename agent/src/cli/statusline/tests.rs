//! What the line says, and what it leaves out.

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::cli::Cli;

fn answers(whose: Whose, rows: &Value, total: &Value) -> Answers {
    let spend = json!({
        "schema_version": 1, "since": null, "until": null, "rows": rows, "total": total,
        "coverage": {"metered": 9, "total": 10, "reasons": []},
    });
    Answers { whose, spend: Some(serde_json::from_value(spend).unwrap()), ..Answers::default() }
}

fn budgets(rows: &[(&str, f64, &str)]) -> Vec<BudgetRow> {
    let row = |(subject, used, enforcement): &(&str, f64, &str)| {
        json!({
            "policy": format!("budgets.{subject}"), "subject": subject, "uid": null,
            "period": "day", "spent_usd": "1.00", "reserved_usd": "0.00", "limit_usd": "10.00",
            "remaining_usd": "9.00", "used_percent": used, "standing": "ok", "began_at": null,
            "resets_at": null, "exhausted_at": null, "alert_at_percent": [], "action": "deny",
            "enforcement": enforcement,
        })
    };
    serde_json::from_value(rows.iter().map(row).collect()).unwrap()
}

fn host() -> Answers {
    let rows = json!([
        {"workload": "exe:claude", "calls": 10, "cost_usd": "0.40", "coverage": 1.0},
        {"workload": "unit:batch-agent.service", "calls": 2, "cost_usd": "0.0216"},
        {"workload": "exe:tool", "calls": 0},
    ]);
    let total = json!({"calls": 12, "errors": 1, "input_tokens": 300_000, "output_tokens": 10_000,
        "cost_usd": "0.4216"});
    answers(Whose::Everyone, &rows, &total)
}

#[test]
fn the_stock_line_says_what_is_known() {
    let mut answers = host();
    assert_eq!(answers.line(), "$0.4216 today · 12 calls · 2 workloads · coverage 90%");
    answers.budgets = budgets(&[("nightly", 12.0, "enforce"), ("claude", 84.9, "shadow")]);
    assert_eq!(
        answers.line(),
        "$0.4216 today · 12 calls · 2 workloads · coverage 90% · budget 84%"
    );
    // A budget that is switched off tells nobody anything.
    answers.budgets = budgets(&[("nightly", 99.0, "off")]);
    assert!(!answers.line().contains("budget"));
}

#[test]
fn a_workload_has_its_own_figures_and_budgets() {
    let mut answers = host();
    answers.budgets = budgets(&[
        ("claude", 30.0, "enforce"),
        ("exe:claude", 20.0, "enforce"),
        ("batch-agent", 90.0, "enforce"),
    ]);
    let mut of = |name: &str| {
        answers.whose = Whose::Workload(name.to_owned());
        answers.line()
    };
    assert_eq!(of("exe:claude"), "$0.4000 today · 10 calls · coverage 100% · budget 30%");
    assert_eq!(of("unit:batch-agent.service"), "$0.0216 today · 2 calls · budget 90%");
    assert_eq!(of("exe:new"), "$0.00 today · 0 calls");
    answers.whose = Whose::Nobody;
    assert_eq!(answers.line(), "$0.00 today · 0 calls");
}

#[test]
fn what_has_no_price_is_not_free() {
    let unpriced = |calls: u64, unpriced: u64| {
        let total = json!({"calls": calls, "unpriced_calls": unpriced, "cost_usd": "0.00"});
        answers(Whose::Everyone, &json!([]), &total)
    };
    assert!(unpriced(2, 2).line().starts_with("? today · 2 calls · 0 workloads"));
    assert!(unpriced(3, 2).line().contains("2 unpriced"));
    assert_eq!(unpriced(2, 2).field(Field::Today), "?");
}

#[test]
fn every_field_has_a_value() {
    let mut answers = host();
    answers.budgets = budgets(&[("nightly", 84.0, "enforce")]);
    let shown: Vec<String> = Field::ALL.iter().map(|(_, field)| answers.field(*field)).collect();
    let expected = [
        "$0.4216", "12", "1", "0", "310k", "300k", "10.0k", "2", "-", "90%", "84%", "nightly", "-",
        "-", "-", "-", "-",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn each_field_is_asked_for_where_it_is_told() {
    for (name, field) in Field::ALL {
        let sources = [field.is_of_spend(), field.is_of_budgets(), field.is_of_status()];
        let many = sources.iter().filter(|is_one| **is_one).count();
        // The workload is known from the question.
        assert_eq!(many, usize::from(field != Field::Workload), "{name}");
    }
}

#[test]
fn the_help_names_every_field_and_wrong_ones_are_usage_errors() {
    let help = Cli::try_parse_from(["weir", "statusline", "--help"]).unwrap_err().to_string();
    for (name, _) in Field::ALL {
        assert!(help.contains(&format!("{{{name}}}")), "{name}");
    }
    for line in ["--format {cost}", "--pid 1 --self", "--workload x --pid 1"] {
        let words = ["weir", "statusline"].into_iter().chain(line.split(' '));
        let wrong = Cli::try_parse_from(words).unwrap_err();
        assert_eq!(wrong.exit_code(), 2, "{line}");
    }
}
