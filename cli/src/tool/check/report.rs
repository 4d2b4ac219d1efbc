//! What a check found: rows of a value, its limit, and what that means. Every format is made from this.

use pvf_shared::{units::human_bytes, usage::ms};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// What a row means, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// For information; there is nothing to hold it against.
    Info,
    /// Within the limit.
    Ok,
    /// Within the limit, but close; or something that the user should look at.
    Warning,
    /// Over the limit, or it does not work.
    Failed,
    /// Not known: the host or this machine had no result.
    #[serde(rename = "no_result")]
    NoResult,
}

impl State {
    /// Its name in every format.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::NoResult => "no_result",
        }
    }
}

/// A value with its unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Quantity {
    /// A size, bytes.
    Bytes(u64),
    /// CPU time.
    Time(Duration),
    /// A number of things.
    Count(u64),
    /// Pages of guest memory, 64 KiB each.
    Pages(u64),
    /// Something that is no number.
    Text(String),
}

impl Quantity {
    /// For people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Bytes(bytes) => human_bytes(*bytes),
            Self::Time(time) => crate::tool::usage::time(*time),
            Self::Count(count) => count.to_string(),
            Self::Pages(pages) => format!("{pages} pages"),
            Self::Text(text) => text.clone(),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Bytes(n) | Self::Count(n) | Self::Pages(n) => Some(*n as f64),
            Self::Time(time) => Some(ms(*time)),
            Self::Text(_) => None,
        }
    }

    fn unit(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "bytes",
            Self::Time(_) => "ms",
            Self::Count(_) => "count",
            Self::Pages(_) => "pages",
            Self::Text(_) => "text",
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Bytes(n) | Self::Count(n) | Self::Pages(n) => json!(n),
            Self::Time(time) => json!(ms(*time)),
        }
    }
}

/// When a value is a warning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thresholds {
    /// Percent of a limit.
    pub(crate) warn_at: f64,
    /// Factor for CPU times.
    pub(crate) slowdown: f64,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Its name, which does not change between versions.
    pub(crate) check: &'static str,
    /// The value.
    pub(crate) value: Quantity,
    /// Its limit.
    pub(crate) limit: Option<Quantity>,
    /// The value in percent of the limit; of CPU time with the slowdown.
    pub(crate) percent: Option<f64>,
    /// What it means.
    pub(crate) state: State,
    /// What there is to say about it.
    pub(crate) note: Option<String>,
}

impl Row {
    /// A value without a limit.
    pub(crate) fn info(check: &'static str, value: Quantity) -> Self {
        Self { check, value, limit: None, percent: None, state: State::Info, note: None }
    }

    /// Something that is right or not.
    pub(crate) fn fact(check: &'static str, value: impl Into<String>, state: State) -> Self {
        Self { state, ..Self::info(check, Quantity::Text(value.into())) }
    }

    /// A value with a limit, which it may reach and not exceed. Without a limit it is for information.
    pub(crate) fn limited(check: &'static str, value: Quantity, limit: Option<Quantity>, of: Thresholds) -> Self {
        let factor = if matches!(value, Quantity::Time(_)) { of.slowdown } else { 1.0 };
        let numbers = value.number().zip(limit.as_ref().and_then(Quantity::number));
        let percent = numbers.map(|(value, limit)| match limit {
            0.0 if value == 0.0 => 0.0,
            0.0 => f64::INFINITY,
            limit => value * factor / limit * 100.0,
        });
        let state = match percent {
            None => State::Info,
            Some(percent) if percent > 100.0 => State::Failed,
            Some(percent) if percent >= of.warn_at => State::Warning,
            Some(_) => State::Ok,
        };
        let slowed = match (&value, percent) {
            (Quantity::Time(time), Some(_)) if of.slowdown > 1.0 => Some(time.mul_f64(of.slowdown)),
            _ => None,
        };
        let note = slowed.map(|time| format!("{} with the slowdown", Quantity::Time(time).shown()));
        Self { check, value, limit, percent, state, note }
    }

