//! Keys, as far as they mean something here: crossterm's events to our own few.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Char(char),
    Enter,
    Esc,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    BackTab,
    Backspace,
    /// Ctrl-U: away with what was typed.
    Erase,
    /// Ctrl-C, which the terminal does not turn into a signal in raw mode.
    Interrupt,
}

impl Input {
    /// `None` for keys that mean nothing, and for the release of any.
    pub(super) fn of(event: KeyEvent) -> Option<Self> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        if event.modifiers.contains(KeyModifiers::CONTROL) {
            return match event.code {
                KeyCode::Char('c') => Some(Self::Interrupt),
                KeyCode::Char('u') => Some(Self::Erase),
                KeyCode::Char('b') => Some(Self::PageUp),
                KeyCode::Char('f') => Some(Self::PageDown),
                _ => None,
            };
        }
        Some(match event.code {
            KeyCode::Char(_) if event.modifiers.contains(KeyModifiers::ALT) => return None,
            KeyCode::Char(c) => Self::Char(c),
            KeyCode::Enter => Self::Enter,
            KeyCode::Esc => Self::Esc,
            KeyCode::Up => Self::Up,
            KeyCode::Down => Self::Down,
            KeyCode::Left => Self::Left,
            KeyCode::Right => Self::Right,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown => Self::PageDown,
            KeyCode::Home => Self::Home,
            KeyCode::End => Self::End,
            KeyCode::Tab => Self::Tab,
            KeyCode::BackTab => Self::BackTab,
            KeyCode::Backspace => Self::Backspace,
            _ => return None,
        })
    }
}

/// What each key does, as the help shows it: at most as many lines as 24 rows have room for.
pub(super) const HELP: [&str; 17] = [
    "1-6        Processes, Models, Calls, Budgets, Breakers, Health",
    "Tab → l    the next of them; Shift-Tab ← h: the one before",
    "↑ ↓ k j    one row up or down; PgUp PgDn: a page; Home g, End G: the ends",
    "Enter      everything about the row; Esc or q: back",
    "s          sort by the next column; after the last, as the agent said it",
    "S          turn the order round",
    "/          show only rows with these words; Enter keeps them, Esc clears them",
    "t          processes as a tree: user, workload, process",
    "Space      fold a group of the tree, or unfold it",
    "p          pause, and go on",
    "+ -        look less often, look more often",
    "?          this help",
    "q Ctrl-C   quit",
    "",
    "COVERAGE   metered: tokens and dollars are counted; else Enter says why",
    "COST       ?: it has no price (weir price unknown); -: nothing was read",
    "/h         what an hour like the last minute would cost",
];
