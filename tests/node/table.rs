//! A table of what was expected and what was seen.

use serde_json::{Value, json};
use std::fmt;

/// A row.
struct Row {
    what: String,
    expected: String,
    seen: Vec<String>,
    right: bool,
}

/// Rows with a name.
pub struct Table {
    name: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

impl Table {
    /// An empty table with these columns of what is seen.
    pub fn new(name: &'static str, columns: &[&'static str]) -> Self {
        Self { name, columns: columns.to_vec(), rows: vec![] }
    }

    /// Adds a row, and shows it as progress.
    pub fn add(&mut self, what: impl Into<String>, expected: impl Into<String>, seen: &[String], right: bool) {
        let row = Row { what: what.into(), expected: expected.into(), seen: seen.to_vec(), right };
        eprintln!("{} {}: {}", if right { "ok " } else { "NOT" }, row.what, row.seen.join(" | "));
        self.rows.push(row);
    }

    /// Whether everything is as expected.
    pub fn is_right(&self) -> bool {
        self.rows.iter().all(|row| row.right)
    }

    /// For machines.
    pub fn to_json(&self) -> Value {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let seen: serde_json::Map<_, _> =
                    self.columns.iter().zip(&row.seen).map(|(name, seen)| ((*name).into(), json!(seen))).collect();
                json!({ "what": row.what, "expected": row.expected, "seen": seen, "right": row.right })
            })
            .collect();
        json!({ "name": self.name, "right": self.is_right(), "rows": rows })
    }
}

impl fmt::Display for Table {
    /// As Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.name)?;
        writeln!(
            f,
            "| what | expected | {} | |\n|---|---|{}---|",
            self.columns.join(" | "),
            "---|".repeat(self.columns.len())
        )?;
        for row in &self.rows {
            let right = if row.right { "" } else { "NOT as expected" };
            writeln!(f, "| {} | {} | {} | {right} |", row.what, row.expected, row.seen.join(" | "))?;
        }
        Ok(())
    }
}
