//! Text that takes the place of the rows: everything about one of them, or the keys.

use super::super::text::clean;
use super::grid::wrapped;
use crate::record::CallId;

/// Text that is shown in place of the rows.
#[derive(Debug)]
pub(super) struct Pane {
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    /// Lines scrolled away, as they are wrapped.
    pub(super) top: usize,
    /// The call whose story is still to come.
    pub(super) awaits: Option<CallId>,
}

impl Pane {
    pub(super) fn new(title: &str, lines: &[String]) -> Self {
        let mut pane =
            Self { title: clean(title).into_owned(), lines: Vec::new(), top: 0, awaits: None };
        pane.say(lines);
        pane
    }

    /// Shows these lines and waits for no others.
    pub(super) fn say(&mut self, lines: &[String]) {
        self.lines = lines.iter().map(|line| clean(line).into_owned()).collect();
        self.awaits = None;
    }

    /// The lines as they fit this width.
    pub(super) fn wrapped(&self, width: u16) -> Vec<String> {
        self.lines.iter().flat_map(|line| wrapped(line, width)).collect()
    }
}
