//! What keys and answers do.

use serde_json::json;

use super::super::data::Part;
use super::super::fixtures::{after, app, begin, call, calls, ctx, detail, snapshot, status};
use super::*;

fn type_in(app: &mut App, text: &str) {
    for letter in text.chars() {
        assert_eq!(app.key(Input::Char(letter)), Effect::Nothing, "{letter}");
    }
}

/// A column of what is shown.
fn column(app: &App, at: usize) -> Vec<&str> {
    app.shown.iter().map(|row| row.cells[at].text.as_str()).collect()
}

#[test]
fn tabs_go_round_by_number_and_by_neighbour() {
    let mut app = app((80, 24));
    for (key, tab) in [
        (Input::Char('3'), Tab::Calls),
        (Input::Tab, Tab::Budgets),
        (Input::Right, Tab::Breakers),
        (Input::Char('l'), Tab::Health),
        (Input::Tab, Tab::Processes),
        (Input::BackTab, Tab::Health),
        (Input::Char('h'), Tab::Breakers),
        (Input::Left, Tab::Budgets),
        (Input::Char('6'), Tab::Health),
    ] {
        app.key(key);
        assert_eq!((app.tab, app.wanted().tab), (tab, tab), "{key:?}");
        assert!(!app.shown.is_empty());
    }
}

#[test]
fn processes_are_sorted_by_cost_until_they_are_sorted_otherwise() {
    let mut app = app((80, 24));
    assert_eq!(column(&app, 0), ["4712", "4711", "902", "950"]);
    app.key(Input::Char('S'));
    assert_eq!(column(&app, 0), ["902", "4711", "4712", "950"], "no cost is neither first");
    app.key(Input::Char('s'));
    assert_eq!(app.view().sort.column, Some(7));
    assert_eq!(column(&app, 7), ["metered", "metered", "metered", "untrusted"]);
    // Each tab has an order of its own, and keeps it.
    app.key(Input::Char('2'));
    assert_eq!(column(&app, 0), ["claude-sonnet-4-5", "gpt-4o-mini", "house-model"]);
    app.key(Input::Char('1'));
    assert_eq!(app.view().sort.column, Some(7));
}

#[test]
fn a_filter_is_live_and_stays_until_it_is_cleared() {
    let mut app = app((80, 24));
    app.key(Input::Char('/'));
    type_in(&mut app, "BATCH");
    assert_eq!(column(&app, 0), ["4712", "4711"]);
    // Letters that are keys elsewhere are letters.
    type_in(&mut app, "q");
    assert!(app.shown.is_empty() && app.typing);
    app.key(Input::Backspace);
    app.key(Input::Enter);
    assert!(!app.typing);
    assert_eq!((app.view().filter.as_str(), app.shown.len(), app.all), ("BATCH", 2, Some(4)));
    app.key(Input::Esc);
    assert_eq!(app.shown.len(), 4);
    app.key(Input::Char('/'));
    type_in(&mut app, "no such");
    app.key(Input::Erase);
    assert_eq!(app.shown.len(), 4);
    type_in(&mut app, "x");
    app.key(Input::Esc);
    assert_eq!((app.view().filter.as_str(), app.typing), ("", false));
}

#[test]
fn the_tree_adds_up_and_folds() {
    let mut app = app((80, 24));
    app.key(Input::Char('t'));
    let names = [
        "▾ batch",
        "  ▾ unit:batch-agent.service",
        "    ├ python3.11",
        "    └ python3.11",
        "▾ alice",
        "  ▾ exe:curl",
        "    └ curl",
        "  ▾ exe:tool",
        "    └ tool",
    ];
    assert_eq!(column(&app, 1), names);
    assert_eq!(column(&app, 6)[..3], ["$1.92", "$1.92", "$1.50"]);
    assert_eq!(column(&app, 6)[4..7], ["$0.0003", "$0.0003", "$0.0003"]);
    assert_eq!(column(&app, 5)[0], "52");
    app.key(Input::Char(' '));
    assert_eq!(column(&app, 1)[..2], ["▸ batch", "▾ alice"]);
    assert_eq!(column(&app, 6)[0], "$1.92", "what is folded still counts");
    app.key(Input::Enter);
    assert_eq!(column(&app, 1), names);
    // A filter keeps the way to what it finds.
    app.key(Input::Char('/'));
    type_in(&mut app, "curl");
    assert_eq!(column(&app, 1), ["▾ alice", "  ▾ exe:curl", "    └ curl"]);
    app.key(Input::Esc);
    // The order holds on every level.
    app.key(Input::Char('S'));
    assert_eq!(column(&app, 1)[0], "▾ alice");
    app.key(Input::Char('t'));
    assert_eq!(app.shown.len(), 4);
}

