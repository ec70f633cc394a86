//! The screen: figures, tabs, rows, keys. Everything it shows was made safe for a terminal before.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::status::doing;
use super::super::text::{calls, clean, count, percent, short, usd};
use super::grid::{Kind, Tone, fitted, layout, title, width};
use super::rates::Rate;
use super::state::{App, FRAME};
use super::tab::Tab;
use super::theme::Theme;
use crate::admin::status::{State, Status};

/// One part of a line.
type Part = (String, Style);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, theme: Theme) {
    let area = frame.area();
    let mut page = Page { buffer: frame.buffer_mut(), area, theme };
    page.line(0, &headline(app, theme), &pace(app, theme));
    page.line(1, &figures(app, theme), &[]);
    page.line(2, &tabs(app), &[]);
    if app.pane.is_some() {
        page.pane(app);
    } else {
        page.table(app);
    }
    let place = place(app);
    page.line(area.height.saturating_sub(1), &footer(app, theme), &[(place, Style::new())]);
}

struct Page<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    theme: Theme,
}

impl Page<'_> {
    /// Writes a line: some of it from the left, the rest up to the right where there is room.
    fn line(&mut self, row: u16, left: &[Part], right: &[Part]) {
        if row >= self.area.height {
            return;
        }
        let taken = |parts: &[Part]| parts.iter().map(|(text, _)| width(text)).sum::<u16>();
        let (begins, ends) = (taken(left), taken(right));
        self.write(0, row, left);
        if ends > 0 && begins.saturating_add(ends).saturating_add(2) <= self.area.width {
            self.write(self.area.width - ends, row, right);
        }
    }

    fn write(&mut self, column: u16, row: u16, parts: &[Part]) {
        let spans = parts.iter().map(|(text, style)| Span::styled(text.as_str(), *style));
        let line: Line<'_> = spans.collect();
        let room = self.area.width.saturating_sub(column);
        self.buffer.set_line(self.area.x + column, self.area.y + row, &line, room);
    }

    /// Rows from the fifth line on, below their titles.
    fn table(&mut self, app: &App) {
        let columns = app.tab.columns();
        let sort = app.view().sort;
        let widths = layout(columns, &app.shown, sort, self.area.width);
        let mut titles = Vec::new();
        for &(at, room) in &widths {
            let text = title(columns, at, sort);
            let right = columns[at].kind == Kind::Figure;
            titles.push((fitted(&text, room, right), self.theme.title()));
            titles.push((" ".to_owned(), Style::new()));
        }
        self.line(3, &titles, &[]);
        if app.shown.is_empty() {
            return self.nothing(app);
        }
        let visible = app.shown.iter().enumerate().skip(app.view().top).take(app.height());
        for ((at, row), y) in visible.zip(4..) {
            let mut parts = Vec::new();
            for &(column, room) in &widths {
                let Some(cell) = row.cells.get(column) else { continue };
                let right = columns[column].kind == Kind::Figure;
                parts.push((fitted(&cell.text, room, right), self.theme.toned(cell.tone)));
                parts.push((" ".to_owned(), Style::new()));
            }
            self.line(y, &parts, &[]);
            if at == app.view().at && y < self.area.height {
                let row = Rect::new(self.area.x, self.area.y + y, self.area.width, 1);
                self.buffer.set_style(row, Theme::chosen());
            }
        }
    }

    /// Why there is no row.
    fn nothing(&mut self, app: &App) {
        let filter = &app.view().filter;
        let lines = match (app.all, &app.lost) {
            (None, None) => ["asking the agent …".to_owned(), String::new()],
            (None, Some(_)) => ["nothing was heard yet".to_owned(), String::new()],
            (Some(1..), _) if !filter.is_empty() => {
                [format!("nothing matches {}", clean(filter)), "Esc clears the filter".to_owned()]
            }
            _ => {
                let [what, look] = app.tab.nothing();
                [what.to_owned(), format!("→ {look}")]
            }
        };
        for (text, row) in lines.into_iter().zip(5..) {
            if row + 1 < self.area.height {
                self.line(row, &[(format!("  {text}"), Style::new())], &[]);
            }
        }
    }

    /// Text in place of rows.
    fn pane(&mut self, app: &App) {
        let Some(pane) = &app.pane else { return };
        self.line(3, &[(pane.title.clone(), self.theme.title())], &[]);
        let lines = pane.wrapped(self.area.width);
        let visible = lines.into_iter().skip(pane.top).take(app.height());
        for (line, row) in visible.zip(4..) {
            self.line(row, &[(line, Style::new())], &[]);
        }
    }
}

fn plain(text: impl Into<String>) -> Part {
    (text.into(), Style::new())
}

