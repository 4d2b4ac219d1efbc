//! The files of the page, which are in the executable. A browser loads them as they are: nothing is built.

/// A file by the path at which it is served: its media type and its content. The root is the page itself.
pub(super) fn file(path: &str) -> Option<(&'static str, &'static [u8])> {
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = if name.is_empty() { "index.html" } else { name };
    let (name, content) = FILES.iter().find(|(known, _)| *known == name)?;
    let (_, ending) = name.rsplit_once('.')?;
    let media_type = match ending {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    Some((media_type, content))
}

/// The names of files in the folder `page`, with their contents.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("page/", $name)))),*]
    };
}

const FILES: &[(&str, &[u8])] = files![
    "app.js",
    "attention.js",
    "dom.js",
    "eventlog.js",
    "fleet.js",
    "format.js",
    "frame.css",
    "icon.svg",
    "index.html",
    "lists.css",
    "live.js",
    "narrow.css",
    "net.js",
    "parts.css",
    "plot.js",
    "plots.css",
    "poll.js",
    "style.css",
    "table.js",
    "tables.css",
    "theme.css",
    "theme.js",
    "views/artifacts.js",
    "views/bundle.js",
    "views/coordinator.js",
    "views/empty.js",
    "views/events.js",
    "views/history.js",
    "views/overview.js",
    "views/parts.js",
    "views/queues.js",
    "views/recent.js",
    "views/request.js",
    "views/requests.js",
    "views/workers.js",
    "words.js",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, path::Path};

    fn files_of(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                files_of(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name);
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let mut found = BTreeSet::new();
        files_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/page"), "", &mut found);
        let served: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(served, found);
        for name in &found {
            assert!(file(&format!("/{name}")).is_some(), "{name} has no media type");
        }
        assert_eq!(file("/"), file("/index.html"));
        for other in ["/page/index.html", "/../mod.rs", "/views", "/Index.html"] {
            assert_eq!(file(other), None, "{other}");
        }
    }

    #[test]
    fn the_page_asks_no_other_host() {
        for (name, content) in FILES {
            let text = std::str::from_utf8(content).unwrap();
            for (n, line) in text.lines().enumerate() {
                let hosts = ["http://", "https://", "ws://", "wss://", "url(//"].iter().filter(|scheme| {
                    // Names of XML are no addresses.
                    line.split(**scheme).skip(1).any(|rest| !rest.starts_with("www.w3.org/"))
                });
                assert_eq!(hosts.count(), 0, "{name}:{}: {line}", n + 1);
            }
            assert!(!text.contains("innerHTML"), "{name}: text of others must not become markup");
        }
    }
}
