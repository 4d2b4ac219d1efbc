//! Pages of the manual, in section 1.

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

/// The pages of a command and of all below it, with the names of their files.
pub(super) fn all(command: &Command) -> Vec<(String, Vec<u8>)> {
    let below = command.get_subcommands().filter(|sub| !sub.is_hide_set()).flat_map(all);
    std::iter::once((format!("{}.1", name(command)), page(command))).chain(below).collect()
}

/// The name of a command with those above it, `pvf-nats-init`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The page of a command that is built.
pub(super) fn page(command: &Command) -> Vec<u8> {
    let source = format!("pvf {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("PVF validation host");
    let mut page = Vec::new();
    let mut parts = vec![
        Man::render_title as fn(&Man, &mut dyn std::io::Write) -> std::io::Result<()>,
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_options_section,
    ];
    if command.has_subcommands() {
        parts.push(Man::render_subcommands_section);
    }
    for part in parts {
        // A vector takes everything.
        let _ = part(&man, &mut page);
    }
    page.extend(notes(command).to_roff().into_bytes());
    page
}

/// What help shows after the options. Its lines stay as they are: they are lists, and command lines.
fn notes(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let Some(text) = command.get_after_long_help().or_else(|| command.get_after_help()) else { return roff };
    let mut is_open = false;
    for line in text.to_string().lines() {
        match line.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
            Some(title) => {
                if std::mem::replace(&mut is_open, true) {
                    roff.control("fi", []);
                }
                roff.control("SH", [title.to_uppercase().as_str()]);
                roff.control("nf", []);
            }
            None => drop(roff.text([roman(line)])),
        }
    }
    if is_open {
        roff.control("fi", []);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_help_are_sections_whose_lines_stay() {
        let mut command = Command::new("a").after_help("Examples:\n  a -x\n  a 'it'\n\nExit codes:\n  0  good");
        command.build();
        let page = String::from_utf8(page(&command)).unwrap();
        let notes = &page[page.find(".SH EXAMPLES").unwrap()..];
        assert!(notes.contains(".nf\n"), "{notes}");
        assert!(notes.contains("\n.SH \"EXIT CODES\"\n.nf\n"), "{notes}");
        assert_eq!(notes.matches("\n.fi").count(), 2, "{notes}");
        assert!(notes.contains("  a \\-x\n"), "{notes}");
    }
}
