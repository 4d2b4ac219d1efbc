//! `docs/operate/configuration.md` lists every option and variable of the programs, as their command lines describe
//! them, and every key of the coordinator's settings file, as the sample in `compose/` describes it. `PVF_BLESS=1`
//! writes these lists; the rest of the page is written by hand.

use crate::repository::root;
use clap::{Arg, Command};
use pvf_coordinator::CoordinatorConfig;
use std::fmt::Write as _;

const PAGE: &str = "docs/operate/configuration.md";
const SAMPLE: &str = "compose/coordinator.toml";
/// The heading of the options of the connection to NATS, which every program has.
const CONNECTION: &str = "Connection to NATS";
/// A section whose keys are names of users.
const USERS: &str = "policy.users";
/// Keys that the sample does not have: the first has no default, and the others are retired.
const NOT_IN_SAMPLE: [&str; 3] = ["kinds", "inline_budget", "reserve_memory"];

/// The text as the cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The options of a command that are shown, without those that clap adds.
fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_own = |arg: &&Arg| !["help", "version"].contains(&arg.get_id().as_str());
    command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional()).filter(is_own)
}

fn is_of_connection(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(CONNECTION)
}

/// An option as it is typed, with the names of its values.
fn typed(arg: &Arg) -> String {
    let mut name = match (arg.get_long(), arg.get_short()) {
        (Some(long), None) => format!("--{long}"),
        (Some(long), Some(short)) => format!("-{short}, --{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => arg.get_id().to_string(),
    };
    if arg.get_action().takes_values() {
        for value in arg.get_value_names().into_iter().flatten() {
            write!(name, " {value}").unwrap();
        }
    }
    name
}

fn variable(arg: &Arg) -> Option<String> {
    arg.get_env().map(|name| format!("`{}`", name.to_string_lossy()))
}

fn default(arg: &Arg) -> String {
    if arg.is_required_set() {
        return "required".into();
    }
    // A flag has one for clap only.
    let values = arg.get_default_values().iter().filter(|value| arg.get_action().takes_values() && !value.is_empty());
    values.map(|value| format!("`{}`", value.to_string_lossy())).collect::<Vec<_>>().join(", ")
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    let named: Vec<_> = values.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name()).collect();
    match named.is_empty() {
        true => help,
        false => format!("{help}. One of `{}`", named.join("`, `")),
    }
}

fn table<'a>(options: impl Iterator<Item = &'a Arg>) -> String {
    let mut rows = String::from("| option | variable | default | meaning |\n|---|---|---|---|\n");
    for arg in options {
        let variable = variable(arg).unwrap_or_default();
        let cells = [format!("`{}`", typed(arg)), variable, default(arg), meaning(arg)].map(|text| cell(&text));
        writeln!(rows, "| {} |", cells.join(" | ")).unwrap();
    }
    rows
}

/// The options of a command itself, but for those of the connection.
fn own(command: &Command) -> String {
    table(options(command).filter(|arg| !is_of_connection(arg)))
}

/// Options of the commands below this one that a variable can set as well: the command, and the rest of a row.
fn with_variables(command: &Command, before: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for below in command.get_subcommands() {
        let name = format!("{before} {}", below.get_name());
        // A global option is one of the command above.
        for arg in options(below).filter(|arg| !arg.is_global_set()) {
            let Some(variable) = variable(arg) else { continue };
            let cells = [format!("`{name}`"), format!("`{}`", typed(arg)), variable, default(arg), meaning(arg)];
            rows.push(format!("| {} |\n", cells.map(|text| cell(&text)).join(" | ")));
        }
        rows.extend(with_variables(below, &name));
    }
    rows
}

/// A section of the settings file as the sample describes it.
struct Section {
    name: String,
    meaning: String,
    keys: Vec<Key>,
}

struct Key {
    name: String,
    default: String,
    meaning: String,
}

fn sections(sample: &str) -> Vec<Section> {
    let mut sections = Vec::<Section>::new();
    let mut comment = String::new();
    for line in sample.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let meaning = std::mem::take(&mut comment);
            sections.push(Section { name: name.into(), meaning, keys: Vec::new() });
        } else if let Some(text) = line.strip_prefix('#') {
            // What is indented is an example.
            let text = text.strip_prefix("   ").map_or(text.trim().to_owned(), |example| format!("`{example}`"));
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(&text);
        } else if let Some((name, default)) = line.split_once(" = ") {
            let section = sections.last_mut().expect("a section before the first key");
            let meaning = std::mem::take(&mut comment);
            section.keys.push(Key { name: name.into(), default: default.into(), meaning });
        } else {
            // Above an empty line a comment is about the file.
            comment.clear();
        }
    }
    sections
}

fn settings(sections: &[Section]) -> String {
    let mut text = String::new();
    for Section { name, meaning, keys } in sections {
        let space = if text.is_empty() { "" } else { "\n" };
        write!(text, "{space}**`[{name}]`** {meaning}\n\n").unwrap();
        if keys.is_empty() {
            continue;
        }
        text += "| key | default | meaning |\n|---|---|---|\n";
        for Key { name, default, meaning } in keys {
            writeln!(text, "| `{name}` | `{}` | {} |", cell(default), cell(meaning)).unwrap();
        }
    }
    text
}

