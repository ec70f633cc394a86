//! What is shown and what keys and answers do to it. Neither draws nor waits: it is told what
//! happened and when, and says what is to be asked.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::super::text::clean;
use super::super::{Ctx, explain};
use super::data::{Data, News, Snapshot};
use super::feed::Wanted;
use super::grid::{Id, Row, arranged};
use super::keys::{HELP, Input};
use super::pane::Pane;
use super::rates::Rates;
use super::rows;
use super::tab::Tab;
use super::view::View;
use crate::admin::calls::CallDetail;
use crate::admin::status::Status;
use crate::clock::Now;
use crate::record::CallId;

/// Lines that are not rows: two of figures, the tabs, the titles, the keys.
pub(super) const FRAME: u16 = 5;
/// How often the agent can be asked, in seconds.
const PACES: [u64; 7] = [1, 2, 3, 5, 10, 30, 60];

/// What is to be done because of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Quit,
    /// Everything about this call is to be asked for.
    Tell(CallId),
}

/// Everything there is.
#[derive(Debug)]
pub(super) struct App {
    /// With the time of the last tick.
    pub(super) ctx: Ctx,
    pub(super) tab: Tab,
    views: [View; 6],
    /// Processes are shown as a tree.
    pub(super) tree: bool,
    folded: HashSet<Id>,
    /// A filter is being typed.
    pub(super) typing: bool,
    pub(super) pane: Option<Pane>,
    pub(super) paused: bool,
    pub(super) every: Duration,
    pub(super) data: Data,
    /// Why nobody answers.
    pub(super) lost: Option<String>,
    pub(super) rates: Rates,
    /// The rows of this tab, in the order in which they are shown.
    pub(super) shown: Vec<Row>,
    /// How many there are without the filter; `None` while nothing was said yet.
    pub(super) all: Option<usize>,
    size: (u16, u16),
}

impl App {
    pub(super) fn new(ctx: Ctx, every: Duration) -> Self {
        Self {
            ctx,
            tab: Tab::Processes,
            views: Tab::ALL.map(|tab| View::new(tab.sort())),
            tree: false,
            folded: HashSet::new(),
            typing: false,
            pane: None,
            paused: false,
            every,
            data: Data::default(),
            lost: None,
            rates: Rates::default(),
            shown: Vec::new(),
            all: None,
            size: (80, 24),
        }
    }

