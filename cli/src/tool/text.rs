//! Text that is not ours: of guests, of other machines, and of bundles.

/// A text of several lines in which nothing can change how a terminal shows what is around it.
pub(crate) fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// A text in which nothing can change how a terminal shows what is around it, and which stays on its line.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // In a log of GitHub Actions this begins a command, wherever it stands.
    for c in text.replace("##[", "#[").chars() {
        let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c {
            c if c.is_control() || reorders => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_line_ends_stay() {
        let text = "a\nb\x1b[31m\r\u{202e}é\t\u{7f}";
        assert_eq!(escaped(text), "a\\nb\\u{1b}[31m\\r\\u{202e}é\\t\\u{7f}");
        assert_eq!(escaped_lines(text), "a\nb\\u{1b}[31m\\r\\u{202e}é\\t\\u{7f}");
    }
}
