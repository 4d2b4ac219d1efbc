//! The report as workflow commands of GitHub: an annotation for each warning and each failure, and a last line.

use super::junit::said;
use crate::tool::check::report::{Report, State};

/// The report.
pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    for (subject, row) in report.all_rows() {
        let command = match row.state {
            State::Failed | State::NoResult => "error",
            State::Warning => "warning",
            State::Ok | State::Info => continue,
        };
        let title = property(&format!("pvf check: {} of {subject}", row.check));
        out += &format!("::{command} title={title}::{}\n", data(&said(row)));
    }
    for note in &report.notes {
        out += &format!("::notice title=pvf check::{}\n", data(note));
    }
    // A line that begins with two colons would be a command.
    out + &format!("pvf check: {}\n", report.verdict())
}

/// The text of a command, in which line ends are escaped.
fn data(text: &str) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    crate::tool::text::escaped(&text)
}

/// A property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::check::report::tests::example;

    #[test]
    fn each_warning_and_failure_is_an_annotation() {
        let text = text(&example());
        assert!(text.contains("::warning title=pvf check%3A execute-cpu of 0xab_7.pov::1.1 s of 2 s"), "{text}");
        assert!(
            text.contains("::error title=pvf check%3A execute-cpu of 0xab_7.pov::1.4 s of 2 s (105 %25)"),
            "{text}"
        );
        assert!(text.ends_with("\npvf check: fails: 1 failure, 1 warning\n"));
        assert_eq!(data("a\n::error::b"), "a%0A::error::b");
    }
}
