//! Tables as data: what each cell shows and sorts by, which rows are shown in which order, and which
//! columns fit.

use std::cmp::Ordering;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::super::text::clean;
use crate::record::CallId;

/// What a row is about: it stays the same while the figures change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Id {
    /// A process.
    Process { pid: u32, workload: String, exe: String },
    /// In the tree: all processes of a user.
    User(String),
    /// In the tree: a user's processes of one workload.
    Workload { user: String, workload: String },
    /// A provider's model.
    Model { provider: String, model: String },
    /// A call.
    Call(CallId),
    /// A budget for a subject in a period.
    Budget { policy: String, subject: String, period: String },
    /// A breaker.
    Breaker(String),
    /// Something that is checked; its number tells those of one name apart.
    Check(String, usize),
}

/// What a cell sorts by. Two of different kinds never stand in one column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    /// Nothing is known: always at the end.
    Absent,
    /// Counts, nano-dollars, times.
    Whole(i64),
    /// Shares and milliseconds.
    Real(f64),
    /// Words, whatever their case.
    Text(String),
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// How a cell is to be taken. Colour and weight follow from it; the words say the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    #[default]
    Plain,
    /// Good news.
    Good,
    /// Someone should look at it.
    Warning,
    /// Something does not work.
    Bad,
    /// Beside the point.
    Faint,
}

/// One cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    /// Safe for a terminal.
    pub(super) text: String,
    /// Columns that `text` takes.
    pub(super) width: u16,
    pub(super) key: Key,
    pub(super) tone: Tone,
}

impl Cell {
    fn new(text: &str, key: Key) -> Self {
        let text = clean(text).into_owned();
        Self { width: width(&text), text, key, tone: Tone::Plain }
    }

    /// A word or a name.
    pub(super) fn text(text: &str) -> Self {
        Self::new(text, Key::Text(text.to_lowercase()))
    }

    /// A figure as people read it, and the number behind it.
    pub(super) fn figure(shown: &str, key: impl Into<Key>) -> Self {
        Self::new(shown, key.into())
    }

    /// Nothing is known.
    pub(super) fn absent(shown: &str) -> Self {
        Self::new(shown, Key::Absent)
    }

    pub(super) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// One row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: Id,
    /// As many as there are columns.
    pub(super) cells: Vec<Cell>,
    /// Stands for rows below it in the tree.
    pub(super) group: bool,
}

impl Row {
    pub(super) fn new(id: Id, cells: Vec<Cell>) -> Self {
        Self { id, cells, group: false }
    }

    /// Whether any cell has these words in it; `needle` is in lower case.
    pub(super) fn matches(&self, needle: &str) -> bool {
        needle.is_empty() || self.cells.iter().any(|cell| cell.text.to_lowercase().contains(needle))
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To the left, shortened beyond this width.
    Word(u16),
    /// To the left, at least this wide; takes the room that is left.
    Name(u16),
    /// To the right, never shortened.
    Figure,
}

/// One column. Those of the lowest rank are the last to go where there is no room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    pub(super) rank: u8,
}

impl Column {
    pub(super) const fn word(title: &'static str, most: u16, rank: u8) -> Self {
        Self { title, kind: Kind::Word(most), rank }
    }

    pub(super) const fn name(title: &'static str, least: u16, rank: u8) -> Self {
        Self { title, kind: Kind::Name(least), rank }
    }

    pub(super) const fn figure(title: &'static str, rank: u8) -> Self {
        Self { title, kind: Kind::Figure, rank }
    }
}

/// The order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sort {
    /// `None` is the order in which they came.
    pub(super) column: Option<usize>,
    pub(super) descending: bool,
}

