//! Tables that fit the terminal: numbers to the right, names shortened where there is no room.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Width, presets};

use super::text::clean;

/// What a column holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// A word: to the left, as wide as it needs.
    Word(&'static str),
    /// A name: to the left, shortened where there is no room.
    Name(&'static str),
    /// A figure: to the right, never shortened.
    Figure(&'static str),
    /// A word: as wide as it needs, shortened at this width.
    UpTo(&'static str, u16),
    /// A word in a column of this width, shortened.
    Fixed(&'static str, u16),
    /// A figure in a column of this width.
    FixedFigure(&'static str, u16),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Word(title)
            | Self::Name(title)
            | Self::Figure(title)
            | Self::UpTo(title, _)
            | Self::Fixed(title, _)
            | Self::FixedFigure(title, _) => title,
        }
    }

    /// `gap` is the room to the next column, which counts as part of this one.
    fn constraint(self, gap: u16) -> Option<ColumnConstraint> {
        match self {
            Self::Word(_) | Self::Figure(_) => Some(ColumnConstraint::ContentWidth),
            Self::Name(_) => None,
            Self::UpTo(_, width) => {
                Some(ColumnConstraint::UpperBoundary(Width::Fixed(width + gap)))
            }
            Self::Fixed(_, width) | Self::FixedFigure(_, width) => {
                Some(ColumnConstraint::Absolute(Width::Fixed(width + gap)))
            }
        }
    }

    fn alignment(self) -> CellAlignment {
        match self {
            Self::Figure(_) | Self::FixedFigure(..) => CellAlignment::Right,
            _ => CellAlignment::Left,
        }
    }
}

/// A table in the making.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    gap: u16,
}

impl Table {
    pub(super) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), gap: 2 }
    }

    /// With one blank between columns instead of two.
    pub(super) fn tight(columns: impl Into<Vec<Column>>) -> Self {
        Self { gap: 1, ..Self::new(columns) }
    }

    pub(super) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// The header and all rows, each one line of at most `width`.
    pub(super) fn lines(&self, width: u16) -> Vec<String> {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            // The gap after the last column may stand outside: it is cut off.
            .set_width(width.saturating_add(self.gap))
            // Names are shortened where they are too long, not at a blank in them.
            .set_delimiter('\0')
            .set_header(self.columns.iter().map(|column| column.title()));
        for cells in &self.rows {
            let mut row = Row::from(cells.iter().map(|cell| Cell::new(clean(cell))));
            row.max_height(1);
            table.add_row(row);
        }
        for (column, kind) in table.column_iter_mut().zip(&self.columns) {
            column.set_padding((0, self.gap)).set_cell_alignment(kind.alignment());
            if let Some(constraint) = kind.constraint(self.gap) {
                column.set_constraint(constraint);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_way_to_figures() {
        let columns = [Column::Name("WORKLOAD"), Column::Figure("CALLS"), Column::Word("USER")];
        let mut table = Table::new(columns);
        table.row(["exe:python3:a-very-long-script-name.py".into(), "1,234".into(), "al".into()]);
        table.row(["unit:x".into(), "5".into(), "bob".into()]);
        assert_eq!(
            table.lines(30),
            [
                "WORKLOAD           CALLS  USER",
                "exe:python3:a-ve…  1,234  al",
                "unit:x                 5  bob",
            ]
        );
        assert_eq!(table.lines(80)[1], "exe:python3:a-very-long-script-name.py  1,234  al");
    }

    #[test]
    fn fixed_columns_line_up_across_tables() {
        let columns = [Column::Fixed("A", 4), Column::FixedFigure("B", 4), Column::Word("C")];
        let mut table = Table::new(columns);
        table.row(["abcdef".into(), "1".into(), "x".into()]);
        assert_eq!(table.lines(80), ["A        B  C", "abc…     1  x"]);
    }

    #[test]
    fn cells_are_cleaned() {
        let mut table = Table::new([Column::Name("A")]);
        table.row(["\u{1b}[2J".into()]);
        assert_eq!(table.lines(80)[1], r"\u{1b}[2J");
    }
}
