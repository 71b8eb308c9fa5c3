//! Tables and lines for people. Pure: what the screen can do is handed in.
//!
//! Invariants: nothing a server or a file says reaches a terminal as a control
//! character; without colours there is no escape sequence at all; a row is one
//! line high. Where the width is short the column titled `text` gives way; numbers
//! and names are never cut.

use std::{env, io::IsTerminal};

use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

/// Characters of a text that a table shows where no width is known (pipes, files).
const PLAIN_TEXT_CHARS: usize = 100;

/// The column that gives way.
const TEXT: &str = "text";

/// Characters that it keeps however narrow the screen.
const LEAST_TEXT_CHARS: u16 = 12;

/// What can be shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Screen {
    /// Columns, where known.
    pub(crate) width: Option<u16>,
    /// Whether bold and colours are welcome.
    pub(crate) styled: bool,
}

impl Screen {
    /// The screen behind standard output.
    pub(crate) fn of_stdout() -> Self {
        // comfy-table asks the terminal for its width, and only a terminal.
        Self { width: Table::new().width(), styled: colours_welcome(&std::io::stdout()) }
    }

    /// A table; the columns of `right` stand to the right, as numbers do.
    pub(crate) fn table<const N: usize>(
        self,
        header: [&str; N],
        right: &[usize],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.force_no_tty().set_truncation_indicator("…");
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        let bold = |title: &str| {
            let cell = Cell::new(title);
            if self.styled { cell.add_attribute(Attribute::Bold) } else { cell }
        };
        if self.styled {
            table.enforce_styling();
        }
        table.set_header(header.map(bold));
        for row in rows {
            let mut row = Row::from(row.map(|text| self.one_line(&text)));
            row.max_height(1);
            table.add_row(row);
        }
        for (place, title) in header.iter().enumerate() {
            let Some(column) = table.column_mut(place) else { continue };
            if *title == TEXT {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(LEAST_TEXT_CHARS)));
            } else {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            if right.contains(&place) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        format!("{}\n", table.trim_fmt())
    }

    /// A text without control characters, with single spaces, and short.
    fn one_line(self, text: &str) -> String {
        let most = self.width.map_or(PLAIN_TEXT_CHARS, usize::from);
        let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let mut line = String::new();
        for word in words {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            if line.len() > 4 * most {
                break;
            }
        }
        if line.chars().count() > most {
            line = line.chars().take(most.saturating_sub(1)).chain(['…']).collect();
        }
        line
    }
}

/// Whether `stream` is a terminal and `NO_COLOR` is not set.
pub(crate) fn colours_welcome(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Microseconds as people read them.
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// `1 item`, `2 items`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<[String; 2]> {
        vec![
            ["1".to_owned(), "a\nlong \u{1b}[31mtext that goes on and on".to_owned()],
            ["10".to_owned(), String::new()],
        ]
    }

    #[test]
    fn a_plain_table_has_no_escapes_and_one_line_a_row() {
        let table = Screen::default().table(["n", "text"], &[0], rows());
        assert!(!table.contains('\u{1b}'), "{table:?}");
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.lines().nth(1).unwrap().contains("a long [31mtext that goes on and on"), "{table}");
        assert!(table.lines().nth(1).unwrap().starts_with("  1"), "{table:?}");
    }

    #[test]
    fn a_narrow_screen_cuts_and_keeps_its_width() {
        let screen = Screen { width: Some(20), styled: false };
        let table = screen.table(["n", "text"], &[0], rows());
        assert!(table.lines().all(|line| line.chars().count() <= 20), "{table}");
        assert!(table.contains('…'), "{table}");
        let numbers = screen.table(["first number", "second number"], &[], rows());
        assert!(numbers.contains("first number") && numbers.contains("second number"), "{numbers}");
        assert_eq!(table.lines().count(), 3, "{table}");
    }

    #[test]
    fn a_styled_header_is_bold() {
        let screen = Screen { width: Some(40), styled: true };
        assert!(screen.table(["n", "text"], &[], rows()).contains("\u{1b}[1m"));
    }

    #[test]
    fn times_carry_units() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(micros), ["0 µs", "999 µs", "1.0 ms", "12.3 s"]);
    }
}
