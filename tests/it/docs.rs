//! Every relative link of the documentation leads to a file, and to a heading if it names one.

use crate::repository::{self, files};
use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
};

/// A link: its line and its target.
type Link = (usize, String);

/// The lines of a Markdown text that are not in a fenced code block, numbered from 1, without inline code.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(n, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then(|| (n + 1, line.split('`').step_by(2).collect::<Vec<_>>().join("")))
    })
}

/// Targets of `[text](target)`, `![text](target)`, `[name]: target` and of `src` and `href` in HTML.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (n, line) in prose(text) {
        let definition = if line.starts_with('[') { "]: " } else { "\0" };
        for (open, close) in [("](", ')'), (definition, ' '), ("src=\"", '"'), ("href=\"", '"')] {
            for rest in line.split(open).skip(1) {
                let target = rest.split(close).next().unwrap_or_default();
                // A title may follow the target.
                found.push((n, target.split(' ').next().unwrap_or_default().to_owned()));
            }
        }
    }
    found
}

/// The anchors of a text's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    // Inline code is part of a heading, unlike of the prose around links.
    let mut seen = HashMap::<String, usize>::new();
    let mut fenced = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect();
        let times = seen.entry(anchor.clone()).or_default();
        anchors.push(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}

fn normalized(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// Why a link leads nowhere.
fn broken(file: &Path, text: &str, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let elsewhere = normalized(&file.parent().unwrap().join(path));
    if !path.is_empty() && !elsewhere.exists() {
        return Some("no such file".into());
    }
    let anchor = anchor?;
    let text = if path.is_empty() { text.to_owned() } else { std::fs::read_to_string(&elsewhere).ok()? };
    (!anchors(&text).iter().any(|known| known == anchor)).then(|| format!("no heading #{anchor}"))
}

#[test]
fn relative_links_lead_somewhere() {
    let markdown = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let (mut followed, mut dead) = (0, vec![]);
    for file in files(&repository::root()).into_iter().filter(markdown) {
        let text = std::fs::read_to_string(&file).unwrap();
        for (line, target) in links(&text) {
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            if let Some(why) = broken(&file, &text, &target) {
                dead.push(format!("{}:{line}: {target}: {why}", file.display()));
            }
        }
    }
    assert!(followed > 0, "the README has relative links");
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn links_and_headings_are_found() {
    let text = "# A `title`: it's\n[a](b.md#c) ![d](e.png \"title\") `[no](x)`\n```\n[no](y)\n# no\n```\n[f]: g\n\
                <img src=\"h.svg\">\n## Twice\n## Twice\n";
    let targets: Vec<_> = links(text).into_iter().map(|(line, target)| format!("{line} {target}")).collect();
    assert_eq!(targets, ["2 b.md#c", "2 e.png", "7 g", "8 h.svg"]);
    assert_eq!(anchors(text), ["a-title-its", "twice", "twice-1"]);
    let this = repository::root().join("README.md");
    assert_eq!(broken(&this, text, "#twice-1"), None);
    assert_eq!(broken(&this, text, "tests/../LICENSE"), None);
    assert_eq!(broken(&this, text, "#thrice").as_deref(), Some("no heading #thrice"));
    assert_eq!(broken(&this, text, "nowhere.md").as_deref(), Some("no such file"));
}
