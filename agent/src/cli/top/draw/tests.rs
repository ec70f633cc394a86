//! The screen as it is seen, at 80×24 and at 200×50.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::super::data::{News, Part};
use super::super::fixtures::{app, begin, ctx, empty, snapshot};
use super::super::keys::Input;
use super::*;

const PLAIN: Theme = Theme { colour: false };

fn buffer(app: &App, (columns, rows): (u16, u16), theme: Theme) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, app, theme)).unwrap();
    terminal.backend().buffer().clone()
}

/// The lines of the screen, without the blanks at their ends.
fn lines(app: &App, size: (u16, u16)) -> Vec<String> {
    let buffer = buffer(app, size, PLAIN);
    let line = |row| {
        let mut line = String::new();
        let mut column = 0;
        while column < size.0 {
            let symbol = buffer[(column, row)].symbol();
            line.push_str(symbol);
            // The second half of a wide character is not drawn.
            column += width(symbol).max(1);
        }
        line.trim_end().to_owned()
    };
    (0..size.1).map(line).collect()
}

/// What is on the screen but for empty lines; the last one has the keys.
fn seen(app: &App, size: (u16, u16)) -> String {
    let lines = lines(app, size);
    assert!(lines.last().unwrap().ends_with(|c: char| !c.is_whitespace()), "{lines:#?}");
    lines.into_iter().filter(|line| !line.is_empty()).map(|line| line + "\n").collect()
}

fn on(tab: char, size: (u16, u16)) -> String {
    let mut app = app(size);
    app.key(Input::Char(tab));
    seen(&app, size)
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);

/// A screen on which nothing was seen yet.
fn on_empty(tab: Tab, size: (u16, u16)) -> String {
    let mut app = App::new(ctx(), std::time::Duration::from_secs(2));
    app.tick(begin(), size);
    app.key(Input::Char(char::from_digit(u32::try_from(tab.index()).unwrap() + 1, 10).unwrap()));
    app.news(snapshot(empty(tab), begin()));
    seen(&app, size)
}

#[test]
fn every_tab_shows_its_rows_on_small_and_large_screens() {
    for size in [SMALL, LARGE] {
        for (tab, title, row) in [
            ('1', "WORKLOAD", "unit:batch-agent.service"),
            ('2', "PROVIDER", "claude-sonnet-4-5"),
            ('3', "TIME▼", "gpt-4o-mini"),
            ('4', "USED▼", "code-reviewer"),
            ('5', "BREAKER", "5 failures in a row"),
            ('6', "CHECK", "system store"),
        ] {
            let seen = on(tab, size);
            assert!(seen.contains(title), "{tab} {size:?}\n{seen}");
            assert!(seen.contains(row), "{tab} {size:?}\n{seen}");
            for figure in
                ["coverage 93%", "today $18.42", "1.0 calls/s", "210 tokens/s", "$36.00/h"]
            {
                assert!(seen.contains(figure), "{figure} is not in\n{seen}");
            }
        }
    }
}

#[test]
fn an_empty_tab_says_why_it_is() {
    for size in [SMALL, LARGE] {
        for tab in Tab::ALL.into_iter().filter(|tab| *tab != Tab::Health) {
            let [what, look] = tab.nothing();
            let seen = on_empty(tab, size);
            assert!(seen.contains(what) && seen.contains(&format!("→ {look}")), "{seen}");
        }
    }
    let mut app = app(SMALL);
    app.key(Input::Char('/'));
    app.key(Input::Char('€'));
    assert!(seen(&app, SMALL).contains("nothing matches €"));
    let untold = App::new(ctx(), std::time::Duration::from_secs(2));
    assert!(seen(&untold, SMALL).contains("asking the agent …"));
}

#[test]
fn an_agent_that_is_gone_is_in_the_first_line_above_what_was_known() {
    let mut app = app(SMALL);
    app.news(News::Lost("no agent answers on /run/weir/weir.sock".to_owned()));
    let lines = lines(&app, SMALL);
    assert_eq!(
        lines[0],
        "no agent answers on /run/weir/weir.sock; trying again    every 2s  14:03:22"
    );
    assert!(lines[1].starts_with("today $18.42  1,234 calls  - calls/s"), "{}", lines[1]);
    assert!(lines[4].contains("unit:batch-agent.service"), "{}", lines[4]);
}

#[test]
fn whatever_the_size_there_is_a_screen() {
    for columns in [1, 2, 7, 20, 79, 300] {
        for rows in [1, 2, 4, 5, 6, 25] {
            let mut app = app((columns, rows));
            for key in ['1', 't', '2', '3', '4', '5', '6', '?'] {
                app.key(Input::Char(key));
                app.tick(begin(), (columns, rows));
                assert_eq!(buffer(&app, (columns, rows), PLAIN).area.width, columns);
            }
        }
    }
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let coloured = |theme| {
        let mut app = app(SMALL);
        app.news(snapshot(Part::Health, begin()));
        let buffer = buffer(&app, SMALL, theme);
        buffer.content.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(coloured(Theme { colour: true }));
    assert!(!coloured(PLAIN));
}