    /// The same with something more to say about it.
    pub(crate) fn with_note(self, note: impl Into<String>) -> Self {
        let note = note.into();
        let note = match self.note {
            Some(before) => format!("{before}; {note}"),
            None => note,
        };
        Self { note: Some(note), ..self }
    }

    fn json(&self) -> Value {
        json!({
            "check": self.check,
            "unit": self.value.unit(),
            "value": self.value.json(),
            "limit": self.limit.as_ref().map(Quantity::json),
            "percent": self.percent.filter(|percent| percent.is_finite()).map(|p| (p * 10.0).round() / 10.0),
            "state": self.state.name(),
            "note": self.note,
        })
    }
}

/// Rows about one thing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    /// What the rows are about.
    pub(crate) title: String,
    /// The rows.
    pub(crate) rows: Vec<Row>,
}

/// All about one PoV.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PovReport {
    /// Which of the PoVs it is, and on which of the runtimes.
    pub(crate) at: (usize, usize),
    /// Its file.
    pub(crate) file: String,
    /// The file's name, short.
    pub(crate) name: String,
    /// The runtime that it was executed on.
    pub(crate) runtime: String,
    /// Whether it is the block that asks for the upgrade, or the first one after it.
    pub(crate) role: Option<&'static str>,
    /// The rows.
    pub(crate) rows: Vec<Row>,
    /// What a diagnostic run says, lines.
    pub(crate) explanation: Vec<String>,
}

/// Everything that a check found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// What was checked with what: names and values.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// About runtimes, all PoVs, and the comparison.
    pub(crate) sections: Vec<Section>,
    /// About each PoV.
    pub(crate) povs: Vec<PovReport>,
    /// What the reader should know.
    pub(crate) notes: Vec<String>,
    /// Whether a warning is a failure.
    pub(crate) strict: bool,
    /// Number of limits that are assumed and not known.
    pub(crate) assumed: usize,
}

impl PovReport {
    /// The worst of its rows.
    pub(crate) fn worst(&self) -> State {
        self.rows.iter().map(|row| row.state).max().unwrap_or(State::Info)
    }
}