#[test]
fn enter_tells_everything_about_a_row() {
    let mut app = app((80, 24));
    app.key(Input::Char('G'));
    assert_eq!(app.key(Input::Enter), Effect::Nothing);
    let pane = app.pane.as_ref().unwrap();
    assert_eq!(pane.title, "process 950");
    let text = pane.lines.join("\n");
    for said in ["untrusted", "it brings roots of its own", "weir run -- tool", r"\u{1b}[31mred"] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    app.key(Input::Esc);
    assert!(app.pane.is_none());
    for (tab, title, said) in [
        ('2', "model claude-sonnet-4-5", "$15.00"),
        ('4', "budget budgets.batch", "$10.40 of $10.00 per day"),
        ('5', "breaker openai", "weir breaker reset openai"),
        ('6', "warning", "weir doctor"),
    ] {
        app.key(Input::Char(tab));
        app.key(Input::Enter);
        let pane = app.pane.as_ref().unwrap();
        assert_eq!(pane.title, title);
        assert!(pane.lines.join("\n").contains(said), "{said} is not in {:?}", pane.lines);
    }
}

#[test]
fn a_calls_story_is_asked_for_and_comes_late() {
    let mut app = app((80, 24));
    app.key(Input::Char('3'));
    app.key(Input::Char('j'));
    app.key(Input::Char('j'));
    let wanted = detail(1);
    assert_eq!(app.key(Input::Enter), Effect::Tell(wanted.call.call_id));
    // Another one's story is not told under its name.
    app.news(News::Call(Ok(detail(2))));
    assert_eq!(app.pane.as_ref().unwrap().lines, ["asking the agent …"]);
    app.news(News::Call(Ok(wanted)));
    let text = app.pane.as_ref().unwrap().lines.join("\n");
    assert!(text.contains("decisions") && text.contains("gpt-4o-mini"), "{text}");
    // What comes when nobody looks is not shown.
    app.key(Input::Esc);
    app.news(News::Call(Ok(detail(1))));
    assert!(app.pane.is_none());
}

#[test]
fn a_story_that_cannot_be_told_says_so() {
    for news in [News::Lost("gone".into()), News::Call(Err("gone".into()))] {
        let mut app = app((80, 24));
        app.key(Input::Char('3'));
        app.key(Input::Enter);
        app.news(news);
        assert_eq!(app.pane.as_ref().unwrap().lines, ["gone"]);
    }
}

#[test]
fn an_agent_that_is_gone_is_told_of_until_it_is_back() {
    let now = begin();
    let mut app = app((80, 24));
    app.news(News::Lost("no agent answers on \u{1b}here".into()));
    assert_eq!(app.lost.as_deref(), Some(r"no agent answers on \u{1b}here"));
    assert_eq!(app.shown.len(), 4, "what was known stays");
    assert_eq!(app.rates.now(), None);
    app.news(snapshot(Part::Health, now));
    assert_eq!(app.lost, None);
}

#[test]
fn rates_are_of_one_agent() {
    let now = begin();
    let mut app = App::new(ctx(), Duration::from_secs(2));
    let mut hear = |calls: u64, since: &str, seconds| {
        let more = json!({"since": since, "today": {"calls": calls}});
        let at = after(now, Duration::from_secs(seconds));
        let (status, part) = (status(&more), Part::Health);
        app.news(News::Snapshot(Box::new(Snapshot { at, status, part })));
        app.rates.now().map(|rate| rate.calls)
    };
    let since = "2026-11-22T08:00:00Z";
    assert_eq!(hear(10, since, 0), None);
    assert_eq!(hear(20, since, 5), Some(2.0));
    assert_eq!(hear(30, "2026-11-22T14:00:00Z", 10), None, "it was started again");
}

