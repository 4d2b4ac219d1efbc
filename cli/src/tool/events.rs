//! `pvf events`: what a fleet's coordinator tells observers.

use super::{
    args::Global,
    failure::{Exit, Failure},
    target::bus_of,
};
use futures::StreamExt as _;
use pvf_shared::{bus::Bus as _, subjects};
use serde_json::Value;
use std::io::Write as _;

/// Prints events until the process is ended.
pub(crate) async fn events(global: &Global) -> Result<Exit, Failure> {
    let bus = bus_of(global, "events").await?;
    let mut events = bus.subscribe(&subjects::all_events(&global.fleet)).await?;
    while let Some(event) = events.next().await {
        let Ok(event) = serde_json::from_slice::<Value>(&event.payload) else { continue };
        let line = if global.json { event.to_string() } else { line(&event) };
        // The reader of the output may have ended.
        if writeln!(std::io::stdout(), "{line}").is_err() {
            break;
        }
    }
    Ok(Exit::Success)
}

/// An event as text: its kind, then every field that has a value, except the usage of each job.
fn line(event: &Value) -> String {
    let mut text = event["event"].as_str().unwrap_or("?").to_owned();
    for (name, value) in event.as_object().into_iter().flatten() {
        match value {
            _ if name == "event" || name == "usage" => {}
            Value::Null => {}
            Value::String(value) => text.push_str(&format!(" {name}={value:?}")),
            value => text.push_str(&format!(" {name}={value}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_kind_and_the_fields_with_values() {
        let event = serde_json::json!({ "event": "verdict", "attempts": 1, "reason": null, "outcome": "a b\u{1b}", "usage": {} });
        assert_eq!(line(&event), "verdict attempts=1 outcome=\"a b\\u{1b}\"");
    }
}
