//! The figures of the bench and their limits, as text and as JSON.

/// The limit of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
}

/// A figure and what it is compared with.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The bare call, where it is comparable.
    pub call: Option<f64>,
    /// The floor: a bare fork with a call, or what the row's name says.
    pub bare: Option<f64>,
    /// Ours.
    pub ours: f64,
    /// The value that the limit is for: the ratio of ours to the floor, or ours alone.
    pub limited: f64,
    /// Its limit.
    pub limit: Limit,
}

impl Row {
    /// Whether the limit is kept.
    pub fn holds(&self) -> bool {
        match self.limit {
            Limit::Most(most) => self.limited <= most,
            Limit::Least(least) => self.limited >= least,
        }
    }

    /// One JSON object.
    pub fn json(&self) -> serde_json::Value {
        let (kind, limit) = match self.limit {
            Limit::Most(limit) => ("at most", limit),
            Limit::Least(limit) => ("at least", limit),
        };
        serde_json::json!({
            "name": self.name, "unit": self.unit, "bare_call": self.call, "bare_fork": self.bare, "ours": self.ours,
            "ratio": self.bare.map(|bare| self.ours / bare), "limited": self.limited, "limit": limit,
            "limit_kind": kind, "holds": self.holds(),
        })
    }
}

/// Prints the table.
pub fn print(rows: &[Row]) {
    println!("{:54} {:>10} {:>10} {:>10} {:>7}   limit", "", "bare call", "bare fork", "ours", "ratio");
    for row in rows {
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        let short = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let limit = match row.limit {
            Limit::Most(most) => format!("{:.3} of at most {most}", row.limited),
            Limit::Least(least) => format!("{:.3} of at least {least}", row.limited),
        };
        println!(
            "{:54} {:>10} {:>10} {:>10} {:>7}   {limit}: {}",
            format!("{}, {}", row.name, row.unit),
            figure(row.call),
            figure(row.bare),
            figure(Some(row.ours)),
            short(row.bare.map(|bare| row.ours / bare)),
            if row.holds() { "holds" } else { "MISSED" },
        );
    }
}
