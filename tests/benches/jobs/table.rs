//! The rows of the bench, for people and for machines.

/// Which way a ratio is limited.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
}

/// One figure beside what it is compared with.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The bare call, if it means something here.
    pub call: Option<f64>,
    /// The bare fork and call, or what else is the floor.
    pub bare: Option<f64>,
    /// Ours.
    pub ours: f64,
    /// What is limited is this: ours beside the bare fork, or ours alone.
    pub limited: f64,
    /// And how.
    pub limit: Limit,
}

impl Row {
    /// Whether its limit is kept.
    pub fn holds(&self) -> bool {
        match self.limit {
            Limit::Most(most) => self.limited <= most,
            Limit::Least(least) => self.limited >= least,
        }
    }

    /// For machines.
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

/// For people.
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
