//! Tables of text that came from other machines.

use super::text::escaped;

/// Columns are as wide as their longest cell; two spaces are between them.
pub(crate) struct Table {
    header: Vec<&'static str>,
    /// Columns of numbers.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns. Those whose name begins with `>` are flush right.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        let right = columns.iter().map(|name| name.starts_with('>')).collect();
        Self { header: columns.iter().map(|name| name.trim_start_matches('>')).collect(), right, rows: vec![] }
    }

    /// Adds a row. Cells stay on their line, and nothing in them changes how a terminal shows others.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.rows.push(cells.into_iter().map(|cell| escaped(cell.as_ref())).collect());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let header: Vec<_> = self.header.iter().map(|name| (*name).to_owned()).collect();
        let all: Vec<_> = std::iter::once(&header).chain(&self.rows).collect();
        let width = |column: usize| {
            all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.header.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.right).map(|((cell, width), right)| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        all.into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_cannot_leave_them() {
        let mut table = Table::new(&["NAME", ">N", "NOTE"]);
        table.row(["a", "5", ""]);
        table.row(["é\n\u{1b}[2J", "1234", "x"]);
        assert_eq!(table.lines(), ["NAME             N  NOTE", "a                5", "é\\n\\u{1b}[2J  1234  x"]);
        assert_eq!(Table::new(&["A"]).lines(), ["A"]);
    }
}