impl Sort {
    /// Compares two rows; equal ones are to keep their order.
    pub(super) fn compare(self, a: &Row, b: &Row) -> Ordering {
        let Some(column) = self.column else { return Ordering::Equal };
        let (Some(a), Some(b)) = (a.cells.get(column), b.cells.get(column)) else {
            return Ordering::Equal;
        };
        let order = match (&a.key, &b.key) {
            (Key::Absent, Key::Absent) => Ordering::Equal,
            (Key::Absent, _) => return Ordering::Greater,
            (_, Key::Absent) => return Ordering::Less,
            (Key::Whole(a), Key::Whole(b)) => a.cmp(b),
            (Key::Real(a), Key::Real(b)) => a.total_cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            _ => Ordering::Equal,
        };
        if self.descending { order.reverse() } else { order }
    }

    /// The next column; after the last, the order in which rows came.
    pub(super) fn next(self, columns: usize) -> Self {
        let column = match self.column {
            None => Some(0),
            Some(column) if column + 1 < columns => Some(column + 1),
            Some(_) => None,
        };
        Self { column, ..self }
    }
}

/// The rows that are asked for, in the order asked for.
pub(super) fn arranged(mut rows: Vec<Row>, sort: Sort, filter: &str) -> Vec<Row> {
    let needle = filter.to_lowercase();
    rows.retain(|row| row.matches(&needle));
    rows.sort_by(|a, b| sort.compare(a, b));
    rows
}

/// Blanks between two columns.
const GAP: u16 = 1;

/// The columns that fit, in their order, each with its width.
pub(super) fn layout(columns: &[Column], rows: &[Row], sort: Sort, room: u16) -> Vec<(usize, u16)> {
    let wanted: Vec<u16> = (0..columns.len()).map(|at| wanted(columns, rows, sort, at)).collect();
    let least = |at: usize| match columns[at].kind {
        Kind::Name(least) => wanted[at].min(least),
        Kind::Word(_) | Kind::Figure => wanted[at],
    };
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|&at| columns[at].rank);
    let mut left = room.saturating_add(GAP);
    let mut chosen: Vec<(usize, u16)> = Vec::new();
    for at in order {
        let needed = least(at).saturating_add(GAP);
        if needed > left {
            // What cannot be shown whole is shown in part, if it is all there is.
            if chosen.is_empty() {
                return vec![(at, room)];
            }
            break;
        }
        left -= needed;
        chosen.push((at, needed - GAP));
    }
    for (at, width) in &mut chosen {
        let more = wanted[*at].saturating_sub(*width).min(left);
        *width += more;
        left -= more;
    }
    chosen.sort_by_key(|(at, _)| *at);
    chosen
}

/// What a column would take with room for everything in it.
fn wanted(columns: &[Column], rows: &[Row], sort: Sort, at: usize) -> u16 {
    let column = &columns[at];
    let arrow = u16::from(sort.column == Some(at));
    let title = width(column.title) + arrow;
    let content = rows.iter().filter_map(|row| Some(row.cells.get(at)?.width)).max().unwrap_or(0);
    match column.kind {
        Kind::Word(most) => content.min(most).max(title),
        Kind::Name(least) => content.max(title).max(least),
        Kind::Figure => content.max(title),
    }
}

/// A column's title, with an arrow where rows are sorted by it.
pub(super) fn title(columns: &[Column], at: usize, sort: Sort) -> String {
    let arrow = match sort {
        Sort { column: Some(column), descending } if column == at => {
            if descending {
                "▼"
            } else {
                "▲"
            }
        }
        _ => "",
    };
    format!("{}{arrow}", columns[at].title)
}

/// Columns of a terminal that a text takes, character by character as it is drawn.
pub(super) fn width(text: &str) -> u16 {
    let columns = if text.is_ascii() {
        text.len()
    } else {
        text.graphemes(true).map(UnicodeWidthStr::width).sum()
    };
    u16::try_from(columns).unwrap_or(u16::MAX)
}

/// The text in exactly this width: blanks added, or its end replaced by `…`.
pub(super) fn fitted(text: &str, room: u16, right: bool) -> String {
    let taken = width(text);
    if taken <= room {
        let blanks = " ".repeat(usize::from(room - taken));
        return if right { format!("{blanks}{text}") } else { format!("{text}{blanks}") };
    }
    let Some(inside) = room.checked_sub(1) else { return String::new() };
    let mut short = String::new();
    let mut used = 0;
    for part in text.graphemes(true) {
        let more = width(part);
        if used + more > inside {
            break;
        }
        used += more;
        short.push_str(part);
    }
    short.push('…');
    // A wide character that did not fit leaves a blank.
    short.extend(std::iter::repeat_n(' ', usize::from(inside - used)));
    short
}