#[test]
fn paused_means_that_nothing_changes() {
    let mut app = app((80, 24));
    app.key(Input::Char('p'));
    assert!(app.wanted().paused);
    app.news(snapshot(Part::Processes(Vec::new()), begin()));
    assert_eq!(app.shown.len(), 4);
    app.key(Input::Char('p'));
    assert!(!app.wanted().paused);
    app.news(snapshot(Part::Processes(Vec::new()), begin()));
    assert!(app.shown.is_empty());
}

#[test]
fn the_interval_goes_by_steps_and_ends() {
    let mut app = app((80, 24));
    let mut seen = Vec::new();
    for _ in 0..8 {
        app.key(Input::Char('+'));
        seen.push(app.wanted().every.as_secs());
    }
    assert_eq!(seen, [3, 5, 10, 30, 60, 60, 60, 60]);
    for _ in 0..8 {
        app.key(Input::Char('-'));
    }
    assert_eq!(app.wanted().every, Duration::from_secs(1));
    // From an interval between two steps.
    app.every = Duration::from_secs(7);
    app.key(Input::Char('-'));
    assert_eq!(app.every, Duration::from_secs(5));
}

#[test]
fn a_call_that_was_gone_to_stays_selected_while_others_come() {
    let mut app = app((80, 24));
    app.key(Input::Char('3'));
    app.key(Input::Down);
    let selected = |app: &App| app.shown[app.view().at].cells[8].text.clone();
    assert_eq!(selected(&app), "000002");
    let Part::Calls(mut rows) = calls() else { unreachable!() };
    for number in 10..40 {
        rows.push(serde_json::from_value(call(number, &json!({}))).unwrap());
    }
    app.news(snapshot(Part::Calls(rows), begin()));
    assert_eq!(selected(&app), "000002");
    let view = app.view();
    assert!((view.top..view.top + app.height()).contains(&view.at));
    app.key(Input::Home);
    assert_eq!(selected(&app), "000039");
}

#[test]
fn keys_walk_and_stop_at_the_ends() {
    let mut app = app((80, 24));
    app.key(Input::Char('3'));
    let rows = (0..59).map(|number| serde_json::from_value(call(number, &json!({}))).unwrap());
    app.news(snapshot(Part::Calls(rows.collect()), begin()));
    for (key, at) in [
        (Input::Up, 0),
        (Input::Down, 1),
        (Input::PageDown, 19),
        (Input::PageUp, 1),
        (Input::Char('k'), 0),
        (Input::End, 58),
        (Input::Down, 58),
        (Input::Char('g'), 0),
    ] {
        app.key(key);
        assert_eq!(app.view().at, at, "{key:?}");
    }
}

#[test]
fn q_goes_back_and_then_quits_and_control_c_always_quits() {
    let mut app = app((80, 24));
    app.key(Input::Char('?'));
    assert!(app.pane.is_some());
    assert_eq!(app.key(Input::Char('q')), Effect::Nothing);
    assert_eq!(app.key(Input::Char('q')), Effect::Quit);
    app.key(Input::Char('/'));
    assert_eq!(app.key(Input::Char('q')), Effect::Nothing);
    assert_eq!(app.key(Input::Interrupt), Effect::Quit);
}

#[test]
fn text_scrolls_as_far_as_there_is_any() {
    let mut app = app((30, 10));
    app.key(Input::Char('?'));
    let lines = app.pane.as_ref().unwrap().wrapped(30).len();
    assert!(lines > 20, "{lines}");
    app.key(Input::Char('G'));
    assert_eq!(app.pane.as_ref().unwrap().top, lines - 5);
    app.key(Input::Char('j'));
    assert_eq!(app.pane.as_ref().unwrap().top, lines - 5);
    app.key(Input::PageUp);
    assert_eq!(app.pane.as_ref().unwrap().top, lines - 10);
    // A wider screen has less to scroll.
    app.tick(begin(), (200, 50));
    assert_eq!(app.pane.as_ref().unwrap().top, 0);
}

#[test]
fn the_help_has_room_on_a_small_screen() {
    for line in HELP {
        assert!(super::super::grid::width(line) <= 80, "{line}");
    }
    assert!(HELP.len() <= usize::from(24 - FRAME));
}
