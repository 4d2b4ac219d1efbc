//! The report as JUnit XML: a suite for each section and each PoV, a case for each row.

use super::{limit, percent, value};
use crate::tool::check::report::{Report, Row, State};

/// The report. Warnings are output of a case that passes, unless they count as failures: the format has no such thing.
pub(crate) fn text(report: &Report) -> String {
    let sections = report.own_sections().map(|of| (of.title.clone(), &of.rows, None));
    let povs = report.povs.iter().map(|of| {
        let log = (!of.explanation.is_empty()).then(|| of.explanation.join("\n"));
        (format!("{} on {}", of.name, of.runtime), &of.rows, log)
    });
    let suites: Vec<_> = sections.chain(povs).collect();
    let all: Vec<Row> = suites.iter().flat_map(|(_, rows, _)| rows.iter().cloned()).collect();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"pvf check\" {}>\n",
        counts(&all, report.strict)
    );
    for (title, rows, log) in suites {
        let name = escape(&title);
        out += &format!("  <testsuite name=\"{name}\" {}>\n", counts(rows, report.strict));
        rows.iter().for_each(|row| out += &case(&name, row, report.strict));
        if let Some(log) = log {
            out += &format!("    <system-out>{}</system-out>\n", escape(&log));
        }
        out += "  </testsuite>\n";
    }
    out + "</testsuites>\n"
}

fn counts(rows: &[Row], strict: bool) -> String {
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    let warnings = if strict { count(State::Warning) } else { 0 };
    let (failed, unknown) = (count(State::Failed) + warnings, count(State::NoResult));
    format!("tests=\"{}\" failures=\"{failed}\" errors=\"{unknown}\"", rows.len())
}

fn case(suite: &str, row: &Row, strict: bool) -> String {
    let text = escape(&said(row));
    let inside = match row.state {
        State::Warning if strict => format!("<failure message=\"warning: {text}\"/>"),
        State::Failed => format!("<failure message=\"{text}\"/>"),
        State::NoResult => format!("<error message=\"{text}\"/>"),
        State::Warning => format!("<system-out>warning: {text}</system-out>"),
        State::Ok | State::Info => format!("<system-out>{text}</system-out>"),
    };
    format!("    <testcase classname=\"{suite}\" name=\"{}\">{inside}</testcase>\n", row.check)
}

/// A row in a sentence.
pub(super) fn said(row: &Row) -> String {
    let mut text = value(row);
    if row.limit.is_some() {
        text += &format!(" of {} ({})", limit(row), percent(row));
    }
    match &row.note {
        Some(note) => format!("{text}: {note}"),
        None => text,
    }
}

/// Text for XML 1.0, in which most control characters must not be at all.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            '\n' => out.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::check::report::tests::example;

    #[test]
    fn the_report_is_xml_with_its_failures() {
        let text = text(&example());
        assert!(text.contains("<testsuites name=\"pvf check\" tests=\"4\" failures=\"1\" errors=\"0\">"), "{text}");
        assert!(
            text.contains("<failure message=\"1.4 s of 2 s (105 %): 2.1 s with the slowdown; look\\u{1b}\"/>"),
            "{text}"
        );
        assert!(
            text.contains("warning: 1.1 s of 2 s (82 %)") || text.contains("warning: 1.1 s of 2 s (83 %)"),
            "{text}"
        );
        assert_eq!(text.matches("<testcase ").count(), text.matches("</testcase>").count());
        assert!(text.contains("<system-out>guest log</system-out>"));
    }
}