/// The text in lines of at most this width; what continues a line is indented as its second word
/// is, so that `fix        do this` stays in columns.
pub(super) fn wrapped(text: &str, room: u16) -> Vec<String> {
    if width(text) <= room || room < 24 {
        return vec![fitted(text, room.max(1), false).trim_end().to_owned()];
    }
    let indent = indent(text).min(room / 2);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let mut parts = word.graphemes(true).peekable();
        // A word moves to the next line as a whole, if it can be whole there.
        let whole = width(word.trim_end());
        if used + whole > room && used > indent && whole <= room - indent {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            line.extend(std::iter::repeat_n(' ', usize::from(indent)));
            used = indent;
        }
        while let Some(part) = parts.next() {
            let more = width(part);
            if used + more > room {
                if part == " " && parts.peek().is_none() {
                    break;
                }
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
                line.extend(std::iter::repeat_n(' ', usize::from(indent)));
                used = indent;
            }
            line.push_str(part);
            used += more;
        }
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// Where the text behind the first gap of two blanks begins, or the text itself.
fn indent(text: &str) -> u16 {
    let own = text.len() - text.trim_start_matches(' ').len();
    let second = text[own..].find("  ").map_or(own, |gap| {
        let rest = &text[own + gap..];
        own + gap + (rest.len() - rest.trim_start_matches(' ').len())
    });
    width(&text[..second])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(name: &str, calls: Option<i64>) -> Row {
        let figure = calls.map_or_else(
            || Cell::absent("-"),
            |calls| Cell::figure(&calls.to_string(), Key::Whole(calls)),
        );
        Row::new(Id::Breaker(name.to_owned()), vec![Cell::text(name), figure])
    }

    fn names(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.cells[0].text.as_str()).collect()
    }

    const COLUMNS: [Column; 4] = [
        Column::name("NAME", 6, 0),
        Column::figure("CALLS", 1),
        Column::word("USER", 5, 2),
        Column::name("COMMAND", 10, 3),
    ];

    #[test]
    fn rows_are_sorted_by_what_is_behind_the_text_and_the_unknown_is_last() {
        let rows = || vec![row("b", Some(9)), row("A", None), row("c", Some(10))];
        let by = |column, descending| Sort { column, descending };
        assert_eq!(names(&arranged(rows(), by(Some(1), false), "")), ["b", "c", "A"]);
        assert_eq!(names(&arranged(rows(), by(Some(1), true), "")), ["c", "b", "A"]);
        assert_eq!(names(&arranged(rows(), by(Some(0), false), "")), ["A", "b", "c"]);
        assert_eq!(names(&arranged(rows(), by(None, true), "")), ["b", "A", "c"]);
        // Equal ones stay as they are, both ways.
        let same = || vec![row("x", Some(1)), row("y", Some(1))];
        assert_eq!(names(&arranged(same(), by(Some(1), true), "")), ["x", "y"]);
    }

    #[test]
    fn a_filter_finds_words_of_any_cell_in_any_case() {
        let rows = || vec![row("exe:Curl", Some(9)), row("unit:x", Some(10))];
        let none = Sort { column: None, descending: false };
        assert_eq!(names(&arranged(rows(), none, "cURL")), ["exe:Curl"]);
        assert_eq!(names(&arranged(rows(), none, "10")), ["unit:x"]);
        assert_eq!(names(&arranged(rows(), none, "")).len(), 2);
        assert!(arranged(rows(), none, "nothing").is_empty());
    }

    #[test]
    fn sorting_goes_round_the_columns() {
        let mut sort = Sort { column: None, descending: true };
        let mut seen = Vec::new();
        for _ in 0..4 {
            sort = sort.next(3);
            seen.push(sort.column);
        }
        assert_eq!(seen, [Some(0), Some(1), Some(2), None]);
        assert!(sort.descending);
    }

    #[test]
    fn columns_go_in_the_order_of_their_rank_and_names_take_what_is_left() {
        let cells = ["a-long-name", "1,234", "someone", "a command of 23 letters"];
        let rows = [Row::new(Id::Breaker(String::new()), cells.map(Cell::text).to_vec())];
        let none = Sort { column: None, descending: false };
        let at = |room| layout(&COLUMNS, &rows, none, room);
        assert_eq!(at(100), [(0, 11), (1, 5), (2, 5), (3, 23)]);
        assert_eq!(at(40), [(0, 11), (1, 5), (2, 5), (3, 16)]);
        assert_eq!(at(29), [(0, 6), (1, 5), (2, 5), (3, 10)]);
        assert_eq!(at(28), [(0, 11), (1, 5), (2, 5)]);
        assert_eq!(at(12), [(0, 6), (1, 5)]);
        assert_eq!(at(11), [(0, 11)]);
        assert_eq!(at(3), [(0, 3)]);
        assert_eq!(at(0), [(0, 0)]);
        // The arrow needs room too.
        let sorted = Sort { column: Some(1), descending: true };
        assert_eq!(layout(&COLUMNS, &rows, sorted, 100)[1], (1, 6));
        assert_eq!(title(&COLUMNS, 1, sorted), "CALLS▼");
        assert_eq!(title(&COLUMNS, 0, sorted), "NAME");
    }

    #[test]
    fn texts_are_cut_at_what_people_take_for_a_character() {
        assert_eq!(fitted("abc", 5, false), "abc  ");
        assert_eq!(fitted("abc", 5, true), "  abc");
        assert_eq!(fitted("abcdef", 4, false), "abc…");
        assert_eq!(fitted("漢字漢字", 4, false), "漢… ");
        assert_eq!(fitted("e\u{301}e\u{301}e\u{301}", 2, false), "e\u{301}…");
        assert_eq!(fitted("abc", 0, false), "");
    }

    #[test]
    fn lines_are_wrapped_below_where_their_text_begins() {
        let line = "fix        install the certificate and restart the program";
        let expected =
            ["fix        install the", "           certificate and", "           restart the"];
        assert_eq!(wrapped(line, 27)[..3], expected);
        assert_eq!(wrapped("short", 80), ["short"]);
        let long = "x".repeat(60);
        assert_eq!(wrapped(&long, 25).concat(), long);
    }

    #[test]
    fn cells_are_harmless() {
        assert_eq!(Cell::text("\u{1b}[2Jx\u{202e}").text, r"\u{1b}[2Jx\u{202e}");
    }

    proptest! {
        #[test]
        fn whatever_the_room_the_columns_fit_into_it(
            room in 0..300u16,
            lengths in proptest::collection::vec(0..60usize, 4),
        ) {
            let cells = lengths.iter().map(|length| Cell::text(&"x".repeat(*length))).collect();
            let rows = [Row::new(Id::Breaker(String::new()), cells)];
            let sort = Sort { column: Some(1), descending: false };
            let columns = layout(&COLUMNS, &rows, sort, room);
            let taken: u16 = columns.iter().map(|(_, width)| width + GAP).sum();
            prop_assert!(taken <= room + GAP, "{columns:?}");
        }

        #[test]
        fn whatever_the_text_it_takes_the_room_it_is_given(
            text in "[a-zé漢字🦀\u{301} ]{0,40}",
            room in 0..50u16,
        ) {
            prop_assert_eq!(width(&fitted(&text, room, true)), room);
        }

        #[test]
        fn whatever_the_text_its_lines_fit(
            text in "[a-z漢 ]{0,200}",
            room in 24..90u16,
        ) {
            for line in wrapped(&text, room) {
                prop_assert!(width(&line) <= room, "{line:?}");
            }
        }
    }
}
