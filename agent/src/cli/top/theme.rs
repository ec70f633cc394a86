//! What things look like. Colour is never the only carrier of a meaning: words say the same.

use ratatui::style::{Color, Modifier, Style};

use super::grid::Tone;

/// With or without colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) colour: bool,
}

impl Theme {
    pub(super) fn toned(self, tone: Tone) -> Style {
        let plain = Style::new();
        match (tone, self.colour) {
            (Tone::Plain, _) | (Tone::Good, false) => plain,
            (Tone::Good, true) => plain.fg(Color::Green),
            (Tone::Warning, true) => plain.fg(Color::Yellow),
            (Tone::Bad, true) => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Warning | Tone::Bad, false) => plain.add_modifier(Modifier::BOLD),
            (Tone::Faint, _) => plain.add_modifier(Modifier::DIM),
        }
    }

    /// Names of what stands below or beside.
    pub(super) fn title(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { bold.fg(Color::Cyan) } else { bold }
    }

    /// What is chosen among others.
    pub(super) fn chosen() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}