/// The page with this between the lines that begin and end the list of this name.
fn with_list(page: &str, name: &str, list: &str) -> String {
    let (begin, end) = (format!("<!-- list: {name} -->\n"), format!("<!-- end of list: {name} -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{PAGE} has no line {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{PAGE} has no line {end}"));
    format!("{before}{begin}\n{}\n\n{end}{after}", list.trim_end())
}

fn built(mut command: Command) -> Command {
    command.build();
    command
}

fn sample() -> Vec<Section> {
    sections(&std::fs::read_to_string(root().join(SAMPLE)).unwrap())
}

#[test]
fn the_page_about_configuration_has_every_option_variable_and_key() {
    let coordinator = built(pvf_coordinator::cli::command());
    let worker = built(pvf_worker::cli::command());
    let pvf = built(pvf::tool::command());
    let [connection, of_worker, of_pvf] =
        [&coordinator, &worker, &pvf].map(|command| table(options(command).filter(|arg| is_of_connection(arg))));
    assert_eq!((&connection, &connection), (&of_worker, &of_pvf), "every program has the same connection");
    let of_commands = format!(
        "| command | option | variable | default | meaning |\n|---|---|---|---|---|\n{}",
        with_variables(&pvf, "pvf").concat()
    );
    let written = std::fs::read_to_string(root().join(PAGE)).unwrap();
    let mut page = written.clone();
    for (name, list) in [
        ("pvf-coordinator", own(&coordinator)),
        ("workers", own(&worker)),
        ("pvf", own(&pvf)),
        ("commands of pvf", of_commands),
        ("connection", connection),
        ("coordinator.toml", settings(&sample())),
    ] {
        page = with_list(&page, name, &list);
    }
    if std::env::var_os("PVF_BLESS").is_some() {
        std::fs::write(root().join(PAGE), &page).unwrap();
        return;
    }
    let missing: Vec<_> = page.lines().filter(|line| !written.lines().any(|other| other == *line)).collect();
    let other: Vec<_> = written.lines().filter(|line| !page.lines().any(|other| other == *line)).collect();
    assert!(page == written, "missing {missing:#?}\nnot so {other:#?}\nPVF_BLESS=1 writes the lists of {PAGE}");
}

/// The keys of a section of the settings, as the refusal of an unknown one names them.
fn known_keys(section: &str) -> Vec<String> {
    let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
    let error = toml::from_str::<CoordinatorConfig>(&format!("{header}no_such_key = 1\n")).unwrap_err().to_string();
    let (_, names) = error.rsplit_once("expected").unwrap_or_else(|| panic!("[{section}]: {error}"));
    names.lines().next().unwrap_or_default().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_sample_describes_every_key_of_the_settings() {
    let sections = sample();
    let parent_of = |section: &Section| section.name.rsplit_once('.').map(|(parent, _)| parent.to_owned());
    let below = |parent: &str, section: &Section| parent_of(section).unwrap_or_default() == parent;
    let names = sections.iter().map(|section| section.name.as_str()).filter(|name| *name != USERS);
    for name in std::iter::once("").chain(names) {
        let known = known_keys(name);
        assert!(!known.is_empty(), "[{name}] has keys");
        let subsections = sections.iter().filter(|section| below(name, section));
        let mut described: Vec<&str> = subsections.filter_map(|section| section.name.rsplit('.').next()).collect();
        let own = sections.iter().filter(|section| section.name == name).flat_map(|section| &section.keys);
        described.extend(own.map(|key| key.name.as_str()));
        described.extend(NOT_IN_SAMPLE);
        let missing: Vec<_> = known.iter().filter(|key| !described.contains(&key.as_str())).collect();
        assert!(missing.is_empty(), "{SAMPLE} does not have {missing:?} of [{name}]");
    }
    for Section { name, keys, .. } in &sections {
        let bare: Vec<_> = keys.iter().filter(|key| key.meaning.is_empty()).map(|key| &key.name).collect();
        assert!(bare.is_empty(), "{SAMPLE} has no comment above {bare:?} of [{name}]");
    }
}

#[test]
fn comments_belong_to_the_key_or_section_below_them() {
    let sample =
        "# The file.\n\n# One\n# section:\n#   a = 2\n[one]\n# What a\n# is.\na = 1\n\n[two.three]\nb = [1, 2]\n";
    let [one, three] = &sections(sample)[..] else { panic!("two sections") };
    assert_eq!((one.meaning.as_str(), one.keys[0].meaning.as_str()), ("One section: `a = 2`", "What a is."));
    assert_eq!((three.name.as_str(), three.keys[0].default.as_str()), ("two.three", "[1, 2]"));
    let page = "a\n<!-- list: x -->\nold\n<!-- end of list: x -->\nb\n";
    let page = with_list(page, "x", "new\n");
    assert_eq!(page, "a\n<!-- list: x -->\n\nnew\n\n<!-- end of list: x -->\nb\n");
    assert_eq!(with_list(&page, "x", "new\n"), page);
}
