//! Labels that all metrics of a process have (`--metrics-label`).

use std::{collections::HashMap, str::FromStr};

/// Labels that all metrics of a process have.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LabelArgs {
    /// A label of all metrics, for instance chain=polkadot, which dashboards for Polkadot nodes ask for. Repeated or in
    /// a list
    #[arg(long = "metrics-label", env = "PVF_METRICS_LABELS", value_name = "NAME=VALUE", value_delimiter = ',')]
    labels: Vec<Label>,
}

/// A label: its name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Label(String, String);

/// Labels that metrics of this project have for themselves.
pub const OWN_LABELS: [&str; 18] = [
    "answer",
    "blame",
    "compressed",
    "end",
    "flavor",
    "kind",
    "le",
    "op",
    "outcome",
    "queue",
    "reason",
    "result",
    "stage",
    "state",
    "verdict",
    "version",
    "wire",
    "work",
];

impl FromStr for Label {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no NAME=VALUE"))?;
        let is_name = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.starts_with("__")
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if name.is_empty() || !is_name(name) {
            return Err(format!("{name:?} is no name of a label: letters, digits and _, no digit first"));
        }
        if OWN_LABELS.contains(&name) {
            return Err(format!("{name:?} is a label that some metrics have for themselves"));
        }
        if value.len() > 128 {
            return Err(format!("the value of {name} is longer than 128 bytes"));
        }
        Ok(Self(name.to_owned(), value.to_owned()))
    }
}

impl LabelArgs {
    /// The labels by name.
    ///
    /// # Errors
    /// One is named twice.
    pub(super) fn labels(&self) -> Result<HashMap<String, String>, String> {
        let mut labels = HashMap::new();
        for Label(name, value) in &self.labels {
            if labels.insert(name.clone(), value.clone()).is_some() {
                return Err(format!("--metrics-label {name}: given twice"));
            }
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_name_that_no_metric_has_for_itself() {
        let parse = |text: &str| text.parse::<Label>();
        assert_eq!(parse("chain=polkadot"), Ok(Label("chain".into(), "polkadot".into())));
        assert_eq!(parse("zone=a=b"), Ok(Label("zone".into(), "a=b".into())));
        for (text, words) in [
            ("chain", "no NAME=VALUE"),
            ("=x", "no name of a label"),
            ("1a=x", "no name of a label"),
            ("__a=x", "no name of a label"),
            ("a-b=x", "no name of a label"),
            ("kind=x", "for themselves"),
        ] {
            assert!(parse(text).unwrap_err().contains(words), "{text}");
        }
        assert!(parse(&format!("a={}", "x".repeat(129))).unwrap_err().contains("128 bytes"));
        let twice = LabelArgs { labels: vec![parse("a=b").unwrap(), parse("a=c").unwrap()] };
        assert_eq!(twice.labels().unwrap_err(), "--metrics-label a: given twice");
    }
}
