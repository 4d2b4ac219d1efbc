//! The report as a table for a terminal.

use super::{limit, percent, value};
use crate::tool::{
    check::report::{Report, Row, State},
    text::escaped,
};

/// Of more PoVs only those with something wrong are shown one by one.
const SHOWN_POVS: usize = 12;

/// The report.
pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    for (name, value) in &report.facts {
        out += &format!("{name:<14}{}\n", escaped(value));
    }
    for section in &report.sections {
        out += &format!("\n{}\n", escaped(&section.title));
        section.rows.iter().for_each(|row| out += &line(row));
    }
    let all = report.povs.len() <= SHOWN_POVS;
    for pov in report.povs.iter().filter(|of| all || of.worst() >= State::Warning || of.role.is_some()) {
        let role = pov.role.map(|role| format!(", {role}")).unwrap_or_default();
        out += &format!("\n{} on {}{role}: {}\n", escaped(&pov.name), escaped(&pov.runtime), pov.worst().name());
        pov.rows.iter().for_each(|row| out += &line(row));
        pov.explanation.iter().for_each(|line| out += &format!("    {line}\n"));
    }
    if !all {
        out += "\nPoVs without a warning are not shown one by one; --format json has them all.\n";
    }
    if !report.notes.is_empty() {
        out += "\nnotes\n";
        report.notes.iter().for_each(|note| out += &wrapped(&escaped(note)));
    }
    out + &format!("\nverdict: {}\n", report.verdict())
}

/// Width of notes, columns.
const WIDTH: usize = 96;

/// A note in lines that fit on a terminal.
fn wrapped(note: &str) -> String {
    let mut out = String::new();
    let mut line = String::from("  -");
    for word in note.split(' ') {
        if line.chars().count() + word.chars().count() >= WIDTH {
            out += &format!("{line}\n");
            line = "   ".into();
        }
        line += &format!(" {word}");
    }
    out + &format!("{line}\n")
}

fn line(row: &Row) -> String {
    let state = match row.state {
        State::Info => String::new(),
        State::Ok => "ok".into(),
        State::Warning => "WARNING".into(),
        State::Failed => "FAILED".into(),
        State::NoResult => "NO RESULT".into(),
    };
    let note = row.note.as_ref().map(|note| format!("  {}", escaped(note))).unwrap_or_default();
    let (value, limit) = (escaped(&value(row)), limit(row));
    let line = match limit.is_empty() {
        true => format!("  {:<24}{value:<39} {state:<8}{note}", row.check),
        false => format!("  {:<24}{value:>14} of {limit:>12} {:>8} {state:<8}{note}", row.check, percent(row)),
    };
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::check::report::tests::example;

    #[test]
    fn the_report_is_a_table() {
        let text = text(&example());
        for line in [
            "runtime       penpal | v1 <&>",
            "runtime a.wasm",
            "0xab_7.pov on a.wasm, asks for the upgrade: failed",
            "    guest log",
            "  - limits are assumed",
            "verdict: fails: 1 failure, 1 warning",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in:\n{text}");
        }
        assert!(
            text.contains("1.4 s of          2 s    105 % FAILED    2.1 s with the slowdown; look\\u{1b}"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }
}
