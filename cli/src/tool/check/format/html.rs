//! The report as a page: one file, without scripts, that needs no other file and no network. Margins are drawn as bars.

use super::{limit, percent, value};
use crate::tool::{
    check::report::{PovReport, Report, Row, State},
    text::escaped,
};

const STYLE: &str = include_str!("report.css");
/// What a full bar stands for, percent of the limit: what is over the limit shall be seen to be over it.
const FULL: f64 = 125.0;

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let worst = report.worst();
    let verdict = text(&report.verdict());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>pvf check: {verdict}</title>\n<style>\n\
         {STYLE}</style>\n</head>\n<body>\n<h1>pvf check</h1>\n<p class=\"verdict {}\">{verdict}</p>\n<dl>\n",
        class(worst)
    );
    for (name, value) in &report.facts {
        out += &format!("<dt>{name}</dt><dd>{}</dd>\n", text(value));
    }
    out += "</dl>\n";
    for section in &report.sections {
        out += &format!("<h2>{}</h2>\n{}", text(&section.title), table(&section.rows));
    }
    if !report.povs.is_empty() {
        out += "<h2>PoVs one by one</h2>\n";
        report.povs.iter().for_each(|pov| out += &details(pov));
    }
    if !report.notes.is_empty() {
        out += "<h2>Notes</h2>\n<ul>\n";
        report.notes.iter().for_each(|note| out += &format!("<li>{}</li>\n", text(note)));
        out += "</ul>\n";
    }
    out + "</body>\n</html>\n"
}

fn class(state: State) -> &'static str {
    if state == State::Info { "ok" } else { state.name() }
}

fn table(rows: &[Row]) -> String {
    let mut out = "<div class=\"scroll\"><table>\n<thead><tr><th>check</th><th class=\"number\">value</th>\
                   <th class=\"number\">limit</th><th class=\"number\">used</th><th>margin</th><th>state</th>\
                   <th></th></tr></thead>\n<tbody>\n"
        .to_owned();
    for row in rows {
        let state = match row.state {
            State::Info => "",
            other => other.name(),
        };
        // What is no number gets the room of the numbers.
        let cells = match row.limit {
            None => format!("<td colspan=\"4\">{}</td>", text(&value(row))),
            Some(_) => format!(
                "<td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
                 <td class=\"margin\">{}</td>",
                text(&value(row)),
                limit(row),
                text(&percent(row)),
                bar(row),
            ),
        };
        out += &format!(
            "<tr><td class=\"check\">{}</td>{cells}<td class=\"{}\">{state}</td><td class=\"note\">{}</td></tr>\n",
            row.check,
            row.state.name(),
            text(row.note.as_deref().unwrap_or_default()),
        );
    }
    out + "</tbody></table></div>\n"
}

/// A bar of how much of the limit is used, with a mark at the limit.
fn bar(row: &Row) -> String {
    let Some(percent) = row.percent else { return String::new() };
    let width = percent.min(FULL) / FULL * 100.0;
    let mark = 100.0 / FULL * 100.0;
    format!(
        "<div class=\"bar\" role=\"img\" aria-label=\"{}\"><span class=\"{}\" style=\"width:{width:.1}%\"></span>\
         <i style=\"left:{mark:.0}%\"></i></div>",
        text(&format!("{} of the limit", super::percent(row))),
        row.state.name()
    )
}

fn details(pov: &PovReport) -> String {
    let open = if pov.worst() >= State::Warning { " open" } else { "" };
    let role = pov.role.map(|role| format!(", {role}")).unwrap_or_default();
    let title = text(&format!("{} on {}{role}", pov.name, pov.runtime));
    let (state, name) = (class(pov.worst()), pov.worst().name());
    let mut out = format!("<details{open}><summary>{title}: <b class=\"{state}\">{name}</b></summary>\n");
    out += &table(&pov.rows);
    if !pov.explanation.is_empty() {
        out +=
            &format!("<pre>{}</pre>\n", pov.explanation.iter().map(|line| text(line)).collect::<Vec<_>>().join("\n"));
    }
    out + "</details>\n"
}

fn text(text: &str) -> String {
    escaped(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::check::report::tests::example;

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let page = page(&example());
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(page.contains("<p class=\"verdict failed\">fails: 1 failure, 1 warning</p>"));
        assert!(page.contains("<dd>penpal | v1 &lt;&amp;&gt;</dd>") && page.contains("look\\u{1b}"));
        assert!(
            page.contains("<details open><summary>0xab_7.pov on a.wasm, asks for the upgrade: <b class=\"failed\">")
        );
        for outside in ["http://", "https://", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