    /// What is to be asked from now on.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { tab: self.tab, every: self.every, paused: self.paused }
    }

    /// How the tab is looked at.
    pub(super) fn view(&self) -> &View {
        &self.views[self.tab.index()]
    }

    fn view_mut(&mut self) -> &mut View {
        &mut self.views[self.tab.index()]
    }

    /// Rows there is room for.
    pub(super) fn height(&self) -> usize {
        usize::from(self.size.1.saturating_sub(FRAME))
    }

    /// The terminal is of this size, and it is now.
    pub(super) fn tick(&mut self, now: Now, size: (u16, u16)) {
        self.ctx.now = Timestamp::try_from(now.wall).unwrap_or_default();
        self.size = size;
        self.refresh();
        self.scroll_pane(0);
    }

    /// Something came from the background.
    pub(super) fn news(&mut self, news: News) {
        match news {
            // What was under way when it was paused is not shown any more.
            News::Snapshot(_) if self.paused => {}
            News::Snapshot(snapshot) => {
                let Snapshot { at, status, part } = *snapshot;
                // Another agent's figures are no growth of this one's.
                let same = |known: &Status| known.since == status.since;
                if !self.data.status.as_ref().is_some_and(same) {
                    self.rates.forget();
                }
                self.rates.read(at.mono, &status.today);
                self.lost = None;
                self.data.take(status, part);
                self.refresh();
            }
            News::Call(answer) => self.tell(answer),
            News::Lost(why) => {
                self.rates.forget();
                if let Some(pane) = self.pane.as_mut().filter(|pane| pane.awaits.is_some()) {
                    pane.say(std::slice::from_ref(&why));
                }
                self.lost = Some(clean(&why).into_owned());
            }
        }
    }

    fn tell(&mut self, answer: Result<Box<CallDetail>, String>) {
        let Some(pane) = &mut self.pane else { return };
        let Some(awaited) = pane.awaits else { return };
        match answer {
            // Asked for, left, and another asked for.
            Ok(detail) if detail.call.call_id != awaited => {}
            Ok(detail) => pane.say(&explain::call(&detail, &self.ctx)),
            Err(why) => pane.say(&[why]),
        }
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, input: Input) -> Effect {
        let effect = if input == Input::Interrupt {
            Effect::Quit
        } else if self.typing {
            self.typed(input)
        } else if self.pane.is_some() {
            self.read(input)
        } else {
            self.browse(input)
        };
        self.refresh();
        effect
    }

    /// While a filter is typed.
    fn typed(&mut self, input: Input) -> Effect {
        match input {
            Input::Char(letter) => self.view_mut().letter(letter),
            Input::Backspace => {
                self.view_mut().filter.pop();
            }
            Input::Erase => self.view_mut().filter.clear(),
            Input::Enter => self.typing = false,
            Input::Esc => {
                self.typing = false;
                self.view_mut().filter.clear();
            }
            Input::Up | Input::Down | Input::PageUp | Input::PageDown => self.walk(input),
            _ => {}
        }
        Effect::Nothing
    }

    /// While there is text in place of the rows.
    fn read(&mut self, input: Input) -> Effect {
        let page = isize::try_from(self.height().max(1)).unwrap_or(1);
        match input {
            Input::Esc | Input::Char('q') | Input::Enter | Input::Backspace => self.pane = None,
            Input::Up | Input::Char('k') => self.scroll_pane(-1),
            Input::Down | Input::Char('j') => self.scroll_pane(1),
            Input::PageUp => self.scroll_pane(-page),
            Input::PageDown | Input::Char(' ') => self.scroll_pane(page),
            Input::Home | Input::Char('g') => self.scroll_pane(isize::MIN),
            Input::End | Input::Char('G') => self.scroll_pane(isize::MAX),
            Input::Char('p' | '?' | '+' | '-' | '1'..='6') | Input::Tab | Input::BackTab => {
                return self.browse(input);
            }
            _ => {}
        }
        Effect::Nothing
    }

    fn scroll_pane(&mut self, by: isize) {
        let (width, height) = (self.size.0, self.height());
        if let Some(pane) = &mut self.pane {
            let last = pane.wrapped(width).len().saturating_sub(height.max(1));
            pane.top = pane.top.saturating_add_signed(by).min(last);
        }
    }

    fn browse(&mut self, input: Input) -> Effect {
        match input {
            Input::Char('q') => return Effect::Quit,
            Input::Enter => return self.open(),
            Input::Char(digit @ '1'..='6') => {
                self.go(Tab::ALL["123456".find(digit).unwrap_or(0)]);
            }
            Input::Tab | Input::Right | Input::Char('l') => self.go(self.tab.after(1)),
            Input::BackTab | Input::Left | Input::Char('h') => {
                self.go(self.tab.after(Tab::ALL.len() - 1));
            }
            Input::Char('/') => self.typing = true,
            Input::Esc => self.view_mut().filter.clear(),
            Input::Char('s') => {
                let columns = self.tab.columns().len();
                let view = self.view_mut();
                view.sort = view.sort.next(columns);
            }
            Input::Char('S') => {
                let sort = &mut self.view_mut().sort;
                sort.descending = !sort.descending;
            }
            Input::Char('t') if self.tab == Tab::Processes => self.tree = !self.tree,
            Input::Char(' ') => self.fold(),
            Input::Char('p') => self.paused = !self.paused,
            Input::Char('+') => self.pace(|pace, now| pace > now),
            Input::Char('-') => self.pace(|pace, now| pace < now),
            Input::Char('?') => {
                self.pane = Some(Pane::new("keys", &HELP.map(str::to_owned)));
            }
            other => self.walk(other),
        }
        Effect::Nothing
    }

    fn go(&mut self, tab: Tab) {
        self.tab = tab;
        self.pane = None;
    }

    /// To the nearest pace that is longer, or shorter.
    fn pace(&mut self, is_wanted: fn(Duration, Duration) -> bool) {
        let now = self.every;
        let paces = PACES.map(Duration::from_secs);
        let wanted = paces.into_iter().filter(|pace| is_wanted(*pace, now));
        if let Some(pace) = wanted.min_by_key(|pace| pace.abs_diff(now)) {
            self.every = pace;
        }
    }

    fn walk(&mut self, input: Input) {
        let page = self.height().saturating_sub(1).max(1);
        let at = self.view().at;
        let to = match input {
            Input::Up | Input::Char('k') => at.saturating_sub(1),
            Input::Down | Input::Char('j') => at.saturating_add(1),
            Input::PageUp => at.saturating_sub(page),
            Input::PageDown => at.saturating_add(page),
            Input::Home | Input::Char('g') => 0,
            Input::End | Input::Char('G') => usize::MAX,
            _ => return,
        };
        self.views[self.tab.index()].go(to, &self.shown);
    }

    fn selected(&self) -> Option<&Row> {
        self.shown.get(self.view().at)
    }

    fn fold(&mut self) {
        let Some(row) = self.selected().filter(|row| row.group) else { return };
        let id = row.id.clone();
        if !self.folded.remove(&id) {
            self.folded.insert(id);
        }
    }

    /// Everything about the selected row.
    fn open(&mut self) -> Effect {
        let Some(row) = self.selected() else { return Effect::Nothing };
        if row.group {
            self.fold();
            return Effect::Nothing;
        }
        let id = row.id.clone();
        if let Id::Call(call) = id {
            let pane = Pane::new(&format!("call {call}"), &["asking the agent …".to_owned()]);
            self.pane = Some(Pane { awaits: Some(call), ..pane });
            return Effect::Tell(call);
        }
        self.pane = self.detail(&id);
        Effect::Nothing
    }

    fn detail(&self, id: &Id) -> Option<Pane> {
        let (data, ctx) = (&self.data, &self.ctx);
        let (title, lines) = match id {
            Id::Process { pid, .. } => {
                let mut processes = data.processes.as_ref()?.iter();
                let row = processes.find(|row| rows::processes::id(row) == *id)?;
                (format!("process {pid}"), explain::process_lines(row, ctx))
            }
            Id::Model { model, .. } => {
                let row = data.models.as_ref()?.iter().find(|row| rows::models::id(row) == *id)?;
                (format!("model {model}"), rows::models::detail(row))
            }
            Id::Budget { policy, .. } => {
                let row =
                    data.budgets.as_ref()?.iter().find(|row| rows::budgets::id(row) == *id)?;
                (format!("budget {policy}"), rows::budgets::detail(row, ctx))
            }
            Id::Breaker(name) => {
                let row = data.breakers.as_ref()?.iter().find(|row| row.name == *name)?;
                (format!("breaker {name}"), rows::breakers::detail(row, ctx))
            }
            Id::Check(name, at) => {
                let lines = rows::health::detail(data.status.as_ref()?, ctx, *at)?;
                (name.clone(), lines)
            }
            Id::Call(_) | Id::User(_) | Id::Workload { .. } => return None,
        };
        Some(Pane::new(&title, &lines))
    }

    /// The rows of this tab, anew.
    fn refresh(&mut self) {
        let (data, ctx) = (&self.data, &self.ctx);
        let view = &self.views[self.tab.index()];
        let (sort, filter) = (view.sort, view.filter.as_str());
        let rows = match self.tab {
            Tab::Processes => match &data.processes {
                Some(processes) if self.tree => {
                    let rows = rows::tree::rows(processes, ctx, (sort, filter), &self.folded);
                    self.all = Some(processes.len());
                    self.shown = rows;
                    return self.settle();
                }
                processes => processes.as_ref().map(|rows| rows::processes::rows(rows, ctx)),
            },
            Tab::Models => data.models.as_ref().map(|rows| rows::models::rows(rows)),
            Tab::Calls => data.calls.as_ref().map(|rows| rows::calls::rows(rows, ctx)),
            Tab::Budgets => data.budgets.as_ref().map(|rows| rows::budgets::rows(rows, ctx)),
            Tab::Breakers => data.breakers.as_ref().map(|rows| rows::breakers::rows(rows, ctx)),
            Tab::Health => data.status.as_ref().map(|status| rows::health::rows(status, ctx)),
        };
        self.all = rows.as_ref().map(Vec::len);
        self.shown = arranged(rows.unwrap_or_default(), sort, filter);
        self.settle();
    }

    fn settle(&mut self) {
        let height = self.height();
        self.views[self.tab.index()].settle(&self.shown, height);
    }
}

#[cfg(test)]
mod tests;