impl Report {
    /// The sections that do not repeat rows of single PoVs.
    pub(crate) fn own_sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|of| of.title != OF_ALL_POVS)
    }

    /// All rows, each once, with the title of its section or the name of its PoV.
    pub(crate) fn all_rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        let of_sections = self.own_sections().flat_map(|of| of.rows.iter().map(|row| (of.title.as_str(), row)));
        of_sections.chain(self.povs.iter().flat_map(|of| of.rows.iter().map(|row| (of.name.as_str(), row))))
    }

    /// The worst of all rows.
    pub(crate) fn worst(&self) -> State {
        self.all_rows().map(|(_, row)| row.state).max().unwrap_or(State::Info)
    }

    /// One line that says how it ended.
    pub(crate) fn verdict(&self) -> String {
        let count = |state: State| self.all_rows().filter(|(_, row)| row.state == state).count();
        let things = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (failed, warnings, unknown) = (count(State::Failed), count(State::Warning), count(State::NoResult));
        let counted = [
            (unknown > 0).then(|| format!("{} without a result", things(unknown, "check"))),
            (failed > 0).then(|| things(failed, "failure")),
            (warnings > 0).then(|| things(warnings, "warning")),
        ];
        let counted = counted.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let assumed = match self.assumed {
            0 => String::new(),
            1 => " (1 limit is assumed, not known)".into(),
            n => format!(" ({n} limits are assumed, not known)"),
        };
        match (failed, unknown, warnings) {
            (0, 0, 0) => format!("passes{assumed}"),
            (0, 0, _) if self.strict => format!("fails: {counted}, and warnings are failures (--strict)"),
            (0, 0, _) => format!("passes with {counted}{assumed}"),
            (0, _, _) => format!("is not known: {counted}"),
            _ => format!("fails: {counted}"),
        }
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        let rows = |rows: &[Row]| rows.iter().map(Row::json).collect::<Vec<_>>();
        json!({
            "format": "pvf-check/1",
            "state": self.worst().name(),
            "verdict": self.verdict(),
            "facts": self.facts.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
            "sections": self.sections.iter()
                .map(|of| json!({"title": of.title, "rows": rows(&of.rows)})).collect::<Vec<_>>(),
            "povs": self.povs.iter().map(|of| json!({
                "name": of.name, "file": of.file, "runtime": of.runtime, "role": of.role, "state": of.worst().name(),
                "rows": rows(&of.rows), "explanation": of.explanation,
            })).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

/// Title of the section about all PoVs together.
pub(crate) const OF_ALL_POVS: &str = "all PoVs";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { warn_at: 80.0, slowdown: 1.5 };

    /// A report with a row of each state.
    pub(crate) fn example() -> Report {
        let row = |value| {
            Row::limited("execute-cpu", Quantity::Time(Duration::from_millis(value)), Some(limit()), THRESHOLDS)
        };
        Report {
            facts: vec![("runtime", "penpal | v1 <&>".into())],
            sections: vec![Section {
                title: "runtime a.wasm".into(),
                rows: vec![Row::fact("imports", "all known", State::Ok), Row::info("code-size", Quantity::Bytes(5000))],
            }],
            povs: vec![PovReport {
                at: (0, 0),
                file: "povs/0xab_7.pov".into(),
                name: "0xab_7.pov".into(),
                runtime: "a.wasm".into(),
                role: Some("asks for the upgrade"),
                rows: vec![row(1100), row(1400).with_note("look\u{1b}")],
                explanation: vec!["guest log".into()],
            }],
            notes: vec!["limits are assumed".into()],
            strict: false,
            assumed: 0,
        }
    }

    fn limit() -> Quantity {
        Quantity::Time(Duration::from_secs(2))
    }

    #[test]
    fn a_value_is_held_against_its_limit() {
        let cpu = |ms| Row::limited("c", Quantity::Time(Duration::from_millis(ms)), Some(limit()), THRESHOLDS).state;
        assert_eq!([1066, 1067, 1333, 1334].map(cpu), [State::Ok, State::Warning, State::Warning, State::Failed]);
        // Sizes do not get slower.
        let size = |n| Row::limited("s", Quantity::Bytes(n), Some(Quantity::Bytes(100)), THRESHOLDS);
        assert_eq!(
            [79, 80, 100, 101].map(|n| size(n).state),
            [State::Ok, State::Warning, State::Warning, State::Failed]
        );
        assert_eq!(size(50).percent, Some(50.0));
        let none = Row::limited("s", Quantity::Bytes(1), Some(Quantity::Bytes(0)), THRESHOLDS);
        assert_eq!((none.state, none.json()["percent"].clone()), (State::Failed, Value::Null));
        assert_eq!(Row::limited("s", Quantity::Bytes(1), None, THRESHOLDS).state, State::Info);
    }

    #[test]
    fn the_verdict_counts_what_is_wrong() {
        let mut report = example();
        assert_eq!((report.worst(), report.verdict().as_str()), (State::Failed, "fails: 1 failure, 1 warning"));
        report.povs[0].rows.truncate(1);
        assert_eq!((report.worst(), report.verdict().as_str()), (State::Warning, "passes with 1 warning"));
        report.strict = true;
        assert!(report.verdict().starts_with("fails: 1 warning, and warnings are failures"));
        (report.strict, report.assumed) = (false, 2);
        assert_eq!(report.verdict(), "passes with 1 warning (2 limits are assumed, not known)");
        report.assumed = 0;
        report.povs[0].rows.push(Row::fact("validation", "-", State::NoResult));
        assert_eq!(report.verdict(), "is not known: 1 check without a result, 1 warning");
        report.povs.clear();
        assert_eq!((report.worst(), report.verdict().as_str()), (State::Ok, "passes"));
    }
}
