//! The report as Markdown, for a comment on a pull request.

use super::{limit, percent, value};
use crate::tool::{
    check::report::{Report, Row, State},
    text::escaped,
};

/// GitHub refuses comments of more than 65,536 characters: PoVs are left out from this size on, bytes.
const MAX_SIZE: usize = 50_000;
/// Lines of an explanation.
const MAX_LINES: usize = 60;

/// The report.
pub(crate) fn text(report: &Report) -> String {
    let mut out = format!("### pvf check: {}\n\n", cell(&report.verdict()));
    for (name, value) in &report.facts {
        out += &format!("- **{name}**: {}\n", cell(value));
    }
    for section in &report.sections {
        out += &format!("\n**{}**\n\n", cell(&section.title));
        out += "| check | value | limit | used | | |\n|---|--:|--:|--:|---|---|\n";
        section.rows.iter().for_each(|row| out += &line(row));
    }
    let wrong = report.povs.iter().filter(|of| of.worst() >= State::Warning || of.role.is_some());
    let mut left_out = 0;
    for pov in wrong {
        if out.len() > MAX_SIZE {
            left_out += 1;
            continue;
        }
        let role = pov.role.map(|role| format!(" ({role})")).unwrap_or_default();
        let title = format!("{} on {}{role}: {}", pov.name, pov.runtime, pov.worst().name());
        out += &format!("\n<details><summary>{}</summary>\n\n", html(&title));
        out += "| check | value | limit | used | | |\n|---|--:|--:|--:|---|---|\n";
        pov.rows.iter().for_each(|row| out += &line(row));
        if !pov.explanation.is_empty() {
            let lines = pov.explanation.iter().take(MAX_LINES).map(|line| short(&line.replace('`', "'")));
            let more = if pov.explanation.len() > MAX_LINES { "\n…" } else { "" };
            out += &format!("\n```text\n{}{more}\n```\n", lines.collect::<Vec<_>>().join("\n"));
        }
        out += "\n</details>\n";
    }
    if left_out > 0 {
        out += &format!("\n{left_out} more PoVs with warnings or failures are left out here.\n");
    }
    if !report.notes.is_empty() {
        out += "\n";
        report.notes.iter().for_each(|note| out += &format!("> {}\n>\n", cell(note)));
    }
    out + "\n"
}

fn line(row: &Row) -> String {
    let mark = match row.state {
        State::Info => "",
        State::Ok => "✅",
        State::Warning => "⚠️ warning",
        State::Failed => "❌ failed",
        State::NoResult => "❔ no result",
    };
    let note = cell(row.note.as_deref().unwrap_or_default());
    format!("| {} | {} | {} | {} | {mark} | {note} |\n", row.check, cell(&value(row)), limit(row), percent(row))
}

/// A line of an explanation, cut.
fn short(line: &str) -> String {
    const MOST: usize = 300;
    if line.len() <= MOST { line.to_owned() } else { format!("{}…", &line[..line.floor_char_boundary(MOST)]) }
}

/// A text inside of HTML.
fn html(text: &str) -> String {
    escaped(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('@', "&#64;")
}

/// A text that stays in its cell, and is no markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in escaped(text).chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            // No reference to an issue.
            '#' => out += "&#35;",
            '|' | '`' | '*' | '[' | ']' | '\\' | '~' => out.extend(['\\', c]),
            // No mention of a user.
            '@' => out += "&#64;",
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
    fn the_report_is_markdown() {
        let text = text(&example());
        assert!(text.starts_with("### pvf check: fails: 1 failure, 1 warning\n"));
        assert!(text.contains("- **runtime**: penpal \\| v1 &lt;&amp;&gt;\n"), "{text}");
        assert!(
            text.contains(
                "| execute-cpu | 1.4 s | 2 s | 105 % | ❌ failed | 2.1 s with the slowdown; look\\\\u{1b} |\n"
            ),
            "{text}"
        );
        assert!(text.contains("<details><summary>0xab_7.pov on a.wasm (asks for the upgrade): failed</summary>"));
        assert!(text.contains("```text\nguest log\n```"));
        // As many cells in each line of a table.
        let rows = text.lines().filter(|line| line.starts_with('|'));
        for row in rows {
            assert_eq!(row.replace("\\|", "").matches('|').count(), 7, "{row}");
        }
    }
}