/// What the agent does, how much of the traffic it covers, what it warns of; or that it is gone.
fn headline(app: &App, theme: Theme) -> Vec<Part> {
    if let Some(lost) = &app.lost {
        let bad = theme.toned(Tone::Bad);
        return vec![(format!("{lost}; trying again"), bad)];
    }
    let Some(status) = &app.data.status else { return vec![plain("weir")] };
    let state = match status.state {
        State::Healthy => (doing(status).to_owned(), theme.toned(Tone::Good)),
        State::Degraded => (format!("{} (degraded)", doing(status)), theme.toned(Tone::Bad)),
    };
    let mut parts = vec![(format!("weir {}  ", clean(&status.version)), theme.title()), state];
    parts.push((
        format!("  coverage {}", percent(status.coverage.ratio())),
        match status.coverage.ratio() {
            Some(..1.0) => theme.toned(Tone::Warning),
            _ => Style::new(),
        },
    ));
    parts.extend(match status.warnings.len() {
        0 => None,
        1 => Some(("  1 warning".to_owned(), theme.toned(Tone::Warning))),
        many => Some((format!("  {many} warnings"), theme.toned(Tone::Warning))),
    });
    if app.data.only_uid.is_some() {
        parts.push(plain("  yours only"));
    }
    parts
}

/// How often it is asked, and what time it is.
fn pace(app: &App, theme: Theme) -> Vec<Part> {
    let time = app.ctx.now.to_zoned(app.ctx.zone.clone()).strftime("%H:%M:%S").to_string();
    let every = if app.paused {
        ("paused".to_owned(), theme.toned(Tone::Warning))
    } else {
        plain(format!("every {}s", app.every.as_secs()))
    };
    vec![every, plain(format!("  {time}"))]
}

/// What today came to, and how fast it grows.
fn figures(app: &App, theme: Theme) -> Vec<Part> {
    let Some(status) = &app.data.status else { return Vec::new() };
    let Status { today, .. } = status;
    let mut parts = vec![plain("today "), (usd(today.cost_usd), theme.title())];
    parts.push(plain(format!("  {}  {}", calls(today.calls), rates(app.rates.now()))));
    if today.unpriced_calls > 0 {
        let unpriced = format!("  {} unpriced", count(today.unpriced_calls));
        parts.push((unpriced, theme.toned(Tone::Warning)));
    }
    parts
}

fn rates(rate: Option<Rate>) -> String {
    let Some(rate) = rate else { return "- calls/s  - tokens/s  - $/h".to_owned() };
    let calls = match rate.calls {
        ..99.5 => format!("{:.1}", rate.calls),
        many => count(whole(many)),
    };
    format!("{calls} calls/s  {} tokens/s  {}/h", short(whole(rate.tokens)), usd(rate.hourly))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and casts saturate"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

fn tabs(app: &App) -> Vec<Part> {
    let tab = |(tab, number): (Tab, usize)| {
        let style = if tab == app.tab { Theme::chosen() } else { Style::new() };
        (format!(" {number} {} ", tab.name()), style)
    };
    Tab::ALL.into_iter().zip(1..).map(tab).collect()
}

/// The keys that help most where one is.
fn footer(app: &App, theme: Theme) -> Vec<Part> {
    let filter = &app.view().filter;
    if app.typing {
        return vec![plain(format!("/{}▏  Enter keeps, Esc clears", clean(filter)))];
    }
    if app.pane.is_some() {
        return vec![plain("Esc back  ↑↓ scroll  q back  Ctrl-C quit")];
    }
    let keys = match app.tab {
        Tab::Processes if app.tree => "Enter detail  Space fold  s sort  S reverse  t list",
        Tab::Processes => "Enter detail  / filter  s sort  S reverse  t tree",
        _ => "Enter detail  / filter  s sort  S reverse",
    };
    if filter.is_empty() {
        return vec![plain(format!("{keys}  p pause  ? help  q quit"))];
    }
    // A filter that is forgotten hides what one looks for: it stands where the keys are.
    let shown = fitted(&clean(filter), width(filter).min(30), false);
    let of = format!("  of {}  Esc clears it  ? help  q quit", app.all.unwrap_or(0));
    vec![(format!("/{shown}"), theme.toned(Tone::Warning)), plain(of)]
}

/// `7/40`: which row is selected, of how many.
fn place(app: &App) -> String {
    let rows = app.shown.len();
    match &app.pane {
        Some(pane) => {
            let lines = pane.lines.len();
            if lines > app.height() { format!("from line {}", pane.top + 1) } else { String::new() }
        }
        None if rows == 0 => String::new(),
        None => format!("{}/{rows}", app.view().at + 1),
    }
}

// The titles stand in the fourth line, the rows below, the keys in the last.
const _: () = assert!(FRAME == 5);

#[cfg(test)]
mod tests;
