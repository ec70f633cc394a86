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
fn dump() {
    let dir = std::path::Path::new("/tmp/wt-top-snap");
    std::fs::create_dir_all(dir).unwrap();
    let write = |name: String, text: String| std::fs::write(dir.join(name), text).unwrap();
    for (name, size) in [("small", SMALL), ("large", LARGE)] {
        for tab in Tab::ALL {
            let digit = char::from_digit(u32::try_from(tab.index()).unwrap() + 1, 10).unwrap();
            write(format!("{name}-{}", tab.name()), on(digit, size));
            write(format!("{name}-{}-empty", tab.name()), on_empty(tab, size));
        }
        let mut app = app(size);
        app.key(Input::Char('t'));
        write(format!("{name}-tree"), seen(&app, size));
        app.key(Input::Char('t'));
        app.key(Input::Char('?'));
        write(format!("{name}-help"), seen(&app, size));
        app.key(Input::Esc);
        app.key(Input::End);
        app.key(Input::Enter);
        write(format!("{name}-detail"), seen(&app, size));
    }
}
