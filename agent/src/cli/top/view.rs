//! How one tab is looked at: the order, the filter, the row that is selected, what is scrolled away.

use super::grid::{Id, Row, Sort};

/// Letters a filter can have.
const LONGEST: usize = 100;

/// How one tab is looked at.
#[derive(Debug)]
pub(super) struct View {
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// The selected row's place.
    pub(super) at: usize,
    /// The first row on the screen.
    pub(super) top: usize,
    /// The row that was gone to, which stays selected wherever it moves. Without one, the place
    /// stays: whoever looks at the first row looks at whatever is first.
    followed: Option<Id>,
}

impl View {
    pub(super) fn new(sort: Sort) -> Self {
        Self { sort, filter: String::new(), at: 0, top: 0, followed: None }
    }

    /// Finds the selected row among other rows, and brings it onto a screen of this height.
    pub(super) fn settle(&mut self, rows: &[Row], height: usize) {
        let followed = self.followed.as_ref();
        if let Some(at) = followed.and_then(|id| rows.iter().position(|row| row.id == *id)) {
            self.at = at;
        }
        self.at = self.at.min(rows.len().saturating_sub(1));
        let height = height.max(1);
        let last = rows.len().saturating_sub(height);
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(height)).min(last);
    }

    /// Goes to a place among rows.
    pub(super) fn go(&mut self, to: usize, rows: &[Row]) {
        self.at = to.min(rows.len().saturating_sub(1));
        self.followed = match self.at {
            0 => None,
            at => rows.get(at).map(|row| row.id.clone()),
        };
    }

    pub(super) fn letter(&mut self, letter: char) {
        if self.filter.chars().count() < LONGEST && !letter.is_control() {
            self.filter.push(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid::Cell;
    use super::*;

    fn rows(names: &[&str]) -> Vec<Row> {
        let row = |name: &&str| Row::new(Id::Breaker((*name).into()), vec![Cell::text(name)]);
        names.iter().map(row).collect()
    }

    fn view() -> View {
        View::new(Sort { column: None, descending: false })
    }

    #[test]
    fn a_row_that_was_gone_to_stays_selected_wherever_it_moves() {
        let mut view = view();
        view.go(1, &rows(&["a", "b", "c"]));
        view.settle(&rows(&["c", "a", "b"]), 10);
        assert_eq!(view.at, 2);
        // Gone: the place stays, as far as there is one.
        view.settle(&rows(&["c", "a"]), 10);
        assert_eq!(view.at, 1);
        view.settle(&rows(&[]), 10);
        assert_eq!((view.at, view.top), (0, 0));
    }

    #[test]
    fn who_looks_at_the_first_row_sees_whatever_is_first() {
        let mut view = view();
        view.settle(&rows(&["a", "b"]), 10);
        view.settle(&rows(&["new", "a", "b"]), 10);
        assert_eq!(view.at, 0);
        view.go(2, &rows(&["new", "a", "b"]));
        view.go(0, &rows(&["new", "a", "b"]));
        view.settle(&rows(&["newer", "new", "a", "b"]), 10);
        assert_eq!(view.at, 0);
    }

    #[test]
    fn the_selected_row_is_on_the_screen() {
        let names: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rows = rows(&names);
        let mut view = view();
        for (to, top) in [(9, 0), (10, 1), (49, 40), (30, 30), (39, 30), (0, 0)] {
            view.go(to, &rows);
            view.settle(&rows, 10);
            assert_eq!((view.at, view.top), (to, top));
        }
        // No blank rows while there are others.
        view.go(49, &rows);
        view.settle(&rows, 10);
        view.settle(&rows, 30);
        assert_eq!(view.top, 20);
        view.settle(&rows, 0);
        assert_eq!(view.top, 49);
    }

    #[test]
    fn filters_are_bounded() {
        let mut view = view();
        (0..1000).for_each(|_| view.letter('x'));
        view.letter('\u{1b}');
        assert_eq!(view.filter.len(), LONGEST);
    }
}
